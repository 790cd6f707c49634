//! Consumers that are there and do nothing: which of them is dead.

use std::time::Duration;

use tokio::time::timeout;
use towpath_proto::v1;
use towpath_proto::v1::receive_request::Request;

use crate::consumer::{Consumer, create, get, publish};
use crate::harness::{TestBroker, config, connect, soon};

/// A broker that does not wait long for consumers that say or read nothing, with records.
async fn impatient(value_bytes: usize) -> TestBroker {
    let mut impatient = config();
    impatient.session_timeout = Duration::from_secs(1);
    impatient.heartbeat_interval = Duration::from_secs(10);
    let broker = TestBroker::start_with(impatient).await;
    broker.create("orders", 1).await;
    create(&broker).await;
    let value = "x".repeat(value_bytes);
    for key in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        publish(&broker, &[(key, &value)]).await;
    }
    broker
}

fn heartbeat() -> v1::ReceiveRequest {
    v1::ReceiveRequest {
        request: Some(Request::Heartbeat(v1::ReceiveHeartbeat {})),
    }
}

/// Beats the heart of a consumer for longer than it may take nothing.
async fn lives_on(broker: &TestBroker, consumer: &Consumer) {
    let living = async {
        loop {
            soon(consumer.requests.send(heartbeat())).await.unwrap();
            let consumers = get(broker).await.consumers;
            assert!(consumers[0].is_connected, "{consumers:?}");
        }
    };
    let lived: Result<(), _> = timeout(Duration::from_secs(2), living).await;
    assert!(lived.is_err(), "it lives on");
}

#[tokio::test]
async fn a_consumer_that_does_not_read_loses_what_it_has() {
    // More than the connection takes of what nobody reads.
    let broker = impatient(1_000_000).await;
    // What it does not read fills nobody else's connection.
    let channel = connect(&broker.broker).await.unwrap();
    let mut deaf = Consumer::open_over(channel, 1).await.unwrap();
    deaf.credit(1_000).await;
    while get(&broker).await.partitions[0].in_flight_records < 8 {}
    let mut heir = Consumer::open(&broker, 2).await;
    // Connections and hearts are well.
    let hearts = [deaf.requests.clone(), heir.requests.clone()];
    let beating = async {
        loop {
            drop(get(&broker).await);
            for heart in &hearts {
                // One of them stops.
                drop(heart.try_send(heartbeat()));
            }
        }
    };
    tokio::select! {
        () = beating => {}
        () = heir.receive(8) => {}
    }
    let consumers = get(&broker).await.consumers;
    assert_eq!(consumers.len(), 1, "{consumers:?}");
}

#[tokio::test]
async fn a_consumer_with_nothing_to_do_stays() {
    let broker = impatient(1).await;
    let mut consumer = Consumer::open(&broker, 1).await;
    consumer.receive(8).await;
    consumer.ack_all().await;
    lives_on(&broker, &consumer).await;
    publish(&broker, &[("a", "more")]).await;
    consumer.receive_values(&["more"]).await;
}

#[tokio::test]
async fn a_consumer_without_credit_stays() {
    let broker = impatient(1).await;
    let mut consumer = Consumer::try_open(&broker, 1).await.unwrap();
    lives_on(&broker, &consumer).await;
    consumer.credit(8).await;
    consumer.receive(8).await;
}
