//! Everything at once against the real binary, for as long as one likes, while things go wrong.
//!
//! Producers (plain, lz4 with a dedupe window, zstd), readers at the tail and from disk, a group, a
//! subscription with failures and dead letters, workers that commit, schedules, a compacted topic and
//! topics that come and go work at a steady rate, with retention and the scrubber behind them. Meanwhile
//! clients are killed, readers stand still, and in the first part of the time the broker is killed again
//! and again. Then one life of it lasts to the end.
//!
//! What was acknowledged must be seen once, each key in order, by each of those who read it. Memory,
//! descriptors, open calls and the disk are told as it goes on, and must not grow. What is remembered of the
//! records is counts by key, so the length of a run costs nothing.

mod clerk;
mod crew;
mod growth;
mod handlers;
mod latest;
mod notes;
mod readers;
mod schedules;
mod troubles;
mod watch;
mod writers;

use std::path::PathBuf;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::process::{BrokerProcess, BrokerSetup, command};
use crew::Crew;
use growth::Sample;
use notes::Notes;
use troubles::Troubles;
use watch::Watch;

/// How often everything is looked at.
const TICK: Duration = Duration::from_secs(1);
/// Longest wait until everything has come to its end.
const PATIENCE: Duration = Duration::from_secs(180);
/// Lines of progress.
const LINES: u32 = 60;
/// Part of the time, in tenths, in which the broker is killed.
const KILLING_TENTHS: u32 = 4;
/// What all topics may keep, and what a broker has besides, is many times less than this.
const FLAGS: [&str; 10] = [
    "--segment-bytes-max",
    "4MiB",
    "--scrub-period",
    "30s",
    "--scrub-rate",
    "16MiB",
    "--unread-bytes-max",
    "16MiB",
    "--stall-deadline",
    "1s",
];

/// How long and how hard.
#[derive(Debug, Clone)]
pub struct SoakOptions {
    /// How long everybody works, 20 s at least.
    pub duration: Duration,
    /// Records a second, over all producers.
    pub rate: u64,
    /// What goes wrong when. What the operating system does is not repeated by it.
    pub seed: u64,
    /// Where the data folder is made, and removed.
    pub dir: PathBuf,
}

/// Runs it to its end, and tells how it goes on standard output; returns what was wrong.
///
/// # Panics
///
/// The broker does not start, or ends by itself.
pub fn run(options: &SoakOptions) -> Vec<String> {
    let runtime = Runtime::new().expect("threads for the clients");
    let folder = tempfile::tempdir_in(&options.dir).expect("a folder");
    let watch = Watch::new();
    let setup = BrokerSetup::new(folder.path().join("data"))
        .args(FLAGS)
        .args(["--admin-listen", &watch.admin_listen()]);
    println!("SEED={} RATE={}", options.seed, options.rate);
    let mut broker = Some(setup.start());
    let notes = Notes::new();
    let url = setup.url();
    let mut crew = runtime.block_on(Crew::start(&url, options.rate, &notes));
    let mut troubles = Troubles::new(options);
    let mut samples: Vec<Sample> = Vec::new();
    let begun = Instant::now();
    let line_pause = options.duration / LINES;
    let mut next_line = Duration::ZERO;
    while begun.elapsed() < options.duration && notes.complaints().is_empty() {
        runtime.block_on(async { tokio::time::sleep(TICK).await });
        let elapsed = begun.elapsed();
        if let Some(running) = &broker {
            let sample = watch.look(elapsed, running, setup.data_dir());
            if elapsed >= next_line {
                println!("{sample} {}", notes.counts());
                next_line += line_pause;
            }
            samples.push(sample);
        }
        if troubles.is_kill_due(elapsed) {
            broker = Some(kill_and_start(broker.take(), &setup));
        }
        let trouble = troubles.client_to_kill(elapsed);
        if let Some(number) = trouble {
            let _in = runtime.enter();
            crew.replace(number);
        }
        troubles.stall(elapsed, &url);
        crew.check();
    }
    troubles.end();
    runtime.block_on(crew.end(PATIENCE));
    drop(crew);
    println!("{}", notes.counts());
    let mut wrong = notes.complaints();
    if let Some(broker) = broker {
        let ended = broker.terminate(PATIENCE);
        if ended.code() != Some(0) {
            wrong.push(format!("the broker was stopped: {ended}"));
        }
    }
    wrong.extend(verify(&setup));
    wrong.extend(growth::check(&samples));
    wrong
}

/// Ends a broker in the middle of everything, and starts another one.
fn kill_and_start(broker: Option<BrokerProcess>, setup: &BrokerSetup) -> BrokerProcess {
    if let Some(broker) = broker {
        drop(broker.kill());
    }
    setup.start()
}

/// What a check of every byte finds.
fn verify(setup: &BrokerSetup) -> Option<String> {
    let mut verify = command(&[]);
    verify.args(["storage", "verify", "--data-dir"]);
    let output = verify.arg(setup.data_dir()).output().expect("it runs");
    (!output.status.success()).then(|| {
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        format!("storage verify: {told}")
    })
}
