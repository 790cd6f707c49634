//! Stopping: who is told what, and what still happens.

use std::time::Duration;

use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use towpath_broker::Broker;
use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::v1::produce_response::Response;
use towpath_proto::wire::fetch_response::Response as Fetched;

use crate::harness::{
    Producer, TestBroker, all_values, batch_of, config, connect, refusal, soon, source,
};

fn following() -> v1::FetchRequest {
    v1::FetchRequest {
        sources: vec![source("orders")],
        follow: true,
        ..v1::FetchRequest::default()
    }
}

/// Waits until a producer is told that the broker stops; returns for how long it goes on.
async fn draining(producer: &mut Producer) -> Duration {
    match producer.next().await {
        Response::Draining(draining) => Duration::from_millis(draining.close_after_ms),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_producer_is_told_answered_and_then_refused() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    let mut producer = broker.producer_of("orders", 1).await;
    producer.produce(batch_of(0, &["before"])).await;
    producer.accepted().await;
    let stopping = broker.broker.shutdown();
    let producing = async {
        let close_after = draining(&mut producer).await;
        assert!(
            close_after <= broker.config.drain_deadline,
            "{close_after:?}"
        );
        producer.produce(batch_of(1, &["after"])).await;
        let (refused, problem) = producer.refused().await;
        assert_eq!(problem.reason(), ErrorReason::ShuttingDown);
        assert!(
            !refused.is_sequence_spent && problem.retry_after().is_some(),
            "{problem:?}"
        );
        producer.open(2, "orders", 1).await;
        assert!(
            matches!(producer.next().await, Response::OpenRefused(_)),
            "no topic either"
        );
        assert_eq!(producer.finish().await, []);
    };
    soon(async { tokio::join!(stopping, producing) }).await;
    let broker = broker.restart().await;
    let read = broker.read_all(source("orders")).await;
    assert_eq!(all_values(&read), ["before"]);
}

#[tokio::test]
async fn a_producer_that_does_not_close_is_closed() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    let mut producer = broker.producer_of("orders", 1).await;
    let stopping = broker.broker.shutdown();
    let waiting = async {
        draining(&mut producer).await;
        refusal(producer.try_next().await, ErrorReason::ShuttingDown);
    };
    soon(async { tokio::join!(stopping, waiting) }).await;
}

#[tokio::test]
async fn a_reader_is_told_and_ended_at_once() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    let mut reader = broker.reader(following()).await;
    assert!(
        matches!(reader.next_event().await, Fetched::CaughtUp(_)),
        "first"
    );
    let stopping = broker.broker.shutdown();
    let reading = async {
        match reader.next_event().await {
            Fetched::Draining(draining) => assert_eq!(draining.close_after_ms, 0),
            other => panic!("{other:?}"),
        }
        refusal(reader.try_next().await, ErrorReason::ShuttingDown);
    };
    soon(async { tokio::join!(stopping, reading) }).await;
}

#[tokio::test]
async fn everything_that_was_sent_before_the_stop_is_answered() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    let mut producer = broker.producer_of("orders", 1).await;
    for sequence in 0..500 {
        producer.produce(batch_of(sequence, &["v"])).await;
    }
    let stopping = broker.broker.shutdown();
    let answering = async {
        let mut accepted = Vec::new();
        let mut refused = Vec::new();
        let mut was_told = false;
        while accepted.len() + refused.len() < 500 {
            match producer.next().await {
                Response::Accepted(it) => accepted.extend(it.batches.iter().map(|it| it.sequence)),
                Response::Refused(it) => refused.push(it.sequence),
                Response::Draining(_) => was_told = true,
                other => panic!("{other:?}"),
            }
        }
        producer.close();
        while let Some(answer) = producer.try_next().await.unwrap() {
            assert!(
                !was_told && matches!(answer, Response::Draining(_)),
                "{answer:?}"
            );
            was_told = true;
        }
        (accepted, refused)
    };
    let ((), (accepted, refused)) = soon(async { tokio::join!(stopping, answering) }).await;
    assert!(accepted.is_sorted() && refused.is_sorted(), "in order");
    assert!(
        accepted.last() < refused.first() || refused.is_empty(),
        "nothing in between"
    );
    let broker = broker.restart().await;
    let read = broker.read_all(source("orders")).await;
    assert_eq!(
        all_values(&read).len(),
        accepted.len(),
        "what was accepted, and nothing else"
    );
}

#[tokio::test]
async fn a_stopped_broker_takes_no_connection_and_can_be_stopped_again() {
    let broker = TestBroker::start().await;
    soon(broker.broker.shutdown()).await;
    soon(broker.broker.shutdown()).await;
    assert!(connect(&broker.broker).await.is_err(), "nobody listens");
    let address = broker.broker.local_addr();
    let data_dir = broker.config.data_dir.clone();
    let TestBroker {
        broker: stopped,
        config,
        ..
    } = &broker;
    assert_eq!(stopped.local_addr(), address);
    // The folder is held until the broker is dropped.
    let again = towpath_broker::Config {
        data_dir,
        ..config.clone()
    };
    assert!(Broker::start(again).await.is_err(), "in use");
}

#[tokio::test]
async fn a_reader_that_never_reads_is_ended_long_before_the_deadline() {
    let mut config = config();
    // Longer than any test waits.
    config.drain_deadline = Duration::from_secs(600);
    let broker = TestBroker::start_with(config).await;
    broker.create("orders", 1).await;
    let value = "x".repeat(1_000_000);
    for _ in 0..30 {
        broker.publish("orders", 0, &[&value]).await;
    }
    // Its window is full, so it cannot be told anything. It loses nothing either.
    let _stuck = broker.reader(following()).await;
    soon(broker.broker.shutdown()).await;
}

#[tokio::test]
async fn health_is_told_before_and_ends_with_the_stop() {
    let broker = TestBroker::start().await;
    let mut health = HealthClient::new(broker.channel.clone());
    let request = HealthCheckRequest {
        service: String::new(),
    };
    let checked = soon(health.check(request.clone())).await.unwrap();
    assert_eq!(checked.into_inner().status(), ServingStatus::Serving);
    let mut watching = soon(health.watch(request)).await.unwrap().into_inner();
    let first = soon(watching.message()).await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);
    let stopping = broker.broker.shutdown();
    let told = async {
        let next = watching.message().await.unwrap().unwrap();
        assert_eq!(next.status(), ServingStatus::NotServing);
        assert_eq!(watching.message().await.unwrap(), None);
    };
    soon(async { tokio::join!(stopping, told) }).await;
}
