//! Records that rest on the version of their key.

use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::v1::produce_batch::Expectation;
use towpath_proto::v1::produce_response::Response;
use towpath_proto::wire::ProduceBatch;

use super::{batch, config_with_checkpoints, create, event, with_dedupe, with_versions};
use crate::harness::{TestBroker, all_values, check_facts, problem_of, record, source};

fn expecting(version: u64, batch: ProduceBatch) -> ProduceBatch {
    ProduceBatch {
        expectation: Some(Expectation::ExpectedVersion(version)),
        ..batch
    }
}

async fn all_of(broker: &TestBroker) -> Vec<String> {
    all_values(&broker.read_all(source("accounts")).await)
}

#[tokio::test]
async fn a_record_is_written_only_at_the_version_that_it_expects() {
    let broker = TestBroker::start_with(config_with_checkpoints()).await;
    create(&broker, "accounts", 2, with_versions()).await;
    let mut producer = broker.producer_of("accounts", 1).await;
    let of = |key: &str, value: &str| vec![record(Some(key), value)];
    producer
        .produce(expecting(0, batch(0, of("a", "a1"))))
        .await;
    producer.accepted().await;
    // Sent without waiting, each resting on the one before.
    let two = vec![record(Some("a"), "a2"), record(Some("a"), "a3")];
    producer.produce(expecting(1, batch(1, two))).await;
    producer
        .produce(expecting(3, batch(2, of("a", "a4"))))
        .await;
    producer
        .produce(expecting(3, batch(3, of("a", "late"))))
        .await;
    producer
        .produce(expecting(0, batch(4, of("b", "b1"))))
        .await;
    producer.produce(batch(5, of("a", "a5"))).await;
    let (mut accepted, mut refused) = (Vec::new(), Vec::new());
    while accepted.len() + refused.len() < 5 {
        match producer.next().await {
            Response::Accepted(it) => accepted.extend(it.batches),
            Response::Refused(it) => refused.push(it),
            other => panic!("{other:?}"),
        }
    }
    let places = { accepted.iter() }.map(|it| (it.sequence, it.base_offset, it.record_count));
    let expected = [(1, 1, 2), (2, 3, 1), (4, 4, 1), (5, 5, 1)];
    assert_eq!(places.collect::<Vec<_>>(), expected);
    assert_eq!(
        (refused[0].sequence, refused[0].is_sequence_spent),
        (3, true)
    );
    let problem = problem_of(refused[0].error.as_ref());
    assert_eq!(problem.reason(), ErrorReason::ExpectedVersionMismatch);
    let facts = [
        ("topic", "accounts"),
        ("expected_version", "3"),
        ("current_version", "4"),
    ];
    check_facts(&problem, &facts);

    // Versions outlive the records, and restarts.
    let trim = v1::TrimTopicRequest {
        name: "accounts".to_owned(),
        before: Some(crate::harness::position(v1::position::Position::End(
            v1::End {},
        ))),
        ..v1::TrimTopicRequest::default()
    };
    broker.topics().trim_topic(trim).await.unwrap();
    let broker = broker.restart().await;
    let mut producer = broker.producer_of("accounts", 1).await;
    producer
        .produce(expecting(4, batch(6, of("a", "late"))))
        .await;
    let (_, problem) = producer.refused().await;
    check_facts(&problem, &[("current_version", "5")]);
    producer
        .produce(expecting(5, batch(7, of("a", "a6"))))
        .await;
    assert_eq!(producer.accepted().await.base_offset, 6);
    assert_eq!(all_of(&broker).await, ["a6"]);
}

#[tokio::test]
async fn a_batch_that_rests_on_a_version_has_one_key_of_a_topic_that_has_versions() {
    let broker = TestBroker::start().await;
    create(&broker, "accounts", 1, with_versions()).await;
    create(&broker, "orders", 1, with_dedupe(60_000)).await;
    let two_keys = vec![record(Some("a"), "1"), record(Some("b"), "2")];
    let no_key = vec![record(None, "1")];
    for (topic, records) in [
        ("accounts", two_keys),
        ("accounts", no_key),
        ("orders", vec![record(Some("a"), "1")]),
    ] {
        let mut producer = broker.producer_of(topic, 1).await;
        producer.produce(expecting(0, batch(0, records))).await;
        let Response::Refused(refused) = producer.next().await else {
            panic!("it is refused")
        };
        let problem = problem_of(refused.error.as_ref());
        assert_eq!(problem.reason(), ErrorReason::InvalidArgument);
        check_facts(&problem, &[("field", "expected_version")]);
        // It stays so, whatever is sent under the sequence now.
        let other = vec![record(Some("a"), "x")];
        producer.produce(batch(0, other)).await;
        let (refused, _) = producer.refused().await;
        assert!(refused.is_sequence_spent, "{topic}");
    }
    assert!(all_of(&broker).await.is_empty());
}

#[tokio::test]
async fn an_event_that_is_there_already_rests_on_nothing() {
    let broker = TestBroker::start().await;
    let config = v1::TopicConfig {
        dedupe_window_ms: Some(60_000),
        ..with_versions()
    };
    create(&broker, "accounts", 1, config).await;
    let of = |id: &str| v1::Record {
        key: Some("a".into()),
        ..event(id, id)
    };
    let mut producer = broker.producer_of("accounts", 1).await;
    producer
        .produce(expecting(0, batch(0, vec![of("1"), of("2")])))
        .await;
    producer.accepted().await;
    // As another process does that has not heard the answer.
    let mut other = broker.producer_of("accounts", 2).await;
    other
        .produce(expecting(0, batch(0, vec![of("1"), of("2")])))
        .await;
    let again = other.accepted().await;
    assert_eq!((again.record_count, again.unwritten.len()), (0, 2));
    assert_eq!(all_of(&broker).await, ["1", "2"]);
}

#[tokio::test]
async fn of_many_writers_of_one_key_one_wins_each_version() {
    const WRITERS: u8 = 100;
    const VERSIONS: u64 = 5;
    let broker = TestBroker::start_with(config_with_checkpoints()).await;
    create(&broker, "accounts", 1, with_versions()).await;
    let mut writers = Vec::new();
    for id in 1..=WRITERS {
        writers.push(broker.producer_of("accounts", id).await);
    }
    for version in 0..VERSIONS {
        let records = |id: usize| vec![record(Some("a"), &format!("{version} of {id}"))];
        for (id, writer) in writers.iter().enumerate() {
            writer
                .produce(expecting(version, batch(version, records(id))))
                .await;
        }
        let mut winners = 0;
        for writer in &mut writers {
            match writer.next().await {
                Response::Accepted(accepted) => {
                    winners += 1;
                    assert_eq!(accepted.batches[0].base_offset, version);
                }
                Response::Refused(refused) => {
                    let problem = problem_of(refused.error.as_ref());
                    let current = (version + 1).to_string();
                    check_facts(&problem, &[("current_version", &current)]);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(winners, 1, "version {version}");
    }
    assert_eq!(all_of(&broker).await.len() as u64, VERSIONS);
}
