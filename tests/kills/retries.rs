//! Relays that send every event again and again, and forget themselves what they have sent, while the broker is
//! killed under them: each event is there once.
//!
//! `STORMS` is the number of kills, `SEED` what the moments and the order come from. Each attempt has a
//! producer of its own, so that nothing but the dedupe window knows an event again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use towpath_client::{Client, Event, Position};
use towpath_tests::process::BrokerSetup;

use crate::flights::run;
use crate::{number, seed};

const TOPIC: &str = "orders";
const EVENTS: u64 = 100;
const RELAYS: u64 = 3;
/// How long a relay waits for an answer before it takes the event for lost.
const IMPATIENCE: Duration = Duration::from_millis(200);
/// How long a broker lives.
const LIFE_MS: std::ops::Range<u64> = 20..400;
/// Most events of one attempt.
const ATTEMPT_MAX: usize = 20;

#[test]
fn a_retry_storm_over_restarts_leaves_one_copy() {
    let (kills, seed) = (number("STORMS", 6), seed("retries"));
    let folder = tempfile::tempdir().expect("a folder");
    let setup = BrokerSetup::new(folder.path().join("data"));
    let mut broker = setup.start();
    let create = ["topic", "create", TOPIC, "--partitions", "3"];
    run(&setup, &[&create[..], &["--dedupe-window", "1h"]].concat());
    let runtime = Runtime::new().expect("a runtime");
    let has_calmed = Arc::new(AtomicBool::new(false));
    let relays: Vec<_> = (0..RELAYS)
        .map(|relay| {
            let relay = Relay {
                url: setup.url(),
                random: Rng::with_seed(seed.wrapping_add(relay)),
                places: BTreeMap::new(),
                has_calmed: Arc::clone(&has_calmed),
            };
            runtime.spawn(relay.storm())
        })
        .collect();
    let mut random = Rng::with_seed(seed);
    for _ in 0..kills {
        let life = Duration::from_millis(random.u64(LIFE_MS));
        runtime.block_on(async { tokio::time::sleep(life).await });
        drop(broker.kill());
        broker = setup.start();
    }
    has_calmed.store(true, Ordering::Relaxed);
    runtime.block_on(check(&setup.url(), relays, seed));
    drop(broker.kill());
}

/// Someone who sends all events, and remembers only where it was told that they are.
struct Relay {
    url: String,
    random: Rng,
    places: BTreeMap<u64, Vec<Position>>,
    has_calmed: Arc<AtomicBool>,
}

impl Relay {
    /// Goes on until the broker is killed no more, and every event was acknowledged.
    async fn storm(mut self) -> BTreeMap<u64, Vec<Position>> {
        while !self.has_calmed.load(Ordering::Relaxed) || (self.places.len() as u64) < EVENTS {
            self.attempt().await;
        }
        self.places
    }

    /// Sends some events as one who knows nothing of earlier attempts.
    async fn attempt(&mut self) {
        let client = Client::builder().url(&self.url).give_up_after(IMPATIENCE);
        let client = client.build().expect("a client");
        let producer = client.producer(TOPIC).give_up_after(IMPATIENCE).build();
        let mut receipts = Vec::new();
        for _ in 0..self.random.usize(1..=ATTEMPT_MAX) {
            let number = self.random.u64(..EVENTS);
            let event = Event::new("order.placed", number.to_string())
                .source("/shop")
                .id(number.to_string())
                .key((number % 10).to_string());
            if let Ok(receipt) = producer.enqueue(event).await {
                receipts.push((number, receipt));
            }
        }
        for (number, receipt) in receipts {
            // What fails may have been written all the same, and is sent again.
            if let Ok(position) = receipt.await {
                self.places.entry(number).or_default().push(position);
            }
        }
    }
}

type Storm = JoinHandle<BTreeMap<u64, Vec<Position>>>;

async fn check(url: &str, relays: Vec<Storm>, seed: u64) {
    let mut told: BTreeMap<u64, Vec<Position>> = BTreeMap::new();
    for relay in relays {
        for (number, positions) in relay.await.expect("it ends") {
            told.entry(number).or_default().extend(positions);
        }
    }
    let client = Client::connect(url).expect("a client");
    let mut reader = client.reader([TOPIC]).build();
    let mut places = BTreeMap::new();
    while let Some(record) = reader.next_record().await.expect("it is read") {
        let number: u64 = record
            .ce_id()
            .and_then(|it| it.parse().ok())
            .expect("an id");
        let place = (record.partition(), record.offset());
        let earlier = places.insert(number, place);
        assert_eq!(earlier, None, "SEED={seed}: event {number} is there twice");
    }
    assert_eq!(places.len() as u64, EVENTS, "SEED={seed}: all events");
    let mut repeated_count = 0;
    for (number, positions) in &told {
        for position in positions {
            let place = (position.partition, position.offset);
            let expected = places.get(number);
            assert_eq!(Some(&place), expected, "SEED={seed}: event {number}");
            repeated_count += u64::from(position.is_repeated);
        }
        let new_count = positions.iter().filter(|it| !it.is_repeated).count();
        assert!(new_count <= 1, "SEED={seed}: event {number} was new twice");
    }
    let count: usize = told.values().map(Vec::len).sum();
    println!(
        "{EVENTS} events were acknowledged {count} times, {repeated_count} of them as repeated"
    );
}
