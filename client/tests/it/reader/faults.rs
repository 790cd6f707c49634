//! Broken connections, silence, damage, topics that go away.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::Instant;
use towpath_client::{ErrorKind, ErrorReason, ReaderItem, Start};

use super::{two_partitions, values};
use crate::fake::{FakeBroker, OnFetch};

#[tokio::test(start_paused = true)]
async fn a_broken_connection_loses_and_doubles_nothing() {
    let (broker, client) = FakeBroker::with_topic("orders", 3);
    let mut expected = Vec::new();
    for number in 0..60 {
        let values = [format!("{number}a"), format!("{number}b")];
        broker.append("orders", number % 3, &values.each_ref().map(String::as_str));
        expected.extend(values);
    }
    let faults = [
        OnFetch::Send,
        OnFetch::Cut,
        OnFetch::Send,
        OnFetch::Send,
        OnFetch::Cut,
    ];
    broker.on_fetches(faults.into_iter().cycle().take(100));
    let mut reader = client.reader(["orders"]).merged().build();
    assert_eq!(values(&mut reader).await, expected, "values");
    assert!(
        broker.connection_count() > 10,
        "{}",
        broker.connection_count()
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_written_after_the_start_is_not_read_to_the_end() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    broker.append("orders", 0, &["a"]);
    broker.append("orders", 0, &["b"]);
    let mut reader = client.reader(["orders"]).build();
    broker.on_fetches([OnFetch::Send, OnFetch::Cut]);
    assert!(reader.next_record().await.unwrap().is_some(), "first");
    broker
        .wait_until("the cut", |state| state.on_fetch.is_empty())
        .await;
    broker.append("orders", 0, &["c"]);
    assert_eq!(
        values(&mut reader).await,
        ["b"],
        "the end is the one of the start"
    );
}

#[tokio::test(start_paused = true)]
async fn a_silent_broker_is_left_after_15_seconds() {
    let (broker, client) = two_partitions();
    broker.on_fetches([OnFetch::Send, OnFetch::FallSilent]);
    let mut reader = client.reader(["orders"]).merged().build();
    let start = Instant::now();
    assert_eq!(values(&mut reader).await.len(), 6, "records");
    let waited = start.elapsed().as_secs_f64();
    assert!((15.0..17.0).contains(&waited), "{waited} s");
}

#[tokio::test(start_paused = true)]
async fn damage_on_the_way_is_read_again() {
    let (broker, client) = two_partitions();
    broker.state().damaged.insert((1, 0), 1);
    let mut reader = client.reader(["orders"]).merged().build();
    let expected = ["a0", "a1", "b0", "a2", "b1", "b2"];
    assert_eq!(values(&mut reader).await, expected, "values");
}

#[tokio::test(start_paused = true)]
async fn damage_that_stays_gives_the_partition_up_and_no_other() {
    let (broker, client) = two_partitions();
    broker.state().damaged.insert((0, 0), u32::MAX);
    let mut reader = client.reader(["orders"]).merged().build();
    let error = reader.next_record().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "kind");
    assert!(
        error
            .to_string()
            .contains("topic=orders partition=0 offset=0"),
        "{error}"
    );
    let rest: Vec<_> = values(&mut reader).await;
    assert_eq!(rest, ["b0", "b1", "b2"], "the other partition");
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_was_created_again_is_not_read() {
    let (broker, client) = two_partitions();
    let mut reader = client.reader(["orders"]).from(Start::End).follow().build();
    let waiting = tokio::time::timeout(Duration::from_secs(1), reader.next_batch());
    assert!(waiting.await.is_err(), "nothing yet");
    broker.go_down();
    broker.state().log.topics.remove("orders");
    broker.state().log.create("orders", 2);
    broker.append("orders", 0, &["other"]);
    broker.go_up();
    let error = reader.next_record().await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::TopicNotFound), "reason");
    assert!(
        reader.next_record().await.unwrap().is_none(),
        "the reader is over"
    );
}

#[tokio::test(start_paused = true)]
async fn a_deleted_topic_leaves_the_others() {
    let (broker, client) = two_partitions();
    broker.state().log.create("payments", 1);
    let mut reader = client
        .reader(["orders", "payments"])
        .from(Start::End)
        .follow()
        .build();
    let waiting = tokio::time::timeout(Duration::from_secs(1), reader.next_batch());
    assert!(waiting.await.is_err(), "nothing yet");
    broker.state().log.topics.remove("orders");
    broker.append("payments", 0, &["p0"]);
    let mut failures = 0;
    let batch = loop {
        match reader.next().await.unwrap() {
            Ok(ReaderItem::Batch(batch)) => break batch,
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.reason(), Some(ErrorReason::TopicNotFound), "reason");
                failures += 1;
            }
        }
    };
    assert_eq!(failures, 2, "one for each partition");
    assert_eq!(batch.topic().as_str(), "payments", "topic");
}

#[tokio::test(start_paused = true)]
async fn readers_wait_for_a_broker_for_ever_unless_told_otherwise() {
    let (broker, client) = two_partitions();
    broker.go_down();
    let mut reader = client.reader(["orders"]).build();
    let waiting = tokio::time::timeout(Duration::from_hours(1), reader.next_record());
    assert!(waiting.await.is_err(), "still waits");
    broker.go_up();
    assert_eq!(values(&mut reader).await.len(), 6, "records");

    broker.go_down();
    let patience = Duration::from_secs(10);
    let mut reader = client.reader(["orders"]).give_up_after(patience).build();
    let start = Instant::now();
    let error = reader.next_record().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect, "kind");
    let waited = start.elapsed();
    assert!(patience <= waited && waited < patience * 2, "{waited:?}");
    assert!(
        reader.next_record().await.unwrap().is_none(),
        "the reader is over"
    );
}

#[tokio::test(start_paused = true)]
async fn a_draining_broker_is_left_and_found_again() {
    let (broker, client) = two_partitions();
    let mut reader = client.reader(["orders"]).from(Start::End).follow().build();
    let waiting = tokio::time::timeout(Duration::from_secs(1), reader.next_batch());
    assert!(waiting.await.is_err(), "nothing yet");
    broker.drain(true);
    let waiting = tokio::time::timeout(Duration::from_millis(10), reader.next_batch());
    assert!(waiting.await.is_err(), "nothing yet");
    broker.drain(false);
    broker.append("orders", 0, &["a3"]);
    let batch = reader.next_batch().await.unwrap().unwrap();
    assert_eq!(batch.offsets().to_string(), "3..4", "offsets");
}

#[tokio::test(start_paused = true)]
async fn another_broker_is_not_read_in_the_place_of_the_first() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    broker.append("orders", 0, &["a", "b"]);
    let mut reader = client.reader(["orders"]).follow().build();
    for value in ["a", "b"] {
        let record = reader.next_record().await.unwrap().unwrap();
        assert_eq!(record.value_str(), Some(value), "value");
    }
    broker.replace();
    broker.append("orders", 0, &["x", "y"]);
    broker.append("orders", 0, &["z"]);
    let error = reader.next_record().await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::TopicNotFound), "{error}");
    assert!(reader.next_record().await.unwrap().is_none(), "the end");
    let mut again = client.reader(["orders"]).build();
    assert_eq!(values(&mut again).await, ["x", "y", "z"], "a new reader");
}
