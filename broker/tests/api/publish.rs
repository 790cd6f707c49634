//! Publishing a few records at once.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use tokio::task::JoinSet;
use towpath_proto::limits::{BATCH_BYTES_MAX, RECORD_BYTES_MAX};
use towpath_proto::partitioner::partition_of;
use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;

use crate::harness::{TestBroker, all_values, check_facts, config, record, refusal, soon, source};

fn request(records: Vec<v1::Record>) -> v1::PublishRequest {
    v1::PublishRequest {
        topic: "orders".to_owned(),
        records,
        partition: None,
    }
}

/// What is wrong with some records, on a topic that stays empty.
async fn check_refused(records: Vec<v1::Record>, reason: ErrorReason, field: &str) {
    let broker = TestBroker::start().await;
    broker.create("orders", 4).await;
    let published = soon(broker.produce().publish(request(records))).await;
    let problem = refusal(published, reason);
    check_facts(&problem, &[("field", field)]);
    let read = broker.read_all(source("orders")).await;
    assert_eq!(all_values(&read), [""; 0], "all or nothing");
}

#[tokio::test]
async fn records_go_to_the_partition_of_their_key() {
    let broker = TestBroker::start().await;
    broker.create("orders", 8).await;
    let keys: Vec<_> = (0..50).map(|number| format!("key-{number}")).collect();
    let records = keys.iter().map(|key| record(Some(key), key)).collect();
    let published = soon(broker.produce().publish(request(records))).await;
    let published = published.unwrap().into_inner();
    assert_eq!(published.positions.len(), keys.len());
    let eight = NonZeroU32::new(8).unwrap();
    let mut ends = [0; 8];
    for (key, position) in keys.iter().zip(&published.positions) {
        let partition = partition_of(key.as_bytes(), eight).get();
        let end = &mut ends[partition as usize];
        assert_eq!(
            (position.partition, position.offset),
            (partition, *end),
            "{key}"
        );
        *end += 1;
    }
    assert!(
        published.lsn > 0 && published.append_time_ms > 0,
        "{published:?}"
    );
    let read = broker.read_all(source("orders")).await;
    let read: BTreeSet<_> = all_values(&read).into_iter().collect();
    assert_eq!(read, keys.into_iter().collect());
}

#[tokio::test]
async fn records_without_a_key_stay_together_and_move_from_call_to_call() {
    let broker = TestBroker::start().await;
    broker.create("orders", 3).await;
    let mut used = BTreeSet::new();
    for _ in 0..3 {
        let records = vec![record(None, "a"), record(None, "b")];
        let published = soon(broker.produce().publish(request(records))).await;
        let positions = published.unwrap().into_inner().positions;
        assert_eq!(positions[0].partition, positions[1].partition);
        assert_eq!(positions[0].offset + 1, positions[1].offset);
        used.insert(positions[0].partition);
    }
    assert_eq!(used.len(), 3, "each call another partition");
}

#[tokio::test]
async fn a_partition_may_be_chosen() {
    let broker = TestBroker::start().await;
    broker.create("orders", 4).await;
    let chosen = |partition| v1::PublishRequest {
        partition: Some(partition),
        ..request(vec![record(Some("k"), "a"), record(None, "b")])
    };
    let published = soon(broker.produce().publish(chosen(3))).await.unwrap();
    let positions = published.into_inner().positions;
    assert!(
        positions.iter().all(|position| position.partition == 3),
        "{positions:?}"
    );
    let problem = refusal(
        soon(broker.produce().publish(chosen(4))).await,
        ErrorReason::PartitionNotFound,
    );
    check_facts(&problem, &[("partition", "4"), ("partition_count", "4")]);
}

#[tokio::test]
async fn one_wrong_record_refuses_all() {
    let header = |name: String| v1::Header {
        name,
        value: "v".into(),
    };
    let with_header = |name: &str| v1::Record {
        headers: vec![header("good".to_owned()), header(name.to_owned())],
        ..record(None, "b")
    };
    let good = || record(Some("k"), "a");
    let invalid = ErrorReason::InvalidArgument;
    check_refused(
        vec![good(), with_header("")],
        invalid,
        "records[1].headers[1]",
    )
    .await;
    let long = "n".repeat(256);
    check_refused(
        vec![good(), with_header(&long)],
        invalid,
        "records[1].headers[1]",
    )
    .await;
    let huge = record(None, &"v".repeat(RECORD_BYTES_MAX));
    let too_large = ErrorReason::RecordTooLarge;
    check_refused(vec![good(), huge], too_large, "records[1]").await;
    let large_key = record(Some(&"k".repeat(64 * 1024 + 1)), "a");
    check_refused(vec![large_key], invalid, "records[0]").await;
    check_refused(Vec::new(), invalid, "records").await;
}

#[tokio::test]
async fn all_records_together_have_a_limit() {
    // Six of them are over 4 MiB together, spread over partitions.
    let value = "v".repeat(BATCH_BYTES_MAX / 6);
    let records = (0..6).map(|key| record(Some(&key.to_string()), &value));
    check_refused(records.collect(), ErrorReason::BatchTooLarge, "records").await;
}

#[tokio::test]
async fn an_unknown_topic_brings_the_one_that_was_probably_meant() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    let unknown = v1::PublishRequest {
        topic: "ordres".to_owned(),
        ..request(vec![record(None, "a")])
    };
    let problem = refusal(
        soon(broker.produce().publish(unknown)).await,
        ErrorReason::TopicNotFound,
    );
    assert_eq!(problem.hint(), Some("did you mean \"orders\"?"));
}

#[tokio::test]
async fn a_record_comes_back_as_it_was_given() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    let full = v1::Record {
        key: Some("".into()),
        value: None,
        headers: vec![
            v1::Header {
                name: "n".to_owned(),
                value: "".into(),
            },
            v1::Header {
                name: "n".to_owned(),
                value: vec![0xff, 0].into(),
            },
        ],
        event_time_ms: Some(-1),
    };
    let bare = v1::Record::default();
    let records = vec![full, bare];
    let published = soon(broker.produce().publish(request(records.clone()))).await;
    published.unwrap();
    let read = broker.read_all(source("orders")).await;
    let batch = read.iter().find_map(|message| match message {
        towpath_proto::wire::fetch_response::Response::Batch(batch) => Some(batch.batch.clone()),
        _ => None,
    });
    let batch = <v1::RecordBatch as prost::Message>::decode(batch.unwrap()).unwrap();
    assert_eq!(batch.records, records);
}

#[tokio::test]
async fn what_is_too_much_for_a_connection_is_refused_and_the_rest_comes_whole() {
    let mut config = config();
    config.limits.receiving_bytes_max = 8 * 1024 * 1024;
    // Nobody is ended for being slow: what waits must not stand in the way of what has its memory.
    config.stall_deadline = Duration::from_secs(600);
    let broker = TestBroker::start_with(config).await;
    broker.create("orders", 1).await;
    let value = "v".repeat(1_000_000);
    let large = request(vec![record(None, &value); 3]);
    let mut calls = JoinSet::new();
    for _ in 0..32 {
        let (mut produce, large) = (broker.produce(), large.clone());
        calls.spawn(async move { soon(produce.publish(large)).await });
    }
    let mut accepted_count = 0;
    while let Some(published) = calls.join_next().await {
        match published.unwrap() {
            Ok(_) => accepted_count += 1,
            refused => {
                let problem = refusal(refused, ErrorReason::Overloaded);
                check_facts(&problem, &[("limit", "receiving_bytes_max")]);
            }
        }
    }
    assert!(accepted_count > 0, "some fit");
    soon(broker.produce().publish(large)).await.unwrap();
}
