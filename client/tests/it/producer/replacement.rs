//! Another broker at the same address: its topics have the same names and ids, and other records.

use towpath_client::{ErrorReason, Record};

use super::send_all;
use crate::fake::{FakeBroker, OnBatch};

/// Sends a batch whose answer is lost, and puts another broker in the place of the first before it
/// can be sent again. Both have nothing of the producer but `before`.
async fn check_in_doubt(before: &[&'static str]) {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let producer = client.producer("orders").build();
    producer.ready().await.unwrap();
    send_all(&producer, before).await;
    broker.on_batches([OnBatch::AppendAndCut]);
    let in_doubt = producer.enqueue(Record::new("in doubt")).await.unwrap();
    broker
        .wait_until("the batch", |state| state.on_batch.is_empty())
        .await;
    broker.replace();
    let error = in_doubt.await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::TopicNotFound), "{error}");
    assert!(
        error.may_have_happened(),
        "the first broker has it: {error}"
    );
    let error = producer.send(Record::new("later")).await.unwrap_err();
    let error = error.error();
    assert_eq!(error.reason(), Some(ErrorReason::TopicNotFound), "{error}");
    assert!(error.has_no_side_effects(), "never sent: {error}");
    assert_eq!(broker.values("orders", 0), [""; 0], "the other broker");
    let again = client.producer("orders").build();
    send_all(&again, &["new"]).await;
    assert_eq!(broker.values("orders", 0), ["new"], "a new producer");
}

#[tokio::test(start_paused = true)]
async fn what_is_in_doubt_is_not_sent_to_another_broker() {
    check_in_doubt(&["a", "b"]).await;
}

#[tokio::test(start_paused = true)]
async fn the_first_batch_of_a_producer_is_not_written_twice() {
    check_in_doubt(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_of_the_same_broker_changes_nothing() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let producer = client.producer("orders").build();
    send_all(&producer, &["a"]).await;
    broker.go_down();
    broker.go_up();
    send_all(&producer, &["b"]).await;
    assert_eq!(broker.values("orders", 0), ["a", "b"], "log");
}

#[tokio::test(start_paused = true)]
async fn what_is_in_doubt_does_not_follow_what_an_older_copy_has_lost() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let producer = client.producer("orders").build();
    send_all(&producer, &["a", "b", "c"]).await;
    broker.on_batches([OnBatch::AppendAndCut]);
    let in_doubt = producer.enqueue(Record::new("in doubt")).await.unwrap();
    broker
        .wait_until("the batch", |state| state.on_batch.is_empty())
        .await;
    broker.go_down();
    broker.state().log.partition_mut("orders", 0).put_back(1);
    broker.go_up();
    let error = in_doubt.await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::SequenceGap), "{error}");
    assert!(error.may_have_happened(), "{error}");
    send_all(&producer, &["d"]).await;
    assert_eq!(broker.values("orders", 0), ["a", "d"], "log");
}
