//! Batches of which the broker writes only a part, because of what their topic has already.

use std::time::Duration;

use futures_util::future::join_all;
use towpath_client::{Client, Error, ErrorKind, ErrorReason, PartitionId, Position, Record};
use towpath_proto::v1;
use towpath_proto::v1::unwritten_record::Cause;

use super::batch_sizes;
use crate::fake::{FakeBroker, OnBatch};

/// A topic of one partition with these settings.
fn orders(config: v1::TopicConfig) -> (FakeBroker, Client) {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    broker.set_config("orders", config);
    (broker, client)
}

fn deduping() -> (FakeBroker, Client) {
    orders(v1::TopicConfig {
        dedupe_window_ms: Some(60_000),
        ..v1::TopicConfig::default()
    })
}

fn refusing_stale() -> (FakeBroker, Client) {
    orders(v1::TopicConfig {
        stale_records: v1::StaleRecords::Refuse.into(),
        ..v1::TopicConfig::default()
    })
}

fn event(id: &'static str) -> Record {
    Record::new(id).event("/shop", id)
}

/// Sends the records as one batch, and returns what became of each.
async fn outcomes(
    client: &Client,
    records: impl IntoIterator<Item = Record>,
) -> Vec<Result<Position, Error>> {
    let linger = Duration::from_millis(50);
    let producer = client.producer("orders").linger(linger).build();
    let mut receipts = Vec::new();
    for record in records {
        receipts.push(producer.enqueue(record).await.unwrap());
    }
    join_all(receipts).await
}

fn places(outcomes: &[Result<Position, Error>]) -> Vec<(u64, bool)> {
    let positions = outcomes.iter().map(|it| it.as_ref().unwrap());
    positions
        .map(|it| (it.offset.get(), it.is_repeated))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn events_that_are_there_are_told_where_and_the_others_follow_densely() {
    let (broker, client) = deduping();
    let first = outcomes(&client, ["a", "b"].map(event)).await;
    assert_eq!(places(&first), [(0, false), (1, false)], "first time");
    let plain = || Record::new("x").partition(PartitionId::new(0));
    let records = [
        event("b"),
        plain(),
        event("c"),
        event("a"),
        event("c"),
        plain(),
    ];
    let second = outcomes(&client, records).await;
    let expected = [
        (1, true),
        (2, false),
        (3, false),
        (0, true),
        (3, true),
        (4, false),
    ];
    assert_eq!(places(&second), expected, "second time");
    assert_eq!(broker.values("orders", 0), ["a", "b", "x", "c", "x"], "log");
    assert_eq!(batch_sizes(&broker, 0), [2, 3], "batches");
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_which_nothing_is_left_is_accepted() {
    let (broker, client) = deduping();
    outcomes(&client, ["a", "b"].map(event)).await;
    let producer = client.producer("orders").build();
    let again = producer.send(event("b")).await.unwrap();
    assert_eq!((again.offset.get(), again.is_repeated), (1, true), "first");
    // The sequence is spent, and the partition goes on.
    let next = producer.send(event("c")).await.unwrap();
    assert_eq!((next.offset.get(), next.is_repeated), (2, false), "next");
    assert_eq!(broker.values("orders", 0), ["a", "b", "c"], "log");
}

#[tokio::test(start_paused = true)]
async fn what_an_answer_that_was_lost_has_said_is_said_again() {
    let (broker, client) = deduping();
    outcomes(&client, ["a"].map(event)).await;
    broker.on_batches([OnBatch::AppendAndCut]);
    let written = outcomes(&client, ["a", "b", "a"].map(event)).await;
    let expected = [(0, true), (1, false), (0, true)];
    assert_eq!(places(&written), expected, "as it was the first time");
    assert_eq!(broker.values("orders", 0), ["a", "b"], "log");
}

#[tokio::test(start_paused = true)]
async fn old_news_fails_alone_and_tells_the_version_that_is_there() {
    let (broker, client) = refusing_stale();
    let versioned = |value: &'static str, version| {
        let record = Record::new(value).key("alice");
        record.entity_version(version)
    };
    let records = [
        versioned("three", 3),
        versioned("one", 1),
        versioned("four", 4),
        versioned("four again", 4),
    ];
    let written = outcomes(&client, records).await;
    let offsets = [0, 2].map(|index: usize| written[index].as_ref().unwrap().offset.get());
    assert_eq!(offsets, [0, 1], "written");
    for (index, current) in [(1, "3"), (3, "4")] {
        let error = written[index].as_ref().unwrap_err();
        assert_eq!(error.reason(), Some(ErrorReason::StaleEntityVersion));
        assert_eq!(error.metadata("current_version"), Some(current), "{error}");
        assert!(error.has_no_side_effects(), "{error}");
    }
    assert_eq!(broker.values("orders", 0), ["three", "four"], "log");
    let producer = client.producer("orders").build();
    let failed = producer.send(versioned("two", 2)).await.unwrap_err();
    let reason = failed.error().reason();
    assert_eq!(reason, Some(ErrorReason::StaleEntityVersion), "alone");
}

/// Says that of the first record of a batch.
fn say_unwritten(batch: &mut v1::AcceptedBatch, index: u32) {
    batch.unwritten.push(v1::UnwrittenRecord {
        index,
        cause: Some(Cause::StaleEntityVersion(1)),
    });
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_add_up_leaves_the_outcome_open() {
    let answers: [fn(&mut v1::AcceptedBatch); 5] = [
        // All were written, and one was not.
        |batch| say_unwritten(batch, 0),
        // One is missing in silence.
        |batch| batch.record_count -= 1,
        // One that was not sent.
        |batch| {
            batch.record_count -= 1;
            say_unwritten(batch, 3);
        },
        // The same one twice.
        |batch| {
            batch.record_count -= 2;
            say_unwritten(batch, 1);
            say_unwritten(batch, 1);
        },
        // One without a cause.
        |batch| {
            batch.record_count -= 1;
            batch.unwritten.push(v1::UnwrittenRecord::default());
        },
    ];
    for (number, answer) in answers.into_iter().enumerate() {
        let (broker, client) = deduping();
        broker.on_batches([OnBatch::AppendAndSay(answer)]);
        let told = outcomes(&client, ["a", "b", "c"].map(event)).await;
        for outcome in told {
            let error = outcome.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Internal, "{number}: {error}");
            assert!(error.may_have_happened(), "{number}: {error}");
        }
        let next = outcomes(&client, [event("d")]).await;
        assert_eq!(places(&next), [(3, false)], "{number}: it goes on");
    }
}

#[tokio::test(start_paused = true)]
async fn publishing_and_committing_tell_of_events_that_are_there() {
    let (_broker, client) = deduping();
    outcomes(&client, ["a"].map(event)).await;
    let published = client.publish("orders", ["b", "a"].map(event)).await;
    let published = published.unwrap();
    let told = |positions: &[Position]| {
        let positions = positions.iter();
        positions
            .map(|it| (it.offset.get(), it.is_repeated))
            .collect::<Vec<_>>()
    };
    assert_eq!(told(&published), [(1, false), (0, true)], "published");
    let commit = client
        .commit()
        .append_all("orders", ["b", "c"].map(event))
        .send();
    let committed = commit.await.unwrap();
    let positions = committed.positions_of(0);
    assert_eq!(told(positions), [(1, true), (2, false)], "committed");
}
