//! A bug that makes a thread panic ends the broker as a failed disk does: nobody waits for it for ever.

use std::convert::Infallible;

use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;

use crate::gated_disk::gated_broker;
use crate::harness::{TestBroker, batch_of, config_without_cache, record, refusal, soon, source};

/// Publishes until that is refused, as it must be sooner or later.
async fn publish_until_refused(broker: &TestBroker) -> tonic::Status {
    let mut produce = broker.produce();
    loop {
        let request = v1::PublishRequest {
            topic: "orders".to_owned(),
            records: vec![record(None, "v")],
            partition: None,
        };
        if let Err(status) = soon(produce.publish(request)).await {
            return status;
        }
    }
}

/// Reads again and again: what is not settled yet comes from memory, and no thread reads a disk for it.
async fn read_for_ever(broker: &TestBroker, request: &v1::FetchRequest) -> Infallible {
    loop {
        let Ok(reading) = broker.fetch().fetch(request.clone()).await else {
            continue;
        };
        let mut reading = reading.into_inner();
        while let Ok(Some(_)) = reading.message().await {}
    }
}

#[tokio::test]
async fn a_panic_of_the_sequencer_fails_the_broker() {
    let (broker, _disk, gate) = gated_broker(config_without_cache()).await;
    broker.create("orders", 1).await;
    gate.panic_in("towpath-sequencer");
    let status = publish_until_refused(&broker).await;
    refusal::<()>(Err(status), ErrorReason::StorageFailed);
    let cause = soon(broker.broker.failed()).await;
    assert_eq!(cause, "the sequencer thread panicked: planted by a test");
    let status = publish_until_refused(&broker).await;
    refusal::<()>(Err(status), ErrorReason::ShuttingDown);
    soon(broker.broker.shutdown()).await;
}

#[tokio::test]
async fn a_panic_of_any_other_thread_fails_the_broker() {
    for thread in ["settle", "maintenance", "read"] {
        let (broker, _disk, gate) = gated_broker(config_without_cache()).await;
        broker.create("orders", 1).await;
        broker.publish("orders", 0, &["before"]).await;
        let producer = broker.producer_of("orders", 1).await;
        gate.panic_in(match thread {
            "settle" => "towpath-settle",
            "maintenance" => "towpath-maintenance",
            _ => "towpath-read",
        });
        producer.produce(batch_of(0, &["v"])).await;
        let request = v1::FetchRequest {
            sources: vec![source("orders")],
            ..v1::FetchRequest::default()
        };
        let cause = tokio::select! {
            cause = soon(broker.broker.failed()) => cause,
            never = read_for_ever(&broker, &request) => match never {},
        };
        let expected = format!("the {thread} thread panicked: planted by a test");
        assert_eq!(cause, expected);
        soon(broker.broker.shutdown()).await;
    }
}
