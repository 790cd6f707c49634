//! SIGTERM under load.

use std::time::Duration;

use fastrand::Rng;
use towpath_tests::load::{Load, LoadOptions};
use towpath_tests::process::{BrokerProcess, BrokerSetup};

use crate::figures::Figures;
use crate::stalled::Stalled;
use crate::{number, seed};

const LIFE_MS: std::ops::Range<u64> = 5..300;
const RESUME_PATIENCE: Duration = Duration::from_mins(2);
/// Readers that never read are broken off after this.
const DRAIN_DEADLINE: Duration = Duration::from_secs(2);
/// From the deadline to the end of the process.
const END_PATIENCE: Duration = Duration::from_secs(5);
const STALLED_READERS: usize = 50;
/// After so many the history is checked and everything begins anew.
const TERMS_PER_FOLDER: u64 = 50;

#[test]
fn a_stop_under_load_loses_nothing_and_ends_in_time() {
    let (terms, seed) = (number("TERMS", 20), seed("terms"));
    let (mut plain, mut stalled) = (Figures::default(), Figures::default());
    let mut done = 0;
    while done < terms {
        let count = TERMS_PER_FOLDER.min(terms - done);
        terminate_and_check(seed.wrapping_add(done), count, &mut plain, &mut stalled);
        done += count;
    }
    println!("{terms} stops under load");
    println!("  from SIGTERM to the end: {plain}");
    println!("  with {STALLED_READERS} readers that never read: {stalled}");
}

/// Stops the broker of one folder so often under one load, every second time with readers that stand
/// still, and checks.
fn terminate_and_check(seed: u64, terms: u64, plain: &mut Figures, stalled: &mut Figures) {
    let folder = tempfile::tempdir().expect("a folder");
    let deadline = format!("{}s", DRAIN_DEADLINE.as_secs());
    let setup = BrokerSetup::new(folder.path().join("data")).args(["--drain-deadline", &deadline]);
    let mut random = Rng::with_seed(seed);
    let mut broker = setup.start();
    let mut readers = Stalled::new(&setup.url());
    let load = Load::start(&setup.url(), &LoadOptions::new(seed));
    for round in 0..terms {
        load.forget_acks();
        load.await_ack(RESUME_PATIENCE).expect("writing goes on");
        let figures = match round % 2 {
            0 => &mut *plain,
            _ => {
                readers.open(STALLED_READERS);
                &mut *stalled
            }
        };
        load.run_for(Duration::from_millis(random.u64(LIFE_MS)));
        figures.note(terminate(broker));
        readers.close();
        broker = setup.start();
    }
    let verdict = load.finish();
    println!("{}", verdict.counts);
    verdict.assert_acknowledged(format_args!("SEED={seed} TERMS={terms}"));
    terminate(broker);
}

/// Stops a broker and returns how long that took.
fn terminate(broker: BrokerProcess) -> Duration {
    let ended = broker.terminate(DRAIN_DEADLINE + END_PATIENCE);
    assert_eq!(ended.code(), Some(0), "{ended}");
    ended.waited
}
