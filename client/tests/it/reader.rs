//! Readers: from where, to where, in which order, and through what.

mod faults;
mod trimmed;

use std::time::{Duration, UNIX_EPOCH};

use futures_util::{FutureExt, StreamExt, TryStreamExt};
use towpath_client::{Client, ErrorReason, Offset, PartitionId, Reader, ReaderItem, Source, Start};

use crate::fake::FakeBroker;

/// Values of the records that are left, in the order they come.
async fn values(reader: &mut Reader) -> Vec<String> {
    let mut values = Vec::new();
    while let Some(record) = reader.next_record().await.unwrap() {
        values.push(record.value_str().unwrap().to_owned());
    }
    values
}

/// A topic with two partitions: batches `a0 a1 | a2` and `b0 | b1 b2`, written by turns.
fn two_partitions() -> (FakeBroker, Client) {
    let (broker, client) = FakeBroker::with_topic("orders", 2);
    broker.append("orders", 0, &["a0", "a1"]);
    broker.append("orders", 1, &["b0"]);
    broker.append("orders", 0, &["a2"]);
    broker.append("orders", 1, &["b1", "b2"]);
    (broker, client)
}

#[tokio::test(start_paused = true)]
async fn a_reader_ends_at_the_end_and_tells_it() {
    let (broker, client) = two_partitions();
    let reader = client.reader(["orders"]).build();
    let items: Vec<_> = reader.try_collect().await.unwrap();
    let mut ends = Vec::new();
    let mut records = Vec::new();
    for item in items {
        match item {
            ReaderItem::Batch(batch) => records.extend(batch.records().map(|it| it.address())),
            ReaderItem::CaughtUp(end) => ends.push((end.partition.get(), end.end_offset.get())),
            other => panic!("{other:?}"),
        }
    }
    ends.sort_unstable();
    assert_eq!(ends, [(0, 3), (1, 3)], "ends");
    let mut records: Vec<_> = records.iter().map(ToString::to_string).collect();
    records.sort();
    let expected = [
        "orders/0@0",
        "orders/0@1",
        "orders/0@2",
        "orders/1@0",
        "orders/1@1",
        "orders/1@2",
    ];
    assert_eq!(records, expected, "addresses");
    drop(broker);
}

#[tokio::test(start_paused = true)]
async fn records_tell_where_they_come_from() {
    let (_broker, client) = two_partitions();
    let mut reader = client.reader(["orders"]).merged().build();
    let record = reader.next_record().await.unwrap().unwrap();
    assert_eq!(record.topic().as_str(), "orders", "topic");
    assert_eq!(
        (record.partition().get(), record.offset().get()),
        (0, 0),
        "place"
    );
    assert_eq!(record.lsn().get(), 1, "LSN");
    assert_eq!(
        record.append_time(),
        UNIX_EPOCH + Duration::from_secs(1),
        "append time"
    );
    assert_eq!(record.value(), Some(b"a0".as_slice()), "value");
    assert_eq!(record.key(), None, "key");
}

#[tokio::test(start_paused = true)]
async fn merged_means_in_the_order_of_writing() {
    let (broker, client) = two_partitions();
    broker.state().log.create("payments", 1);
    broker.append("payments", 0, &["p0"]);
    broker.append("orders", 0, &["a3"]);
    let mut reader = client.reader(["payments", "orders"]).merged().build();
    let expected = ["a0", "a1", "b0", "a2", "b1", "b2", "p0", "a3"];
    assert_eq!(values(&mut reader).await, expected, "values");
}

#[tokio::test(start_paused = true)]
async fn reading_begins_where_it_is_told_to() {
    let (_broker, client) = two_partitions();
    let partition = PartitionId::new;
    let check = async |start: Start, expected: &[&str]| {
        let mut reader = client
            .reader(["orders"])
            .merged()
            .from(start.clone())
            .build();
        assert_eq!(values(&mut reader).await, expected, "{start:?}");
    };
    check(Start::Beginning, &["a0", "a1", "b0", "a2", "b1", "b2"]).await;
    check(Start::End, &[]).await;
    check(Start::Offset(Offset::new(2)), &["a2", "b2"]).await;
    check(
        Start::Time(UNIX_EPOCH + Duration::from_secs(3)),
        &["a2", "b1", "b2"],
    )
    .await;
    let offsets = vec![
        (partition(0), Offset::new(1)),
        (partition(1), Offset::new(2)),
    ];
    check(Start::Offsets(offsets), &["a1", "a2", "b2"]).await;
    check(Start::LastRecords(1), &["a2", "b2"]).await;
}

#[tokio::test(start_paused = true)]
async fn partitions_and_sources_are_chosen() {
    let (broker, client) = two_partitions();
    let mut reader = client
        .reader(["orders"])
        .partitions([PartitionId::new(1)])
        .build();
    assert_eq!(
        values(&mut reader).await,
        ["b0", "b1", "b2"],
        "one partition"
    );
    broker.state().log.create("payments", 1);
    broker.append("payments", 0, &["p0", "p1"]);
    let orders = Source::new("orders").partitions([PartitionId::new(0)]);
    let payments = Source::new("payments").start(Start::Offset(Offset::new(1)));
    let mut reader = client.reader([orders, payments]).merged().build();
    assert_eq!(
        values(&mut reader).await,
        ["a0", "a1", "a2", "p1"],
        "two sources"
    );
}

#[tokio::test(start_paused = true)]
async fn following_goes_on_with_new_records() {
    let (broker, client) = two_partitions();
    let mut reader = client.reader(["orders"]).from(Start::End).follow().build();
    assert!(reader.next_record().now_or_never().is_none(), "nothing yet");
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(
        reader.next_record().now_or_never().is_none(),
        "still nothing"
    );
    broker.append("orders", 1, &["b3"]);
    let record = reader.next_record().await.unwrap().unwrap();
    assert_eq!(record.address().to_string(), "orders/1@3", "address");
    assert_eq!(
        broker.state().calls,
        ["fetch"],
        "one stream for all that time"
    );
}

#[tokio::test(start_paused = true)]
async fn following_tells_once_that_it_has_caught_up() {
    let (broker, client) = two_partitions();
    let mut reader = client.reader(["orders"]).follow().build();
    let mut caught_up = 0;
    while caught_up < 2 {
        match reader.next().await.unwrap().unwrap() {
            ReaderItem::CaughtUp(it) => {
                assert_eq!(it.lsn.get(), 4, "LSN");
                caught_up += 1;
            }
            ReaderItem::Batch(_) => {}
            other => panic!("{other:?}"),
        }
    }
    broker.cut();
    broker.append("orders", 0, &["a3"]);
    match reader.next().await.unwrap().unwrap() {
        ReaderItem::Batch(batch) => assert_eq!(batch.offsets().to_string(), "3..4", "batch"),
        other => panic!("{other:?}"),
    }
    let next = tokio::time::timeout(Duration::from_secs(20), reader.next()).await;
    assert!(next.is_err(), "{next:?}");
}

#[tokio::test(start_paused = true)]
async fn the_stream_takes_up_where_single_records_left_off() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    broker.append("orders", 0, &["a", "b", "c"]);
    let mut reader = client.reader(["orders"]).build();
    reader.next_record().await.unwrap().unwrap();
    let next = reader.next_offsets();
    assert_eq!(next[0].2.get(), 1, "next offset");
    let ReaderItem::Batch(rest) = reader.next().await.unwrap().unwrap() else {
        panic!("not a batch");
    };
    assert_eq!(rest.offsets().to_string(), "1..3", "offsets");
    let values: Vec<_> = rest.records().map(|it| it.value_bytes().unwrap()).collect();
    assert_eq!(values, ["b", "c"], "values");
    assert_eq!(reader.next_offsets()[0].2.get(), 3, "next offset");
}

#[tokio::test(start_paused = true)]
async fn missing_topics_and_bad_starts_are_told() {
    let (_broker, client) = two_partitions();
    let mut reader = client.reader(["orders", "ordres"]).build();
    let error = reader.next_record().await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::TopicNotFound), "reason");
    assert!(
        reader.next_record().await.unwrap().is_none(),
        "the reader is over"
    );

    let start = Start::Offset(Offset::new(9));
    let mut reader = client.reader(["orders"]).from(start).build();
    let error = reader.next_record().await.unwrap_err();
    assert_eq!(
        error.reason(),
        Some(ErrorReason::OffsetOutOfRange),
        "reason"
    );
    assert_eq!(error.metadata("end_offset"), Some("3"), "what is allowed");

    let mut reader = client.reader([] as [&str; 0]).build();
    let error = reader.next_record().await.unwrap_err();
    assert_eq!(
        error.reason(),
        Some(ErrorReason::InvalidArgument),
        "no topics"
    );
}

#[tokio::test(start_paused = true)]
async fn the_shutdown_handle_ends_the_stream() {
    let (_broker, client) = two_partitions();
    let mut reader = client.reader(["orders"]).from(Start::End).follow().build();
    let handle = reader.shutdown_handle();
    let reading = tokio::spawn(async move { reader.next_record().await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!reading.is_finished(), "reads");
    handle.shutdown();
    assert!(reading.await.unwrap().unwrap().is_none(), "ended");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_is_not_asked_holds_nobody_up() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let value = "x".repeat(1024 * 1024 - 100);
    for _ in 0..40 {
        broker.append("orders", 0, &[&value]);
    }
    // More is waiting for them than any connection takes.
    let mut idle = Vec::new();
    for _ in 0..8 {
        let mut reader = client.reader(["orders"]).follow().build();
        reader.next_record().await.unwrap().unwrap();
        idle.push(reader);
    }
    let producer = client.producer("orders").build();
    producer
        .send(towpath_client::Record::new("v"))
        .await
        .unwrap();
    let mut reader = client.reader(["orders"]).build();
    assert_eq!(values(&mut reader).await.len(), 41, "records");
    drop(idle);
}
