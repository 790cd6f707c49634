//! Records that bring versions of entities.

use towpath_proto::batch::Records;
use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::wire::fetch_response::Response as Fetched;

use super::histories::latest;
use super::{batch, config_with_checkpoints, create, header, stale};
use crate::harness::{TestBroker, all_values, check_facts, record, refusal, soon, source};

fn with(stale_records: v1::StaleRecords) -> v1::TopicConfig {
    v1::TopicConfig {
        stale_records: stale_records.into(),
        ..v1::TopicConfig::default()
    }
}

fn entity(key: &str, version: &str) -> v1::Record {
    v1::Record {
        headers: vec![header("towpath-entity-version", version)],
        ..record(Some(key), &format!("{key}{version}"))
    }
}

#[tokio::test]
async fn an_old_version_is_not_written_and_the_newest_wins() {
    let broker = TestBroker::start_with(config_with_checkpoints()).await;
    create(&broker, "users", 1, with(v1::StaleRecords::Refuse)).await;
    let mut producer = broker.producer_of("users", 1).await;
    let shuffled = ["3", "1", "5", "5", "4", "9", "2"];
    let records = shuffled.iter().map(|version| entity("u", version));
    producer
        .produce(batch(0, records.chain([entity("v", "1")]).collect()))
        .await;
    let accepted = producer.accepted().await;
    assert_eq!(accepted.record_count, 4);
    assert_eq!(
        accepted.unwritten,
        [stale(1, 3), stale(3, 5), stale(4, 5), stale(6, 9)]
    );
    let broker = broker.restart().await;
    let mut producer = broker.producer_of("users", 1).await;
    producer
        .produce(batch(1, vec![entity("u", "9"), entity("v", "2")]))
        .await;
    let accepted = producer.accepted().await;
    assert_eq!(
        (accepted.base_offset, accepted.unwritten),
        (4, vec![stale(0, 9)])
    );
    let all = all_values(&broker.read_all(source("users")).await);
    assert_eq!(all, ["u3", "u5", "u9", "v1", "v2"]);
    assert_eq!(latest(&broker, "users", "u").await, Some("u9".to_owned()));

    // What is written together is refused together.
    let request = v1::PublishRequest {
        topic: "users".to_owned(),
        records: vec![entity("w", "1"), entity("v", "2")],
        partition: None,
    };
    let refused = soon(broker.produce().publish(request)).await;
    let problem = refusal(refused, ErrorReason::StaleEntityVersion);
    check_facts(
        &problem,
        &[
            ("current_version", "2"),
            ("field", "records[1]"),
            ("topic", "users"),
        ],
    );
    assert_eq!(latest(&broker, "users", "w").await, None);
}

#[tokio::test]
async fn an_old_version_is_marked_and_the_newest_is_the_latest() {
    let broker = TestBroker::start().await;
    create(&broker, "users", 1, with(v1::StaleRecords::Mark)).await;
    let mut producer = broker.producer_of("users", 1).await;
    producer
        .produce(batch(
            0,
            vec![entity("u", "3"), entity("u", "7"), entity("u", "5")],
        ))
        .await;
    let accepted = producer.accepted().await;
    assert_eq!((accepted.record_count, accepted.unwritten.len()), (3, 0));
    assert_eq!(latest(&broker, "users", "u").await, Some("u7".to_owned()));
    let read = broker.read_all(source("users")).await;
    let batches = read.iter().filter_map(|it| match it {
        Fetched::Batch(batch) => Some(batch),
        _ => None,
    });
    let mut marks = Vec::new();
    for batch in batches {
        for record in Records::new(&batch.batch) {
            let record = record.unwrap();
            let mut headers = record.headers();
            let mark = headers.find(|(name, _)| *name == "towpath-stale");
            marks.push(mark.map(|(_, value)| String::from_utf8(value.to_vec()).unwrap()));
        }
    }
    assert_eq!(marks, [None, None, Some("7".to_owned())]);
}

#[tokio::test]
async fn a_record_without_a_key_or_a_version_is_refused() {
    let broker = TestBroker::start().await;
    create(&broker, "users", 1, with(v1::StaleRecords::Refuse)).await;
    let without_key = v1::Record {
        key: None,
        ..entity("u", "1")
    };
    for bad in [
        without_key,
        record(Some("u"), "u"),
        entity("u", "-1"),
        entity("u", "1.5"),
        entity("u", ""),
    ] {
        let request = v1::PublishRequest {
            topic: "users".to_owned(),
            records: vec![entity("u", "1"), bad],
            partition: None,
        };
        let refused = soon(broker.produce().publish(request)).await;
        let problem = refusal(refused, ErrorReason::InvalidArgument);
        check_facts(&problem, &[("field", "records[1]")]);
    }
    assert_eq!(latest(&broker, "users", "u").await, None);
}

#[tokio::test]
async fn a_record_that_may_be_marked_has_room_for_it() {
    let broker = TestBroker::start().await;
    create(&broker, "users", 1, with(v1::StaleRecords::Mark)).await;
    let marked = v1::Record {
        headers: vec![
            header("towpath-entity-version", "1"),
            header("towpath-stale", "2"),
        ],
        ..record(Some("u"), "u")
    };
    let mut full = entity("u", "1");
    full.headers.resize(64, header("other", "value"));
    for bad in [marked, full] {
        let request = v1::PublishRequest {
            topic: "users".to_owned(),
            records: vec![bad],
            partition: None,
        };
        let refused = soon(broker.produce().publish(request)).await;
        let problem = refusal(refused, ErrorReason::InvalidArgument);
        check_facts(&problem, &[("field", "records[0]")]);
    }
    // As large as a batch can be, without room for marks.
    let large = v1::Record {
        value: Some(vec![b'x'; 1024 * 1024 - 100].into()),
        ..entity("u", "1")
    };
    let filled = |bytes: usize| {
        let rest = v1::Record {
            value: Some(vec![b'x'; bytes].into()),
            ..entity("u", "1")
        };
        v1::PublishRequest {
            topic: "users".to_owned(),
            records: [vec![large.clone(); 3], vec![rest]].concat(),
            partition: None,
        }
    };
    let refused = soon(broker.produce().publish(filled(1024 * 1024))).await;
    refusal(refused, ErrorReason::InvalidArgument);
    soon(broker.produce().publish(filled(1024 * 1024 - 200)))
        .await
        .unwrap();
}

#[tokio::test]
async fn what_is_fixed_is_not_changed() {
    let broker = TestBroker::start().await;
    broker.create("users", 1).await;
    for (config, path) in [
        (with(v1::StaleRecords::Mark), "stale_records"),
        (super::with_versions(), "key_versions"),
    ] {
        for mask in [
            None,
            Some(prost_types::FieldMask {
                paths: vec![path.to_owned()],
            }),
        ] {
            let request = v1::UpdateTopicRequest {
                name: "users".to_owned(),
                config: Some(config),
                update_mask: mask,
                ..v1::UpdateTopicRequest::default()
            };
            let refused = soon(broker.topics().update_topic(request)).await;
            refusal(refused, ErrorReason::InvalidArgument);
        }
    }
    let unknown = v1::TopicConfig {
        stale_records: 7,
        ..v1::TopicConfig::default()
    };
    let request = v1::CreateTopicRequest {
        name: "others".to_owned(),
        config: Some(unknown),
        ..v1::CreateTopicRequest::default()
    };
    let refused = soon(broker.topics().create_topic(request)).await;
    let problem = refusal(refused, ErrorReason::InvalidArgument);
    check_facts(&problem, &[("field", "config.stale_records")]);
}
