//! Producers: batches, answers, refusals, broken connections, and what is known afterwards.

mod batching;
mod doubt;
mod ending;
mod expectations;
mod named;
mod patience;
mod refusals;
mod replacement;
mod unwritten;

use std::num::NonZeroU32;
use std::time::Duration;

use towpath_client::{Bytes, ErrorKind, ErrorReason, PartitionId, Producer, Record};
use towpath_proto::partitioner::partition_of;

use crate::fake::{FakeBroker, OnBatch};

/// Sends records one after the other and expects each to be acknowledged.
/// Number of records of each batch of a partition.
fn batch_sizes(broker: &FakeBroker, partition: u32) -> Vec<u32> {
    let state = broker.state();
    let batches = &state.log.partition("orders", partition).batches;
    batches
        .iter()
        .map(|batch| batch.fetched.record_count)
        .collect()
}

async fn send_all(producer: &Producer, values: &[&'static str]) {
    for value in values {
        producer.send(Record::new(*value)).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn send_returns_where_the_record_is() {
    let (broker, client) = FakeBroker::with_topic("orders", 4);
    broker.append("orders", 2, &["earlier", "records"]);
    let producer = client.producer("orders").build();
    let record = Record::new("hello").partition(PartitionId::new(2));
    let position = producer.send(record).await.unwrap();
    assert_eq!(position.partition.get(), 2, "partition");
    assert_eq!(position.offset.get(), 2, "offset");
    assert_eq!(position.lsn.get(), 2, "LSN");
    let append_time = std::time::UNIX_EPOCH + Duration::from_secs(2);
    assert_eq!(position.append_time, append_time, "append time");
    assert_eq!(
        broker.values("orders", 2),
        ["earlier", "records", "hello"],
        "log"
    );
}

#[tokio::test(start_paused = true)]
async fn a_key_always_goes_to_its_partition() {
    let (broker, client) = FakeBroker::with_topic("orders", 8);
    let producer = client.producer("orders").build();
    for key in ["a", "b", "42", "", "a-longer-key"] {
        let position = producer.send(Record::new("v").key(key)).await.unwrap();
        let expected = partition_of(key.as_bytes(), NonZeroU32::new(8).unwrap());
        assert_eq!(position.partition, expected, "key {key:?}");
    }
    drop(broker);
}

#[tokio::test(start_paused = true)]
async fn records_without_a_key_visit_all_partitions() {
    let (broker, client) = FakeBroker::with_topic("orders", 4);
    let producer = client.producer("orders").build();
    for _ in 0..8 {
        producer.send(Record::new("v")).await.unwrap();
    }
    for partition in 0..4 {
        assert_eq!(
            broker.values("orders", partition).len(),
            2,
            "partition {partition}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_topic_is_told_and_may_come_later() {
    let broker = FakeBroker::start();
    let client = broker.client();
    let producer = client.producer("ordres").build();
    let refused = producer.send(Record::new("v").key("k")).await.unwrap_err();
    let (record, error) = refused.into_parts();
    assert_eq!(error.reason(), Some(ErrorReason::TopicNotFound), "reason");
    assert_eq!(error.hint(), Some("did you mean \"orders\"?"), "hint");
    assert!(error.has_no_side_effects(), "nothing happened");
    assert_eq!(
        record.value_bytes(),
        Some(&Bytes::from("v")),
        "the record comes back"
    );
    let text = "topic \"ordres\" not found (TOPIC_NOT_FOUND); did you mean \"orders\"?";
    assert_eq!(error.to_string(), text, "text");

    broker.state().log.create("ordres", 1);
    producer.send(record).await.unwrap();
    assert_eq!(broker.values("ordres", 0), ["v"], "log");
}

#[tokio::test(start_paused = true)]
async fn what_is_over_a_limit_is_refused_before_it_is_queued() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let producer = client.producer("orders").build();
    let too_large = Record::new(vec![0; 2 * 1024 * 1024]);
    let error = producer.enqueue(too_large).await.unwrap_err();
    assert_eq!(
        error.error().reason(),
        Some(ErrorReason::RecordTooLarge),
        "record"
    );
    assert_eq!(error.error().kind(), ErrorKind::Rejected, "kind");
    let error = producer
        .send(Record::new("v").header("", "v"))
        .await
        .unwrap_err();
    assert_eq!(
        error.error().reason(),
        Some(ErrorReason::InvalidArgument),
        "header"
    );
    let record = Record::new("v").partition(PartitionId::new(1));
    let error = producer.send(record).await.unwrap_err();
    assert_eq!(
        error.error().reason(),
        Some(ErrorReason::PartitionNotFound),
        "partition"
    );
    assert_eq!(broker.values("orders", 0), [] as [&str; 0], "log");
    send_all(&producer, &["fine"]).await;
}

#[tokio::test(start_paused = true)]
async fn records_are_written_once_and_in_order_through_many_faults() {
    let faults = [
        OnBatch::AppendAndCut,
        OnBatch::Append,
        OnBatch::Cut,
        OnBatch::Refuse(ErrorReason::Overloaded),
        OnBatch::Append,
        OnBatch::Append,
        OnBatch::AppendInSilence,
    ];
    let (broker, client) = FakeBroker::with_topic("orders", 3);
    broker.on_batches(faults.into_iter().cycle().take(100));
    let producer = client.producer("orders").batch_bytes(100).build();
    let mut receipts = Vec::new();
    for number in 0..600 {
        let record = Record::new(format!("{number:04}")).key(format!("key-{}", number % 10));
        receipts.push(producer.enqueue(record).await.unwrap());
        if number % 7 == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    producer.flush().await.unwrap();
    for receipt in receipts {
        receipt.await.unwrap();
    }
    let mut count = 0;
    for partition in 0..3 {
        let values = broker.values("orders", partition);
        assert!(values.is_sorted(), "order of partition {partition}");
        count += values.len();
        let distinct: std::collections::BTreeSet<_> = values.iter().collect();
        assert_eq!(
            distinct.len(),
            values.len(),
            "duplicates in partition {partition}"
        );
    }
    assert_eq!(count, 600, "records");
}
