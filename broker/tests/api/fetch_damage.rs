//! Reading records that the disk has damaged.

use std::path::Path;

use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::wire::fetch_response::Response as Fetched;
use towpath_storage::vfs::sim::SimDisk;

use crate::harness::{TestBroker, config_without_cache, problem_of, simulated, source, values};

/// A broker whose partition 0 holds four batches of one record, the second of them damaged on disk.
async fn broker_with_damage() -> TestBroker {
    broker_with_damaged(&["second"]).await
}

/// The same, with these damaged.
pub(crate) async fn broker_with_damaged(values: &[&str]) -> TestBroker {
    let (disk, environment) = simulated(1 << 30);
    let broker = TestBroker::start_in(config_without_cache(), environment.clone()).await;
    broker.create("orders", 2).await;
    for value in ["first", "second", "third", "fourth"] {
        broker.publish("orders", 0, &[value]).await;
    }
    broker.publish("orders", 1, &["other"]).await;
    broker.broker.shutdown().await;
    drop(broker);
    // Everything is settled by a start, and nothing of it is in memory.
    let broker = TestBroker::start_in(config_without_cache(), environment).await;
    for value in values {
        damage(&disk, value.as_bytes());
    }
    broker
}

/// Flips a bit of the segment that holds these bytes.
pub(crate) fn damage(disk: &SimDisk, bytes: &[u8]) {
    let segments = disk
        .paths()
        .into_iter()
        .filter(|path| Path::new(path).extension().is_some_and(|it| it == "log"));
    for path in segments {
        let content = disk.read(Path::new(&path)).unwrap();
        let found = content
            .windows(bytes.len())
            .position(|window| window == bytes);
        if let Some(position) = found {
            disk.flip_bit(Path::new(&path), position as u64, 3).unwrap();
            return;
        }
    }
    panic!("no segment holds the bytes");
}

fn request(skip_data_loss: bool) -> v1::FetchRequest {
    v1::FetchRequest {
        sources: vec![source("orders")],
        skip_data_loss,
        ..v1::FetchRequest::default()
    }
}

fn is_loss(message: &Fetched) -> bool {
    let expected = v1::Gap {
        handle: 0,
        partition: 0,
        range: Some(v1::OffsetRange { start: 1, end: 2 }),
        reason: v1::GapReason::DataLoss.into(),
    };
    *message == Fetched::Gap(expected)
}

fn told(message: &Fetched) -> String {
    match message {
        Fetched::Batch(batch) => format!("{} {}", batch.partition, values(batch).join(" ")),
        Fetched::CaughtUp(caught_up) => format!("{} caught up", caught_up.partition),
        Fetched::Failed(failed) => format!("{:?} failed", failed.partition),
        message if is_loss(message) => "0 lost 1..2".to_owned(),
        other => panic!("{other:?}"),
    }
}

fn of_partition(messages: &[Fetched], partition: &str) -> Vec<String> {
    let told = messages.iter().map(told);
    told.filter(|told| told.starts_with(partition)).collect()
}

#[tokio::test]
async fn a_reader_stops_at_damaged_records_and_the_other_partitions_go_on() {
    let broker = broker_with_damage().await;
    let messages = broker.reader(request(false)).await.rest().await;
    assert_eq!(of_partition(&messages, "0"), ["0 first", "0 lost 1..2"]);
    assert_eq!(of_partition(&messages, "1"), ["1 other", "1 caught up"]);
    let failed = messages.iter().find_map(|message| match message {
        Fetched::Failed(failed) => Some(failed.clone()),
        _ => None,
    });
    let failed = failed.expect("the partition is given up");
    assert_eq!((failed.handle, failed.partition), (0, Some(0)));
    let problem = problem_of(failed.error.as_ref());
    assert_eq!(problem.reason(), ErrorReason::LogCorrupt);
    crate::harness::check_facts(
        &problem,
        &[("topic", "orders"), ("partition", "0"), ("offset", "1")],
    );
}

#[tokio::test]
async fn a_reader_that_skips_damaged_records_is_told_which() {
    let broker = broker_with_damage().await;
    let messages = broker.reader(request(true)).await.rest().await;
    assert_eq!(
        of_partition(&messages, "0"),
        [
            "0 first",
            "0 lost 1..2",
            "0 third",
            "0 fourth",
            "0 caught up"
        ]
    );
}

#[tokio::test]
async fn damage_is_told_in_its_place_when_partitions_are_merged() {
    let broker = broker_with_damage().await;
    let merged = v1::FetchRequest {
        merge_by_lsn: true,
        ..request(true)
    };
    let messages = broker.reader(merged).await.rest().await;
    let batches: Vec<_> = messages
        .iter()
        .filter(|message| matches!(message, Fetched::Batch(_)))
        .map(told)
        .collect();
    assert_eq!(batches, ["0 first", "0 third", "0 fourth", "1 other"]);
    assert!(messages.iter().any(is_loss), "{messages:?}");
}
