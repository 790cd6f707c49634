//! The state of a topic at some point, and what follows from there: each record in one of the two, also while
//! others write and the topic is compacted.

use std::collections::BTreeMap;

use towpath_client::{Client, KeyState, NewTopic, Record};

use crate::harness::{TestBroker, random};

const TOPIC: &str = "customers";
const KEYS: u64 = 20;
const CHANGES: u64 = 2_000;
const READERS_MAX: usize = 20;

/// Values by key; those that are gone have none.
type Values = BTreeMap<Vec<u8>, Vec<u8>>;

fn values_of(state: &KeyState) -> Values {
    let records = state.records.iter();
    records
        .map(|((_, key), record)| (key.to_vec(), record.value().unwrap_or_default().to_vec()))
        .collect()
}

/// Changes values and lets go of some; returns what is left.
async fn change(client: Client) -> Values {
    let mut random = random("changes");
    let producer = client.producer(TOPIC).build();
    let mut left = Values::new();
    for number in 0..CHANGES {
        let key = format!("customer-{}", random.u64(..KEYS)).into_bytes();
        let record = match random.u8(..5) {
            0 => {
                left.remove(&key);
                Record::tombstone(key)
            }
            _ => {
                let value = number.to_string().into_bytes();
                left.insert(key.clone(), value.clone());
                Record::new(value).key(key)
            }
        };
        let receipt = producer.enqueue(record).await.expect("room");
        if number % 50 == 0 {
            receipt.await.expect("it is written");
        }
    }
    producer.close().await.expect("all is written");
    left
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_and_what_follows_are_all_that_was_written() {
    let topic = NewTopic::new(TOPIC).partitions(3).compact();
    let broker = TestBroker::start(topic).await;
    let writing = tokio::spawn(change(broker.client()));
    let mut readers = Vec::new();
    while !writing.is_finished() {
        let client = broker.client();
        let (state, changes) = { client.reader([TOPIC]).state_then_follow() }
            .await
            .expect("a state");
        assert_eq!(state.gaps, [], "nothing but what compaction lets go of");
        if readers.len() < READERS_MAX {
            readers.push((values_of(&state), changes));
        }
        client
            .admin()
            .compact_topic(TOPIC)
            .await
            .expect("asked for");
    }
    let left = writing.await.expect("no panic");
    let (last, _) = { broker.client().reader([TOPIC]).state_then_follow() }
        .await
        .expect("a state");
    assert_eq!(values_of(&last), left, "as it was written");
    assert!(!readers.is_empty(), "nobody read beside the writer");
    for (mut values, mut changes) in readers {
        let ends = { broker.client().reader([TOPIC]).state_then_follow() };
        let ends = ends.await.expect("a state").1.next_offsets();
        while changes.next_offsets() != ends {
            let record = changes.next_record().await.expect("it goes on");
            let record = record.expect("it follows");
            let key = record.key().expect("a key").to_vec();
            match record.value() {
                Some(value) => drop(values.insert(key, value.to_vec())),
                None => drop(values.remove(&key)),
            }
        }
        assert_eq!(values, left, "the state, and what followed");
    }
}
