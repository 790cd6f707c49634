//! `kill -9`, again and again.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;
use towpath_tests::load::{Counts, Load, LoadOptions};
use towpath_tests::process::{BrokerProcess, BrokerSetup};

use crate::figures::Figures;
use crate::{number, seed};

/// After so many the history is checked and everything begins anew, so that neither memory nor disk
/// grows with the number of kills.
const KILLS_PER_FOLDER: u64 = 50;
/// Size of a segment in every second folder, so that segments are rolled all the time.
const SMALL_SEGMENT: &str = "256KiB";
/// How long a broker lives once it is ready.
const LIFE_MS: std::ops::Range<u64> = 5..300;
/// How long one in sixteen lives: about as long as a topic is gone when a checkpoint begins.
const LONG_LIFE_MS: std::ops::Range<u64> = 900..1800;
/// How long one lives that is killed while it starts.
const SHORT_LIFE_MS: std::ops::Range<u64> = 0..60;
/// Longest time until writing goes on after a kill; reached only when something hangs.
const RESUME_PATIENCE: Duration = Duration::from_mins(2);

#[test]
fn kills_lose_and_double_nothing() {
    let (kills, seed) = (number("KILLS", 100), seed("kills"));
    let mut total = Total::default();
    while total.kills < kills {
        let kill_count = KILLS_PER_FOLDER.min(kills - total.kills);
        kill_and_check(seed.wrapping_add(total.kills), kill_count, &mut total);
        println!("{total}");
    }
}

/// What all loads together have come through.
#[derive(Debug, Default)]
struct Total {
    folders: u64,
    kills: u64,
    /// Further ones, of brokers that were not ready yet.
    early_kills: u64,
    counts: Counts,
    /// From starting a process until it is ready.
    start: Figures,
    /// From a kill to the first acknowledgement after it.
    resume: Figures,
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            folders,
            kills,
            early_kills,
            counts,
            start,
            resume,
        } = self;
        writeln!(
            f,
            "{kills} kills, and {early_kills} during a start, of {folders} folders: {counts}"
        )?;
        writeln!(f, "  from start to ready: {start}")?;
        write!(f, "  from kill to the first acknowledgement: {resume}")
    }
}

/// Kills the broker of one folder so often under one load, and checks.
fn kill_and_check(seed: u64, kills: u64, total: &mut Total) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut setup = BrokerSetup::new(folder.path().join("data"));
    if seed / KILLS_PER_FOLDER % 2 == 1 {
        setup = setup.args(["--segment-bytes-max", SMALL_SEGMENT]);
    }
    let mut broker = setup.start();
    let mut scene = Scene {
        load: Load::start(&setup.url(), &LoadOptions::new(seed)),
        setup,
        random: Rng::with_seed(seed),
        log: String::new(),
        total,
    };
    for _ in 0..kills {
        scene.live();
        broker = scene.kill_and_start(broker);
    }
    let Scene { load, log, .. } = scene;
    let verdict = load.finish();
    total.counts += verdict.counts;
    total.folders += 1;
    verdict.assert_acknowledged(format_args!("SEED={seed} KILLS={kills}: {log}"));
    assert_eq!(
        verdict.counts.gaps, 0,
        "SEED={seed}: nothing was to be let go"
    );
    broker.kill();
}

/// One folder and its load.
struct Scene<'a> {
    setup: BrokerSetup,
    load: Load,
    random: Rng,
    /// What the brokers said.
    log: String,
    total: &'a mut Total,
}

impl Scene<'_> {
    /// Lets the broker that is ready live for a while.
    fn live(&mut self) {
        let life_ms = match self.random.u8(..16) {
            0 => LONG_LIFE_MS,
            _ => LIFE_MS,
        };
        let duration = Duration::from_millis(self.random.u64(life_ms));
        self.load.run_for(duration);
    }

    /// Kills the broker and returns the next one that is ready. One in eight is killed before.
    fn kill_and_start(&mut self, broker: BrokerProcess) -> BrokerProcess {
        let killed_at = Instant::now();
        self.kill(broker);
        self.total.kills += 1;
        if self.random.u8(..8) == 0 {
            let early = self.setup.spawn();
            let duration = Duration::from_millis(self.random.u64(SHORT_LIFE_MS));
            self.load.run_for(duration);
            self.kill(early);
            self.total.early_kills += 1;
        }
        let broker = self.setup.start();
        self.total.start.note(broker.started_at().elapsed());
        // Until now some were still on their way from the last one.
        self.load.forget_acks();
        // Others are killed before anybody has found them, which is a moment like any other.
        if self.random.u8(..4) == 0 {
            let acknowledged_at = self.load.await_ack(RESUME_PATIENCE);
            let acknowledged_at = acknowledged_at.unwrap_or_else(|| {
                let (log, complaints) = (&self.log, self.load.complaints());
                panic!("nothing is acknowledged: {complaints:#?} {log}")
            });
            self.total.resume.note(acknowledged_at - killed_at);
        }
        broker
    }

    fn kill(&mut self, broker: BrokerProcess) {
        self.log += &broker.kill().stderr;
    }
}
