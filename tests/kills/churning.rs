//! A group through the command line, again and again: members are killed, stalled and replaced while the
//! broker is killed and comes back, and everything is handled.
//!
//! `CHURNS` is how often something happens, `SEED` what it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::process::{ChildStdin, Stdio};
use std::time::Duration;

use fastrand::Rng;
use serde::Deserialize;
use tokio::time::Instant;
use towpath_tests::process::{BrokerProcess, BrokerSetup, Running, Signal, spawn_cli};

use crate::figures::Figures;
use crate::flights::{Consumed, PATIENCE, parse, run, write_lines};
use crate::members::{Member, Place, check_group, place, read_until};
use crate::{number, seed};

const TOPIC: &str = "orders";
const MEMBERS: usize = 3;
/// Enough that every partition has some.
const KEYS: u64 = 40;
/// How often all keys are written at once, so that somebody is at work when something happens.
const BURST_MAX: usize = 25;
/// From one thing that happens to the next.
const PAUSE_MS: std::ops::Range<u64> = 0..200;
/// From writing much to what happens.
const WORK_MS: std::ops::Range<u64> = 0..40;
/// How long a member stands still: it is not cut off for that.
const STALL_MS: std::ops::Range<u64> = 50..400;

#[test]
fn a_group_comes_through_kills_of_members_and_broker() {
    let (churns, seed) = (number("CHURNS", 8), seed("churn"));
    let folder = tempfile::tempdir().expect("a folder");
    let setup = BrokerSetup::new(folder.path().join("data"));
    let broker = setup.start();
    run(&setup, &["topic", "create", TOPIC, "--partitions", "8"]);
    let mut scene = Scene::new(setup, Rng::with_seed(seed));
    let mut broker = Some(broker);
    scene.catch_up();
    for churn in 0..churns {
        let trouble = scene.draw_trouble(churn);
        broker = scene.make_trouble(trouble, broker);
        let time = scene.catch_up();
        scene.figures.entry(trouble).or_default().note(time);
        scene.replace();
    }
    scene.finish();
    broker.into_iter().for_each(|broker| drop(broker.kill()));
}

/// What happens to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    MemberKilled,
    BrokerKilled,
    BothKilled,
    MemberStalled,
}

struct Scene {
    setup: BrokerSetup,
    random: Rng,
    members: Vec<Member>,
    /// What those had handled that were killed.
    dead: Vec<Vec<Consumed>>,
    producing: Running,
    stdin: ChildStdin,
    /// How many records were written.
    written: u64,
    /// Places that somebody has handled.
    handled: BTreeSet<Place>,
    /// From the trouble until what was written behind it was handled.
    figures: BTreeMap<Trouble, Figures>,
}

/// What a record holds.
#[derive(Deserialize)]
struct Written {
    number: u64,
}

impl Scene {
    fn new(setup: BrokerSetup, random: Rng) -> Self {
        let args = ["produce", TOPIC, "-f", "-", "--key-from", ".key"];
        let mut producing = spawn_cli(&setup.url(), args, Stdio::piped());
        let stdin = producing.take_stdin().expect("a pipe");
        let members = (0..MEMBERS).map(|_| Member::start(&setup, TOPIC));
        Self {
            members: members.collect(),
            setup,
            random,
            dead: Vec::new(),
            producing,
            stdin,
            written: 0,
            handled: BTreeSet::new(),
            figures: BTreeMap::new(),
        }
    }

    /// Each of them once, then as it comes.
    fn draw_trouble(&mut self, churn: u64) -> Trouble {
        let draw = if churn < 4 {
            churn * 3
        } else {
            self.random.u64(..10)
        };
        match draw {
            0..3 => Trouble::MemberKilled,
            3..6 => Trouble::BrokerKilled,
            6 => Trouble::BothKilled,
            _ if self.random.bool() => Trouble::MemberKilled,
            _ => Trouble::MemberStalled,
        }
    }

    /// Writes as many records as there are keys.
    fn write(&mut self) {
        let first = self.written;
        self.written += KEYS;
        let line = |number| format!(r#"{{"key":"{}","number":{number}}}"#, number % KEYS);
        let lines: Vec<_> = (first..self.written).map(line).collect();
        write_lines(&mut self.stdin, &lines);
    }

    fn make_trouble(
        &mut self,
        trouble: Trouble,
        mut broker: Option<BrokerProcess>,
    ) -> Option<BrokerProcess> {
        self.write();
        let pause = Duration::from_millis(self.random.u64(PAUSE_MS));
        self.read_for(pause);
        for _ in 0..self.random.usize(1..BURST_MAX) {
            self.write();
        }
        // Until some of that is on its way.
        let pause = Duration::from_millis(self.random.u64(WORK_MS));
        self.read_for(pause);
        let victim = self.random.usize(..self.members.len());
        if matches!(trouble, Trouble::MemberKilled | Trouble::BothKilled) {
            self.dead.push(self.members.swap_remove(victim).kill());
            if self.random.bool() {
                self.replace();
            }
        }
        if matches!(trouble, Trouble::BrokerKilled | Trouble::BothKilled) {
            broker.take().into_iter().for_each(|it| drop(it.kill()));
            broker = Some(self.setup.start());
        }
        if trouble == Trouble::MemberStalled {
            let stall = Duration::from_millis(self.random.u64(STALL_MS));
            self.members[victim].signal(Signal::STOP);
            self.read_for(stall);
            self.members[victim].signal(Signal::CONT);
        }
        broker
    }

    fn replace(&mut self) {
        while self.members.len() < MEMBERS {
            self.members.push(Member::start(&self.setup, TOPIC));
        }
    }

    fn read_for(&mut self, duration: Duration) {
        let deadline = Instant::now() + duration;
        while Instant::now() < deadline {
            self.members.iter_mut().for_each(Member::read);
        }
    }

    /// Writes, and waits until that and everything before was handled; returns how long it took.
    fn catch_up(&mut self) -> Duration {
        let start = Instant::now();
        self.write();
        let dead = self.dead.iter().flatten();
        let here = self.members.iter().flat_map(|it| &it.handled);
        self.handled.extend(dead.chain(here).map(place));
        let count = usize::try_from(self.written).expect("few");
        read_until(&mut self.members, &mut self.handled, count);
        start.elapsed()
    }

    fn finish(self) {
        let Self {
            setup,
            members,
            dead,
            producing,
            stdin,
            written,
            figures,
            ..
        } = self;
        drop(stdin);
        let ended = producing.wait(PATIENCE).expect("producing ends");
        assert_eq!(ended.code(), Some(0), "{ended}");
        let living: Vec<_> = members.into_iter().map(Member::stop).collect();
        let report = check(written, living.iter().chain(&dead));
        check_group(&setup);
        println!("{written} records handled, {report}");
        for (trouble, figures) in figures {
            println!("  {trouble:?}, until all is handled: {figures}");
        }
    }
}

/// What was handled more than once.
struct Report {
    again: usize,
    steps_back: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { again, steps_back } = self;
        write!(f, "{again} more than once; {steps_back} members went back")
    }
}

/// Every record was handled, each place held one, and the records of a key lie in the order in which they
/// were written. A member leaves nothing out as long as it has a partition, and where it went on
/// somewhere else, somebody has handled what is between.
fn check<'a>(written: u64, outputs: impl Iterator<Item = &'a Vec<Consumed>>) -> Report {
    let mut records: BTreeMap<Place, &Consumed> = BTreeMap::new();
    let (mut count, mut steps_back) = (0, 0);
    for output in outputs {
        let mut next: BTreeMap<u32, u64> = BTreeMap::new();
        for record in output {
            count += 1;
            let known = *records.entry(place(record)).or_insert(record);
            assert_eq!(known, record, "one record in one place");
            let expected = next.insert(record.partition, record.offset + 1);
            steps_back += usize::from(expected.is_some_and(|it| record.offset < it));
        }
    }
    let total = usize::try_from(written).expect("few");
    assert_eq!(records.len(), total, "every record was handled");
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    for record in records.values() {
        let Written { number } = parse(&record.value);
        let before = last.insert(&record.key, number);
        let is_next = before.map_or(number < KEYS, |before| number == before + KEYS);
        assert!(is_next, "key {}: {number} after {before:?}", record.key);
    }
    Report {
        again: count - records.len(),
        steps_back,
    }
}
