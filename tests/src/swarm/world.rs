//! The scheduler and the world that it drives.

mod apart;
mod consuming;
mod ending;
mod following;
mod forwarding;
mod group_ending;
mod group_watch;
mod grouping;
mod handling;
mod keeping;
mod letter_moves;
mod moving;
mod publishing;
mod reading;
mod scheduling;
mod sending;
mod settling;
mod subscribing;
mod subscription_ending;
mod subscription_watch;
mod told;
mod topics;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use towpath_broker::runtime::command::{AppendAnswer, AppendSink, Ticket};
use towpath_broker::runtime::engine::Engine;
use towpath_broker::runtime::published::TopicView;
use towpath_storage::vfs::sim::{
    CrashMode, Latency, LossMode, SimDisk, SimOptions, SyncFailure, Trace,
};
use towpath_storage::{Environment, OpenError, Operation, SimClock, SimEntropy, StorageError};

use super::actors::{Producer, Reader, digest};
use super::consumers::Crowd;
use super::faults::Weather;
use super::members::Cast;
use crate::history::{Event, Place, Violation, check};
use crate::stepper::small_options;
use apart::Apart;
use publishing::Publisher;
use topics::{PendingControl, TopicLedger};

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// The broken rules.
    pub violations: Vec<Violation>,
    /// What the clients saw.
    pub history: Vec<Event>,
    /// Digest of every file operation.
    pub trace_digest: u64,
    /// What happened.
    pub counts: Counts,
}

/// What happened in a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Batches that were acknowledged.
    pub accepted: u64,
    /// Those of them that were sent compressed.
    pub compressed: u64,
    /// Times that the broker died and was opened again.
    pub restarts: u64,
    /// Times that opening it failed.
    pub failed_starts: u64,
    /// Log starts that moved.
    pub trims: u64,
    /// Partitions that were given to members.
    pub assignments: u64,
    /// Commits of groups that were acknowledged.
    pub commits: u64,
    /// Commits that were refused, since they came too late.
    pub stale_commits: u64,
    /// Seeks of groups and subscriptions.
    pub seeks: u64,
    /// Subscriptions that were created.
    pub subscriptions: u64,
    /// Records that were delivered.
    pub deliveries: u64,
    /// Settlements of records that were confirmed.
    pub settled: u64,
    /// Settlements of records that came too late.
    pub expired: u64,
    /// Records that became dead letters.
    pub dead_letters: u64,
    /// Dead letters that were to be delivered again.
    pub redriven: u64,
    /// Dead letters that were to be discarded.
    pub discarded: u64,
    /// Dead letters that were appended to a topic.
    pub republished: u64,
    /// Scheduled records that were read, however often.
    pub reminders: u64,
    /// Records of keys that were acknowledged.
    pub entities: u64,
    /// Requests that were refused since a key had another version than expected.
    pub mismatches: u64,
    /// Commits that handled records and were acknowledged.
    pub forwarded: u64,
    /// Such commits that came too late.
    pub late_forwards: u64,
    /// File operations that change the disk.
    pub operations: u64,
}

impl Counts {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            accepted: self.accepted + other.accepted,
            compressed: self.compressed + other.compressed,
            restarts: self.restarts + other.restarts,
            failed_starts: self.failed_starts + other.failed_starts,
            trims: self.trims + other.trims,
            assignments: self.assignments + other.assignments,
            commits: self.commits + other.commits,
            stale_commits: self.stale_commits + other.stale_commits,
            seeks: self.seeks + other.seeks,
            subscriptions: self.subscriptions + other.subscriptions,
            deliveries: self.deliveries + other.deliveries,
            settled: self.settled + other.settled,
            expired: self.expired + other.expired,
            dead_letters: self.dead_letters + other.dead_letters,
            redriven: self.redriven + other.redriven,
            discarded: self.discarded + other.discarded,
            republished: self.republished + other.republished,
            reminders: self.reminders + other.reminders,
            entities: self.entities + other.entities,
            mismatches: self.mismatches + other.mismatches,
            forwarded: self.forwarded + other.forwarded,
            late_forwards: self.late_forwards + other.late_forwards,
            operations: self.operations + other.operations,
        }
    }
}

const PRODUCERS: u64 = 3;
const READERS: u64 = 3;
/// How names of topics of dead letters end.
const DEAD_LETTERS: &str = "-dead";
/// One in so many seeds has a publisher: by number, not drawn, so that the others stay what they are.
const PUBLISHING: u64 = 8;

#[derive(Debug, Default)]
struct Mailbox {
    answers: Mutex<Vec<(u64, Ticket, AppendAnswer)>>,
}

/// The sink of one producer: the ticket's handle is the topic.
#[derive(Debug)]
struct Sink {
    producer: u64,
    mailbox: Arc<Mailbox>,
}

impl AppendSink for Sink {
    fn answer(&self, ticket: Ticket, answer: AppendAnswer) {
        self.mailbox
            .answers
            .lock()
            .unwrap()
            .push((self.producer, ticket, answer));
    }
}

struct World {
    random: Rng,
    weather: Weather,
    clock: Arc<SimClock>,
    disk: SimDisk,
    engine: Option<Engine>,
    lives: u64,
    producers: Vec<Producer>,
    readers: Vec<Reader>,
    cast: Cast,
    crowd: Crowd,
    /// Somebody who writes to several partitions at once, if there is.
    publisher: Option<Publisher>,
    /// Who works on topics of their own.
    apart: Apart,
    mailbox: Arc<Mailbox>,
    /// What is known of every topic that was ever seen.
    ledgers: BTreeMap<u64, TopicLedger>,
    /// Commands about topics that were not answered.
    controls: Vec<PendingControl>,
    history: Vec<Event>,
    counts: Counts,
    trace_digest: u64,
    /// Whether every file operation is printed: `TRACE=1`.
    is_traced: bool,
    /// Whether the file system stopped and the next crash takes what was pending.
    is_unmounted: bool,
}

/// Who takes part in a run beside producers and readers.
#[derive(Default)]
struct Company {
    cast: Cast,
    crowd: Crowd,
    publisher: Option<Publisher>,
    apart: Apart,
}

/// Runs one seed for so many scheduler steps, or for as many as it draws.
pub fn run(seed: u64, steps: Option<u32>) -> Outcome {
    let mut random = Rng::with_seed(seed);
    let weather = Weather::draw(&mut random);
    let drawn = random.u32(100..1900);
    let company = Company {
        publisher: publisher_of(seed),
        apart: Apart::of(seed),
        ..Company::default()
    };
    run_in(weather, company, random, steps.unwrap_or(drawn))
}

/// The same with members of consumer groups.
pub fn run_with_groups(seed: u64, steps: Option<u32>) -> Outcome {
    let mut random = Rng::with_seed(seed);
    let weather = Weather::draw(&mut random);
    let drawn = random.u32(100..1900);
    let company = Company {
        cast: Cast::draw(&mut random),
        publisher: publisher_of(seed),
        ..Company::default()
    };
    run_in(weather, company, random, steps.unwrap_or(drawn))
}

/// The same with consumers of durable subscriptions.
pub fn run_with_subscriptions(seed: u64, steps: Option<u32>) -> Outcome {
    let mut random = Rng::with_seed(seed);
    let weather = Weather::draw(&mut random);
    let drawn = random.u32(100..1900);
    let company = Company {
        crowd: Crowd::draw(&mut random),
        ..Company::default()
    };
    run_in(weather, company, random, steps.unwrap_or(drawn))
}

/// The same on a disk that lies about its syncs: what the checks find then shows that they bite.
pub fn run_on_lying_disk(seed: u64, steps: u32) -> Outcome {
    let random = Rng::with_seed(seed);
    run_in(Weather::lying(), Company::default(), random, steps)
}

fn publisher_of(seed: u64) -> Option<Publisher> {
    (seed % PUBLISHING == PUBLISHING / 2).then(Publisher::default)
}

fn run_in(weather: Weather, company: Company, mut random: Rng, steps: u32) -> Outcome {
    let disk = SimDisk::new(SimOptions {
        sector_bytes: if random.bool() { 512 } else { 4096 },
        total_bytes: weather.total_bytes,
        sync_failure: match random.bool() {
            true => SyncFailure::CacheKept,
            false => SyncFailure::CacheReverted,
        },
        trace: Trace::Mutations,
        seed: random.u64(..),
        ..SimOptions::default()
    });
    let mut world = World {
        clock: Arc::new(SimClock::new(1_700_000_000_000)),
        weather,
        disk,
        engine: None,
        lives: 0,
        producers: (0..PRODUCERS)
            .map(|number| Producer::new(number, company.crowd.key_count))
            .collect(),
        readers: Vec::new(),
        cast: company.cast,
        crowd: company.crowd,
        publisher: company.publisher,
        apart: company.apart,
        mailbox: Arc::default(),
        ledgers: BTreeMap::new(),
        controls: Vec::new(),
        history: Vec::new(),
        counts: Counts::default(),
        trace_digest: 0,
        is_traced: std::env::var_os("TRACE").is_some(),
        is_unmounted: false,
        random,
    };
    world.weather_the_disk();
    world.restart();
    for _ in 0..steps {
        world.step();
    }
    world.heal_and_finish();
    Outcome {
        violations: check(&world.history),
        history: world.history,
        trace_digest: world.trace_digest,
        counts: world.counts,
    }
}

impl World {
    fn step(&mut self) {
        // Without groups nothing is drawn for them: a seed stays what it is.
        if !self.cast.is_absent() && self.random.u8(..5) < 2 {
            self.act_in_group();
        } else if !self.crowd.is_absent() && self.random.u8(..5) < 3 {
            self.act_in_subscription();
        } else if !self.act_apart() {
            self.act();
        }
        self.take_answers();
        self.observe();
    }

    fn act(&mut self) {
        match self.random.u32(..1000) {
            0..300 if self.may_publish() => self.publish(),
            0..300 => self.send(),
            300..550 => self.drive(|engine| engine.step_round().map(drop)),
            550..750 => self.drive(|engine| engine.step_settle().map(drop)),
            750..800 => self.drive(|engine| engine.step_maintenance().map(drop)),
            800..950 => self.read(),
            950..970 => self.pass_time(),
            970..980 => self.create_topic(),
            980..981 => self.delete_topic(),
            981..983 => self.update_topic(),
            983..985 => self.trim_topic(),
            985..988 => self.drive(|engine| {
                engine.sequencer.take_checkpoint();
                Ok(())
            }),
            988..991 => self.drive(|engine| {
                engine.maintenance_worker.watch_space();
                Ok(())
            }),
            991..993 if self.weather.has_crashes => self.die(),
            993..996 if self.weather.has_crashes => self.cut_power(30),
            _ => self.drive(|engine| engine.sequencer.idle()),
        }
    }

    /// Takes a step of the broker; an error ends its process.
    fn drive(&mut self, step: impl FnOnce(&mut Engine) -> Result<(), StorageError>) {
        let Some(engine) = self.engine.as_mut() else {
            return;
        };
        if let Err(error) = step(engine) {
            self.note_failure(&error);
            self.die();
        }
    }

    /// The process will end in the middle of one of its next operations on the disk, which does a part
    /// of its work if it is a write.
    fn cut_power(&mut self, within: u64) {
        let operation = self.disk.operations() + self.random.u64(..within);
        let bytes = match self.random.bool() {
            true => 0,
            false => self.random.usize(..10_000),
        };
        self.disk.stop_within(operation, bytes);
    }

    /// The process ends, the disk is left in some state, and a new one starts.
    fn die(&mut self) {
        self.engine = None;
        self.take_answers();
        self.cut_members_off();
        self.cut_consumers_off();
        self.crash();
        self.restart();
    }

    /// After a failed sync of a folder ext4, XFS and Btrfs stop until they are mounted again.
    fn note_failure(&mut self, error: &StorageError) {
        let is_folder = matches!(
            error,
            StorageError::Io {
                operation: Operation::SyncDir,
                ..
            }
        );
        self.is_unmounted |= is_folder;
    }

    fn crash(&mut self) {
        let mut mode = self.weather.crash_mode(&mut self.random);
        if std::mem::take(&mut self.is_unmounted) && matches!(mode, CrashMode::Kill) {
            mode = CrashMode::PowerLoss(LossMode::Everything);
        }
        self.digest_trace();
        self.disk = self.disk.crash(&mode);
        self.weather_the_disk();
    }

    fn weather_the_disk(&self) {
        self.weather.apply(&self.disk);
        self.disk
            .set_clock(Arc::clone(&self.clock), Latency::default());
    }

    fn digest_trace(&mut self) {
        self.counts.operations += self.disk.operations();
        for line in self.disk.take_trace() {
            if self.is_traced {
                println!("disk: {line}");
            }
            self.trace_digest = self.trace_digest.rotate_left(1) ^ digest(line.as_bytes());
        }
    }

    fn restart(&mut self) {
        self.counts.restarts += 1;
        for attempt in 0.. {
            self.lives += 1;
            let environment = Environment {
                vfs: self.disk.vfs(),
                clock: Arc::clone(&self.clock) as _,
                entropy: Arc::new(SimEntropy::new(self.random.u64(..))),
            };
            if self.weather.has_crashes && attempt < 2 && self.random.u8(..6) == 0 {
                self.cut_power(80);
            }
            match Engine::open(&environment, &small_options()) {
                Ok(engine) => {
                    assert!(engine.report.losses.is_empty(), "nothing was damaged");
                    self.engine = Some(engine);
                    self.note_broker_gone();
                    self.observe();
                    break;
                }
                Err(error) if attempt < 3 => {
                    if let OpenError::Storage(error) = &error {
                        self.note_failure(error);
                    }
                    self.counts.failed_starts += 1;
                    self.crash();
                    if attempt == 2 {
                        self.disk.heal();
                    }
                }
                Err(error) => panic!("a healthy disk cannot be opened: {error:?}"),
            }
        }
        self.readers
            .iter_mut()
            .for_each(|reader| reader.cursor = None);
        for reader in 0..self.readers.len() {
            self.start_session(reader);
        }
        self.reopen_apart();
        self.send_again();
    }

    fn views(&self) -> Vec<Arc<TopicView>> {
        let topics = self
            .engine
            .as_ref()
            .map(|engine| engine.shared.published.topics());
        topics
            .iter()
            .flat_map(|topics| topics.after(None).map(Arc::clone))
            // Dead letters have readers of their own.
            .filter(|view| !view.name().as_str().ends_with(DEAD_LETTERS))
            .filter(|view| !Apart::owns(view.name().as_str()))
            .collect()
    }

    fn pick_place(&mut self) -> Option<Place> {
        self.pick_view().map(|(place, _)| place)
    }

    fn pick_view(&mut self) -> Option<(Place, Arc<TopicView>)> {
        let views = self.views();
        let view = views.get(self.random.usize(..views.len().max(1)))?;
        let partition = self
            .random
            .u32(..u32::try_from(view.partitions().len()).unwrap());
        let topic = view.id().get();
        Some((Place { topic, partition }, Arc::clone(view)))
    }

    fn pass_time(&mut self) {
        self.clock
            .advance(Duration::from_millis(self.random.u64(1..5_000)));
        if self.weather.has_clock_jumps && self.random.u8(..4) == 0 {
            let year_ms = 365 * 86_400_000;
            self.clock.jump_wall_ms(self.random.i64(-year_ms..year_ms));
        }
    }
}
