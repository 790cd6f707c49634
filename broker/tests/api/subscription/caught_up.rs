//! Being told that nothing can be handed out now.

use super::*;

/// In flight here and elsewhere, waiting.
fn counts(told: &v1::SubscriptionCaughtUp) -> (u64, u64, u64) {
    let in_flight = (told.in_flight_records, told.elsewhere_in_flight_records);
    (in_flight.0, in_flight.1, told.waiting_records)
}

/// Waits until a consumer is told something.
async fn until(consumer: &mut Consumer, expected: (u64, u64, u64)) -> v1::SubscriptionCaughtUp {
    loop {
        let told = consumer.next_caught_up().await;
        if counts(&told) == expected {
            return told;
        }
    }
}

async fn publish_one(broker: &TestBroker, value: &str) -> u64 {
    let request = v1::PublishRequest {
        topic: "orders".to_owned(),
        records: vec![crate::harness::record(Some(value), value)],
        partition: None,
    };
    let published = soon(broker.produce().publish(request)).await.unwrap();
    published.into_inner().lsn
}

#[tokio::test]
async fn a_consumer_is_told_behind_its_records_what_is_left_up_to_which_lsn() {
    let broker = TestBroker::start().await;
    broker.create("orders", 4).await;
    create(&broker).await;
    let mut consumer = Consumer::open(&broker, 1).await;
    let told = consumer.next_caught_up().await;
    assert_eq!(counts(&told), (0, 0, 0), "nothing is there: {told:?}");
    for (place, value) in (1..).zip(["a", "b", "c"]) {
        let lsn = publish_one(&broker, value).await;
        let told = until(&mut consumer, (place, 0, 0)).await;
        assert!(
            told.lsn >= lsn,
            "{told:?} rests on what was written at {lsn}"
        );
        assert!(told.broker_time_ms > 0, "{told:?}");
        assert_eq!(consumer.has.len() as u64, place, "behind its records");
    }
    consumer.ack_all().await;
    until(&mut consumer, (0, 0, 0)).await;
    broker.stop().await;
}

#[tokio::test]
async fn a_consumer_without_credit_is_told_only_when_nothing_is_left() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    create(&broker).await;
    publish(&broker, &[("a", "1"), ("b", "2")]).await;
    let mut consumer = Consumer::try_open(&broker, 1).await.unwrap();
    consumer.credit(1).await;
    consumer.receive(1).await;
    consumer.ack_all().await;
    consumer.credit(1).await;
    let told = consumer.next_caught_up().await;
    assert_eq!((counts(&told), consumer.values()), ((1, 0, 0), vec!["2"]));
    broker.stop().await;
}

#[tokio::test]
async fn what_others_have_and_give_back_is_told() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    create(&broker).await;
    publish(&broker, &[("a", "1")]).await;
    let mut first = Consumer::open(&broker, 1).await;
    first.receive(1).await;
    let mut second = Consumer::open(&broker, 2).await;
    let told = second.next_caught_up().await;
    assert_eq!(counts(&told), (0, 1, 0), "{told:?}");
    let later = v1::Nack {
        delay_ms: Some(3_600_000),
        reason: "later".to_owned(),
    };
    assert!(
        first
            .settle((0, 0), v1::settlement::Outcome::Nack(later))
            .await
    );
    let told = until(&mut second, (0, 0, 1)).await;
    let wait_ms = told.next_due_ms.expect("it is due") - told.broker_time_ms;
    assert!((1..=3_600_000).contains(&wait_ms), "{told:?}");
    broker.stop().await;
}

#[tokio::test]
async fn a_paused_subscription_says_so() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    create(&broker).await;
    publish(&broker, &[("a", "1")]).await;
    let pause = v1::PauseSubscriptionRequest {
        name: "billing".to_owned(),
    };
    soon(client(&broker).pause_subscription(pause))
        .await
        .unwrap();
    let mut consumer = Consumer::open(&broker, 1).await;
    let told = consumer.next_caught_up().await;
    assert!(told.is_paused, "{told:?}");
    let resume = v1::ResumeSubscriptionRequest {
        name: "billing".to_owned(),
    };
    soon(client(&broker).resume_subscription(resume))
        .await
        .unwrap();
    let told = until(&mut consumer, (1, 0, 0)).await;
    assert!(!told.is_paused, "{told:?}");
    broker.stop().await;
}
