//! What goes together, what waits, what has room.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::time::Instant;
use towpath_client::{ErrorKind, Record};

use super::batch_sizes;
use crate::fake::FakeBroker;

#[tokio::test(start_paused = true)]
async fn what_comes_while_a_batch_is_under_way_is_the_next_batch() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let producer = client.producer("orders").build();
    broker.hold_answers(true);
    let first = producer.enqueue(Record::new("first")).await.unwrap();
    broker
        .wait_until("the first batch", |state| {
            state.log.partition("orders", 0).batches.len() == 1
        })
        .await;
    let mut later = Vec::new();
    for _ in 0..50 {
        later.push(producer.enqueue(Record::new("later")).await.unwrap());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(batch_sizes(&broker, 0), [1], "while the first is under way");
    assert!(!first.is_complete(), "not answered");
    broker.hold_answers(false);
    first.await.unwrap();
    let offsets = join_all(later)
        .await
        .into_iter()
        .map(|it| it.unwrap().offset.get());
    assert!(offsets.eq(1..51), "offsets within the batch");
    assert_eq!(batch_sizes(&broker, 0), [1, 50], "afterwards");
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_goes_while_others_are_under_way() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let producer = client.producer("orders").batch_bytes(1000).build();
    producer.ready().await.unwrap();
    broker.hold_answers(true);
    for _ in 0..100 {
        let receipt = producer
            .enqueue(Record::new(vec![b'x'; 100]))
            .await
            .unwrap();
        drop(receipt);
    }
    broker
        .wait_until("all full batches", |state| {
            state.log.partition("orders", 0).batches.len() == 1
        })
        .await;
    broker.hold_answers(false);
    producer.flush().await.unwrap();
    let sizes = batch_sizes(&broker, 0);
    assert!(sizes.iter().all(|size| *size <= 9), "{sizes:?}");
    assert_eq!(sizes.iter().sum::<u32>(), 100, "{sizes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_record_larger_than_a_batch_is_a_batch_of_its_own() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let producer = client.producer("orders").batch_bytes(100).build();
    producer
        .send(Record::new(vec![b'x'; 100_000]))
        .await
        .unwrap();
    assert_eq!(batch_sizes(&broker, 0), [1], "batches");
}

#[tokio::test(start_paused = true)]
async fn lingering_waits_for_more_records_and_no_longer() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let linger = Duration::from_millis(50);
    let producer = client.producer("orders").linger(linger).build();
    producer.ready().await.unwrap();
    let start = Instant::now();
    let mut receipts = Vec::new();
    for _ in 0..4 {
        receipts.push(producer.enqueue(Record::new("v")).await.unwrap());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    join_all(receipts).await;
    let waited = start.elapsed();
    assert!(linger <= waited && waited < linger * 2, "{waited:?}");
    assert_eq!(batch_sizes(&broker, 0), [4], "batches");
}

#[tokio::test(start_paused = true)]
async fn flushing_does_not_wait_for_more_records() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let producer = client
        .producer("orders")
        .linger(Duration::from_secs(20))
        .build();
    producer.ready().await.unwrap();
    let start = Instant::now();
    let receipt = producer.enqueue(Record::new("v")).await.unwrap();
    producer.flush().await.unwrap();
    assert!(receipt.is_complete(), "settled");
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(batch_sizes(&broker, 0), [1], "batches");
}

#[tokio::test(start_paused = true)]
async fn without_room_a_record_waits_or_comes_back() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    // There is always room for one record of the largest size.
    let producer = client.producer("orders").max_in_flight_bytes(1).build();
    let large = || Record::new(vec![b'x'; 1024 * 1024 - 100]);
    broker.hold_answers(true);
    let first = producer.enqueue(large()).await.unwrap();
    let refused = producer.try_enqueue(large().key("k")).unwrap_err();
    assert_eq!(refused.error().kind(), ErrorKind::Timeout, "no room");
    assert_eq!(
        refused.record().key_bytes().unwrap(),
        "k",
        "the record comes back"
    );
    let mut waiting = Box::pin(producer.enqueue(large()));
    assert!(waiting.as_mut().now_or_never().is_none(), "waits");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(waiting.as_mut().now_or_never().is_none(), "still waits");
    broker.hold_answers(false);
    first.await.unwrap();
    waiting.await.unwrap().await.unwrap();
    assert_eq!(batch_sizes(&broker, 0), [1, 1], "batches");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_room_does_not_wait_for_lingering() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let producer = client
        .producer("orders")
        .max_in_flight_bytes(1)
        .linger(Duration::from_secs(20));
    let producer = producer.batch_bytes(4 * 1024 * 1024).build();
    producer.ready().await.unwrap();
    let start = Instant::now();
    for _ in 0..3 {
        let receipt = producer
            .enqueue(Record::new(vec![b'x'; 900_000]))
            .await
            .unwrap();
        drop(receipt);
    }
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    producer.close().await.unwrap();
    assert_eq!(batch_sizes(&broker, 0), [1, 1, 1], "batches");
}

#[tokio::test(start_paused = true)]
async fn no_more_than_the_window_is_unanswered() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let producer = client.producer("orders").batch_bytes(1).build();
    broker.hold_answers(true);
    let mut receipts = Vec::new();
    for _ in 0..400 {
        receipts.push(producer.enqueue(Record::new("v")).await.unwrap());
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    // The fake answers one after the other, so it holds the first of those that it has taken.
    broker.hold_answers(false);
    for result in join_all(receipts).await {
        result.unwrap();
    }
    assert_eq!(batch_sizes(&broker, 0).len(), 400, "batches");
}
