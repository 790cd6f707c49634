//! Answers that do not come: what is certain, what is not, and what follows for later records.

use std::error::Error as _;
use std::time::Duration;

use tokio::time::Instant;
use towpath_client::{ErrorKind, ErrorReason, Record};

use super::send_all;
use crate::fake::{FakeBroker, OnBatch};

#[tokio::test(start_paused = true)]
async fn a_lost_answer_makes_no_duplicate() {
    for fault in [
        OnBatch::AppendAndCut,
        OnBatch::Cut,
        OnBatch::AppendInSilence,
    ] {
        let (broker, client) = FakeBroker::with_topic("orders", 1);
        let producer = client.producer("orders").build();
        send_all(&producer, &["a"]).await;
        broker.on_batches([fault]);
        let position = producer.send(Record::new("b")).await.unwrap();
        assert_eq!(position.offset.get(), 1, "offset after {fault:?}");
        send_all(&producer, &["c"]).await;
        assert_eq!(
            broker.values("orders", 0),
            ["a", "b", "c"],
            "log after {fault:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_broker_is_left_after_15_seconds() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let producer = client.producer("orders").build();
    producer.ready().await.unwrap();
    broker.on_batches([OnBatch::AppendInSilence]);
    let start = Instant::now();
    send_all(&producer, &["a"]).await;
    let waited = start.elapsed().as_secs_f64();
    assert!((15.0..17.0).contains(&waited), "{waited} s");
}

#[tokio::test(start_paused = true)]
async fn what_was_never_sent_fails_without_doubt() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let producer = client.producer("orders").build();
    send_all(&producer, &["a"]).await;
    broker.go_down();
    // Until the connection is seen to be gone, records go into it.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let start = Instant::now();
    let error = producer
        .send(Record::new("b"))
        .await
        .unwrap_err()
        .into_parts()
        .1;
    assert!(
        start.elapsed() >= Duration::from_secs(30),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(error.kind(), ErrorKind::Timeout, "kind");
    assert!(error.has_no_side_effects(), "nothing happened");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.starts_with("cannot connect to the broker"), "{cause}");
    broker.go_up();
    send_all(&producer, &["c"]).await;
    assert_eq!(broker.values("orders", 0), ["a", "c"], "log");
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_and_not_answered_stays_in_doubt_and_in_order() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let producer = client.producer("orders").build();
    send_all(&producer, &["a"]).await;
    broker.on_batches([OnBatch::Cut]);
    let in_doubt = producer.enqueue(Record::new("b")).await.unwrap();
    broker
        .wait_until("the batch", |state| state.on_batch.is_empty())
        .await;
    broker.go_down();
    let error = in_doubt.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "kind");
    assert!(error.may_have_happened(), "in doubt");
    let later = producer.enqueue(Record::new("c")).await.unwrap();
    broker.go_up();
    later.await.unwrap();
    // It has happened after all, and before what came later.
    assert_eq!(broker.values("orders", 0), ["a", "b", "c"], "log");
}

#[tokio::test(start_paused = true)]
async fn after_ten_minutes_nothing_in_doubt_is_sent_any_more() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let producer = client.producer("orders").build();
    send_all(&producer, &["a"]).await;
    broker.on_batches([OnBatch::Cut]);
    let in_doubt = producer.enqueue(Record::new("b")).await.unwrap();
    broker
        .wait_until("the batch", |state| state.on_batch.is_empty())
        .await;
    broker.go_down();
    assert!(in_doubt.await.unwrap_err().may_have_happened(), "in doubt");
    tokio::time::sleep(Duration::from_mins(11)).await;
    broker.go_up();
    send_all(&producer, &["c"]).await;
    assert_eq!(broker.values("orders", 0), ["a", "c"], "log");
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_producer_goes_on_under_a_new_name() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let producer = client.producer("orders").build();
    send_all(&producer, &["a", "b"]).await;
    broker
        .state()
        .log
        .partition_mut("orders", 0)
        .producers
        .clear();
    send_all(&producer, &["c", "d"]).await;
    assert_eq!(broker.values("orders", 0), ["a", "b", "c", "d"], "log");
    let state = broker.state();
    let batches = &state.log.partition("orders", 0).batches;
    assert_ne!(
        batches[1].producer_id, batches[2].producer_id,
        "producer ids"
    );
    assert_eq!(batches[2].sequence, 0, "sequence");
}

#[tokio::test(start_paused = true)]
async fn what_is_in_doubt_when_the_producer_is_forgotten_fails_as_such() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let producer = client.producer("orders").build();
    send_all(&producer, &["a"]).await;
    broker.go_up();
    broker.on_batches([OnBatch::AppendAndCut]);
    let in_doubt = producer.enqueue(Record::new("b")).await.unwrap();
    broker
        .wait_until("the batch", |state| state.on_batch.is_empty())
        .await;
    broker
        .state()
        .log
        .partition_mut("orders", 0)
        .producers
        .clear();
    let error = in_doubt.await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::ProducerUnknown), "reason");
    assert!(error.may_have_happened(), "in doubt");
    send_all(&producer, &["c"]).await;
    assert_eq!(broker.values("orders", 0), ["a", "b", "c"], "log");
}

#[tokio::test(start_paused = true)]
async fn a_record_whose_disk_failed_is_sent_again_until_its_fate_is_known() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    broker.on_batches([
        OnBatch::Refuse(ErrorReason::StorageFailed),
        OnBatch::Refuse(ErrorReason::StorageFailed),
    ]);
    let producer = client.producer("orders").build();
    send_all(&producer, &["a", "b"]).await;
    assert_eq!(broker.values("orders", 0), ["a", "b"], "log");
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_stays_dead_leaves_doubt() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let producer = client
        .producer("orders")
        .give_up_after(Duration::from_secs(3))
        .build();
    send_all(&producer, &["a"]).await;
    broker.on_batches([OnBatch::Refuse(ErrorReason::StorageFailed)]);
    broker.state().refuse_opening = Some(ErrorReason::StorageFailed);
    let error = producer
        .send(Record::new("b"))
        .await
        .unwrap_err()
        .into_parts()
        .1;
    assert!(error.may_have_happened(), "in doubt: {error}");
    let cause = error.source().expect("a cause").to_string();
    assert!(cause.contains("STORAGE_FAILED"), "{cause}");
    broker.state().refuse_opening = None;
    send_all(&producer, &["c"]).await;
    let values = broker.values("orders", 0);
    assert_eq!(values.last().map(String::as_str), Some("c"), "{values:?}");
}

#[tokio::test(start_paused = true)]
async fn a_broker_out_of_reach_is_told_with_its_url() {
    let broker = FakeBroker::start();
    broker.go_down();
    let client = broker.client();
    let producer = client
        .producer("orders")
        .give_up_after(Duration::from_secs(3))
        .build();
    let start = Instant::now();
    let error = producer
        .send(Record::new("a"))
        .await
        .unwrap_err()
        .into_parts()
        .1;
    assert!(
        start.elapsed() <= Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(error.kind(), ErrorKind::Connect, "kind");
    assert!(error.has_no_side_effects(), "nothing happened");
    assert!(
        error.to_string().contains("url=http://fake:7600"),
        "{error}"
    );
}
