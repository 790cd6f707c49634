//! Records that are written only at the offset that they expect, or behind the version of their key.

use futures_util::future::join_all;
use std::time::Duration;
use towpath_client::{Client, Error, ErrorReason, Offset, PartitionId, Position, Record};
use towpath_proto::v1;

use super::batch_sizes;
use crate::fake::{FakeBroker, OnBatch};

fn plain(value: &'static str) -> Record {
    Record::new(value).partition(PartitionId::new(0))
}

fn expecting(value: &'static str, offset: u64) -> Record {
    plain(value).expect_offset(Offset::new(offset))
}

/// Enqueues the records at once, and returns what became of each.
async fn outcomes(
    producer: &towpath_client::Producer,
    records: impl IntoIterator<Item = Record>,
) -> Vec<Result<Position, Error>> {
    let mut receipts = Vec::new();
    for record in records {
        receipts.push(producer.enqueue(record).await.unwrap());
    }
    join_all(receipts).await
}

#[tokio::test(start_paused = true)]
async fn a_record_that_expects_its_offset_travels_alone() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let linger = Duration::from_millis(50);
    let producer = client.producer("orders").linger(linger).build();
    let records = [
        plain("a"),
        plain("b"),
        expecting("c", 2),
        plain("d"),
        plain("e"),
        expecting("f", 5),
        expecting("g", 6),
    ];
    let written = outcomes(&producer, records).await;
    let offsets = written.iter().map(|it| it.as_ref().unwrap().offset.get());
    assert!(offsets.eq(0..7), "offsets");
    assert_eq!(batch_sizes(&broker, 0), [2, 1, 2, 1, 1], "batches");
}

#[tokio::test(start_paused = true)]
async fn a_record_that_does_not_get_its_offset_fails_alone_and_tells_where_the_log_ends() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let producer = client.producer("orders").build();
    let records = [
        plain("a"),
        expecting("b", 7),
        plain("c"),
        expecting("d", 2),
        expecting("e", 2),
    ];
    let written = outcomes(&producer, records).await;
    assert_eq!(broker.values("orders", 0), ["a", "c", "d"], "log");
    for (place, expected, end) in [(1, "7", "1"), (4, "2", "3")] {
        let error = written[place].as_ref().unwrap_err();
        let reason = error.reason();
        assert_eq!(reason, Some(ErrorReason::ExpectedOffsetMismatch), "{error}");
        assert!(error.has_no_side_effects(), "{error}");
        let facts = ["expected_offset", "end_offset"].map(|name| error.metadata(name));
        assert_eq!(facts, [Some(expected), Some(end)], "{error}");
    }
    let offset = written[3].as_ref().unwrap().offset;
    assert_eq!(offset, Offset::new(2), "what follows a refusal");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_lost_is_found_out_with_the_same_outcome() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let producer = client.producer("orders").build();
    // The first is written, the second refused; neither answer arrives.
    broker.on_batches([OnBatch::AppendAndCut]);
    let written = producer.send(expecting("a", 0)).await.unwrap();
    assert_eq!(written.offset, Offset::new(0), "not taken for a stranger's");
    broker.on_batches([OnBatch::AppendAndCut]);
    let failed = producer.send(expecting("b", 7)).await.unwrap_err();
    let error = failed.error();
    let reason = error.reason();
    assert_eq!(reason, Some(ErrorReason::ExpectedOffsetMismatch), "{error}");
    assert!(error.has_no_side_effects(), "{error}");
    assert_eq!(
        error.metadata("end_offset"),
        None,
        "only the reason is known"
    );
    producer.send(expecting("c", 1)).await.unwrap();
    assert_eq!(broker.values("orders", 0), ["a", "c"], "log");
}

#[tokio::test(start_paused = true)]
async fn an_offset_of_no_partition_is_refused_before_anything_is_sent() {
    let (broker, client) = FakeBroker::with_topic("orders", 4);
    let producer = client.producer("orders").build();
    let nowhere = || Record::new("v").expect_offset(Offset::new(0));
    let failed = producer.send(nowhere()).await.unwrap_err();
    let text = failed.to_string();
    assert!(text.contains("neither a key nor a partition"), "{text}");
    assert_eq!(failed.error().reason(), Some(ErrorReason::InvalidArgument));
    assert_eq!(failed.into_record(), nowhere(), "comes back");
    producer.send(nowhere().key("k")).await.unwrap();

    let unary = client.publish("orders", [nowhere().key("k")]).await;
    let text = unary.unwrap_err().to_string();
    assert!(text.contains("no expected offset or version"), "{text}");
    assert!(!broker.state().calls.contains(&"publish"), "not sent");
}

/// A topic of one partition that counts the records of each key.
fn versioned() -> (FakeBroker, Client) {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let config = v1::TopicConfig {
        key_versions: true,
        ..v1::TopicConfig::default()
    };
    broker.set_config("orders", config);
    (broker, client)
}

fn behind(value: &'static str, version: u64) -> Record {
    Record::new(value).key("k").expect_version(version)
}

#[tokio::test(start_paused = true)]
async fn a_record_that_expects_a_version_travels_alone_and_fails_alone() {
    let (broker, client) = versioned();
    let linger = Duration::from_millis(50);
    let producer = client.producer("orders").linger(linger).build();
    let records = [
        plain("x"),
        behind("a", 0),
        behind("b", 0),
        plain("y"),
        plain("z"),
        behind("c", 1),
    ];
    let written = outcomes(&producer, records).await;
    assert_eq!(broker.values("orders", 0), ["x", "a", "y", "z", "c"], "log");
    assert_eq!(batch_sizes(&broker, 0), [1, 1, 2, 1], "batches");
    let error = written[2].as_ref().unwrap_err();
    let reason = error.reason();
    assert_eq!(
        reason,
        Some(ErrorReason::ExpectedVersionMismatch),
        "{error}"
    );
    assert!(error.has_no_side_effects(), "{error}");
    let facts = ["expected_version", "current_version"].map(|name| error.metadata(name));
    assert_eq!(facts, [Some("0"), Some("1")], "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_version_of_no_key_is_refused_before_anything_is_sent() {
    let (broker, client) = versioned();
    let producer = client.producer("orders").build();
    let failed = producer.send(plain("v").expect_version(0)).await;
    let text = failed.unwrap_err().to_string();
    assert!(text.contains("no key is given"), "{text}");
    let commit = client
        .commit()
        .append("orders", plain("v").expect_version(0));
    let text = commit.send().await.unwrap_err().to_string();
    assert!(text.contains("no key is given"), "{text}");
    let unary = client.publish("orders", [behind("v", 0)]).await;
    let text = unary.unwrap_err().to_string();
    assert!(text.contains("no expected offset or version"), "{text}");
    let calls = &broker.state().calls;
    assert!(!calls.contains(&"publish") && !calls.contains(&"commit"));
}

#[tokio::test(start_paused = true)]
async fn records_of_a_commit_expect_versions_one_by_one() {
    let (broker, client) = versioned();
    let commit = client
        .commit()
        .append_all("orders", [behind("a", 0), plain("x")]);
    let committed = commit.send().await.unwrap();
    assert_eq!(committed.positions_of(0).len(), 2, "positions");
    let asked = broker.state().commits.pop().unwrap();
    assert_eq!(asked, ["append orders x1"; 2], "each for itself");
    let following = [behind("b", 1), behind("c", 2), behind("d", 4)];
    let failed = client.commit().append_all("orders", following).send().await;
    assert!(failed.is_err(), "the third leaves one out");
    let asked = broker.state().commits.pop().unwrap();
    assert_eq!(asked, ["append orders x2", "append orders x1"], "together");
    let failed = client
        .commit()
        .append("orders", plain("y"))
        .append("orders", behind("b", 0));
    let failed = failed.send().await.unwrap_err();
    let error = failed.error();
    let reason = error.reason();
    assert_eq!(
        reason,
        Some(ErrorReason::ExpectedVersionMismatch),
        "{error}"
    );
    assert_eq!(error.metadata("current_version"), Some("1"), "{error}");
    assert_eq!(failed.operation(), Some(1), "which");
    assert_eq!(broker.values("orders", 0), ["a", "x"], "nothing more");
}
