//! A running broker finds damage by itself, at its rate and within its period.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use towpath_broker::runtime::engine::{Engine, EngineOptions};
use towpath_broker::runtime::scrub::ScrubOptions;
use towpath_storage::vfs::sim::SimDisk;
use towpath_storage::{Environment, SimClock, SimEntropy};

use crate::script::options;
use crate::trial::Subject;

const RATE: u64 = 10_000;
const PERIOD: Duration = Duration::from_secs(3_600);

struct Scrubbed {
    engine: Engine,
    clock: Arc<SimClock>,
}

impl Scrubbed {
    fn open(disk: &SimDisk, scrub: ScrubOptions) -> Self {
        let clock = Arc::new(SimClock::new(1_700_000_100_000));
        let environment = Environment {
            vfs: disk.vfs(),
            clock: Arc::clone(&clock) as _,
            entropy: Arc::new(SimEntropy::new(95)),
        };
        let options = EngineOptions { scrub, ..options() };
        let engine = Engine::open(&environment, &options).unwrap();
        Self { engine, clock }
    }

    fn counts(&self) -> (u64, u64, u64) {
        self.engine.shared.metrics.scrubbed()
    }

    /// Goes on until everything was read once more; returns how long that took.
    fn pass(&mut self) -> Duration {
        let (_, _, before) = self.counts();
        let mut took = Duration::ZERO;
        while self.counts().2 == before {
            let step = Duration::from_millis(10);
            self.clock.advance(step);
            took += step;
            self.engine.maintenance_worker.scrub();
            assert!(took < 3 * PERIOD, "it comes to an end");
        }
        took
    }
}

const SCRUB: ScrubOptions = ScrubOptions {
    bytes_per_second: RATE,
    period: PERIOD,
};

#[test]
fn damage_is_found_within_a_period_and_at_the_rate() {
    let subject = Subject::new();
    let disk = subject.golden.disk.fork();
    let mut broker = Scrubbed::open(&disk, SCRUB);
    let took = broker.pass();
    let (bytes, damage, _) = broker.counts();
    assert_eq!(damage, 0, "all is whole");
    assert!(bytes > 100_000, "everything is read: {bytes} bytes");
    let least = Duration::from_secs(bytes / RATE * 9 / 10);
    assert!(took >= least, "{bytes} bytes in {took:?}");

    let log = "topics/1-orders/0/00000000000000000000.log";
    disk.flip_bit(Path::new(log), 4096 + 70, 2).unwrap();
    let run = subject.files.keys().find(|path| path.ends_with(".run"));
    disk.flip_bit(Path::new(run.unwrap()), 64 + 40, 2).unwrap();
    let took = broker.pass();
    let (_, damage, _) = broker.counts();
    assert_eq!(damage, 2, "a frame and a block of a run");
    assert!(took <= PERIOD, "within a period: {took:?}");
}

#[test]
fn nothing_is_read_at_a_rate_of_nothing() {
    let subject = Subject::new();
    let disk = subject.golden.disk.fork();
    let off = ScrubOptions {
        bytes_per_second: 0,
        ..SCRUB
    };
    let mut broker = Scrubbed::open(&disk, off);
    broker.clock.advance(10 * PERIOD);
    assert!(!broker.engine.maintenance_worker.scrub());
    assert_eq!(broker.engine.maintenance_worker.scrub_pause(), None);
    assert_eq!(broker.counts(), (0, 0, 0));
}
