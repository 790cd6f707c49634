//! Producers with a name: one life writes, and whoever is shut out is told so for good.

use std::time::Duration;

use towpath_client::{Client, ErrorKind, ErrorReason, PartitionId, Producer, Record, SendError};

use super::send_all;
use crate::fake::{FakeBroker, OnBatch};

/// Another program, with a client of its own.
fn other(broker: &FakeBroker) -> Client {
    broker.client()
}

fn relay(client: &Client) -> Producer {
    client.producer("orders").name("relay-1").build()
}

#[track_caller]
fn check_fenced(refused: SendError) {
    let error = refused.error();
    assert!(error.is_fenced(), "{error}");
    assert_eq!(error.reason(), Some(ErrorReason::ProducerFenced), "reason");
    assert_eq!(error.kind(), ErrorKind::Rejected, "kind");
    assert!(error.has_no_side_effects(), "nothing happened: {error}");
    assert_eq!(error.metadata("producer_epoch"), Some("2"), "newer life");
    let text = "producer \"relay-1\" was opened again";
    assert!(error.to_string().starts_with(text), "text: {error}");
}

#[tokio::test(start_paused = true)]
async fn a_newer_life_shuts_the_older_one_out_for_good() {
    let (broker, client) = FakeBroker::with_topic("orders", 2);
    let old = relay(&client);
    let to = |partition, value: &str| {
        Record::new(value.to_owned()).partition(PartitionId::new(partition))
    };
    old.send(to(0, "a")).await.unwrap();
    let new_client = other(&broker);
    let new = relay(&new_client);
    new.send(to(0, "b")).await.unwrap();
    // Where the newer one has not written.
    check_fenced(old.send(to(1, "zombie")).await.unwrap_err());
    let calls = broker.state().calls.len();
    for partition in [0, 1] {
        check_fenced(old.send(to(partition, "zombie")).await.unwrap_err());
        check_fenced(old.enqueue(to(partition, "zombie")).await.unwrap_err());
        check_fenced(old.try_enqueue(to(partition, "zombie")).unwrap_err());
    }
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert_eq!(broker.state().calls.len(), calls, "nobody is asked again");
    old.close().await.unwrap();
    new.send(to(0, "c")).await.unwrap();
    assert_eq!(broker.values("orders", 0), ["a", "b", "c"], "log");
    assert_eq!(broker.values("orders", 1), [""; 0], "log");

    // Whoever wants the name back begins a life.
    let third = relay(&client);
    third.send(to(0, "d")).await.unwrap();
    assert!(
        new.send(to(0, "zombie"))
            .await
            .unwrap_err()
            .error()
            .is_fenced()
    );
    assert_eq!(broker.values("orders", 0), ["a", "b", "c", "d"], "log");
}

#[tokio::test(start_paused = true)]
async fn everything_under_way_is_told_apart() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let old = client
        .producer("orders")
        .name("relay-1")
        .batch_bytes(1)
        .build();
    old.ready().await.unwrap();
    send_all(&old, &["a"]).await;
    broker.hold_answers(true);
    let mut receipts = Vec::new();
    for number in 0..20 {
        let record = Record::new(number.to_string());
        receipts.push(old.enqueue(record).await.unwrap());
    }
    // Some are written, and not told of yet.
    while broker.values("orders", 0).len() < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let new_client = other(&broker);
    relay(&new_client).ready().await.unwrap();
    broker.hold_answers(false);
    let mut written = vec!["a".to_owned()];
    for (number, receipt) in (0..).zip(receipts) {
        match receipt.await {
            Ok(_) => written.push(number.to_string()),
            Err(error) => {
                assert!(error.is_fenced(), "{number}: {error}");
                assert!(error.has_no_side_effects(), "{number}: {error}");
            }
        }
    }
    assert!((2..21).contains(&written.len()), "{written:?}");
    assert_eq!(broker.values("orders", 0), written, "log");
}

#[tokio::test(start_paused = true)]
async fn a_batch_in_doubt_stays_so_when_its_life_is_over() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let old = relay(&client);
    send_all(&old, &["a"]).await;
    broker.on_batches([OnBatch::AppendInSilence]);
    let receipt = old.enqueue(Record::new("b")).await.unwrap();
    while broker.values("orders", 0).len() < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let new_client = other(&broker);
    relay(&new_client).ready().await.unwrap();
    broker.cut();
    let error = receipt.await.unwrap_err();
    assert!(error.is_fenced(), "{error}");
    assert!(error.may_have_happened(), "it has: {error}");
    assert!(
        old.send(Record::new("c"))
            .await
            .unwrap_err()
            .error()
            .is_fenced()
    );
    assert_eq!(broker.values("orders", 0), ["a", "b"], "log");
}

#[tokio::test(start_paused = true)]
async fn a_reconnect_stays_the_same_life() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let producer = relay(&client);
    broker.on_batches([
        OnBatch::Append,
        OnBatch::AppendAndCut,
        OnBatch::Append,
        OnBatch::Cut,
    ]);
    send_all(&producer, &["a", "b", "c", "d"]).await;
    assert_eq!(broker.values("orders", 0), ["a", "b", "c", "d"], "log");
    let lives = broker.state().producers.clone();
    assert_eq!(lives, [("relay-1".to_owned(), 1)], "lives");
}

#[tokio::test(start_paused = true)]
async fn producers_of_one_client_lead_one_life_to_all_their_topics() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    broker.state().log.create("payments", 1);
    let orders = relay(&client);
    let again = relay(&client);
    let payments = client.producer("payments").name("relay-1").build();
    send_all(&orders, &["a"]).await;
    send_all(&payments, &["p"]).await;
    // Each has numbers of its own, so that none takes the other's batch for its own.
    send_all(&again, &["b"]).await;
    send_all(&orders, &["c"]).await;
    assert_eq!(broker.values("orders", 0), ["a", "b", "c"], "orders");
    assert_eq!(broker.values("payments", 0), ["p"], "payments");
    assert_eq!(broker.state().producers[0].1, 1, "one life");
    let new_client = other(&broker);
    relay(&new_client).ready().await.unwrap();
    check_fenced(orders.send(Record::new("zombie")).await.unwrap_err());
    check_fenced(payments.send(Record::new("zombie")).await.unwrap_err());
    check_fenced(again.try_enqueue(Record::new("zombie")).unwrap_err());
    assert_eq!(broker.values("payments", 0), ["p"], "payments");
}

#[tokio::test(start_paused = true)]
async fn a_sequence_that_is_lost_ends_no_life() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let producer = relay(&client);
    send_all(&producer, &["a"]).await;
    broker.on_batches([OnBatch::Refuse(ErrorReason::ProducerUnknown)]);
    send_all(&producer, &["b", "c"]).await;
    assert_eq!(broker.values("orders", 0), ["a", "b", "c"], "log");
    assert_eq!(broker.state().producers[0].1, 1, "the same life");
}

#[tokio::test(start_paused = true)]
async fn beginning_a_life_is_tried_until_it_succeeds_or_cannot() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let producer = relay(&client);
    // The looking up of the topic and of the broker come first.
    producer.ready().await.unwrap();
    let admin = client.admin();
    let known = admin.producers_with_prefix("").await.unwrap();
    assert_eq!(known.len(), 1, "{known:?}");
    assert_eq!((known[0].name.as_str(), known[0].epoch), ("relay-1", 1));
    let deleted = admin.delete_producer("relay-1").await.unwrap();
    assert_eq!(deleted.epoch, 1);
    let error = admin.delete_producer("relay-1").await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::ProducerNotFound));
    drop(broker);
}
