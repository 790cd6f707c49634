//! Handlers that run side by side.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::Barrier;
use towpath_client::{ByKey, DeliveredRecord, DeliveryOutcome, Drain, Parallel};

use super::*;

const PATIENCE: Duration = Duration::from_mins(1);

async fn finish(broker: &FakeBroker, handle: &towpath_client::SubscriberShutdownHandle) {
    wait_until(broker, "all is done", FakeSubscription::is_done).await;
    handle.shutdown(Drain::FinishWithin(PATIENCE));
}

#[tokio::test(start_paused = true)]
async fn keys_run_side_by_side_and_each_in_order_through_failures() {
    let (broker, client) = broker(SubscriptionMode::KeyShared).await;
    let keys = ["a", "b", "c"];
    for number in 0..60 {
        let value = format!("{number:02}");
        broker.append_keyed("orders", &[(keys[number % 3], &value)]);
    }
    let subscriber = client.subscriber(NAME).max_in_flight(20).build();
    let handle = subscriber.shutdown_handle();
    let seen: Arc<Mutex<BTreeMap<String, Vec<u64>>>> = Arc::default();
    let handled = Arc::clone(&seen);
    // The first three at once, or none of them ends.
    let barrier = Arc::new(Barrier::new(3));
    let handler = move |record: DeliveredRecord| {
        let (handled, barrier) = (Arc::clone(&handled), Arc::clone(&barrier));
        async move {
            let offset = record.offset().get();
            if offset < 3 {
                barrier.wait().await;
            }
            if offset % 4 == 3 && record.attempt() < 3 {
                return Err("not yet");
            }
            sleep(Duration::from_millis(offset % 7)).await;
            let key = record.key_str().unwrap().to_owned();
            handled.lock().unwrap().entry(key).or_default().push(offset);
            Ok(())
        }
    };
    let (outcome, ()) = tokio::join!(
        subscriber.for_each(ByKey(3), handler),
        finish(&broker, &handle)
    );
    outcome.unwrap();
    for (first, key) in (0..).zip(keys) {
        let expected: Vec<_> = (first..60).step_by(3).collect();
        assert_eq!(seen.lock().unwrap()[key], expected, "in order, once each");
    }
    let nacks = settled(&broker)
        .iter()
        .filter(|it| it.contains("not yet"))
        .count();
    assert_eq!(nacks, 2 * 15, "two for each of fifteen");
}

#[tokio::test(start_paused = true)]
async fn without_order_records_of_one_key_run_side_by_side() {
    let (broker, client) = broker(SubscriptionMode::Shared).await;
    broker.append_keyed("orders", &[("a", "1"), ("a", "2"), ("a", "3")]);
    let subscriber = client.subscriber(NAME).build();
    let handle = subscriber.shutdown_handle();
    let barrier = Arc::new(Barrier::new(3));
    let handler = move |_| {
        let barrier = Arc::clone(&barrier);
        async move {
            barrier.wait().await;
            DeliveryOutcome::Ack
        }
    };
    let (outcome, ()) = tokio::join!(
        subscriber.for_each(Parallel(3), handler),
        finish(&broker, &handle)
    );
    outcome.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_returns_becomes_of_the_record() {
    let (broker, client) = broker(SubscriptionMode::KeyShared).await;
    broker.append_keyed(
        "orders",
        &[
            ("a", "ack"),
            ("b", "nack"),
            ("c", "later"),
            ("d", "dead"),
            ("e", "panic"),
            ("f", "release"),
        ],
    );
    let subscriber = client.subscriber(NAME).build();
    let handle = subscriber.shutdown_handle();
    let mut releases = 0;
    let handler = |record: DeliveredRecord| {
        let is_first = record.attempt() == 1;
        let value = record.value_str().unwrap().to_owned();
        releases += u32::from(value == "release");
        let is_released = releases == 1;
        async move {
            match value.as_str() {
                "nack" if is_first => Err("not now"),
                "later" if is_first => Ok(DeliveryOutcome::retry_after(PATIENCE, "later")),
                "dead" => Ok(DeliveryOutcome::dead_letter("poison")),
                "panic" => {
                    assert!(!is_first, "as the test wants");
                    Ok(DeliveryOutcome::Ack)
                }
                "release" if is_released => Ok(DeliveryOutcome::Release),
                _ => Ok(DeliveryOutcome::Ack),
            }
        }
    };
    let start = Instant::now();
    let (outcome, ()) = tokio::join!(subscriber.for_each(ByKey(1), handler), async {
        sleep(PATIENCE).await;
        finish(&broker, &handle).await;
    });
    outcome.unwrap();
    assert!(start.elapsed() >= PATIENCE, "{:?}", start.elapsed());
    let mut settled = settled(&broker);
    settled.sort_unstable();
    let expected = [
        "ack 0/0",
        "ack 0/1",
        "ack 0/2",
        "ack 0/4",
        "ack 0/5",
        "dead-letter 0/3 poison",
        "nack 0/1 not now",
        "nack 0/2 later",
        "nack 0/4 the handler panicked",
        "release 0/5",
    ];
    assert_eq!(settled, expected);
}

#[tokio::test(start_paused = true)]
async fn only_what_a_handler_runs_for_is_begun() {
    let (broker, mut subscriber) = subscriber(&["a", "b", "c"]).await;
    let handle = subscriber.shutdown_handle();
    next(&mut subscriber).await.confirmed_ack().await.unwrap();
    let said = look(&broker, |it| it.said.get("start").copied());
    let running = tokio::spawn(subscriber.for_each(ByKey(1), |_| async {
        std::future::pending::<()>().await;
        DeliveryOutcome::Ack
    }));
    wait_until(&broker, "beginning", |it| {
        it.said.get("start").copied() > said
    })
    .await;
    broker.cut();
    // Of the two that were there only one was begun: the broker gives the other one again.
    wait_until(&broker, "connecting again", |it| it.opened.len() == 2).await;
    wait_until(&broker, "getting it again", |it| it.leased_count() == 2).await;
    assert_eq!(look(&broker, |it| it.begun_count()), 1, "begun");
    handle.shutdown(Drain::StopNow);
    running.await.unwrap().unwrap();
    assert_eq!(settled(&broker), ["ack 0/0"], "no failure");
}
