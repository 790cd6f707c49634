//! Power losses on a real file system: what it has not put on its disk is gone.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;
use towpath_tests::fault::{Disk, Strace, report};
use towpath_tests::history::Rule;
use towpath_tests::load::{Load, LoadOptions, Verdict};
use towpath_tests::process::{BrokerProcess, BrokerSetup, Signal};

use crate::layout::{checkpoint_files, journal_files};
use crate::power_switch::{Cut, power_off};
use crate::{BROKER_FAILED, Need, PATIENCE, can, number, seed};

const LOSSES: u64 = 50;
/// Losses of one disk and one load: the longer, the more is read and checked at the end.
const LOSSES_PER_DISK: u64 = 10;
/// After so many a long run tells how far it is.
const LOSSES_TOLD: u64 = 500;
/// The smaller, the smaller are journal files, and the sooner are they used again.
const DISK_BYTES: [u64; 2] = [512 * MIB, 1024 * MIB];
const MIB: u64 = 1024 * 1024;
/// Longest work between two losses, mostly.
const WORK_MS_MAX: u64 = 250;
/// How often it is looked whether a checkpoint was written.
const LOOK: Duration = Duration::from_millis(10);
/// Longest wait for a checkpoint. One begins a second after the load has deleted a topic.
const CHECKPOINT_PATIENCE: Duration = Duration::from_secs(5);
/// Longer than a start takes on a fast machine.
const START_MS_MAX: u64 = 60;
/// Losses under a lying disk, of which one must be noticed.
const LIES: u64 = 3;

#[test]
fn what_is_acknowledged_survives_power_losses() {
    if !can("power loss", &[Need::Disks]) {
        return;
    }
    let (seed, losses) = (seed(), number("LOSSES", LOSSES));
    let mut tally = Tally::default();
    for seed in seed.. {
        if tally.losses >= losses {
            break;
        }
        let left = losses - tally.losses;
        let before = tally.losses / LOSSES_TOLD;
        use_up_a_disk(seed, left.min(LOSSES_PER_DISK), &mut tally);
        if tally.losses / LOSSES_TOLD > before {
            report("power loss", &tally);
        }
    }
    report("power loss", tally);
}

/// Goes through so many losses, fewer if the disk fills up, with one disk and one load, and checks what
/// that saw.
fn use_up_a_disk(seed: u64, losses: u64, tally: &mut Tally) {
    let mut machine = Machine::start(seed);
    let load = start_load(&machine, seed);
    let before = tally.losses;
    while tally.losses < before + losses && machine.has_room() {
        machine.go_through_a_loss(&load, tally);
    }
    let verdict = load.finish();
    verdict.assert_acknowledged(format_args!("SEED={seed} LOSSES={losses}"));
    tally.acknowledged += verdict.counts.acknowledged;
    tally.in_doubt += verdict.counts.in_doubt;
}

#[test]
fn a_disk_that_lies_about_syncs_loses_acknowledged_records() {
    if !can("lying disk", &[Need::Disks, Need::Strace]) {
        return;
    }
    let every_sync = |_: &Machine| Strace::lying("fdatasync,fsync");
    let journal_syncs =
        |machine: &Machine| Strace::lying("fdatasync").on(journal_files(machine.setup.data_dir()));
    check_lie("every sync", every_sync);
    check_lie("syncs of the journal", journal_syncs);
}

/// Sees that the test above would notice syncs that do nothing.
fn check_lie(what: &str, lie: impl Fn(&Machine) -> Strace) {
    let seed = seed();
    let mut losses = (0..LIES).map(|number| lose_under(seed + number, &lie));
    let noticed = losses.find(|verdict| {
        let is_lost = |rule: Rule| rule == Rule::LostWrite;
        verdict.violations.iter().any(|it| is_lost(it.rule))
    });
    let verdict = noticed.unwrap_or_else(|| panic!("{what} may be left out, nothing was lost"));
    let lost = verdict.violations.len();
    report(
        "lying disk",
        format_args!("without {what} {lost} rules were broken"),
    );
}

/// Clients that know that a disk without power cannot be read.
fn start_load(machine: &Machine, seed: u64) -> Load {
    let options = LoadOptions {
        are_readers_undaunted: true,
        ..LoadOptions::new(seed)
    };
    Load::start(&machine.setup.url(), &options)
}

/// One power loss on a disk that lies from the first acknowledgement on.
fn lose_under(seed: u64, lie: impl Fn(&Machine) -> Strace) -> Verdict {
    let mut machine = Machine::start(seed);
    let load = start_load(&machine, seed);
    load.await_ack(PATIENCE).expect("acknowledged");
    let strace = lie(&machine);
    let lying = strace.attach(machine.broker.as_ref().expect("it runs").ready().pid);
    load.run_for(Duration::from_millis(WORK_MS_MAX));
    machine.lose_power(Cut::Hard, Death::Killed);
    drop(lying);
    assert!(strace.change_count() > 0, "there were syncs to lie about");
    machine.restart();
    load.finish()
}

/// A broker and the disk it runs on.
struct Machine {
    random: Rng,
    setup: BrokerSetup,
    /// Stands before the disk, which can be unmounted only when it has ended.
    broker: Option<BrokerProcess>,
    disk: Disk,
}

impl Machine {
    fn start(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let disk = Disk::ext4(DISK_BYTES[random.usize(..DISK_BYTES.len())]);
        let setup = BrokerSetup::new(disk.data_dir());
        let broker = Some(setup.start());
        Self {
            random,
            setup,
            broker,
            disk,
        }
    }

    /// Lets the load work, takes the power away at a random moment, and starts again. Now and then
    /// the power goes off again during the start, or the broker is killed before, so that some of what
    /// it recovers from is only in memory.
    fn go_through_a_loss(&mut self, load: &Load, tally: &mut Tally) {
        load.forget_acks();
        if load.await_ack(PATIENCE).is_none() {
            let broker = self.broker.as_mut().expect("it runs");
            let (counts, log) = (load.counts(), broker.stderr_so_far());
            let failures = load.failures();
            panic!("no service after {PATIENCE:?}: {counts}; {tally}; {failures:#?}; {log}");
        }
        match self.random.u8(..5) {
            0 => self.work_until_a_checkpoint(load),
            _ => self.work(load),
        }
        if self.random.u8(..4) == 0 {
            self.broker.take().into_iter().for_each(end_by_kill);
            self.restart();
            self.work(load);
        }
        let cut = match self.random.u8(..4) {
            0 => Cut::Journaled,
            _ => Cut::Hard,
        };
        let death = match self.random.bool() {
            true => Death::Killed,
            false => Death::OfItsOwn,
        };
        self.lose_power(cut, death);
        tally.losses += 1;
        if self.random.u8(..4) == 0 {
            self.broker = Some(self.setup.spawn());
            load.run_for(Duration::from_millis(self.random.u64(..START_MS_MAX)));
            self.lose_power(cut, Death::Killed);
            tally.losses += 1;
            tally.losses_at_start += 1;
        }
        tally.note_start(self.restart());
    }

    fn work(&mut self, load: &Load) {
        load.run_for(Duration::from_millis(self.random.u64(..WORK_MS_MAX)));
    }

    /// Lets the load work until a checkpoint has made journal files free, and a little longer.
    fn work_until_a_checkpoint(&mut self, load: &Load) {
        let files = || checkpoint_files(self.setup.data_dir());
        let (before, deadline) = (files(), Instant::now() + CHECKPOINT_PATIENCE);
        while files() == before && Instant::now() < deadline {
            load.run_for(LOOK);
        }
        load.run_for(Duration::from_millis(self.random.u64(..WORK_MS_MAX / 4)));
    }

    /// Whether the disk has room for another life.
    fn has_room(&self) -> bool {
        self.disk.available_bytes() > DISK_BYTES[0] / 2
    }

    /// Takes the power away, and gives it back.
    fn lose_power(&mut self, cut: Cut, death: Death) {
        power_off(&self.disk.root(), cut);
        let broker = self.broker.take().expect("it runs");
        match death {
            Death::Killed => end_by_kill(broker),
            Death::OfItsOwn => {
                let ended = broker.wait(PATIENCE);
                assert_eq!(ended.code(), Some(BROKER_FAILED), "{ended}");
            }
        }
        self.disk.unmount();
        self.disk.mount();
    }

    /// Starts the broker again; returns how long that took.
    fn restart(&mut self) -> Duration {
        let broker = self.setup.start();
        let took = broker.started_at().elapsed();
        self.broker = Some(broker);
        took
    }
}

/// How a broker ends whose disk is dead.
#[derive(Debug, Clone, Copy)]
enum Death {
    /// At once, as everything that runs on a machine.
    Killed,
    /// It finds out that nothing can be written, and ends itself.
    OfItsOwn,
}

/// Ends a broker that may just be ending by itself.
fn end_by_kill(mut broker: BrokerProcess) {
    broker.signal(Signal::KILL);
    broker.wait(PATIENCE);
}

/// What was gone through.
#[derive(Debug, Default)]
struct Tally {
    losses: u64,
    losses_at_start: u64,
    acknowledged: u64,
    in_doubt: u64,
    longest_start: Duration,
    starts: Duration,
    start_count: u32,
}

impl Tally {
    fn note_start(&mut self, took: Duration) {
        self.longest_start = self.longest_start.max(took);
        self.starts += took;
        self.start_count += 1;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            losses,
            losses_at_start,
            acknowledged,
            in_doubt,
            longest_start,
            starts,
            start_count,
        } = self;
        let mean = *starts / (*start_count).max(1);
        write!(
            f,
            "{losses} losses, {losses_at_start} of them during a start; {acknowledged} records \
             acknowledged, none lost, {in_doubt} in doubt; start after a loss {mean:.0?}, at most \
             {longest_start:.0?}"
        )
    }
}
