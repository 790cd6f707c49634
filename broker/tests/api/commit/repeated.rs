//! Commits that are sent again with the key that names them.

use bytes::Bytes;
use tonic::Status;
use towpath_broker::Config;
use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::v1::operation::Operation as Kind;

use super::{all_of, append, settle};
use crate::consumer::{Consumer, ack};
use crate::harness::{TestBroker, check_facts, config, record, refusal, soon};

async fn commit(
    broker: &TestBroker,
    key: &'static str,
    operations: Vec<Kind>,
) -> Result<v1::CommitResponse, Status> {
    let operations = operations.into_iter().map(|operation| v1::Operation {
        operation: Some(operation),
    });
    let request = v1::CommitRequest {
        operations: operations.collect(),
        idempotency_key: Bytes::from_static(key.as_bytes()),
    };
    let committed = soon(super::client(broker).commit(request)).await?;
    Ok(committed.into_inner())
}

/// Every round begins a checkpoint, so that keys are looked up on disk.
fn config_with_checkpoints() -> Config {
    let mut config = config();
    config.engine.sequencer.checkpoint_row_count = 1;
    config
}

/// Records with and without keys, which go to partitions of the broker's choice.
fn spread() -> Kind {
    let keyed = (0..6).map(|key| record(Some(&key.to_string()), "keyed"));
    let records = keyed.chain([record(None, "keyless"), record(None, "keyless")]);
    Kind::Append(v1::AppendRecords {
        topic: "invoices".to_owned(),
        records: records.collect(),
        ..v1::AppendRecords::default()
    })
}

#[tokio::test]
async fn a_commit_with_a_key_happens_once_however_often_it_is_sent() {
    let broker = TestBroker::start_with(config_with_checkpoints()).await;
    broker.create("orders", 1).await;
    broker.create("invoices", 8).await;
    crate::consumer::create(&broker).await;
    broker.publish("orders", 0, &["a"]).await;
    let mut consumer = Consumer::open(&broker, 1).await;
    consumer.receive(1).await;
    let operations = || vec![spread(), settle(&consumer, (0, 0), ack())];
    let first = commit(&broker, "one", operations()).await.unwrap();
    assert!(!first.is_repeated, "{first:?}");
    assert_eq!(first.results[0].positions.len(), 8);
    let again = v1::CommitResponse {
        is_repeated: true,
        ..first.clone()
    };
    for _ in 0..3 {
        let repeated = commit(&broker, "one", operations()).await.unwrap();
        assert_eq!(repeated, again);
        // A round between them, and its checkpoint.
        broker.publish("orders", 0, &["b"]).await;
    }
    let other = commit(&broker, "two", vec![append("orders", 0, &["c"])]).await;
    assert!(!other.unwrap().is_repeated, "another key");

    let operations = operations();
    let broker = broker.restart().await;
    assert_eq!(
        commit(&broker, "one", operations.clone()).await.unwrap(),
        again
    );
    assert_eq!(all_of(&broker, "invoices").await.len(), 8, "once");
    // Also when what it rested on is gone.
    broker.delete("invoices").await;
    assert_eq!(commit(&broker, "one", operations).await.unwrap(), again);
}

#[tokio::test]
async fn a_key_names_one_commit() {
    let broker = TestBroker::start_with(config_with_checkpoints()).await;
    broker.create("orders", 1).await;
    commit(&broker, "one", vec![append("orders", 0, &["a"])])
        .await
        .unwrap();
    for topic in ["orders", "nowhere"] {
        let other = commit(&broker, "one", vec![append(topic, 0, &["b"])]).await;
        let problem = refusal(other, ErrorReason::InvalidArgument);
        check_facts(&problem, &[("field", "idempotency_key")]);
    }
    let long: &'static str = Box::leak("k".repeat(129).into_boxed_str());
    let long = commit(&broker, long, vec![append("orders", 0, &["b"])]).await;
    let problem = refusal(long, ErrorReason::InvalidArgument);
    check_facts(&problem, &[("field", "idempotency_key")]);
    assert_eq!(all_of(&broker, "orders").await, ["a"]);
}

#[tokio::test]
async fn a_commit_that_was_refused_is_tried_again() {
    let broker = TestBroker::start().await;
    let operations = || vec![append("orders", 0, &["a"])];
    let refused = commit(&broker, "one", operations()).await;
    refusal(refused, ErrorReason::TopicNotFound);
    broker.create("orders", 1).await;
    assert!(
        !commit(&broker, "one", operations())
            .await
            .unwrap()
            .is_repeated
    );
    assert!(
        commit(&broker, "one", operations())
            .await
            .unwrap()
            .is_repeated
    );
    assert_eq!(all_of(&broker, "orders").await, ["a"]);
}

#[tokio::test]
async fn of_the_same_commit_sent_at_once_one_is_carried_out() {
    let broker = TestBroker::start_with(config_with_checkpoints()).await;
    broker.create("orders", 1).await;
    for key in ["one", "two", "three"] {
        let calls = (0..20).map(|_| commit(&broker, key, vec![append("orders", 0, &[key])]));
        let mut first_count = 0;
        let mut set = futures_util::future::join_all(calls).await;
        let positions = set[0].as_ref().unwrap().results.clone();
        for committed in set.drain(..) {
            let committed = committed.unwrap();
            assert_eq!(committed.results, positions);
            first_count += usize::from(!committed.is_repeated);
        }
        assert_eq!(first_count, 1, "{key}");
    }
    assert_eq!(all_of(&broker, "orders").await, ["one", "two", "three"]);
}
