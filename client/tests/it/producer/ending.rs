//! How producers end, and how they survive the end of a broker.

use std::time::Duration;

use towpath_client::{ErrorKind, Record};

use super::send_all;
use crate::fake::{FakeBroker, OnBatch};

#[tokio::test(start_paused = true)]
async fn closing_waits_for_every_record_and_takes_no_more() {
    let (broker, client) = FakeBroker::with_topic("orders", 2);
    let producer = client
        .producer("orders")
        .linger(Duration::from_secs(5))
        .build();
    let mut receipts = Vec::new();
    for _ in 0..20 {
        receipts.push(producer.enqueue(Record::new("v")).await.unwrap());
    }
    producer.close().await.unwrap();
    assert!(
        receipts.iter().all(towpath_client::Receipt::is_complete),
        "all settled"
    );
    for receipt in receipts {
        receipt.await.unwrap();
    }
    let refused = producer.enqueue(Record::new("late")).await.unwrap_err();
    assert_eq!(refused.error().kind(), ErrorKind::Closed, "enqueue");
    let refused = producer.try_enqueue(Record::new("late")).unwrap_err();
    assert_eq!(refused.error().kind(), ErrorKind::Closed, "try_enqueue");
    producer.close().await.unwrap();
    drop(broker);
}

#[tokio::test(start_paused = true)]
async fn closing_gives_up_when_the_broker_stays_away() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let producer = client
        .producer("orders")
        .give_up_after(Duration::from_secs(2))
        .build();
    send_all(&producer, &["a"]).await;
    broker.go_down();
    let receipt = producer.enqueue(Record::new("b")).await.unwrap();
    let error = producer.close().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "kind");
    assert!(receipt.is_complete(), "settled");
}

#[tokio::test(start_paused = true)]
async fn closing_the_client_closes_its_producers() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let producer = client
        .producer("orders")
        .linger(Duration::from_secs(5))
        .build();
    let receipt = producer.enqueue(Record::new("v")).await.unwrap();
    client.close().await;
    receipt.await.unwrap();
    let refused = producer.send(Record::new("late")).await.unwrap_err();
    assert_eq!(refused.error().kind(), ErrorKind::Closed, "kind");
    assert_eq!(broker.values("orders", 0), ["v"], "log");
}

#[tokio::test(start_paused = true)]
async fn the_shutdown_handle_closes_from_elsewhere() {
    let (_broker, client) = FakeBroker::with_topic("orders", 1);
    let producer = client
        .producer("orders")
        .linger(Duration::from_secs(5))
        .build();
    let receipt = producer.enqueue(Record::new("v")).await.unwrap();
    producer.shutdown_handle().shutdown();
    receipt.await.unwrap();
    let refused = producer.send(Record::new("late")).await.unwrap_err();
    assert_eq!(refused.error().kind(), ErrorKind::Closed, "kind");
}

#[tokio::test(start_paused = true)]
async fn receipts_of_a_dropped_producer_complete() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let producer = client.producer("orders").build();
    broker.on_batches([OnBatch::AppendInSilence]);
    let sent = producer.enqueue(Record::new("a")).await.unwrap();
    broker
        .wait_until("the batch", |state| state.on_batch.is_empty())
        .await;
    let unsent = producer.enqueue(Record::new("b")).await.unwrap();
    drop(producer);
    let error = sent.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "kind");
    assert!(error.may_have_happened(), "was sent");
    let error = unsent.await.unwrap_err();
    assert!(error.has_no_side_effects(), "was not sent");
}

#[tokio::test(start_paused = true)]
async fn a_draining_broker_loses_nothing() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let producer = client.producer("orders").build();
    send_all(&producer, &["a"]).await;
    broker.hold_answers(true);
    let receipt = producer.enqueue(Record::new("b")).await.unwrap();
    broker
        .wait_until("the batch", |state| {
            state.log.partition("orders", 0).batches.len() == 2
        })
        .await;
    broker.drain(true);
    tokio::time::sleep(Duration::from_millis(100)).await;
    broker.hold_answers(false);
    receipt.await.unwrap();
    let later = producer.enqueue(Record::new("c")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    broker.drain(false);
    later.await.unwrap();
    assert_eq!(broker.values("orders", 0), ["a", "b", "c"], "log");
}

#[tokio::test(start_paused = true)]
async fn an_idle_producer_holds_no_time_and_survives_a_restart() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let producer = client.producer("orders").build();
    send_all(&producer, &["a"]).await;
    tokio::time::sleep(Duration::from_hours(24)).await;
    broker.go_down();
    tokio::time::sleep(Duration::from_mins(1)).await;
    let connections = broker.connection_count();
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(
        broker.connection_count(),
        connections,
        "connections while nothing is to do"
    );
    broker.go_up();
    send_all(&producer, &["b"]).await;
    assert_eq!(broker.values("orders", 0), ["a", "b"], "log");
}
