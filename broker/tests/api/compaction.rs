//! Compacted topics: what is refused, and what each kind of reader is told of the holes.

use std::time::Duration;

use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::v1::key_gap::Reason;
use towpath_proto::v1::key_service_client::KeyServiceClient;
use towpath_proto::wire::fetch_response::Response as Fetched;
use towpath_proto::wire::join_response::Response as Joined;

use crate::consumer::{self, Consumer};
use crate::group_member::{self, Member};
use crate::harness::{
    TestBroker, all_values, config_without_cache, position, record, refusal, soon, source, values,
};

pub(crate) fn compacted() -> v1::TopicConfig {
    v1::TopicConfig {
        compact: true,
        ..v1::TopicConfig::default()
    }
}

async fn create(broker: &TestBroker, config: v1::TopicConfig) -> Result<(), tonic::Status> {
    let request = v1::CreateTopicRequest {
        name: "orders".to_owned(),
        partition_count: 1,
        config: Some(config),
        ..v1::CreateTopicRequest::default()
    };
    soon(broker.topics().create_topic(request)).await.map(drop)
}

async fn update(broker: &TestBroker, config: v1::TopicConfig) -> Result<(), tonic::Status> {
    let request = v1::UpdateTopicRequest {
        name: "orders".to_owned(),
        config: Some(config),
        ..v1::UpdateTopicRequest::default()
    };
    soon(broker.topics().update_topic(request)).await.map(drop)
}

async fn compact(broker: &TestBroker) -> Result<v1::CompactTopicResponse, tonic::Status> {
    let request = v1::CompactTopicRequest {
        name: "orders".to_owned(),
        topic_id: None,
    };
    let asked = soon(broker.topics().compact_topic(request)).await;
    asked.map(tonic::Response::into_inner)
}

/// Compacts, and waits until a reader finds so many records.
pub(crate) async fn compact_to(broker: &TestBroker, record_count: u32) {
    let asked = compact(broker).await.unwrap();
    assert!(asked.uncompacted_bytes > 0, "{asked:?}");
    soon(async {
        while count_records(broker).await > record_count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

async fn count_records(broker: &TestBroker) -> u32 {
    let read = broker.read_all(source("orders")).await;
    let counts = read.iter().map(|message| match message {
        Fetched::Batch(batch) => batch.record_count,
        _ => 0,
    });
    counts.sum()
}

/// Batches with holes at the beginning, in the middle and at the end, and one of which nothing is left:
/// what stays of 0 to 9 are 1, 4, 8 and 9.
async fn with_holes() -> TestBroker {
    with_holes_in(compacted()).await
}

async fn with_holes_in(config: v1::TopicConfig) -> TestBroker {
    let broker = TestBroker::start_with(config_without_cache()).await;
    create(&broker, config).await.unwrap();
    let batches: [&[(&str, &str)]; 4] = [
        &[("a", "0"), ("b", "1"), ("c", "2")],
        &[("d", "3"), ("e", "4"), ("d", "5")],
        &[("c", "6"), ("d", "7")],
        &[("d", "8"), ("c", "9")],
    ];
    for batch in batches {
        consumer::publish(&broker, batch).await;
    }
    consumer::publish(&broker, &[("a", "10")]).await;
    compact_to(&broker, 5).await;
    broker
}

/// The versions of key "d" that are told, and those that are gone.
async fn history(broker: &TestBroker) -> (Vec<u64>, Vec<(u64, u64, Reason)>) {
    let request = v1::ReadKeyRequest {
        topic: "orders".to_owned(),
        key: "d".into(),
        ..v1::ReadKeyRequest::default()
    };
    let mut client = KeyServiceClient::new(broker.channel.clone());
    let mut responses = soon(client.read_key(request)).await.unwrap().into_inner();
    let (mut versions, mut gaps) = (Vec::new(), Vec::new());
    while let Some(response) = soon(responses.message()).await.unwrap() {
        versions.extend(response.records.iter().map(|it| it.version));
        let gap = response.gap;
        gaps.extend(gap.map(|it| (it.first_version, it.last_version, it.reason())));
    }
    (versions, gaps)
}

#[tokio::test]
async fn versions_that_compaction_removed_are_told_from_trimmed_ones() {
    let config = v1::TopicConfig {
        key_versions: true,
        ..compacted()
    };
    let broker = with_holes_in(config).await;
    let compacted = |first| (first, 3, Reason::Compacted);
    assert_eq!(history(&broker).await, (vec![4], vec![compacted(1)]));
    let trim = v1::TrimTopicRequest {
        name: "orders".to_owned(),
        before: Some(position(v1::position::Position::Offset(4))),
        ..v1::TrimTopicRequest::default()
    };
    soon(broker.topics().trim_topic(trim)).await.unwrap();
    let trimmed = (1, 1, Reason::Trimmed);
    assert_eq!(
        history(&broker).await,
        (vec![4], vec![trimmed, compacted(2)])
    );
}

#[tokio::test]
async fn settings_of_compaction_are_checked() {
    let broker = TestBroker::start().await;
    let grace = |tombstone_grace_ms| v1::TopicConfig {
        tombstone_grace_ms: Some(tombstone_grace_ms),
        ..v1::TopicConfig::default()
    };
    let refused = create(&broker, grace(5)).await;
    refusal(refused, ErrorReason::InvalidArgument);
    let refused = create(&broker, v1::TopicConfig { ..grace(u64::MAX) }).await;
    refusal(refused, ErrorReason::InvalidArgument);
    create(&broker, v1::TopicConfig::default()).await.unwrap();
    refusal(compact(&broker).await, ErrorReason::InvalidArgument);
    refusal(
        update(&broker, grace(5)).await,
        ErrorReason::InvalidArgument,
    );
    let refused = update(&broker, compacted()).await;
    refusal(refused, ErrorReason::InvalidArgument);
    broker.delete("orders").await;
    refusal(compact(&broker).await, ErrorReason::TopicNotFound);
    create(&broker, compacted()).await.unwrap();
    update(&broker, grace(0)).await.unwrap();
    let request = v1::GetTopicRequest {
        name: "orders".to_owned(),
    };
    let topic = soon(broker.topics().get_topic(request)).await.unwrap();
    let config = topic.into_inner().topic.unwrap().config.unwrap();
    assert_eq!((config.compact, config.tombstone_grace_ms), (true, Some(0)));
}

#[tokio::test]
async fn a_record_without_a_key_is_refused() {
    let broker = TestBroker::start().await;
    create(&broker, compacted()).await.unwrap();
    let request = v1::PublishRequest {
        topic: "orders".to_owned(),
        records: vec![record(Some("a"), "1"), record(None, "2")],
        partition: None,
    };
    let refused = soon(broker.produce().publish(request)).await;
    refusal(refused, ErrorReason::InvalidArgument);
    assert_eq!(
        all_values(&broker.read_all(source("orders")).await),
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn readers_are_told_which_offsets_are_left() {
    let broker = with_holes().await;
    let read = broker.read_all(source("orders")).await;
    let mut records = Vec::new();
    let mut gaps = Vec::new();
    for message in &read {
        match message {
            Fetched::Batch(batch) => {
                let offsets = (0..batch.record_count).map(|place| batch.offset_of(place).unwrap());
                records.extend(
                    offsets
                        .map(towpath_proto::ids::Offset::get)
                        .zip(values(batch)),
                );
            }
            Fetched::Gap(gap) => {
                assert_eq!(gap.reason(), v1::GapReason::Compacted);
                let range = gap.range.unwrap();
                gaps.push((range.start, range.end));
            }
            _ => {}
        }
    }
    let left = [(1, "1"), (4, "4"), (8, "8"), (9, "9"), (10, "10")];
    assert_eq!(records, left.map(|(at, value)| (at, value.to_owned())));
    assert_eq!(gaps, [(2, 3), (5, 6), (6, 8)], "behind records");
    let lookup = v1::LookupOffsetsRequest {
        topic: "orders".to_owned(),
        partitions: Vec::new(),
        position: Some(v1::Position {
            position: Some(v1::position::Position::LastRecords(4)),
        }),
    };
    let found = soon(broker.fetch().lookup_offsets(lookup)).await.unwrap();
    assert_eq!(found.into_inner().offsets[0].offset, 4, "the last four");
}

#[tokio::test]
async fn a_group_reads_on_behind_holes_and_skips_nothing() {
    let broker = with_holes().await;
    let mut member = Member::join(&broker, 1).await;
    let (mut read, mut gap_count) = (Vec::new(), 0);
    while read.len() < 5 {
        match member.next().await {
            Joined::Batch(batch) => read.extend(values(&batch)),
            Joined::Gap(gap) => {
                assert_eq!(gap.reason(), v1::GapReason::Compacted);
                gap_count += 1;
            }
            _ => {}
        }
    }
    assert_eq!(read, ["1", "4", "8", "9", "10"]);
    assert_eq!(gap_count, 3, "behind records");
    let committed = member.commit(0, 11).await;
    assert_eq!(committed.error, None, "{committed:?}");
    let group = group_member::get(&broker).await;
    let partitions = group.partitions.iter();
    let skipped: Vec<_> = partitions.map(|it| it.skipped_records).collect();
    assert_eq!(skipped, [0], "nothing was left out");
}

#[tokio::test]
async fn a_subscription_gets_what_is_left() {
    let broker = with_holes().await;
    consumer::create(&broker).await;
    let mut consumer = Consumer::open(&broker, 1).await;
    consumer.receive_values(&["1", "4", "8", "9", "10"]).await;
    consumer.ack_all().await;
    consumer.next_caught_up().await;
    let subscription = consumer::get(&broker).await;
    let filtered = subscription.partitions.iter().map(|it| it.filtered_records);
    assert_eq!(filtered.sum::<u64>(), 0, "holes are not filtered");
}

#[tokio::test]
async fn what_a_subscription_has_not_settled_stays() {
    let broker = TestBroker::start_with(config_without_cache()).await;
    create(&broker, compacted()).await.unwrap();
    consumer::create(&broker).await;
    for value in ["0", "1", "2"] {
        consumer::publish(&broker, &[("a", value)]).await;
    }
    // Nobody has taken them: all of them come.
    compact(&broker).await.unwrap();
    let mut consumer = Consumer::open(&broker, 1).await;
    consumer.receive_values(&["0", "1", "2"]).await;
    consumer.ack_all().await;
    consumer.next_caught_up().await;
    compact_to(&broker, 1).await;
}

#[tokio::test]
async fn compaction_outlives_a_restart_and_a_tombstone_lets_go_of_its_key() {
    let broker = with_holes().await;
    let broker = broker.restart().await;
    let read = all_values(&broker.read_all(source("orders")).await);
    assert_eq!(read, ["1", "4", "8", "9", "10"]);
    let request = v1::PublishRequest {
        topic: "orders".to_owned(),
        records: vec![v1::Record {
            value: None,
            ..record(Some("d"), "")
        }],
        partition: None,
    };
    soon(broker.produce().publish(request)).await.unwrap();
    let at_once = v1::TopicConfig {
        tombstone_grace_ms: Some(0),
        ..v1::TopicConfig::default()
    };
    update(&broker, at_once).await.unwrap();
    // Key d is gone, and so is its tombstone.
    compact_to(&broker, 4).await;
    let read = all_values(&broker.read_all(source("orders")).await);
    assert_eq!(read, ["1", "4", "9", "10"]);
}
