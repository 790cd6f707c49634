//! What the broker does not take.

use std::time::Duration;

use tokio::time::Instant;
use towpath_client::{ErrorKind, ErrorReason, Record, RetryAdvice};

use super::send_all;
use crate::fake::{FakeBroker, OnBatch};

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_now_is_sent_again() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let reasons = [
        ErrorReason::Overloaded,
        ErrorReason::StorageFull,
        ErrorReason::ShuttingDown,
    ];
    broker.on_batches(reasons.map(OnBatch::Refuse));
    let producer = client.producer("orders").build();
    send_all(&producer, &["a", "b"]).await;
    assert_eq!(broker.values("orders", 0), ["a", "b"], "log");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_does_not_change_the_order() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let producer = client.producer("orders").batch_bytes(1).build();
    producer.ready().await.unwrap();
    broker.on_batches([OnBatch::Append, OnBatch::Refuse(ErrorReason::Overloaded)]);
    let mut receipts = Vec::new();
    for number in 0..9 {
        receipts.push(
            producer
                .enqueue(Record::new(number.to_string()))
                .await
                .unwrap(),
        );
    }
    for receipt in receipts {
        receipt.await.unwrap();
    }
    let expected: Vec<_> = (0..9).map(|number| number.to_string()).collect();
    assert_eq!(broker.values("orders", 0), expected, "log");
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_the_reason_when_patience_ends() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    broker.on_batches(
        [OnBatch::Refuse(ErrorReason::StorageFull)]
            .into_iter()
            .cycle()
            .take(1000),
    );
    let producer = client.producer("orders").build();
    let start = Instant::now();
    let error = producer
        .send(Record::new("v"))
        .await
        .unwrap_err()
        .into_parts()
        .1;
    let waited = start.elapsed();
    assert_eq!(error.reason(), Some(ErrorReason::StorageFull), "reason");
    assert_eq!(error.kind(), ErrorKind::Overloaded, "kind");
    assert_eq!(error.retry_advice(), RetryAdvice::Same, "advice");
    assert!(error.has_no_side_effects(), "nothing happened");
    let patience = Duration::from_secs(30);
    assert!(patience <= waited && waited < patience * 2, "{waited:?}");
    // As soon as there is space the same producer goes on, under the numbers that were not used.
    broker.state().on_batch.clear();
    send_all(&producer, &["later"]).await;
    assert_eq!(broker.values("orders", 0), ["later"], "log");
}

#[tokio::test(start_paused = true)]
async fn a_final_refusal_fails_its_batch_only() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let producer = client.producer("orders").batch_bytes(1).build();
    producer.ready().await.unwrap();
    let never = ErrorReason::StaleEntityVersion;
    broker.on_batches([OnBatch::Append, OnBatch::Spend(never), OnBatch::Append]);
    let mut results = Vec::new();
    for value in ["a", "b", "c"] {
        results.push(producer.enqueue(Record::new(value)).await.unwrap());
    }
    let results = futures_util::future::join_all(results).await;
    assert!(results[0].is_ok() && results[2].is_ok(), "its neighbours");
    let error = results[1].as_ref().unwrap_err();
    assert_eq!(error.reason(), Some(never), "reason");
    assert!(error.has_no_side_effects(), "nothing happened");
    assert_eq!(broker.values("orders", 0), ["a", "c"], "log");
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_not_wanted_does_not_block_those_behind_it() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let producer = client.producer("orders").batch_bytes(1).build();
    producer.ready().await.unwrap();
    broker.on_batches([
        OnBatch::Append,
        OnBatch::Refuse(ErrorReason::InvalidArgument),
    ]);
    let mut results = Vec::new();
    for value in ["a", "b", "c"] {
        results.push(producer.enqueue(Record::new(value)).await.unwrap());
    }
    let results = futures_util::future::join_all(results).await;
    let reasons = results
        .iter()
        .map(|it| it.as_ref().err().and_then(towpath_client::Error::reason));
    assert_eq!(
        reasons.collect::<Vec<_>>(),
        [None, Some(ErrorReason::InvalidArgument), None],
        "reasons"
    );
    assert_eq!(broker.values("orders", 0), ["a", "c"], "log");
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_refused_for_now_is_opened_later() {
    let passing = [
        ErrorReason::Overloaded,
        // A limit of topics on one stream does not hold for the next one.
        ErrorReason::LimitReached,
        // A broker whose disk failed ends, and starts again.
        ErrorReason::StorageFailed,
    ];
    for reason in passing {
        let (broker, client) = FakeBroker::with_topic("orders", 1);
        broker.state().refuse_opening = Some(reason);
        let producer = client.producer("orders").build();
        let receipt = producer.enqueue(Record::new("v")).await.unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
        broker.state().refuse_opening = None;
        receipt.await.unwrap();
        assert_eq!(broker.values("orders", 0), ["v"], "log");
    }
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_was_created_again_is_not_written_to() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let producer = client.producer("orders").build();
    send_all(&producer, &["a"]).await;
    broker.state().log.topics.remove("orders");
    broker.state().log.create("orders", 1);
    broker.cut();
    tokio::time::sleep(Duration::from_millis(100)).await;
    for _ in 0..2 {
        let error = producer
            .send(Record::new("b"))
            .await
            .unwrap_err()
            .into_parts()
            .1;
        assert_eq!(error.reason(), Some(ErrorReason::TopicNotFound), "reason");
        assert!(error.has_no_side_effects(), "nothing happened");
    }
    assert_eq!(broker.values("orders", 0), [] as [&str; 0], "the new topic");
    let again = client.producer("orders").build();
    send_all(&again, &["c"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_deleted_under_the_stream_ends_its_producer() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let producer = client.producer("orders").build();
    send_all(&producer, &["a"]).await;
    broker.state().log.topics.remove("orders");
    let error = producer
        .send(Record::new("b"))
        .await
        .unwrap_err()
        .into_parts()
        .1;
    assert_eq!(error.reason(), Some(ErrorReason::TopicNotFound), "reason");
}
