//! A running broker finds damage by itself, at its rate and within its period.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use towpath_broker::runtime::engine::{Engine, EngineOptions};
use towpath_broker::runtime::scrub::ScrubOptions;
use towpath_storage::vfs::sim::SimDisk;
use towpath_storage::{Clock, Environment, SimClock, SimEntropy};

use crate::script::options;
use crate::trial::Subject;

const START_MS: i64 = 1_700_000_100_000;
const STEP: Duration = Duration::from_millis(10);
const RATE: u64 = 10_000;
const PERIOD: Duration = Duration::from_secs(3_600);

struct Scrubbed {
    engine: Engine,
    clock: Arc<SimClock>,
}

impl Scrubbed {
    fn open(disk: &SimDisk, scrub: ScrubOptions) -> Self {
        Self::open_at(disk, scrub, START_MS)
    }

    fn open_at(disk: &SimDisk, scrub: ScrubOptions, wall_ms: i64) -> Self {
        let clock = Arc::new(SimClock::new(wall_ms));
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
            self.clock.advance(STEP);
            took += STEP;
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
    let disk = unread(&subject);
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

/// The folder, of which nothing was read yet.
fn unread(subject: &Subject) -> SimDisk {
    let disk = subject.golden.disk.fork();
    disk.vfs().unlink(Path::new("SCRUB")).unwrap();
    disk
}

/// The bytes that were read, over all lives of a pass that is interrupted every so often.
fn read_in_lives(disk: &SimDisk, pieces_of_life: u32, is_stopped: bool) -> (u64, u32) {
    let (mut bytes, mut wall_ms, mut lives) = (0, START_MS, 0);
    loop {
        lives += 1;
        assert!(lives < 200, "it comes to an end");
        let mut broker = Scrubbed::open_at(disk, SCRUB, wall_ms);
        let (_, _, whole_ms) = broker.counts();
        let mut pieces = 0;
        while pieces < pieces_of_life && broker.counts().2 == whole_ms {
            broker.clock.advance(STEP);
            pieces += u32::from(broker.engine.maintenance_worker.scrub());
        }
        bytes += broker.counts().0;
        if broker.counts().2 != whole_ms {
            return (bytes, lives);
        }
        if is_stopped {
            broker.engine.maintenance_worker.keep_scrub();
        }
        wall_ms = broker.clock.wall_ms();
    }
}

#[test]
fn a_pass_goes_on_where_the_last_life_left_it() {
    let subject = Subject::new();
    let whole = unread(&subject);
    let (all, lives) = read_in_lives(&whole, u32::MAX, true);
    assert_eq!(lives, 1);
    let disk = unread(&subject);
    let (bytes, lives) = read_in_lives(&disk, 2, true);
    assert!(lives > 3, "{lives} lives");
    // A run is begun again, and is small here.
    assert!(bytes < all * 5 / 4, "{bytes} bytes for {all}");
}

#[test]
fn a_pass_comes_to_an_end_although_no_life_is_stopped() {
    let subject = Subject::new();
    let disk = unread(&subject);
    let (_, lives) = read_in_lives(&disk, 8, false);
    assert!(lives > 1, "{lives} lives");
}

#[test]
fn the_next_pass_waits_for_its_time_also_in_another_life() {
    let subject = Subject::new();
    let disk = unread(&subject);
    let mut broker = Scrubbed::open(&disk, SCRUB);
    let took = broker.pass();
    let whole_ms = broker.counts().2;
    let stopped_ms = broker.clock.wall_ms();
    drop(broker);

    let mut broker = Scrubbed::open_at(&disk, SCRUB, stopped_ms + 1_000);
    assert_eq!(broker.counts(), (0, 0, whole_ms), "what it knows");
    // It began with the first step.
    let age = (took + Duration::from_secs(1)).saturating_sub(STEP);
    let left = PERIOD.saturating_sub(age);
    let pause = broker.engine.maintenance_worker.scrub_pause();
    assert_eq!(pause, Some(left), "until a period after the beginning");
    assert!(!broker.engine.maintenance_worker.scrub());
    broker.clock.advance(left);
    broker.pass();
    drop(broker);

    // A clock that was put back holds it up for one period, and one that was put forward for nothing.
    let back = Scrubbed::open_at(&disk, SCRUB, START_MS - 10_000_000);
    let pause = back.engine.maintenance_worker.scrub_pause();
    assert_eq!(pause, Some(PERIOD));
    drop(back);
    let ahead = Scrubbed::open_at(&disk, SCRUB, START_MS + 100_000_000);
    let pause = ahead.engine.maintenance_worker.scrub_pause();
    assert_eq!(pause, Some(Duration::ZERO));
}

#[test]
fn without_the_file_everything_is_read_once_more() {
    let subject = Subject::new();
    let disk = unread(&subject);
    let mut broker = Scrubbed::open(&disk, SCRUB);
    broker.pass();
    let (all, _, _) = broker.counts();
    drop(broker);
    for damage in [
        |disk: &SimDisk| disk.vfs().unlink(Path::new("SCRUB")),
        |disk: &SimDisk| disk.flip_bit(Path::new("SCRUB"), 60, 0),
    ] {
        let disk = disk.fork();
        damage(&disk).unwrap();
        let mut broker = Scrubbed::open(&disk, SCRUB);
        assert_eq!(broker.counts().2, 0, "nothing is known");
        broker.pass();
        assert_eq!(broker.counts().0, all);
    }
}

#[test]
fn damage_is_found_behind_the_place_where_a_life_left() {
    let subject = Subject::new();
    let disk = unread(&subject);
    let mut broker = Scrubbed::open(&disk, SCRUB);
    assert!(broker.engine.maintenance_worker.scrub());
    broker.engine.maintenance_worker.keep_scrub();
    drop(broker);
    let log = "topics/7-exact/0/00000000000000000000.log";
    disk.flip_bit(Path::new(log), 4096 + 70, 2).unwrap();
    let mut broker = Scrubbed::open(&disk, SCRUB);
    broker.pass();
    assert_eq!(broker.counts().1, 1, "a frame");
}

#[test]
fn nothing_is_read_at_a_rate_of_nothing() {
    let subject = Subject::new();
    let disk = unread(&subject);
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
