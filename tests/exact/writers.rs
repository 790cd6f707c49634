//! Many who write to one key at once, each of them only behind what it has read.

use std::collections::BTreeSet;

use tokio::task::JoinSet;
use towpath_client::{Client, Error, ErrorReason, NewTopic, Position, Producer, Record};

use crate::harness::TestBroker;

const TOPIC: &str = "accounts";
const KEY: &str = "alice";
const WRITERS: usize = 100;
/// Connections that they share.
const CLIENTS: usize = 4;
const RACES: u64 = 5;
/// Records that each writer gets into the log.
const RECORDS_EACH: u64 = 3;

/// Someone who writes, half of them by commits.
#[derive(Clone)]
struct Writer {
    client: Client,
    producer: Producer,
    number: usize,
}

async fn broker() -> (TestBroker, Vec<Writer>) {
    let topic = NewTopic::new(TOPIC).partitions(2).key_versions();
    let broker = TestBroker::start(topic).await;
    let clients: Vec<_> = (0..CLIENTS).map(|_| broker.client()).collect();
    let writers = (0..WRITERS).map(|number| {
        let client = clients[number % CLIENTS].clone();
        Writer {
            producer: client.producer(TOPIC).build(),
            client,
            number,
        }
    });
    (broker, writers.collect())
}

impl Writer {
    async fn write(&self, value: String, version: u64) -> Result<Position, Error> {
        let record = Record::new(value).key(KEY).expect_version(version);
        if self.number.is_multiple_of(2) {
            return self.producer.send(record).await.map_err(Error::from);
        }
        let committed = self.client.commit().append(TOPIC, record).send().await;
        let committed = committed.map_err(Error::from)?;
        Ok(*committed.positions().next().expect("its position"))
    }
}

/// The version that the key has, as a refusal says.
fn current_version(refusal: &Error) -> u64 {
    let reason = refusal.reason();
    assert_eq!(
        reason,
        Some(ErrorReason::ExpectedVersionMismatch),
        "{refusal}"
    );
    assert!(refusal.has_no_side_effects(), "{refusal}");
    let current = refusal.metadata("current_version").expect("it is told");
    current.parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_that_expect_the_same_version_one_writes() {
    let (broker, writers) = broker().await;
    for version in 0..RACES {
        let mut race = JoinSet::new();
        for writer in &writers {
            let writer = writer.clone();
            race.spawn(async move { writer.write(version.to_string(), version).await });
        }
        let mut winners = 0;
        while let Some(outcome) = race.join_next().await {
            match outcome.expect("no panic") {
                Ok(_position) => winners += 1,
                Err(refusal) => assert_eq!(current_version(&refusal), version + 1, "{refusal}"),
            }
        }
        assert_eq!(winners, 1, "behind version {version}");
    }
    let records = broker.records(TOPIC).await;
    let values: Vec<_> = records
        .iter()
        .map(|it| it.value_str().expect("text"))
        .collect();
    assert_eq!(values, ["0", "1", "2", "3", "4"], "one of each race");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_that_read_and_try_again_leave_dense_versions() {
    let (broker, writers) = broker().await;
    let mut writing = JoinSet::new();
    for writer in writers {
        writing.spawn(async move {
            let mut versions = Vec::new();
            let latest = writer.client.get_latest(TOPIC, KEY).await;
            let mut version = latest.expect("it is read").current_version;
            while (versions.len() as u64) < RECORDS_EACH {
                // The record says behind what it was decided.
                match writer.write(version.to_string(), version).await {
                    Ok(_position) => {
                        versions.push(version);
                        version += 1;
                    }
                    Err(refusal) => {
                        let current = current_version(&refusal);
                        assert!(current > version, "{refusal}");
                        version = current;
                    }
                }
            }
            versions
        });
    }
    let mut won = BTreeSet::new();
    while let Some(versions) = writing.join_next().await {
        for version in versions.expect("no panic") {
            assert!(
                won.insert(version),
                "two have written behind version {version}"
            );
        }
    }
    let count = WRITERS as u64 * RECORDS_EACH;
    assert!(won.into_iter().eq(0..count), "versions without a gap");
    let broker = broker.restart().await;
    let records = broker.records(TOPIC).await;
    let decided = records.iter().map(|it| it.value_str().expect("text"));
    let expected: Vec<_> = (0..count).map(|it| it.to_string()).collect();
    assert!(decided.eq(expected.iter()), "each behind what it has read");
    let latest = broker.client().get_latest(TOPIC, KEY).await;
    let latest = latest.expect("it is read");
    assert_eq!(latest.current_version, count, "after a restart");
}
