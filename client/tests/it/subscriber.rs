//! A consumer of a durable subscription: what it says of records arrives, and once; what it has, it keeps
//! while it can; what it cannot keep comes again.

mod caught_up;
mod ending;
mod for_each;
mod for_each_commit;
mod outages;

use std::time::Duration;

use tokio::time::{Instant, sleep};
use towpath_client::{
    Client, Delivery, ErrorReason, NewSubscription, Start, Subscriber, SubscriptionMode,
};

use crate::fake::{FakeBroker, FakeSubscription};

const NAME: &str = "email";

/// A broker with a subscription to a topic of one partition.
async fn broker(mode: SubscriptionMode) -> (FakeBroker, Client) {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let new = NewSubscription::new(NAME, "orders", Start::Beginning).mode(mode);
    client.admin().create_subscription(new).await.unwrap();
    (broker, client)
}

/// The same with records, each with its value as its key, and somebody to handle them.
async fn subscriber(values: &[&str]) -> (FakeBroker, Subscriber) {
    let (broker, client) = broker(SubscriptionMode::KeyShared).await;
    let records: Vec<_> = values.iter().map(|value| (*value, *value)).collect();
    broker.append_keyed("orders", &records);
    (broker, client.subscriber(NAME).build())
}

async fn next(subscriber: &mut Subscriber) -> Delivery {
    subscriber.next_delivery().await.unwrap().unwrap()
}

/// Looks at the subscription as the broker has it.
fn look<T>(broker: &FakeBroker, look: impl FnOnce(&mut FakeSubscription) -> T) -> T {
    look(broker.state().subscriptions.get_mut(NAME).unwrap())
}

fn settled(broker: &FakeBroker) -> Vec<String> {
    look(broker, |it| it.settled.clone())
}

/// Waits until something holds of the subscription.
async fn wait_until(
    broker: &FakeBroker,
    what: &str,
    mut holds: impl FnMut(&FakeSubscription) -> bool,
) {
    let wait = broker.wait_until(what, |state| holds(&state.subscriptions[NAME]));
    wait.await;
}

#[tokio::test(start_paused = true)]
async fn each_record_is_delivered_with_its_place_and_acked() {
    let (broker, mut subscriber) = subscriber(&["a", "b", "c"]).await;
    for (offset, value) in (0..).zip(["a", "b", "c"]) {
        let delivery = next(&mut subscriber).await;
        assert_eq!(delivery.value_str(), Some(value), "value");
        assert_eq!(delivery.key_str(), Some(value), "key");
        assert_eq!(delivery.address().to_string(), format!("orders/0@{offset}"));
        assert_eq!(
            (delivery.attempt(), delivery.lsn().get()),
            (1, 1),
            "{value}"
        );
        delivery.ack();
    }
    subscriber.confirmed().await.unwrap();
    assert_eq!(settled(&broker), ["ack 0/0", "ack 0/1", "ack 0/2"]);
}

#[tokio::test(start_paused = true)]
async fn a_confirmed_ack_is_durable() {
    let (broker, mut subscriber) = subscriber(&["a"]).await;
    let delivery = next(&mut subscriber).await;
    delivery.confirmed_ack().await.unwrap();
    assert_eq!(settled(&broker), ["ack 0/0"]);
}

#[tokio::test(start_paused = true)]
async fn what_has_failed_comes_again_when_asked_for_with_its_attempt() {
    let (broker, mut subscriber) = subscriber(&["a", "b"]).await;
    let delivery = next(&mut subscriber).await;
    let start = Instant::now();
    delivery.nack(Some(Duration::from_secs(7)), "billing is down");
    next(&mut subscriber).await.ack();
    let again = next(&mut subscriber).await;
    assert_eq!((again.offset().get(), again.attempt()), (0, 2), "again");
    assert!(
        start.elapsed() >= Duration::from_secs(7),
        "{:?}",
        start.elapsed()
    );
    again.dead_letter("no such customer");
    subscriber.confirmed().await.unwrap();
    let mut settled = settled(&broker);
    settled.sort_unstable();
    let expected = [
        "ack 0/1",
        "dead-letter 0/0 no such customer",
        "nack 0/0 billing is down",
    ];
    assert_eq!(settled, expected);
}

#[tokio::test(start_paused = true)]
async fn what_is_released_comes_again_at_once_in_the_same_attempt() {
    let (_broker, mut subscriber) = subscriber(&["a"]).await;
    next(&mut subscriber).await.release();
    let again = next(&mut subscriber).await;
    assert_eq!((again.offset().get(), again.attempt()), (0, 1), "again");
    again.ack();
}

#[tokio::test(start_paused = true)]
async fn dropping_a_delivery_is_a_failure() {
    let (broker, mut subscriber) = subscriber(&["a", "b"]).await;
    drop(next(&mut subscriber).await);
    subscriber.confirmed().await.unwrap();
    assert_eq!(settled(&broker), ["nack 0/0 dropped before it was settled"]);
}

#[tokio::test(start_paused = true)]
async fn a_handler_may_take_its_time() {
    let (broker, mut subscriber) = subscriber(&["a", "b"]).await;
    let delivery = next(&mut subscriber).await;
    // Far beyond the deadline of 30 s, with one more record that waits.
    sleep(Duration::from_mins(10)).await;
    delivery.confirmed_ack().await.unwrap();
    next(&mut subscriber).await.confirmed_ack().await.unwrap();
    let (opened, extends) = look(&broker, |it| (it.opened.len(), it.said["extend"]));
    assert_eq!(opened, 1, "it was never away");
    let heartbeats = look(&broker, |it| it.heartbeat_count);
    assert!(
        (59..=121).contains(&heartbeats),
        "{heartbeats}, between extends"
    );
    assert!((59..=61).contains(&extends), "{extends}, one every 10 s");
}

#[tokio::test(start_paused = true)]
async fn what_takes_more_than_an_hour_is_given_to_others() {
    let (_broker, mut subscriber) = subscriber(&["a"]).await;
    let delivery = next(&mut subscriber).await;
    sleep(Duration::from_mins(59)).await;
    sleep(Duration::from_mins(2)).await;
    let again = next(&mut subscriber).await;
    assert_eq!(again.offset(), delivery.offset(), "again");
    let error = delivery.confirmed_ack().await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::LeaseExpired), "{error}");
    again.confirmed_ack().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn no_more_is_in_flight_than_was_allowed() {
    let (broker, client) = broker(SubscriptionMode::KeyShared).await;
    broker.append("orders", 0, &["a", "b", "c", "d", "e"]);
    let mut subscriber = client.subscriber(NAME).max_in_flight(3).build();
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(next(&mut subscriber).await);
    }
    let waiting = tokio::time::timeout(Duration::from_mins(5), subscriber.next_delivery());
    assert!(waiting.await.is_err(), "there is no room");
    assert_eq!(look(&broker, |it| it.leased_count()), 3, "in flight");
    held.remove(1).ack();
    let fourth = next(&mut subscriber).await;
    assert_eq!(fourth.value_str(), Some("d"), "room for one");
}

#[tokio::test(start_paused = true)]
async fn what_is_said_while_the_broker_is_busy_is_said_in_few_words() {
    let values: Vec<_> = (0..40).map(|number| format!("{number:02}")).collect();
    let values: Vec<_> = values.iter().map(String::as_str).collect();
    let (broker, mut subscriber) = subscriber(&values).await;
    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(next(&mut subscriber).await);
    }
    sleep(Duration::from_secs(1)).await;
    broker.hold_answers(true);
    for delivery in held {
        delivery.ack();
        // As if each took its time: the connection could say each by itself.
        tokio::task::yield_now().await;
    }
    broker.hold_answers(false);
    subscriber.confirmed().await.unwrap();
    let acks = look(&broker, |it| it.said["ack"]);
    assert!(look(&broker, |it| it.is_done()), "all of them");
    assert!(acks <= 20, "{acks} settlements for 40 records");
}

#[tokio::test(start_paused = true)]
async fn people_see_who_consumes() {
    let (broker, client) = broker(SubscriptionMode::Shared).await;
    broker.append("orders", 0, &["a"]);
    let mut subscriber = client.subscriber(NAME).client_name("mailer-3").build();
    next(&mut subscriber).await.ack();
    let names = look(&broker, |it| it.client_names.clone());
    assert_eq!(names, ["mailer-3"]);
}
