//! The main job of a subscription through the command line: flights by aircraft, of which those of one
//! carrier cannot be handled until that is mended.
//!
//! A flight dies at its first failure. With more attempts it would be chance how many die: once nothing is
//! left but what fails, of ten aircraft or more, that is an outage, and counts no attempt.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use towpath_tests::process::{BrokerSetup, Running, Signal, spawn_cli};

use crate::flights::{PATIENCE, TOPIC, lines, parse, run};
use crate::members::produce;

const NAME: &str = "handling";
const CONSUMERS: usize = 2;
/// Whose flights cannot be handled.
const CARRIER: &str = "B6";
const REASON: &str = "exit status 1: carrier B6 is not known";
/// How often something is looked at that is to happen.
const LOOK: Duration = Duration::from_millis(50);
/// On top of [`PATIENCE`], for each flight.
const PATIENCE_FOR_FLIGHT: Duration = Duration::from_millis(50);

#[derive(Deserialize)]
struct Flight {
    tail: String,
    carrier: String,
}

#[derive(Debug, Deserialize)]
struct Letter {
    kind: String,
    key: String,
    value: String,
    failures: Vec<Failure>,
}

#[derive(Debug, Deserialize)]
struct Failure {
    reason: String,
}

#[derive(Deserialize)]
struct Shown {
    partitions: Vec<ShownPartition>,
}

#[derive(Deserialize)]
struct ShownPartition {
    lag_records: u64,
}

/// Flights of each aircraft, in their order.
type ByTail = BTreeMap<String, Vec<String>>;

fn by_tail<'a>(flights: impl IntoIterator<Item = &'a str>) -> ByTail {
    let mut by_tail = ByTail::new();
    for line in flights {
        let flight: Flight = parse(line);
        by_tail.entry(flight.tail).or_default().push(line.into());
    }
    by_tail
}

/// Of each aircraft what comes before its first flight that cannot be handled, and the rest.
fn split(flights: ByTail) -> (ByTail, ByTail) {
    let (mut handled, mut left) = (ByTail::new(), ByTail::new());
    for (tail, mut of_tail) in flights {
        let is_bad = |line: &String| parse::<Flight>(line).carrier == CARRIER;
        let first = of_tail.iter().position(is_bad).unwrap_or(of_tail.len());
        let of_tail_left = of_tail.split_off(first);
        if !of_tail_left.is_empty() {
            left.insert(tail.clone(), of_tail_left);
        }
        if !of_tail.is_empty() {
            handled.insert(tail, of_tail);
        }
    }
    (handled, left)
}

/// A broker, and a folder with what handlers look at and write.
struct Scene {
    setup: BrokerSetup,
    folder: tempfile::TempDir,
    patience: Duration,
}

impl Scene {
    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// What handlers run. They note the attempt and the flight.
    fn script(&self) -> String {
        format!(
            "IFS= read -r flight\n\
             case $flight in *'\"carrier\":\"{CARRIER}\"'*)\n\
             [ -e {mended} ] || {{ echo 'carrier {CARRIER} is not known' >&2; exit 1; }};;\n\
             esac\n\
             printf '%s %s\\n' \"$TOWPATH_ATTEMPT\" \"$flight\" >> {handled}\n",
            mended = self.path("mended"),
            handled = self.path("handled"),
        )
    }

    fn start_consumer(&self) -> Running {
        let script = self.script();
        let consume = ["consume", "--subscription", NAME, "--parallel", "4"];
        let args = [&consume[..], &["--exec", script.as_str()]].concat();
        spawn_cli(&self.setup.url(), args, Stdio::null())
    }

    /// Flights that were handled, in their order, and how many of them at a later attempt than the first.
    fn handled(&self) -> (Vec<String>, usize) {
        let text = fs::read_to_string(self.path("handled")).expect("some were handled");
        let words = text.lines().map(|line| line.split_once(' '));
        let words = words.map(|it| it.expect("an attempt and a flight"));
        let (attempts, flights): (Vec<_>, Vec<_>) =
            words.map(|(attempt, it)| (attempt, it.to_owned())).unzip();
        let later = attempts.iter().filter(|attempt| **attempt != "1");
        (flights, later.count())
    }

    fn letters(&self) -> Vec<Letter> {
        let list = ["dlq", "list", NAME, "-n", "1000000", "-o", "json"];
        run(&self.setup, &list).lines().map(parse).collect()
    }

    fn await_settled(&self) {
        let looks = self.patience.as_millis() / LOOK.as_millis();
        for _ in 0..looks {
            let shown = run(&self.setup, &["subscription", "get", NAME, "-o", "json"]);
            let shown: Shown = parse(&shown);
            if shown.partitions.iter().all(|it| it.lag_records == 0) {
                return;
            }
            std::thread::park_timeout(LOOK);
        }
        let pending = ["subscription", "pending", NAME];
        let pending = run(&self.setup, &pending);
        panic!("after {:?} there are left:\n{pending}", self.patience);
    }
}

#[test]
fn flights_of_a_carrier_that_cannot_be_handled_wait_for_their_aircraft_and_no_other() {
    let flights = lines();
    let folder = tempfile::tempdir().expect("a folder");
    let setup = BrokerSetup::new(folder.path().join("data"));
    let broker = setup.start();
    let count = u32::try_from(flights.len()).expect("not that many");
    let patience = PATIENCE + PATIENCE_FOR_FLIGHT * count;
    let scene = Scene {
        setup,
        folder,
        patience,
    };
    let topic = ["topic", "create", TOPIC, "--partitions", "8"];
    run(&scene.setup, &topic);
    let create = ["subscription", "create", NAME, "--topic", TOPIC];
    let how = ["--from", "beginning", "--max-attempts", "1"];
    run(&scene.setup, &[&create[..], &how].concat());
    let consumers: Vec<_> = (0..CONSUMERS).map(|_| scene.start_consumer()).collect();

    let (early, late) = flights.split_at(flights.len() * 3 / 4);
    produce(&scene.setup, early);
    scene.await_settled();
    check_grounded(&scene, early);

    fs::write(scene.path("mended"), "").expect("a file");
    redrive_while(&scene, || produce(&scene.setup, late));
    for consumer in &consumers {
        consumer.signal(Signal::TERM);
    }
    let (handled, later) = scene.handled();
    assert_eq!(
        handled.len(),
        flights.len(),
        "none is lost, none is doubled"
    );
    let handled = by_tail(handled.iter().map(String::as_str));
    let expected = by_tail(flights.iter().map(String::as_str));
    assert_eq!(
        handled, expected,
        "each aircraft's in the order of the file"
    );
    assert_eq!(later, 0, "what is redriven begins anew");
    for consumer in consumers {
        let ended = consumer.wait(PATIENCE).expect("it ends");
        assert_eq!(ended.code(), Some(130), "{ended}");
    }
    broker.kill();
}

/// What could be handled was, and what could not is among the dead letters, with what is behind it.
fn check_grounded(scene: &Scene, flights: &[String]) {
    let (expected, grounded) = split(by_tail(flights.iter().map(String::as_str)));
    let (handled, later) = scene.handled();
    let handled = by_tail(handled.iter().map(String::as_str));
    assert_eq!(handled, expected, "of each aircraft, in order and once");
    assert_eq!(later, 0, "nobody pays for what others fail at");

    let mut letters: BTreeMap<String, Vec<Letter>> = BTreeMap::new();
    for letter in scene.letters() {
        letters.entry(letter.key.clone()).or_default().push(letter);
    }
    for (tail, of_tail) in &letters {
        let kinds = of_tail.iter().map(|it| it.kind.as_str());
        let expected = std::iter::once("DEAD").chain(std::iter::repeat("PARKED"));
        assert!(
            kinds.eq(expected.take(of_tail.len())),
            "{tail}: {of_tail:?}"
        );
        let [failure] = &of_tail[0].failures[..] else {
            panic!("{tail} has another number of attempts: {:?}", of_tail[0]);
        };
        assert!(failure.reason.contains(REASON), "{failure:?}");
    }
    let dead_count = letters.len();
    let letters: ByTail = letters
        .into_iter()
        .map(|(tail, it)| (tail, it.into_iter().map(|it| it.value).collect()))
        .collect();
    assert_eq!(letters, grounded, "of each aircraft, in order and once");
    let count = letters.values().map(Vec::len).sum::<usize>();
    println!(
        "of {} flights {dead_count} died and {} were parked behind them",
        flights.len(),
        count - dead_count
    );
}

/// Redrives all while more comes, until no dead letter is left.
fn redrive_while(scene: &Scene, more: impl FnOnce()) {
    let mut redriving = spawn_cli(&scene.setup.url(), ["dlq", "redrive", NAME], Stdio::null());
    more();
    let said = redriving
        .stdout
        .rest(scene.patience)
        .expect("it ends in time");
    let ended = redriving.wait(PATIENCE).expect("it ends");
    assert_eq!(ended.code(), Some(0), "{ended}");
    println!("{}", said.trim_end());
    scene.await_settled();
    let looks = scene.patience.as_millis() / LOOK.as_millis();
    for _ in 0..looks {
        if scene.letters().is_empty() {
            return;
        }
        // What was parked behind the last ones of a key, once they were redriven.
        print!("{}", run(&scene.setup, &["dlq", "redrive", NAME]));
        std::thread::park_timeout(LOOK);
    }
    panic!("dead letters are left after {:?}", scene.patience);
}
