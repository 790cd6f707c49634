//! `for_each`: keys side by side, each in order, committed behind what is done.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use towpath_client::{ByKey, Drain, ForEachError, GroupRecord, GroupShutdownHandle};

use crate::harness::{TestBroker, consumer, soon};

/// What handlers have seen: for each key the numbers, in the order in which they were begun.
#[derive(Debug, Default)]
struct Seen {
    by_key: Mutex<BTreeMap<String, Vec<u32>>>,
    changed: Notify,
}

impl Seen {
    fn note(&self, record: &GroupRecord) -> u32 {
        let key = record.key_str().expect("a key").to_owned();
        let number = record.value_str().expect("text").parse().expect("a number");
        let mut by_key = self.by_key.lock().expect("no panic");
        by_key.entry(key).or_default().push(number);
        drop(by_key);
        self.changed.notify_one();
        number
    }

    fn count(&self) -> usize {
        let by_key = self.by_key.lock().expect("no panic");
        by_key.values().map(Vec::len).sum()
    }

    /// Waits until so many were seen, and then shuts down.
    async fn stop_after(&self, count: usize, stop: &GroupShutdownHandle, drain: Drain) {
        while self.count() < count {
            self.changed.notified().await;
        }
        stop.shutdown(drain);
    }

    fn assert_in_order(&self) {
        for (key, numbers) in &*self.by_key.lock().expect("no panic") {
            assert!(numbers.is_sorted_by(|a, b| a < b), "key {key}: {numbers:?}");
        }
    }
}

#[tokio::test]
async fn every_record_is_handled_and_committed_in_the_order_of_its_key() {
    let broker = TestBroker::start(4).await;
    broker.produce(0..2_000, 50).await;
    let client = broker.client();
    let consumer = consumer(&client).max_in_flight(100).build();
    let stop = consumer.shutdown_handle();
    let seen = Arc::new(Seen::default());
    let handler = |record: GroupRecord| {
        let seen = Arc::clone(&seen);
        async move {
            let number = seen.note(&record);
            // Some take longer than others.
            for _ in 0..number % 5 {
                tokio::task::yield_now().await;
            }
            Ok::<_, String>(())
        }
    };
    let drain = Drain::FinishWithin(Duration::from_secs(30));
    let work = async {
        tokio::join!(
            consumer.for_each(ByKey(8), handler),
            seen.stop_after(2_000, &stop, drain)
        )
    };
    let (ended, ()) = soon(work).await;
    ended.expect("no error");
    seen.assert_in_order();
    assert_eq!(seen.count(), 2_000, "each once");
    assert_eq!(broker.lag().await, 0, "all are committed");
}

#[tokio::test]
async fn members_that_join_take_over_without_doubling_anything() {
    let broker = TestBroker::start(8).await;
    let client = broker.client();
    let seen = Arc::new(Seen::default());
    let mut stops = Vec::new();
    let mut running = Vec::new();
    for round in 0..3 {
        broker.produce(round * 500..(round + 1) * 500, 60).await;
        let consumer = consumer(&client).build();
        stops.push(consumer.shutdown_handle());
        let seen = Arc::clone(&seen);
        running.push(tokio::spawn(consumer.for_each(ByKey(4), move |record| {
            let seen = Arc::clone(&seen);
            async move {
                seen.note(&record);
                tokio::task::yield_now().await;
                Ok::<_, String>(())
            }
        })));
    }
    soon(async {
        while seen.count() < 1_500 {
            seen.changed.notified().await;
        }
    })
    .await;
    for stop in &stops {
        stop.shutdown(Drain::FinishWithin(Duration::from_secs(30)));
    }
    for running in running {
        soon(running).await.expect("no panic").expect("no error");
    }
    assert_eq!(seen.count(), 1_500, "nobody was killed: each once");
    seen.assert_in_order();
    assert_eq!(broker.lag().await, 0, "all are committed");
}

#[tokio::test]
async fn a_record_whose_handler_fails_is_not_committed() {
    let broker = TestBroker::start(1).await;
    broker.produce(0..100, 10).await;
    let client = broker.client();
    let seen = Arc::new(Seen::default());
    let handler = |record: GroupRecord| {
        let number = seen.note(&record);
        async move { if number == 42 { Err("no") } else { Ok(()) } }
    };
    let ended = soon(consumer(&client).build().for_each(ByKey(4), handler)).await;
    match ended {
        Err(ForEachError::Handler { record, error }) => {
            assert_eq!((record.to_string().as_str(), error), ("orders/0@42", "no"));
        }
        other => panic!("{other:?}"),
    }
    let partition = &broker.group().await.partitions[0];
    assert_eq!(partition.committed_offset.get(), 42, "it comes again");
    assert_eq!(partition.member_id, None, "the member has left");
}

#[tokio::test]
async fn a_stop_drops_handlers_and_commits_nothing_of_them() {
    let broker = TestBroker::start(1).await;
    broker.produce(0..10, 10).await;
    let client = broker.client();
    let consumer = consumer(&client).build();
    let stop = consumer.shutdown_handle();
    let seen = Arc::new(Seen::default());
    let handler = |record: GroupRecord| {
        let number = seen.note(&record);
        async move {
            if number == 3 {
                std::future::pending::<()>().await;
            }
            Ok::<_, String>(())
        }
    };
    let work = async {
        tokio::join!(
            consumer.for_each(ByKey(4), handler),
            seen.stop_after(10, &stop, Drain::StopNow)
        )
    };
    let (ended, ()) = soon(work).await;
    ended.expect("no error");
    assert!(broker.lag().await >= 7, "what hung is not done");
}
