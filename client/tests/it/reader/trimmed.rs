//! Readers whose records are trimmed before they have come to them.

use futures_util::StreamExt;
use towpath_client::{
    Client, ErrorReason, GapReason, Offset, PartitionId, Reader, ReaderItem, Start, TopicTrim,
};

use crate::fake::{FakeBroker, OnFetch};

/// One partition with the batches `a b c` and `d e f`.
fn two_batches() -> (FakeBroker, Client) {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    broker.append("orders", 0, &["a", "b", "c"]);
    broker.append("orders", 0, &["d", "e", "f"]);
    (broker, client)
}

async fn trim(client: &Client, offset: u64) {
    let trim = TopicTrim::before("orders", Start::Offset(Offset::new(offset)));
    client.admin().trim_topic(trim).await.unwrap();
}

/// What a reader tells next, in words: values of records, gaps, ends.
async fn next(reader: &mut Reader) -> String {
    match reader.next().await {
        Some(Ok(ReaderItem::Batch(batch))) => {
            let values = batch.records();
            let values: Vec<_> = values
                .map(|record| record.value_str().unwrap().to_owned())
                .collect();
            values.join(" ")
        }
        Some(Ok(ReaderItem::Gap(gap))) => {
            assert_eq!(gap.reason, GapReason::Trimmed, "reason");
            format!("{}/{} lost {}", gap.topic, gap.partition, gap.range)
        }
        Some(Ok(ReaderItem::CaughtUp(end))) => format!("end {}", end.end_offset),
        Some(Err(error)) => error.to_string(),
        None => "over".to_owned(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_behind_a_gap_is_taken_from_the_log_start_on() {
    let (broker, client) = two_batches();
    let mut reader = client.reader(["orders"]).follow().build();
    assert_eq!(next(&mut reader).await, "a b c");
    assert_eq!(next(&mut reader).await, "d e f");
    assert_eq!(next(&mut reader).await, "end 6");
    {
        // At once, so that the reader is overtaken while it follows.
        let mut state = broker.state();
        state.log.append_values("orders", 0, &["g", "h"]);
        state.log.append_values("orders", 0, &["i", "j", "k"]);
        state.log.partition_mut("orders", 0).trim(9);
    }
    broker.append("orders", 0, &["l"]);
    assert_eq!(next(&mut reader).await, "orders/0 lost 6..9");
    assert_eq!(next(&mut reader).await, "j k", "the batch begins at 8");
    assert_eq!(reader.next_offsets()[0].2.get(), 11, "next offset");
    assert_eq!(next(&mut reader).await, "l");
    assert_eq!(broker.state().calls, ["fetch"], "on one stream");
}

#[tokio::test(start_paused = true)]
async fn records_come_one_by_one_from_the_log_start_on() {
    let (_broker, client) = two_batches();
    trim(&client, 4).await;
    let mut reader = client.reader(["orders"]).build();
    let record = reader.next_record().await.unwrap().unwrap();
    assert_eq!(record.offset().get(), 4, "first");
    assert_eq!(record.value_str(), Some("e"), "first");
    assert_eq!(reader.next_offsets()[0].2.get(), 5, "next offset");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_was_away_is_told_what_was_trimmed_meanwhile() {
    let (broker, client) = two_batches();
    broker.on_fetches([OnFetch::Send, OnFetch::FallSilent]);
    let mut reader = client.reader(["orders"]).build();
    assert_eq!(next(&mut reader).await, "a b c");
    broker.go_down();
    broker.state().log.partition_mut("orders", 0).trim(5);
    broker.go_up();
    assert_eq!(next(&mut reader).await, "orders/0 lost 3..5");
    assert_eq!(next(&mut reader).await, "f", "the batch begins at 3");
    assert_eq!(next(&mut reader).await, "end 6");
    assert_eq!(next(&mut reader).await, "over");
}

#[tokio::test(start_paused = true)]
async fn each_partition_goes_on_where_its_log_starts() {
    let (broker, client) = FakeBroker::with_topic("orders", 3);
    for partition in 0..3 {
        broker.append("orders", partition, &["a", "b"]);
    }
    let mut reader = client.reader(["orders"]).from(Start::End).follow().build();
    for _ in 0..3 {
        assert_eq!(next(&mut reader).await, "end 2");
    }
    broker.go_down();
    for partition in [0, 2] {
        let mut state = broker.state();
        state.log.append_values("orders", partition, &["c", "d"]);
        state.log.partition_mut("orders", partition).trim(3);
    }
    broker.append("orders", 1, &["e"]);
    broker.go_up();
    broker.state().calls.clear();
    let mut told = Vec::new();
    for _ in 0..5 {
        told.push(next(&mut reader).await);
    }
    told.sort();
    let expected = ["d", "d", "e", "orders/0 lost 2..3", "orders/2 lost 2..3"];
    assert_eq!(told, expected, "both gaps and all that is left");
    let calls = broker.state().calls.clone();
    assert_eq!(calls, ["fetch"; 2], "refused once for both");
}

#[tokio::test(start_paused = true)]
async fn what_was_to_be_read_may_all_be_trimmed() {
    let (broker, client) = two_batches();
    broker.on_fetches([OnFetch::Send, OnFetch::FallSilent]);
    let mut reader = client.reader(["orders"]).build();
    assert_eq!(next(&mut reader).await, "a b c");
    broker.go_down();
    broker.append("orders", 0, &["g", "h"]);
    broker.state().log.partition_mut("orders", 0).trim(7);
    broker.go_up();
    assert_eq!(
        next(&mut reader).await,
        "orders/0 lost 3..6",
        "up to the end it had"
    );
    assert_eq!(next(&mut reader).await, "end 6");
    assert_eq!(next(&mut reader).await, "over");
}

#[tokio::test(start_paused = true)]
async fn a_reader_does_not_begin_below_the_log_start() {
    let (_broker, client) = two_batches();
    trim(&client, 4).await;
    let offsets = vec![(PartitionId::new(0), Offset::new(3))];
    for start in [Start::Offset(Offset::new(3)), Start::Offsets(offsets)] {
        let mut reader = client.reader(["orders"]).from(start.clone()).build();
        let error = reader.next_record().await.unwrap_err();
        let reason = Some(ErrorReason::OffsetOutOfRange);
        assert_eq!(error.reason(), reason, "{start:?}");
        assert_eq!(error.metadata("log_start_offset"), Some("4"), "{start:?}");
        assert!(reader.next_record().await.unwrap().is_none(), "over");
    }
    let mut reader = client.reader(["orders"]).build();
    assert_eq!(next(&mut reader).await, "e f", "from the beginning");
}
