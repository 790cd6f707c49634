//! Settlements that are said again because their answer was lost.

use super::*;

/// What one settlement is answered with: whether it has taken effect.
async fn settles(broker: &TestBroker, settlement: v1::Settlement) -> bool {
    let request = v1::SettleRequest {
        subscription: "billing".to_owned(),
        settlements: vec![settlement],
    };
    let settled = soon(client(broker).settle(request)).await.unwrap();
    settled.into_inner().results[0].expired.is_empty()
}

#[tokio::test]
async fn a_nack_whose_answer_was_lost_is_said_again_with_no_other_effect() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    create(&broker).await;
    publish(&broker, &[("a", "0")]).await;
    let mut consumer = Consumer::open(&broker, 1).await;
    consumer.receive(1).await;
    let first = consumer.has[&(0, 0)].delivery;
    let failed = || settlement((0, 0), first, nack("no"));
    assert!(settles(&broker, failed()).await);
    assert!(settles(&broker, failed()).await, "it waits");
    let broker = broker.restart().await;
    assert!(settles(&broker, failed()).await, "after a restart");
    let mut consumer = Consumer::open(&broker, 2).await;
    consumer.receive(1).await;
    let second = consumer.has[&(0, 0)].clone();
    assert_eq!(second.attempt, 2, "one attempt was counted");
    assert!(settles(&broker, failed()).await, "somebody has it");
    assert!(!settles(&broker, settlement((0, 0), first, ack())).await);
    assert!(consumer.settle((0, 0), ack()).await, "it still has it");
    broker.stop().await;
}
