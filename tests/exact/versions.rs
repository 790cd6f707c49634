//! Versions of entities that come in any order: the newest wins everywhere.

use std::collections::BTreeMap;

use tokio::task::JoinSet;
use towpath_client::{ErrorReason, NewTopic, Record, StaleRecords};

use crate::harness::{TestBroker, random};

const TOPIC: &str = "users";
const KEYS: u64 = 8;
const VERSIONS: u64 = 40;
const SENDERS: usize = 4;

/// All versions of all entities in any order, each a few times, dealt out to those who send them.
fn shuffled() -> Vec<Vec<(u64, u64)>> {
    let mut random = random("versions of entities");
    let versions = (0..KEYS).flat_map(|key| (1..=VERSIONS).map(move |version| (key, version)));
    let mut all: Vec<_> = versions.collect();
    for _ in 0..KEYS * VERSIONS / 4 {
        let again = all[random.usize(..all.len())];
        all.push(again);
    }
    random.shuffle(&mut all);
    all.chunks(all.len().div_ceil(SENDERS))
        .map(<[_]>::to_vec)
        .collect()
}

/// Sends everything, with a restart in between; returns how many were refused.
async fn send(mut broker: TestBroker) -> (TestBroker, usize) {
    let mut refused = 0;
    let hands = shuffled();
    let len = hands.iter().map(Vec::len).max().unwrap_or(0);
    for part in 0..2 {
        let mut sending = JoinSet::new();
        for hand in &hands {
            let part = hand.chunks(len.div_ceil(2)).nth(part);
            let records = part.unwrap_or_default().to_vec();
            let producer = broker.client().producer(TOPIC).build();
            sending.spawn(async move {
                let mut receipts = Vec::new();
                for (key, version) in records {
                    let record = Record::new(version.to_string()).key(key.to_string());
                    let record = record.entity_version(version);
                    receipts.push(producer.enqueue(record).await.expect("room"));
                }
                let mut refused = 0;
                for receipt in receipts {
                    if let Err(error) = receipt.await {
                        let reason = error.reason();
                        assert_eq!(reason, Some(ErrorReason::StaleEntityVersion), "{error}");
                        refused += 1;
                    }
                }
                refused
            });
        }
        while let Some(count) = sending.join_next().await {
            refused += count.expect("no panic");
        }
        broker = broker.restart().await;
    }
    (broker, refused)
}

/// For each key the versions that a reader sees, with those they are behind of.
async fn seen(broker: &TestBroker) -> BTreeMap<String, Vec<(u64, Option<u64>)>> {
    let mut seen: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for record in broker.records(TOPIC).await {
        let version = record.entity_version().expect("a version");
        assert_eq!(record.value_str(), Some(&*version.to_string()), "its own");
        let key = record.key_str().expect("a key").to_owned();
        seen.entry(key)
            .or_default()
            .push((version, record.stale_behind()));
    }
    seen
}

async fn check_latest(broker: &TestBroker) {
    let client = broker.client();
    for key in 0..KEYS {
        let latest = client.get_latest(TOPIC, key.to_string()).await;
        let latest = latest.expect("it is read").record.expect("a record");
        let version = latest.record.entity_version();
        assert_eq!(version, Some(VERSIONS), "newest of key {key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_old_news_is_refused_every_version_is_newer_than_the_one_before() {
    let topic = NewTopic::new(TOPIC).partitions(3);
    let broker = TestBroker::start(topic.stale_records(StaleRecords::Refuse)).await;
    let (broker, refused) = send(broker).await;
    let seen = seen(&broker).await;
    assert_eq!(seen.len() as u64, KEYS, "keys");
    for (key, versions) in &seen {
        let is_newer = versions.is_sorted_by(|(one, _), (next, _)| one < next);
        assert!(is_newer, "key {key}: {versions:?}");
        assert_eq!(versions.last(), Some(&(VERSIONS, None)), "key {key}");
    }
    let written: usize = seen.values().map(Vec::len).sum();
    let sent = KEYS * VERSIONS + KEYS * VERSIONS / 4;
    assert_eq!(
        written + refused,
        usize::try_from(sent).expect("few"),
        "all of them"
    );
    check_latest(&broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_old_news_is_marked_all_that_is_not_marked_is_newer() {
    let topic = NewTopic::new(TOPIC).partitions(3);
    let broker = TestBroker::start(topic.stale_records(StaleRecords::Mark)).await;
    let (broker, refused) = send(broker).await;
    assert_eq!(refused, 0, "nothing is refused");
    let seen = seen(&broker).await;
    let count: usize = seen.values().map(Vec::len).sum();
    let sent = KEYS * VERSIONS + KEYS * VERSIONS / 4;
    assert_eq!(count as u64, sent, "all of them");
    for (key, versions) in &seen {
        let mut newest = 0;
        for (version, behind) in versions {
            // Marked with the newest that there was, if and only if it is not newer.
            let expected = (*version <= newest).then_some(newest);
            assert_eq!(*behind, expected, "key {key}: {versions:?}");
            newest = newest.max(*version);
        }
        assert_eq!(newest, VERSIONS, "key {key}");
    }
    check_latest(&broker).await;
}
