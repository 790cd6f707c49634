//! The history of a key is what a scan finds of it, whoever has written it, after restarts and trims.

use std::collections::BTreeMap;

use fastrand::Rng;
use towpath_client::{
    Client, KeyItem, KeyReaderBuilder, NewTopic, PartitionId, ReceivedRecord, Record, Start,
    TopicTrim,
};

use crate::harness::{TestBroker, random};

const TOPIC: &str = "accounts";
const PARTITIONS: u32 = 3;
const KEYS: u64 = 6;

/// A version of a key: where it is, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Version {
    number: u64,
    place: (u32, u64),
    lsn: u64,
    value: Option<Vec<u8>>,
}

type Histories = BTreeMap<String, Vec<Version>>;

impl Version {
    fn of(number: u64, record: &ReceivedRecord) -> Self {
        Self {
            number,
            place: (record.partition().get(), record.offset().get()),
            lsn: record.lsn().get(),
            value: record.value().map(<[u8]>::to_vec),
        }
    }
}

fn any_record(random: &mut Rng) -> Record {
    let record = match random.u8(..10) {
        0 => Record::default(),
        _ => Record::new(random.u64(..).to_string()),
    };
    match random.u8(..8) {
        // Nobody counts those without a key.
        0 => Record::new("no key"),
        _ => record.key(random.u64(..KEYS).to_string()),
    }
}

/// The versions of a key are those of the topic, wherever its records are. In one entry they must go to one
/// partition, so that only what is written by itself goes elsewhere.
fn anywhere(record: Record, random: &mut Rng) -> Record {
    match random.u8(..6) {
        0 => record.partition(PartitionId::new(random.u32(..PARTITIONS))),
        _ => record,
    }
}

/// Writes some records, one by one, in batches, published and committed.
async fn write(client: &Client, random: &mut Rng) {
    let producer = client.producer(TOPIC).build();
    for _ in 0..random.usize(1..20) {
        let count = random.usize(1..12);
        let records: Vec<_> = (0..count).map(|_| any_record(random)).collect();
        match random.u8(..5) {
            0 => drop(client.publish(TOPIC, records).await.expect("published")),
            1 => {
                let commit = client.commit().append_all(TOPIC, records);
                drop(commit.send().await.expect("committed"));
            }
            _ => {
                for record in records {
                    let record = anywhere(record, random);
                    drop(producer.enqueue(record).await.expect("room"));
                }
                producer.flush().await.expect("written");
            }
        }
    }
    producer.close().await.expect("written");
}

/// What a scan finds; all records are there.
async fn scan(broker: &TestBroker) -> Histories {
    let mut histories = Histories::new();
    for record in broker.records(TOPIC).await {
        if let Some(key) = record.key_str() {
            let versions = histories.entry(key.to_owned()).or_default();
            versions.push(Version::of(versions.len() as u64 + 1, &record));
        }
    }
    histories
}

/// Reads a history; gaps are told by their versions.
async fn read(builder: KeyReaderBuilder) -> (Vec<Version>, Vec<u64>) {
    let mut reader = builder.build();
    let (mut versions, mut gone) = (Vec::new(), Vec::new());
    while let Some(item) = reader.next_item().await {
        match item.expect("it is read") {
            KeyItem::Record(it) => versions.push(Version::of(it.version, &it.record)),
            KeyItem::Gap(gap) => gone.extend(gap.versions),
            other => unreachable!("{other:?}"),
        }
    }
    (versions, gone)
}

async fn check(broker: &TestBroker, histories: &Histories, starts: &[u64], random: &mut Rng) {
    let client = broker.client();
    for key in (0..KEYS).map(|it| it.to_string()) {
        let none = Vec::new();
        let all = histories.get(&key).unwrap_or(&none);
        let is_kept = |it: &&Version| it.place.1 >= starts[it.place.0 as usize];
        let from = random.u64(0..all.len() as u64 + 2);
        let wanted = all.iter().filter(|it| it.number >= from);
        let kept: Vec<_> = wanted.clone().filter(is_kept).cloned().collect();
        let lost = wanted.filter(|it| !is_kept(it)).map(|it| it.number);
        let lost: Vec<_> = lost.collect();
        let whole = || client.read_key(TOPIC, key.clone()).from_version(from);
        let (found, gone) = read(whole()).await;
        assert_eq!((&found, &gone), (&kept, &lost), "key {key} from {from}");
        let (mut found, mut gone) = read(whole().newest_first()).await;
        found.reverse();
        gone.sort_unstable();
        assert_eq!((&found, &gone), (&kept, &lost), "key {key} back to {from}");
        let limit = random.usize(1..8);
        let (found, _) = read(whole().limit(limit as u64)).await;
        assert_eq!(
            found[..],
            kept[..limit.min(kept.len())],
            "first of key {key}"
        );
        let latest = client.get_latest(TOPIC, key.clone()).await;
        let latest = latest.expect("it is read");
        assert_eq!(latest.current_version, all.len() as u64, "key {key}");
        let found = latest.record.map(|it| Version::of(it.version, &it.record));
        assert_eq!(
            found.as_ref(),
            all.last().filter(is_kept),
            "newest of key {key}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_is_what_a_scan_finds_of_the_key() {
    let mut random = random("histories");
    let topic = NewTopic::new(TOPIC).partitions(PARTITIONS).key_versions();
    let mut broker = TestBroker::start(topic).await;
    let mut starts = [0; PARTITIONS as usize];
    for round in 0..4 {
        write(&broker.client(), &mut random).await;
        if round % 2 == 0 {
            broker = broker.restart().await;
        }
        let histories = scan(&broker).await;
        check(&broker, &histories, &starts, &mut random).await;
    }
    let histories = scan(&broker).await;
    for round in 0..4 {
        let partition = random.u32(..PARTITIONS);
        let ends = histories
            .values()
            .flatten()
            .filter(|it| it.place.0 == partition);
        let end = ends.map(|it| it.place.1 + 1).max().unwrap_or(0);
        let before = random.u64(0..=end);
        let trim = TopicTrim::before(TOPIC, Start::Offset(towpath_client::Offset::new(before)));
        let trim = trim.partitions([PartitionId::new(partition)]);
        broker
            .client()
            .admin()
            .trim_topic(trim)
            .await
            .expect("trimmed");
        let start = &mut starts[partition as usize];
        *start = before.max(*start);
        if round % 2 == 1 {
            broker = broker.restart().await;
        }
        check(&broker, &histories, &starts, &mut random).await;
    }
}
