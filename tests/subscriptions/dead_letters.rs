//! A consumer that cannot handle some keys, and their way back once it can.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use towpath_client::{
    ByKey, DeadLetterFilter, DeadLetterKind, DeadLetterState, DeliveredRecord, DeliveryOutcome,
    DiscardDeadLetters, Drain, RedriveDeadLetters, SubscriptionMode, dead_letter,
};

use crate::harness::{NAME, TestBroker, soon};

const RECORDS: u32 = 2_000;
const KEYS: u32 = 40;
/// Keys that cannot be handled at first.
const BAD_KEYS: [&str; 3] = ["3", "17", "30"];

/// What was handled: for each key the offsets in the topic, in the order in which they were.
#[derive(Debug, Default)]
struct Bookkeeper {
    is_mended: AtomicBool,
    handled: Mutex<BTreeMap<String, Vec<u64>>>,
}

impl Bookkeeper {
    fn handle(&self, record: &DeliveredRecord) -> DeliveryOutcome {
        let key = record.key_str().expect("a key").to_owned();
        if BAD_KEYS.contains(&key.as_str()) && !self.is_mended.load(Ordering::Relaxed) {
            return DeliveryOutcome::dead_letter(format!("no account {key}"));
        }
        let mut handled = self.handled.lock().expect("no panic");
        handled.entry(key).or_default().push(origin_offset(record));
        DeliveryOutcome::Ack
    }

    fn handled_count(&self) -> usize {
        let handled = self.handled.lock().expect("no panic");
        handled.values().map(Vec::len).sum()
    }

    /// Every record of the topic was handled once, those of a key in their order.
    fn assert_all_in_order(&self) {
        let handled = self.handled.lock().expect("no panic");
        for (key, offsets) in &*handled {
            assert_eq!(offsets.len(), (RECORDS / KEYS) as usize, "of key {key}");
            let in_order = offsets.is_sorted_by(|a, b| a < b);
            assert!(in_order, "key {key}: {offsets:?}");
        }
        assert_eq!(handled.len(), KEYS as usize, "all keys");
    }
}

/// Where a record was in the topic first.
fn origin_offset(record: &DeliveredRecord) -> u64 {
    if !record.is_redriven() {
        return record.offset().get();
    }
    let offset = record.dead_letter_header(dead_letter::OFFSET);
    offset.expect("it says so").parse().expect("a number")
}

/// Has a consumer handle records until `is_over`.
async fn handle_until(
    broker: &TestBroker,
    bookkeeper: &Arc<Bookkeeper>,
    is_over: impl AsyncFnOnce(),
) {
    let subscriber = broker.client().subscriber(NAME).build();
    let handle = subscriber.shutdown_handle();
    let of_handler = Arc::clone(bookkeeper);
    let running = tokio::spawn(subscriber.for_each(ByKey(4), move |record| {
        let bookkeeper = Arc::clone(&of_handler);
        async move {
            tokio::task::yield_now().await;
            bookkeeper.handle(&record)
        }
    }));
    is_over().await;
    handle.shutdown(Drain::FinishWithin(Duration::from_secs(30)));
    soon(running).await.expect("no panic").expect("shut down");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_cannot_be_handled_come_back_whole_and_in_order() {
    let broker = TestBroker::start(2, SubscriptionMode::KeyShared).await;
    let admin = broker.client().admin();
    broker.produce(RECORDS, KEYS, 10).await;
    let bookkeeper = Arc::new(Bookkeeper::default());
    handle_until(&broker, &bookkeeper, async || {
        broker.wait_until_all_is_settled().await;
    })
    .await;

    let all = DeadLetterFilter::new();
    let mut letters = Vec::new();
    let mut list = admin.dead_letters(NAME, &all, 0);
    while let Some(page) = list.next_page().await.expect("a page") {
        letters.extend(page);
    }
    let bad_count = BAD_KEYS.len() * (RECORDS / KEYS) as usize;
    assert_eq!(letters.len(), bad_count, "of the bad keys");
    let dead = letters.iter().filter(|it| it.kind == DeadLetterKind::Dead);
    assert_eq!(dead.count(), BAD_KEYS.len(), "the others are parked");
    assert!(letters.iter().all(|it| it.state == DeadLetterState::Dead));

    bookkeeper.is_mended.store(true, Ordering::Relaxed);
    let by_reason = DeadLetterFilter::new().reason_contains("no account 17");
    let wish = RedriveDeadLetters::new(NAME).filter(&by_reason);
    let dry = admin.redrive(wish.clone().validate_only()).finish().await;
    let of_key = (RECORDS / KEYS).into();
    assert_eq!(dry.expect("counted").done_count, of_key, "its whole key");
    let done = admin.redrive(wish).finish().await.expect("redriven");
    assert_eq!(done.done_count, of_key, "its whole key");
    let rest = RedriveDeadLetters::new(NAME);
    let done = admin.redrive(rest).finish().await.expect("redriven");
    assert_eq!((done.done_count, done.passed_count), (2 * of_key, of_key));
    handle_until(&broker, &bookkeeper, async || {
        let is_open = async || bookkeeper.handled_count() < RECORDS as usize;
        soon(async {
            while is_open().await {
                tokio::task::yield_now().await;
            }
        })
        .await;
    })
    .await;
    bookkeeper.assert_all_in_order();
    let left = admin.dead_letters(NAME, &all, 0).next_page().await;
    assert_eq!(
        left.expect("a page").map(|it| it.len()),
        Some(0),
        "all gone"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_discarded_frees_its_key() {
    let broker = TestBroker::start(1, SubscriptionMode::KeyShared).await;
    let admin = broker.client().admin();
    broker.produce(RECORDS, KEYS, 10).await;
    let bookkeeper = Arc::new(Bookkeeper::default());
    handle_until(&broker, &bookkeeper, async || {
        broker.wait_until_all_is_settled().await;
    })
    .await;
    let wish = DiscardDeadLetters::new(NAME, "these accounts are closed");
    let dry = admin.discard(wish.clone().validate_only()).finish().await;
    let bad_count = u64::from(RECORDS / KEYS) * BAD_KEYS.len() as u64;
    assert_eq!(dry.expect("counted").done_count, bad_count, "all of them");
    let done = admin.discard(wish).finish().await.expect("discarded");
    assert_eq!(done.done_count, bad_count, "all of them");
    bookkeeper.is_mended.store(true, Ordering::Relaxed);
    let before = bookkeeper.handled_count();
    broker.produce(KEYS, KEYS, 10).await;
    handle_until(&broker, &bookkeeper, async || {
        broker.wait_until_all_is_settled().await;
    })
    .await;
    let after = bookkeeper.handled_count();
    assert_eq!(after - before, KEYS as usize, "also those of the bad keys");
}

/// More of them than one batch may have, and each larger than most.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_records_come_back_as_they_went() {
    const LARGE: u32 = 100;
    let broker = TestBroker::start(1, SubscriptionMode::Shared).await;
    let admin = broker.client().admin();
    broker.produce(LARGE, LARGE, 100_000).await;
    let is_mended = Arc::new(AtomicBool::new(false));
    let handled = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..2 {
        let subscriber = broker.client().subscriber(NAME).build();
        let handle = subscriber.shutdown_handle();
        let (is_up, seen) = (Arc::clone(&is_mended), Arc::clone(&handled));
        let running = tokio::spawn(subscriber.for_each(ByKey(4), move |record| {
            let (is_up, seen) = (Arc::clone(&is_up), Arc::clone(&seen));
            async move {
                if !is_up.load(Ordering::Relaxed) {
                    return DeliveryOutcome::dead_letter("not yet");
                }
                let bytes = record.value().map(<[u8]>::len);
                seen.lock().expect("no panic").push(bytes);
                DeliveryOutcome::Ack
            }
        }));
        broker.wait_until_all_is_settled().await;
        if is_mended.swap(true, Ordering::Relaxed) {
            let all_handled = async {
                while handled.lock().expect("no panic").len() < LARGE as usize {
                    tokio::task::yield_now().await;
                }
            };
            soon(all_handled).await;
        }
        handle.shutdown(Drain::FinishWithin(Duration::from_secs(30)));
        soon(running).await.expect("no panic").expect("shut down");
        let redriven = admin.redrive(RedriveDeadLetters::new(NAME)).finish().await;
        redriven.expect("redriven");
    }
    let handled = handled.lock().expect("no panic");
    let is_whole = |bytes: &Option<usize>| *bytes == Some(100_000);
    assert!(handled.iter().all(is_whole), "each whole");
}
