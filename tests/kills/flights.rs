//! The main job through the command line: flights by aircraft, while the broker is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::time::Duration;

use fastrand::Rng;
use serde::Deserialize;
use towpath_tests::process::{BrokerProcess, BrokerSetup, spawn_cli};

use crate::seed;

const SAMPLE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../cli/assets/flights-sample.ndjson"
);
pub(crate) const TOPIC: &str = "flights";
const KILLS: usize = 6;
/// Longest time that a command may take; reached only when something hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// From handing over lines to the kill.
const DELAY_MS: std::ops::Range<u64> = 0..60;

/// What is looked at of a line that `consume -o json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Consumed {
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    pub(crate) key: String,
    pub(crate) value: String,
}

#[derive(Deserialize)]
struct Event {
    tail: String,
}

#[test]
fn flights_come_through_six_kills() {
    let seed = seed("flights");
    let lines = lines();
    let folder = tempfile::tempdir().expect("a folder");
    let setup = BrokerSetup::new(folder.path().join("data"));
    let broker = setup.start();
    run(&setup, &["topic", "create", TOPIC, "--partitions", "8"]);
    let broker = produce_and_kill(&setup, broker, &lines, &mut Rng::with_seed(seed));
    let consumed = run(&setup, &["consume", TOPIC, "-o", "json", "-e"]);
    check(&lines, consumed.lines().map(parse).collect());
    println!("{} flights came through {KILLS} kills", lines.len());
    broker.kill();
}

/// Hands the lines to `towpath produce`, with kills between them.
fn produce_and_kill(
    setup: &BrokerSetup,
    mut broker: BrokerProcess,
    lines: &[String],
    random: &mut Rng,
) -> BrokerProcess {
    let args = ["produce", TOPIC, "-f", "-", "--key-from", ".tail"];
    let mut producing = spawn_cli(&setup.url(), args, Stdio::piped());
    let mut stdin = producing.take_stdin().expect("a pipe");
    let mut left = lines;
    for kills_left in (1..=KILLS).rev() {
        // On average the same for each kill and for what follows the last.
        let count = random.usize(1..left.len() * 2 / (kills_left + 1));
        write_lines(&mut stdin, left.split_off(..count).expect("there are more"));
        // Nothing is said before the end: this is the time until the kill.
        let delay = Duration::from_millis(random.u64(DELAY_MS));
        assert_eq!(producing.stdout.line(delay), None, "it goes on");
        broker.kill();
        broker = setup.start();
    }
    write_lines(&mut stdin, left);
    drop(stdin);
    let ended = producing.wait(PATIENCE).expect("producing ends");
    assert_eq!(ended.code(), Some(0), "{ended}");
    broker
}

/// Compares what was consumed with what was produced.
pub(crate) fn check(lines: &[String], mut consumed: Vec<Consumed>) {
    consumed.sort_by_key(|record| (record.partition, record.offset));
    let offsets = consumed.iter().map(|it| (it.partition, it.offset));
    let offsets: BTreeSet<_> = offsets.collect();
    assert_eq!(offsets.len(), consumed.len(), "an offset holds one record");

    let mut produced_by_key: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for line in lines {
        let Event { tail } = parse(line);
        produced_by_key.entry(tail).or_default().push(line);
    }
    let mut consumed_by_key: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for record in &consumed {
        let values = consumed_by_key.entry(record.key.clone()).or_default();
        values.push(&record.value);
    }
    // Lines that occur twice included, since each list keeps its order and its length.
    assert!(
        produced_by_key.keys().eq(consumed_by_key.keys()),
        "same keys"
    );
    for (key, produced) in &produced_by_key {
        assert_eq!(&consumed_by_key[key], produced, "events of {key}, in order");
    }
    let partitions = consumed.iter().map(|it| (&it.key, it.partition));
    let partitions: BTreeSet<_> = partitions.collect();
    assert_eq!(
        partitions.len(),
        produced_by_key.len(),
        "a key has one partition"
    );
}

pub(crate) fn lines() -> Vec<String> {
    let path = std::env::var_os("FLIGHTS").map_or_else(|| PathBuf::from(SAMPLE), PathBuf::from);
    let text = match path.extension() {
        Some(extension) if extension == "gz" => unzip(&path),
        _ => std::fs::read_to_string(&path).expect("the events can be read"),
    };
    text.lines().map(str::to_owned).collect()
}

fn unzip(path: &Path) -> String {
    let output = Command::new("gzip").arg("-dc").arg(path).output();
    let output = output.expect("gzip is there");
    assert!(
        output.status.success(),
        "{}: {}",
        path.display(),
        output.status
    );
    String::from_utf8(output.stdout).expect("events are UTF-8")
}

/// Runs a command that succeeds and returns what it prints.
pub(crate) fn run(setup: &BrokerSetup, args: &[&str]) -> String {
    let mut running = spawn_cli(&setup.url(), args, Stdio::null());
    let printed = running.stdout.rest(PATIENCE).expect("it ends in time");
    let ended = running.wait(PATIENCE).expect("it ends");
    assert_eq!(ended.code(), Some(0), "{args:?}: {ended}");
    printed
}

pub(crate) fn write_lines(stdin: &mut ChildStdin, lines: &[String]) {
    let text: String = lines
        .iter()
        .flat_map(|line| [line.as_str(), "\n"])
        .collect();
    stdin.write_all(text.as_bytes()).expect("somebody reads");
}

pub(crate) fn parse<'a, T: Deserialize<'a>>(line: &'a str) -> T {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"))
}
