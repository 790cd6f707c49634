//! The SDK's subscribers against a broker in the same process: each key in order through failures, and
//! nothing that waits is kept from others.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod dead_letters;
mod harness;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use towpath_client::{
    ByKey, DeliveredRecord, DeliveryOutcome, Drain, Subscriber, SubscriberShutdownHandle,
    SubscriptionMode,
};

use harness::{NAME, TestBroker, soon};

/// What handlers did: for each key the offsets in the order in which they were begun, and whether each
/// succeeded.
#[derive(Debug, Default)]
struct Seen {
    by_key: Mutex<BTreeMap<String, Vec<(u64, bool)>>>,
}

impl Seen {
    /// Handles a record: one of ten fails.
    fn handle(&self, record: &DeliveredRecord) -> DeliveryOutcome {
        let is_ok = fastrand::u32(0..10) > 0;
        let key = record.key_str().expect("a key").to_owned();
        let mut by_key = self.by_key.lock().expect("no panic");
        let of_key = by_key.entry(key).or_default();
        of_key.push((record.offset().get(), is_ok));
        if is_ok {
            DeliveryOutcome::Ack
        } else {
            DeliveryOutcome::nack("not this time")
        }
    }

    /// Nothing of a key was begun with before all that comes before it had succeeded.
    fn assert_in_order(&self) {
        for (key, begun) in &*self.by_key.lock().expect("no panic") {
            let offsets: BTreeSet<_> = begun.iter().map(|(offset, _)| *offset).collect();
            let mut succeeded = BTreeSet::new();
            for (offset, is_ok) in begun {
                let mut before = offsets.range(..offset);
                let is_next = before.all(|it| succeeded.contains(it));
                assert!(is_next, "key {key}: {offset} in {begun:?}");
                succeeded.extend(is_ok.then_some(*offset));
            }
        }
    }
}

/// Lets two consumers handle everything, side by side, and shuts them down.
async fn handle_all(broker: &TestBroker) -> Arc<Seen> {
    let seen = Arc::new(Seen::default());
    let mut running = Vec::new();
    let mut handles: Vec<SubscriberShutdownHandle> = Vec::new();
    for _ in 0..2 {
        let builder = broker.client().subscriber(NAME).max_in_flight(200);
        let subscriber: Subscriber = builder.build();
        handles.push(subscriber.shutdown_handle());
        let seen = Arc::clone(&seen);
        running.push(tokio::spawn(subscriber.for_each(ByKey(8), move |record| {
            let seen = Arc::clone(&seen);
            async move {
                tokio::task::yield_now().await;
                seen.handle(&record)
            }
        })));
    }
    broker.wait_until_all_is_settled().await;
    for handle in handles {
        handle.shutdown(Drain::FinishWithin(Duration::from_secs(30)));
    }
    for running in running {
        let outcome = soon(running).await.expect("no panic");
        outcome.expect("it was shut down");
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_key_is_in_order_through_failures() {
    let broker = TestBroker::start(2, SubscriptionMode::KeyShared).await;
    broker.produce(3_000, 50, 10).await;
    handle_all(&broker).await.assert_in_order();
}

/// A run of one key comes in several messages then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_key_of_large_records_is_in_order_through_failures() {
    let broker = TestBroker::start(2, SubscriptionMode::KeyShared).await;
    broker.produce(600, 6, 60_000).await;
    handle_all(&broker).await.assert_in_order();
}

#[tokio::test]
async fn who_shuts_down_gives_back_what_waits_while_it_finishes() {
    let broker = TestBroker::start(1, SubscriptionMode::KeyShared).await;
    broker.produce(100, 50, 10).await;
    let mut subscriber = broker.client().subscriber(NAME).build();
    let delivery = soon(subscriber.next_delivery()).await;
    let delivery = delivery.expect("records").expect("a hundred");
    let drain = Drain::FinishWithin(Duration::from_secs(30));
    subscriber.shutdown_handle().shutdown(drain);
    broker.wait_until_in_flight(1).await;
    soon(delivery.confirmed_ack()).await.expect("it was kept");
    soon(subscriber.close()).await;
    broker.wait_until_in_flight(0).await;
    assert_eq!(broker.lag().await, 99, "for others");
}
