//! Dead letters that are written again to topics that look at records.

use towpath_proto::v1;

use super::{create, event, header, with_dedupe};
use crate::consumer::{Consumer, create_as, dead, wish};
use crate::dead_letter::{list_until, redrive};
use crate::harness::{TestBroker, all_values, soon, source};

#[tokio::test]
async fn what_is_redriven_is_no_repeated_event() {
    let broker = TestBroker::start().await;
    create(&broker, "orders", 1, with_dedupe(3_600_000)).await;
    create_as(&broker, wish()).await.unwrap();
    let publish = || async {
        let request = v1::PublishRequest {
            topic: "orders".to_owned(),
            records: vec![v1::Record {
                key: Some("a".into()),
                ..event("1", "order")
            }],
            partition: None,
        };
        let published = soon(broker.produce().publish(request)).await.unwrap();
        published.into_inner().positions[0].is_repeated
    };
    assert!(!publish().await);
    let mut consumer = Consumer::open(&broker, 1).await;
    consumer.receive(1).await;
    assert!(consumer.settle((0, 0), dead("bad")).await);
    list_until(&broker, 1).await;
    assert!(publish().await, "sent again by its producer");
    let request = v1::RedriveDeadLettersRequest {
        subscription: "billing".to_owned(),
        to_topic: Some(v1::RedriveToTopic {
            topic: "orders".to_owned(),
            replacement: None,
        }),
        ..v1::RedriveDeadLettersRequest::default()
    };
    assert_eq!(redrive(&broker, request).await.unwrap().0.redriven_count, 1);
    let all = all_values(&broker.read_all(source("orders")).await);
    assert_eq!(all, ["order", "order"]);
    assert!(publish().await, "it is known as before");
    broker.stop().await;
}

#[tokio::test]
async fn what_is_redriven_is_as_old_as_it_was() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    let config = v1::TopicConfig {
        stale_records: v1::StaleRecords::Refuse.into(),
        ..v1::TopicConfig::default()
    };
    create(&broker, "users", 1, config).await;
    create_as(&broker, wish()).await.unwrap();
    let user = |topic: &str, version: &str| v1::PublishRequest {
        topic: topic.to_owned(),
        records: vec![v1::Record {
            headers: vec![header("towpath-entity-version", version)],
            ..crate::harness::record(Some("u"), version)
        }],
        partition: None,
    };
    soon(broker.produce().publish(user("orders", "1")))
        .await
        .unwrap();
    soon(broker.produce().publish(user("users", "2")))
        .await
        .unwrap();
    let mut consumer = Consumer::open(&broker, 1).await;
    consumer.receive(1).await;
    assert!(consumer.settle((0, 0), dead("bad")).await);
    list_until(&broker, 1).await;
    let request = v1::RedriveDeadLettersRequest {
        subscription: "billing".to_owned(),
        to_topic: Some(v1::RedriveToTopic {
            topic: "users".to_owned(),
            replacement: None,
        }),
        ..v1::RedriveDeadLettersRequest::default()
    };
    let refused = redrive(&broker, request).await.map(|_| ());
    let reason = towpath_proto::reason::ErrorReason::StaleEntityVersion;
    crate::harness::refusal(refused, reason);
    list_until(&broker, 1).await;
    assert_eq!(all_values(&broker.read_all(source("users")).await), ["2"]);
    broker.stop().await;
}

#[tokio::test]
async fn a_topic_that_looks_at_keys_takes_no_dead_letters() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    create(&broker, "billing.dlq", 1, super::with_versions()).await;
    let refused = create_as(&broker, wish()).await.map(drop);
    let reason = towpath_proto::reason::ErrorReason::TopicExists;
    let problem = crate::harness::refusal(refused, reason);
    crate::harness::check_facts(&problem, &[("topic", "billing.dlq")]);
    broker.stop().await;
}
