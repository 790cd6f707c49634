//! A durable subscription through the command line and the SDK: consumers and the broker are killed again
//! and again, and no record is lost, overtaken within its key, or handled again once that was confirmed.
//!
//! `SUBSCRIBER_KILLS` is how often something happens, `DEPLOYS` how often all consumers are stopped and
//! started, `SEED` what happens when.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use tokio::time::{Instant, sleep, timeout};
use towpath_client::{
    Client, DeadLetter, DeadLetterFilter, DeadLetterKind, NewSubscription, NewTopic, Record,
    RedriveDeadLetters, Start,
};
use towpath_tests::process::{BrokerProcess, BrokerSetup, Running, Signal, spawn_cli};

use crate::flights::PATIENCE;
use crate::{number, seed};

const TOPIC: &str = "orders";
const NAME: &str = "billing";
const CONSUMERS: usize = 2;
const KEYS: u64 = 12;
/// The key that cannot be handled until that is mended.
const BAD_KEY: u64 = 5;
/// Dead letters that are redriven in a second.
const REDRIVE_RATE: u32 = 30;
/// Records of each key that are written for a deploy: more than are handled before it.
const DEPLOYED_RECORDS: u64 = 20;
/// From one thing that happens to the next.
const PAUSE_MS: std::ops::Range<u64> = 50..400;
const LOOK: Duration = Duration::from_millis(20);

/// A broker, a topic, a subscription, and a file into which handlers write what they did.
struct Scene {
    setup: BrokerSetup,
    broker: Option<BrokerProcess>,
    consumers: Vec<Running>,
    folder: tempfile::TempDir,
    written: u64,
}

/// What a handler did: key, number of the record within the key, and attempt.
type Effect = (u64, u64, u32);

impl Scene {
    async fn start(attempts_max: u32) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let setup = BrokerSetup::new(folder.path().join("data"));
        let broker = setup.start();
        let scene = Self {
            setup,
            broker: Some(broker),
            consumers: Vec::new(),
            folder,
            written: 0,
        };
        let admin = scene.client().admin();
        let topic = NewTopic::new(TOPIC).partitions(3);
        admin.create_topic(topic).await.expect("a topic");
        let subscription = NewSubscription::new(NAME, TOPIC, Start::Beginning)
            .attempts_max(attempts_max)
            .backoff(Duration::from_millis(20), Duration::from_millis(100));
        let created = admin.create_subscription(subscription).await;
        created.expect("a subscription");
        scene
    }

    fn client(&self) -> Client {
        Client::connect(self.setup.url()).expect("the URL of a broker")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes so many records of each key, with their numbers.
    async fn produce(&mut self, count: u64) {
        let producer = self.client().producer(TOPIC).build();
        for number in self.written..self.written + count {
            for key in 0..KEYS {
                let record = Record::new(format!("{key} {number}")).key(format!("key-{key}"));
                drop(producer.enqueue(record).await.expect("room"));
            }
        }
        self.written += count;
        producer.close().await.expect("all on disk");
    }

    /// What handlers run: it ends its consumer, fails or does it, as files say. A file says which record
    /// is which: `poison` ends the consumer, `bad` is not mended.
    fn script(&self) -> String {
        let path = |name| self.path(name).display().to_string();
        format!(
            "read key number\n\
             if [ -e {poison} ] && [ \"$key $number\" = \"$(cat {poison})\" ]; then kill -9 $PPID; exit 1; fi\n\
             if [ -e {bad} ] && [ \"$key\" = {BAD_KEY} ]; then echo 'no such account' >&2; exit 1; fi\n\
             echo \"$key $number $TOWPATH_ATTEMPT\" >> {effects}\n",
            poison = path("poison"),
            bad = path("bad"),
            effects = path("effects"),
        )
    }

    fn mark(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).expect("a file");
    }

    fn unmark(&self, name: &str) {
        fs::remove_file(self.path(name)).expect("a file");
    }

    fn spawn_consumer(&self) -> Running {
        let script = self.script();
        let args = [
            "consume",
            "--subscription",
            NAME,
            "--parallel",
            "3",
            "--exec",
            script.as_str(),
        ];
        spawn_cli(&self.setup.url(), args, Stdio::null())
    }

    fn start_consumers(&mut self) {
        while self.consumers.len() < CONSUMERS {
            let consumer = self.spawn_consumer();
            self.consumers.push(consumer);
        }
    }

    /// Puts others in the place of consumers that have ended.
    fn replace_dead(&mut self) {
        self.consumers.retain(|it| !it.has_ended());
        self.start_consumers();
    }

    fn kill_broker(&mut self) {
        self.broker
            .take()
            .into_iter()
            .for_each(|it| drop(it.kill()));
        self.broker = Some(self.setup.start());
    }

    fn effects(&self) -> Vec<Effect> {
        let text = fs::read_to_string(self.path("effects")).unwrap_or_default();
        let lines = text.lines().map(|line| {
            let mut words = line
                .split(' ')
                .map(|word| word.parse::<u64>().expect("a number"));
            let mut next = || words.next().expect("three words");
            (next(), next(), u32::try_from(next()).expect("an attempt"))
        });
        lines.collect()
    }

    /// Waits until so many different records were handled, with others in the place of consumers that
    /// end.
    async fn await_effects(&mut self, count: u64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let done: BTreeSet<_> = self.effects().iter().map(|it| (it.0, it.1)).collect();
            if done.len() as u64 >= count {
                return;
            }
            let missing = count - done.len() as u64;
            assert!(
                Instant::now() < deadline,
                "{missing} of {count} are missing"
            );
            self.replace_dead();
            sleep(LOOK).await;
        }
    }

    async fn await_settled(&self) {
        let admin = self.client().admin();
        let waited = async {
            loop {
                let shown = admin.subscription(NAME).await.expect("a subscription");
                let lag = shown
                    .partitions
                    .iter()
                    .map(|it| it.lag_records)
                    .sum::<u64>();
                if lag == 0 {
                    break;
                }
                sleep(LOOK).await;
            }
        };
        timeout(PATIENCE, waited).await.expect("all is settled");
    }

    /// Waits until no dead letter is left: what was handled is settled a moment later.
    async fn await_no_letters(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = self.letters().await;
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "not handled: {left:?}");
            sleep(LOOK).await;
        }
    }

    async fn letters(&self) -> Vec<DeadLetter> {
        let all = DeadLetterFilter::new();
        let admin = self.client().admin();
        let mut list = admin.dead_letters(NAME, &all, 0);
        let mut letters = Vec::new();
        while let Some(page) = list.next_page().await.expect("a page") {
            letters.extend(page);
        }
        letters
    }

    fn stop(&mut self) {
        for consumer in &self.consumers {
            consumer.signal(Signal::TERM);
        }
        for consumer in self.consumers.drain(..) {
            let ended = consumer.wait(PATIENCE).expect("it ends");
            assert!(ended.stderr.is_empty() || ended.code().is_some(), "{ended}");
        }
    }
}

/// The records of each key were handled first in their order, whatever was handled again.
fn check_order(effects: &[Effect]) {
    let mut next: BTreeMap<u64, u64> = BTreeMap::new();
    for (key, number, _) in effects {
        let known = next.entry(*key).or_default();
        assert!(number <= known, "{number} of key {key} before {known}");
        *known = (number + 1).max(*known);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_comes_through_kills_of_consumers_and_broker() {
    let (kills, mut random) = (
        number("SUBSCRIBER_KILLS", 6),
        Rng::with_seed(seed("subscribers")),
    );
    let mut scene = Scene::start(2).await;
    scene.mark("bad", "");
    scene.start_consumers();
    for _ in 0..kills {
        scene.produce(3).await;
        sleep(Duration::from_millis(random.u64(PAUSE_MS))).await;
        let is_broker = random.u8(..3) == 0;
        let is_consumer = random.u8(..3) != 0;
        if is_broker || !is_consumer {
            scene.kill_broker();
        }
        if is_consumer {
            let victim = scene.consumers.swap_remove(random.usize(..CONSUMERS));
            victim.signal(Signal::KILL);
        }
        scene.replace_dead();
    }
    // All but what cannot be handled.
    let good = (KEYS - 1) * scene.written;
    scene.await_effects(good).await;
    scene.await_settled().await;
    let letters = scene.letters().await;
    assert_eq!(letters.len() as u64, scene.written, "of the bad key");
    let dead = letters.iter().filter(|it| it.kind == DeadLetterKind::Dead);
    assert_eq!(dead.count(), 1, "the others are parked behind it");
    let sources = letters.iter().map(|it| it.origin_offset);
    assert!(sources.is_sorted(), "in the order of the topic");
    scene.unmark("bad");
    redrive_through_kills(&mut scene, &mut random).await;
    scene.await_effects(KEYS * scene.written).await;
    scene.await_settled().await;
    scene.await_no_letters().await;
    scene.stop();
    check_order(&scene.effects());
    let handled = scene.effects().len() as u64;
    println!("{handled} effects of {} records", KEYS * scene.written);
}

/// Redrives all, while the broker is killed and consumers are.
async fn redrive_through_kills(scene: &mut Scene, random: &mut Rng) {
    let admin = scene.client().admin();
    // Slow enough to be amid its work when the broker is killed.
    let wish = RedriveDeadLetters::new(NAME).records_per_second_max(REDRIVE_RATE);
    let job = tokio::spawn(async move { admin.redrive(wish).finish().await });
    for _ in 0..2 {
        sleep(Duration::from_millis(random.u64(..30))).await;
        scene.kill_broker();
        let victim = scene.consumers.swap_remove(0);
        victim.signal(Signal::KILL);
        scene.replace_dead();
    }
    let done = timeout(PATIENCE, job).await.expect("it goes on");
    let done = done.expect("no panic").expect("redriven");
    let count = done.done_count + done.passed_count;
    assert!(count <= scene.written, "{done:?} of {}", scene.written);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_kills_its_consumer_dies_and_its_neighbours_pay_nothing() {
    let mut scene = Scene::start(2).await;
    scene.mark("poison", "7 1");
    scene.produce(4).await;
    // Of its key what is behind it is parked.
    let good = KEYS * scene.written - 3;
    scene.await_effects(good).await;
    let deadline = Instant::now() + PATIENCE;
    let letters = loop {
        let letters = scene.letters().await;
        if letters.len() == 3 {
            break letters;
        }
        assert!(Instant::now() < deadline, "{letters:?}");
        scene.replace_dead();
        sleep(LOOK).await;
    };
    let dead = letters.iter().filter(|it| it.kind == DeadLetterKind::Dead);
    assert_eq!(dead.count(), 1, "the others are parked behind it");
    scene.stop();
    let effects = scene.effects();
    check_order(&effects);
    let paid: Vec<_> = effects.iter().filter(|it| it.2 != 1).collect();
    assert!(paid.is_empty(), "they have failed at nothing: {paid:?}");
    assert!(
        effects.iter().all(|it| (it.0, it.1) != (7, 1)),
        "it never was handled"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deploy_again_and_again_dead_letters_nothing() {
    let deploys = number("DEPLOYS", 5);
    let mut scene = Scene::start(1).await;
    for _ in 0..deploys {
        scene.produce(DEPLOYED_RECORDS).await;
        scene.start_consumers();
        sleep(Duration::from_millis(100)).await;
        scene.stop();
    }
    scene.await_effects(KEYS * scene.written).await;
    scene.await_settled().await;
    scene.stop();
    let letters = scene.letters().await;
    assert_eq!(letters.len(), 0, "nothing has failed: {letters:?}");
    let effects = scene.effects();
    check_order(&effects);
    assert!(effects.iter().all(|it| it.2 == 1), "no attempt was counted");
    let handled = effects.len() as u64;
    assert_eq!(
        handled,
        KEYS * scene.written,
        "and nothing was handled twice"
    );
}

/// Records that were confirmed, by partition and offset.
type Confirmed = Arc<Mutex<BTreeSet<(u32, u64)>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_confirmed_never_comes_again() {
    let kills = number("SUBSCRIBER_KILLS", 6);
    let mut random = Rng::with_seed(seed("confirmed"));
    let mut scene = Scene::start(20).await;
    let confirmed = Confirmed::default();
    let consumers: Vec<_> = (0..CONSUMERS)
        .map(|_| tokio::spawn(confirm_all(scene.client(), Arc::clone(&confirmed))))
        .collect();
    for _ in 0..kills {
        scene.produce(20).await;
        sleep(Duration::from_millis(random.u64(..60))).await;
        scene.kill_broker();
    }
    scene.await_settled().await;
    for consumer in &consumers {
        assert!(!consumer.is_finished(), "it goes on");
        consumer.abort();
    }
    let count = confirmed.lock().expect("no panic").len();
    println!("{count} of {} were confirmed", KEYS * scene.written);
    assert!(count > 0, "some were");
}

/// Acks everything, and panics if something comes again of which that was confirmed.
async fn confirm_all(client: Client, confirmed: Confirmed) {
    let mut subscriber = client.subscriber(NAME).build();
    while let Some(delivery) = subscriber.next_delivery().await.expect("it goes on") {
        let place = (delivery.partition().get(), delivery.offset().get());
        let is_known = confirmed.lock().expect("no panic").contains(&place);
        assert!(!is_known, "{place:?} was confirmed and comes again");
        if delivery.confirmed_ack().await.is_ok() {
            confirmed.lock().expect("no panic").insert(place);
        }
    }
}
