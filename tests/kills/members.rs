//! A group through the command line: three members share flights by aircraft, and one is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::time::Duration;

use fastrand::Rng;
use serde::Deserialize;
use tokio::time::Instant;
use towpath_tests::process::{BrokerSetup, Running, Signal, spawn_cli};

use crate::flights::{Consumed, PATIENCE, TOPIC, check, lines, parse, run, write_lines};
use crate::seed;

const MEMBERS: usize = 3;
const GROUP: &str = "towers";
/// How long one member's output is waited for before the next one's is looked at.
const LOOK: Duration = Duration::from_millis(1);

/// A place in the topic: partition and offset.
pub(crate) type Place = (u32, u64);

#[test]
fn flights_come_through_the_kill_of_a_member() {
    let mut random = Rng::with_seed(seed("members"));
    let lines = lines();
    let folder = tempfile::tempdir().expect("a folder");
    let setup = BrokerSetup::new(folder.path().join("data"));
    let broker = setup.start();
    run(&setup, &["topic", "create", TOPIC, "--partitions", "8"]);
    let (half, most) = (lines.len() / 2, lines.len() * 3 / 4);
    let mut members: Vec<Member> = (0..MEMBERS).map(|_| Member::start(&setup, TOPIC)).collect();
    await_shares(&setup);
    produce(&setup, &lines[..half]);
    read(&mut members, random.usize(half / 4..half));
    let victim = members.swap_remove(random.usize(..MEMBERS));
    let killed_at = Instant::now();
    let killed = victim.kill();
    produce(&setup, &lines[half..most]);
    // Another one takes its place, while the others are at work.
    members.push(Member::start(&setup, TOPIC));
    produce(&setup, &lines[most..]);
    let mut handled: BTreeSet<Place> = killed.iter().map(place).collect();
    let here = members.iter().flat_map(|it| &it.handled);
    handled.extend(here.map(place));
    read_until(&mut members, &mut handled, lines.len());
    println!(
        "all was handled {} ms after the kill",
        killed_at.elapsed().as_millis()
    );
    let survivors: Vec<_> = members.into_iter().map(Member::stop).collect();
    check_shares(&killed, &survivors);
    let mut handled: BTreeMap<Place, Consumed> = BTreeMap::new();
    for record in killed.into_iter().chain(survivors.into_iter().flatten()) {
        let known = handled
            .entry(place(&record))
            .or_insert_with(|| record.clone());
        assert_eq!(*known, record, "one record in one place");
    }
    check(&lines, handled.into_values().collect());
    check_group(&setup);
    broker.kill();
}

pub(crate) fn produce(setup: &BrokerSetup, lines: &[String]) {
    let args = ["produce", TOPIC, "-f", "-", "--key-from", ".tail"];
    let mut producing = spawn_cli(&setup.url(), args, Stdio::piped());
    let mut stdin = producing.take_stdin().expect("a pipe");
    write_lines(&mut stdin, lines);
    drop(stdin);
    let ended = producing.wait(PATIENCE).expect("producing ends");
    assert_eq!(ended.code(), Some(0), "{ended}");
}

/// A member and what it has printed.
pub(crate) struct Member {
    running: Running,
    pub(crate) handled: Vec<Consumed>,
}

impl Member {
    pub(crate) fn start(setup: &BrokerSetup, topic: &str) -> Self {
        let args = [
            "consume",
            topic,
            "--group",
            GROUP,
            "--from",
            "beginning",
            "-o",
            "json",
        ];
        Self {
            running: spawn_cli(&setup.url(), args, Stdio::null()),
            handled: Vec::new(),
        }
    }

    /// Takes what it has printed by now.
    pub(crate) fn read(&mut self) {
        let mut patience = LOOK;
        while let Some(line) = self.running.stdout.line(patience) {
            self.handled.push(parse(&line));
            patience = Duration::ZERO;
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }

    /// Kills it; a line that it did not finish is no record that was handled.
    pub(crate) fn kill(mut self) -> Vec<Consumed> {
        self.running.signal(Signal::KILL);
        let rest = self.running.stdout.rest(PATIENCE).expect("it ends");
        let (whole, _) = rest.rsplit_once('\n').unwrap_or_default();
        self.handled.extend(whole.lines().map(parse::<Consumed>));
        self.handled
    }

    pub(crate) fn stop(mut self) -> Vec<Consumed> {
        self.running.signal(Signal::INT);
        let rest = self.running.stdout.rest(PATIENCE).expect("it ends");
        self.handled.extend(rest.lines().map(parse::<Consumed>));
        let ended = self.running.wait(PATIENCE).expect("it ends");
        assert_eq!(ended.code(), Some(130), "{ended}");
        self.handled
    }
}

/// Waits until every member has its share.
fn await_shares(setup: &BrokerSetup) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Before the first member has joined there is no group to be shown.
        let listed = run(setup, &["group", "list", "-o", "json"]);
        if !listed.is_empty() {
            let group = shown(setup);
            let shares = group.members.iter().filter(|it| it.partition_count > 0);
            if group.state == "STABLE" && shares.count() == MEMBERS {
                return;
            }
        }
        assert!(Instant::now() < deadline, "no shares: {listed}");
    }
}

/// Reads until all members together have handled so many.
fn read(members: &mut [Member], count: usize) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        members.iter_mut().for_each(Member::read);
        let counts: Vec<_> = members.iter().map(|it| it.handled.len()).collect();
        if counts.iter().sum::<usize>() >= count {
            println!("before the kill: {counts:?}");
            return;
        }
        assert!(Instant::now() < deadline, "{counts:?} of {count}");
    }
}

/// Reads until so many different records were handled, those included that are given.
pub(crate) fn read_until(members: &mut [Member], handled: &mut BTreeSet<Place>, count: usize) {
    let deadline = Instant::now() + PATIENCE;
    while handled.len() < count {
        for member in members.iter_mut() {
            let before = member.handled.len();
            member.read();
            handled.extend(member.handled[before..].iter().map(place));
        }
        let missing = count.saturating_sub(handled.len());
        assert!(Instant::now() < deadline, "{missing} are missing");
    }
}

/// What a member handles of a partition goes up one by one as long as it owns it, and only what the
/// killed one had not committed is handled twice.
fn check_shares(killed: &[Consumed], survivors: &[Vec<Consumed>]) {
    for handled in survivors.iter().map(Vec::as_slice).chain([killed]) {
        let mut next: BTreeMap<u32, u64> = BTreeMap::new();
        for record in handled {
            let expected = next.insert(record.partition, record.offset + 1);
            // It may have been away from the partition, and then it is further on.
            let expected = expected.unwrap_or(0);
            assert!(
                expected <= record.offset,
                "{:?} after {expected}",
                place(record)
            );
        }
    }
    let mut seen: BTreeSet<Place> = BTreeSet::new();
    for place in survivors.iter().flatten().map(place) {
        assert!(
            seen.insert(place),
            "{place:?} went to two members that lived"
        );
    }
    let twice = killed.iter().filter(|it| seen.contains(&place(it))).count();
    println!(
        "{twice} of {} of the killed member were handled again",
        killed.len()
    );
}

#[derive(Debug, Deserialize)]
struct Group {
    state: String,
    members: Vec<Share>,
    partitions: Vec<Partition>,
}

#[derive(Debug, Deserialize)]
struct Share {
    partition_count: u32,
}

#[derive(Debug, Deserialize)]
struct Partition {
    committed_offset: u64,
    end_offset: u64,
    lag_records: u64,
}

/// Whoever was stopped has committed what it printed.
pub(crate) fn check_group(setup: &BrokerSetup) {
    let deadline = Instant::now() + PATIENCE;
    let mut group = shown(setup);
    // A member that was killed may be awaited for a while.
    while group.state != "EMPTY" {
        assert!(Instant::now() < deadline, "{group:?}");
        group = shown(setup);
    }
    for partition in &group.partitions {
        assert_eq!(
            partition.committed_offset, partition.end_offset,
            "{group:?}"
        );
        assert_eq!(partition.lag_records, 0, "{group:?}");
    }
}

fn shown(setup: &BrokerSetup) -> Group {
    let shown = run(setup, &["group", "get", GROUP, "-o", "json"]);
    parse(&shown)
}

pub(crate) fn place(record: &Consumed) -> Place {
    (record.partition, record.offset)
}
