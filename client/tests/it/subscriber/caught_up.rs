//! Hearing that nothing can be handed out now.

use futures_util::FutureExt as _;
use towpath_client::{ByKey, DeliveredRecord, Drain, SubscriberItem, SubscriptionCaughtUp};
use towpath_proto::v1;

use super::*;

/// Has the broker tell it, once everything that is ready was delivered.
fn tell(broker: &FakeBroker, lsn: u64, in_flight_records: u64) {
    look(broker, |it| {
        it.caught_up.push_back(v1::SubscriptionCaughtUp {
            lsn,
            broker_time_ms: 1_000,
            in_flight_records,
            elsewhere_in_flight_records: 1,
            waiting_records: 2,
            redriven_records: 3,
            next_due_ms: Some(2_000),
            parked_keys: 4,
            halted_partitions: 5,
            full_partitions: 6,
            is_paused: true,
            has_dead_letter_problem: true,
        });
    });
    broker.tell_streams();
}

async fn caught_up(subscriber: &mut Subscriber) -> SubscriptionCaughtUp {
    match subscriber.next_item().await.unwrap().unwrap() {
        SubscriberItem::CaughtUp(told) => told,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_an_item_behind_the_records_that_came_before_and_told_whole() {
    let (broker, mut subscriber) = subscriber(&["a", "b"]).await;
    tell(&broker, 7, 2);
    let mut values = Vec::new();
    for _ in 0..2 {
        match subscriber.next_item().await.unwrap().unwrap() {
            SubscriberItem::Delivery(delivery) => {
                values.push(delivery.value_str().unwrap().to_owned());
                delivery.ack();
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(values, ["a", "b"], "first all records");
    let told = caught_up(&mut subscriber).await;
    assert_eq!((told.lsn.get(), told.in_flight_records), (7, 2));
    assert_eq!(told.elsewhere_in_flight_records, 1);
    let waiting = (
        told.waiting_records,
        told.redriven_records,
        told.parked_keys,
    );
    assert_eq!(waiting, (2, 3, 4));
    assert_eq!((told.halted_partitions, told.full_partitions), (5, 6));
    assert!(told.is_paused && told.has_dead_letter_problem && !told.is_idle());
    let wait = told.next_due.unwrap().duration_since(told.broker_time);
    assert_eq!(wait.unwrap(), Duration::from_secs(1));
    tell(&broker, 8, 0);
    assert_eq!(caught_up(&mut subscriber).await.lsn.get(), 8, "each once");
}

#[tokio::test(start_paused = true)]
async fn who_only_wants_deliveries_is_not_disturbed() {
    let (broker, mut subscriber) = subscriber(&["a"]).await;
    tell(&broker, 7, 1);
    next(&mut subscriber).await.ack();
    let mut watch = subscriber.caught_up_watch();
    assert_eq!(watch.next().await.unwrap().lsn.get(), 7);
    broker.append_keyed("orders", &[("b", "b")]);
    tell(&broker, 8, 1);
    next(&mut subscriber).await.ack();
    assert_eq!(watch.next().await.unwrap().lsn.get(), 8);
    assert_eq!(watch.clone().next().now_or_never(), None, "told already");
    let mut fresh = subscriber.caught_up_watch();
    assert_eq!(fresh.next().await.unwrap().lsn.get(), 8, "to each watch");
}

#[tokio::test(start_paused = true)]
async fn a_watch_hears_of_it_while_handlers_run_and_of_the_end() {
    let (broker, subscriber) = subscriber(&["a"]).await;
    let mut watch = subscriber.caught_up_watch();
    let shutdown = subscriber.shutdown_handle();
    let (begin, begun) = tokio::sync::oneshot::channel::<()>();
    let begun = std::sync::Arc::new(tokio::sync::Mutex::new(begun));
    let handler = move |_: DeliveredRecord| {
        let begun = std::sync::Arc::clone(&begun);
        async move {
            drop((&mut *begun.lock().await).await);
            Ok::<(), String>(())
        }
    };
    let handling = tokio::spawn(subscriber.for_each(ByKey(2), handler));
    tell(&broker, 7, 1);
    let told = watch.next().await.unwrap();
    assert_eq!(told.in_flight_records, 1, "a handler runs still");
    drop(begin);
    wait_until(&broker, "it is done", FakeSubscription::is_done).await;
    tell(&broker, 8, 0);
    assert_eq!(watch.next().await.unwrap().in_flight_records, 0);
    shutdown.shutdown(Drain::StopNow);
    assert_eq!(watch.next().await, None, "nothing comes any more");
    handling.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_may_have_no_more_says_so() {
    let (broker, client) = broker(SubscriptionMode::Shared).await;
    broker.append_keyed("orders", &[("a", "1"), ("b", "2"), ("c", "3")]);
    let mut subscriber = client.subscriber(NAME).max_in_flight(2).build();
    assert!(!subscriber.is_full(), "nothing was asked for");
    let first = next(&mut subscriber).await;
    let second = next(&mut subscriber).await;
    assert!(subscriber.is_full());
    first.ack();
    next(&mut subscriber).await.ack();
    subscriber.confirmed().await.unwrap();
    assert!(!subscriber.is_full());
    second.ack();
}
