//! Workers of a subscription and of two groups that handle each record with one commit, by hand and by
//! `for_each_commit`, while they and the broker are killed again and again: each record has one result for
//! each of them and one reminder, which comes when it is due.
//!
//! `FORWARD_KILLS` is how often something happens, `SEED` what happens when. Workers are tasks that are ended
//! wherever they are; the broker is a process.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use fastrand::Rng;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use towpath_client::{
    ByPartition, Client, Commit, Error, ForEachError, GroupRecord, NewSubscription, NewTopic,
    ReceivedRecord, Record, Schedule, Start,
};
use towpath_tests::process::BrokerSetup;

use crate::flights::PATIENCE;
use crate::{number, seed};

const SOURCES: &str = "sources";
const RESULTS: &str = "results";
const REMINDERS: &str = "reminders";
const WORKERS: &str = "workers";
const MOVERS: &str = "movers";
const HANDLERS: &str = "handlers";
/// Who makes a result of each record.
const LANES: [&str; 3] = [WORKERS, MOVERS, HANDLERS];
/// Workers of each kind.
const COUNT: usize = 2;
const KEYS: u64 = 7;
/// Records that are written between one thing that happens and the next.
const WRITTEN: u64 = 60;
const PAUSE_MS: std::ops::Range<u64> = 20..200;
/// How far ahead reminders are.
const DELAY_MS: std::ops::Range<u64> = 0..600;
const LOOK: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_record_is_handled_once_by_commits_through_any_kill() {
    let (kills, mut random) = (number("FORWARD_KILLS", 8), Rng::with_seed(seed("forwards")));
    let folder = tempfile::tempdir().expect("a folder");
    let setup = BrokerSetup::new(folder.path().join("data"));
    let mut broker = setup.start();
    let client = Client::connect(setup.url()).expect("the URL of a broker");
    prepare(&client).await;
    let mut workers: Vec<_> = (0..LANES.len() * COUNT)
        .map(|it| start(it, &setup))
        .collect();
    let mut written = 0;
    for _ in 0..kills {
        write(&client, written..written + WRITTEN).await;
        written += WRITTEN;
        sleep(Duration::from_millis(random.u64(PAUSE_MS))).await;
        let which = random.usize(..(LANES.len() + 1) * COUNT);
        if let Some(worker) = workers.get_mut(which) {
            worker.abort();
            *worker = start(which, &setup);
        }
        if which % 2 == 0 {
            drop(broker.kill());
            broker = setup.start();
        }
    }
    let expected = all_of(written);
    let looked = async {
        // What is there and complete is checked; all else that may come would be too much, and is looked for
        // again behind what was written last.
        while count(&client, RESULTS).await < expected.len() as u64
            || count(&client, REMINDERS).await < expected.len() as u64
        {
            for (number, worker) in workers.iter_mut().enumerate() {
                if worker.is_finished() {
                    *worker = start(number, &setup);
                }
            }
            sleep(LOOK).await;
        }
        await_settled(&client).await;
    };
    timeout(PATIENCE, looked).await.expect("all is handled");
    workers.iter().for_each(JoinHandle::abort);
    let results = read(&client, RESULTS).await;
    assert_eq!(texts(&results), expected, "each has one result of all");
    let reminders = read(&client, REMINDERS).await;
    assert_eq!(texts(&reminders), expected, "each has one reminder of all");
    check_due(&reminders);
    println!("{} commits through {kills} kills", expected.len());
}

async fn prepare(client: &Client) {
    let admin = client.admin();
    for topic in [SOURCES, RESULTS, REMINDERS] {
        let topic = NewTopic::new(topic).partitions(3);
        admin.create_topic(topic).await.expect("a topic");
    }
    let subscription = NewSubscription::new(WORKERS, SOURCES, Start::Beginning)
        .attempts_max(1_000)
        .backoff(Duration::from_millis(20), Duration::from_millis(100));
    let created = admin.create_subscription(subscription).await;
    created.expect("a subscription");
}

async fn write(client: &Client, numbers: std::ops::Range<u64>) {
    let producer = client.producer(SOURCES).build();
    for number in numbers {
        let record = Record::new(number.to_string()).key(format!("key-{}", number % KEYS));
        drop(producer.enqueue(record).await.expect("room"));
    }
    producer.close().await.expect("all on disk");
}

/// Starts a worker of the subscription, or of a group. It has a connection of its own, and ends when it
/// cannot know how to go on.
fn start(number: usize, setup: &BrokerSetup) -> JoinHandle<Result<(), Error>> {
    let client = Client::connect(setup.url()).expect("the URL of a broker");
    match LANES[number % LANES.len()] {
        WORKERS => tokio::spawn(work(client)),
        MOVERS => tokio::spawn(move_on(client)),
        _ => tokio::spawn(handle(client)),
    }
}

/// One result of a record, and a reminder of it.
fn forward(commit: Commit, lane: &str, record: &ReceivedRecord) -> Commit {
    let text = format!("{lane} {}", record.value_str().expect("a number"));
    let delay = Duration::from_millis(fastrand::u64(DELAY_MS));
    let reminder = Schedule::new(REMINDERS, Record::new(text.clone()))
        .after(delay)
        .id(text.clone());
    commit.append(RESULTS, Record::new(text)).schedule(reminder)
}

async fn work(client: Client) -> Result<(), Error> {
    let mut subscriber = client.subscriber(WORKERS).build();
    while let Some(delivery) = subscriber.next_delivery().await? {
        let commit = forward(client.commit(), WORKERS, &delivery);
        // If it fails the record comes again, unless it has happened.
        drop(commit.ack(delivery).send().await);
    }
    Ok(())
}

async fn move_on(client: Client) -> Result<(), Error> {
    let group = client.group(MOVERS).topics([SOURCES]);
    let mut consumer = group.start(Start::Beginning).build();
    while let Some(record) = consumer.next_record().await? {
        let commit = forward(client.commit(), MOVERS, &record);
        let sent = commit.offsets(&consumer, &record).send().await;
        // What comes next rests on it: another consumer begins where the group is.
        drop(sent?);
    }
    Ok(())
}

async fn handle(client: Client) -> Result<(), Error> {
    let group = client.group(HANDLERS).topics([SOURCES]);
    let consumer = group.start(Start::Beginning).build();
    let handler = async |record: GroupRecord, commit: Commit| {
        Ok::<_, Infallible>(forward(commit, HANDLERS, &record))
    };
    match consumer.for_each_commit(ByPartition(3), handler).await {
        Ok(()) => Ok(()),
        Err(ForEachError::Consumer(error) | ForEachError::Commit { error, .. }) => Err(error),
        Err(ForEachError::Handler { error, .. }) => match error {},
        Err(other) => panic!("{other}"),
    }
}

/// What there is to be of each record: how often by its text.
fn all_of(written: u64) -> BTreeMap<String, u64> {
    let texts = (0..written).flat_map(|it| LANES.map(|lane| format!("{lane} {it}")));
    texts.map(|text| (text, 1)).collect()
}

fn texts(records: &[ReceivedRecord]) -> BTreeMap<String, u64> {
    let mut texts = BTreeMap::new();
    for record in records {
        let text = record.value_str().expect("text").to_owned();
        *texts.entry(text).or_default() += 1;
    }
    texts
}

/// How many records a topic has.
async fn count(client: &Client, topic: &str) -> u64 {
    read(client, topic).await.len() as u64
}

async fn read(client: &Client, topic: &str) -> Vec<ReceivedRecord> {
    let mut reader = client.reader([topic]).build();
    let mut records = Vec::new();
    while let Some(record) = reader.next_record().await.expect("it is read") {
        records.push(record);
    }
    records
}

/// Waits until the subscription and the groups are at the end.
async fn await_settled(client: &Client) {
    let admin = client.admin();
    loop {
        let shown = admin.subscription(WORKERS).await.expect("a subscription");
        let open: u64 = shown.partitions.iter().map(|it| it.lag_records).sum();
        let mut behind = 0;
        for group in [MOVERS, HANDLERS] {
            let group = admin.group(group).await.expect("a group");
            behind += group
                .partitions
                .iter()
                .map(|it| it.lag_records)
                .sum::<u64>();
        }
        if open == 0 && behind == 0 {
            return;
        }
        sleep(LOOK).await;
    }
}

/// No reminder is early, and those of a partition come in due order.
fn check_due(reminders: &[ReceivedRecord]) {
    let mut last = BTreeMap::new();
    let mut by_place: Vec<_> = reminders.iter().collect();
    by_place.sort_by_key(|it| (it.partition(), it.offset()));
    for record in by_place {
        let due_ms = record.header_str("towpath-scheduled-at-ms");
        let due_ms: u64 = due_ms.and_then(|it| it.parse().ok()).expect("when");
        let due = SystemTime::UNIX_EPOCH + Duration::from_millis(due_ms);
        assert!(record.append_time() >= due, "{record:?} is early");
        let before = last.insert(record.partition(), due_ms);
        assert!(before <= Some(due_ms), "{record:?} behind {before:?}");
    }
}
