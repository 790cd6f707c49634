//! Index rows over restarts, crashes and failures: what was acknowledged is found, as it was written last,
//! and no file is left that no checkpoint names.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use towpath_storage::dump::{Dump, Item, Selection};
use towpath_storage::vfs::sim::{
    CrashMode, Fault, Filling, Injection, LossMode, OperationKind, SimDisk, SimOptions, Trace,
};
use towpath_storage::{MergeStep, OpenError, Row, StateMachine, StorageError};

use crate::driver::{Driver, index_row};
use crate::tamper::paths;

/// Rounds of the script: enough for a merge, its installation, and rounds behind it.
const ROUNDS: u64 = 7;
const KEYS: u64 = 20;

fn states_max() -> usize {
    let given = std::env::var("STATES").ok();
    given.map_or(12, |it| it.parse().expect("STATES is a number"))
}

fn disk() -> SimDisk {
    SimDisk::new(SimOptions {
        trace: Trace::Off,
        ..SimOptions::default()
    })
}

fn row(number: u64, value: Option<Bytes>) -> Row {
    index_row(&format!("key {number:03}"), value)
}

/// The rows of a round: some of the keys, one of them gone, each with a value of its own.
fn rows(round: u64) -> Vec<Row> {
    let value = |key: u64| -> Bytes {
        let bytes = format!("{key} in round {round} ");
        bytes.repeat(60).into()
    };
    let changed = (0..KEYS).filter(|key| (key + round).is_multiple_of(3) || *key == round);
    changed
        .map(|key| row(key, (key + 1 != round).then(|| value(key))))
        .chain([row(round.saturating_sub(1), None)])
        .map(|row| (row.key.clone(), row))
        .collect::<BTreeMap<_, _>>()
        .into_values()
        .collect()
}

/// What is known of the index rows.
#[derive(Debug, Clone, Default)]
struct Model {
    /// Rounds that were acknowledged.
    acknowledged: u64,
    /// Whether a further one was being written.
    is_in_flight: bool,
}

impl Model {
    fn values(rounds: u64) -> BTreeMap<u64, Option<Bytes>> {
        let mut values = BTreeMap::new();
        for row in (0..rounds).flat_map(rows) {
            let key = str::from_utf8(&row.key.key[4..]).unwrap().parse().unwrap();
            values.insert(key, row.value);
        }
        values
    }

    /// How many rounds a broker knows; fails if it does not know exactly so many.
    fn check(&self, broker: &Driver, what: &str) {
        let most = self.acknowledged + u64::from(self.is_in_flight);
        let found: Vec<_> = (0..KEYS)
            .map(|key| broker.index_value(&row(key, None)).unwrap())
            .collect();
        let is_state = |rounds: u64| {
            let values = Self::values(rounds);
            let expected = (0..KEYS).map(|key| values.get(&key).cloned().flatten());
            expected.eq(found.iter().cloned())
        };
        assert!(
            (self.acknowledged..=most).any(is_state),
            "{what}: {self:?} is not what is found"
        );
    }
}

fn checkpoint(broker: &mut Driver) -> Result<(), StorageError> {
    broker.try_settle()?;
    broker.storage.dirty.sync(&broker.storage.files)?;
    let mut input = broker.checkpoint_input();
    if let Err(error) = broker.storage.checkpointer.write(&mut input) {
        for row in input.changed {
            broker.state.apply_row(row);
        }
        return Err(error);
    }
    let before = input.continuation.file;
    broker.storage.journal_files.free_before(before)
}

/// Carries out a merge if one is due; the next checkpoint installs it.
fn merge(broker: &mut Driver) -> Result<bool, StorageError> {
    let Some(mut job) = broker.storage.checkpointer.merge_job() else {
        return Ok(false);
    };
    loop {
        match job.step(&mut |_, _| true)? {
            MergeStep::Unfinished(rest) => job = rest,
            MergeStep::Finished(merged) => {
                broker.storage.checkpointer.take_merged(merged);
                return Ok(true);
            }
        }
    }
}

fn script(disk: &SimDisk, model: &mut Model) -> Result<(), OpenError> {
    let mut broker = Driver::open_seeded(disk, 1)?;
    let mut merges = 0;
    for round in 0..ROUNDS {
        broker.entry(Vec::new(), rows(round));
        model.is_in_flight = true;
        broker.try_commit()?;
        *model = Model {
            acknowledged: round + 1,
            is_in_flight: false,
        };
        // The last round is replayed.
        if round + 1 < ROUNDS {
            checkpoint(&mut broker)?;
            merges += u32::from(merge(&mut broker)?);
        }
    }
    model.check(&broker, "without a crash");
    assert_eq!(merges, 1, "the script reaches a merge");
    Ok(())
}

/// Opens a crashed disk, compares, goes on, and compares again.
fn check_recovery(disk: &SimDisk, model: &Model, what: &str) {
    let mut broker =
        Driver::open_seeded(disk, 2).unwrap_or_else(|error| panic!("{what}: {error:?}"));
    model.check(&broker, what);
    check_no_rubbish(&broker, what);
    // Also at the lsn of the one before, over its files.
    for _ in 0..2 {
        merge(&mut broker).unwrap();
        checkpoint(&mut broker).unwrap();
    }
    model.check(&broker, what);
    check_no_rubbish(&broker, what);
    drop(broker);
    let again = Driver::open_seeded(disk, 3).unwrap();
    model.check(&again, what);
}

fn check_no_rubbish(broker: &Driver, what: &str) {
    let files = paths(&broker.disk, "index/");
    let count = broker.storage.index.current().run_count();
    assert_eq!(files.len(), count, "{what}: {files:?}");
}

#[test]
fn index_rows_survive_a_crash_before_any_operation() {
    let whole = disk();
    script(&whole, &mut Model::default()).unwrap();
    let (mut states, mut complete) = (0, 0);
    for k in 0..whole.operations() {
        let disk = disk();
        disk.stop_before(k);
        let mut model = Model::default();
        script(&disk, &mut model).unwrap_err();
        assert!(disk.is_stopped(), "only the power stops the script");
        let crashes = disk.crash_states(states_max());
        complete += u64::from(crashes.is_complete());
        for state in crashes {
            let what = format!("operation {k}, {}", state.description);
            check_recovery(&state.disk, &model, &what);
            states += 1;
        }
    }
    let operations = whole.operations();
    println!("{operations} operations, all states of {complete}, {states} states");
}

#[test]
fn an_interrupted_recovery_of_index_rows_starts_over() {
    let whole = disk();
    let mut model = Model::default();
    script(&whole, &mut model).unwrap();
    for mode in [CrashMode::Kill, CrashMode::PowerLoss(LossMode::Everything)] {
        let crashed = whole.crash(&mode);
        let probe = crashed.fork();
        let start = probe.operations();
        drop(Driver::open_seeded(&probe, 4).unwrap());
        for k in start..probe.operations() {
            let disk = crashed.fork();
            disk.stop_before(k);
            drop(Driver::open_seeded(&disk, 4));
            for state in disk.crash_states(states_max()) {
                let what = format!("{mode:?}, operation {k}, {}", state.description);
                check_recovery(&state.disk, &model, &what);
            }
        }
    }
}

/// A checkpoint that fails at any operation, in several ways, and one that does not.
#[test]
fn a_failed_checkpoint_gives_index_rows_back_and_leaves_no_file_for_ever() {
    let prepare = |disk: &SimDisk| {
        let mut broker = Driver::open_seeded(disk, 1).unwrap();
        for round in 0..4 {
            broker.entry(Vec::new(), rows(round));
            broker.commit();
            checkpoint(&mut broker).unwrap();
        }
        // The checkpoint writes a run and installs a merge.
        assert!(merge(&mut broker).unwrap());
        broker.entry(Vec::new(), rows(4));
        broker.commit();
        broker
    };
    let model = Model {
        acknowledged: 5,
        is_in_flight: false,
    };
    let whole = disk();
    let mut broker = prepare(&whole);
    let start = whole.operations();
    checkpoint(&mut broker).unwrap();
    let operations = whole.operations() - start;
    for fault in [Fault::NoSpace, Fault::Io] {
        let mut failed = 0;
        for k in 0..operations {
            let disk = disk();
            let mut broker = prepare(&disk);
            disk.inject(Injection::new(fault).at_operation(start + k));
            let has_failed = checkpoint(&mut broker).is_err();
            failed += u32::from(has_failed);
            disk.heal();
            let what = format!("{fault:?} at {k}, failed={has_failed}");
            model.check(&broker, &what);
            for mode in [CrashMode::Kill, CrashMode::PowerLoss(LossMode::Everything)] {
                check_recovery(&disk.crash(&mode), &model, &what);
            }
            checkpoint(&mut broker).unwrap();
            model.check(&broker, &what);
            check_no_rubbish(&broker, &what);
            check_recovery(&disk.crash(&CrashMode::Kill), &model, &what);
        }
        assert!(failed > 10, "{fault:?} failed {failed} of {operations}");
    }
}

/// A crash between the two copies of a checkpoint that installs a merge, and then a flipped bit in the
/// copy that counts: the other checkpoint counts, with its journal, and finds the runs that it names.
fn check_other_checkpoint(rounds_behind: u64) {
    let disk = disk();
    let mut broker = Driver::open_seeded(&disk, 1).unwrap();
    for round in 0..4 {
        broker.entry(Vec::new(), rows(round));
        broker.commit();
        checkpoint(&mut broker).unwrap();
    }
    assert!(merge(&mut broker).unwrap(), "one is due");
    for round in 4..4 + rounds_behind {
        broker.entry(Vec::new(), rows(round));
        broker.commit();
    }
    let lsn = broker.storage.journal.durable().get();
    let copy = |number| format!("checkpoint/{lsn:020}-0000000001-{number}.checkpoint");
    let second = Injection::new(Fault::NoSpace).on(OperationKind::Rename);
    disk.inject(second.under(copy(2)));
    checkpoint(&mut broker).unwrap_err();
    disk.heal();
    drop(broker);
    let model = Model {
        acknowledged: 4 + rounds_behind,
        is_in_flight: false,
    };
    // At the lsn of the one before its first copy stands beside that one's second.
    let counting = if rounds_behind == 0 { copy(2) } else { copy(1) };
    let crashed = disk.crash(&CrashMode::Kill);
    check_recovery(&crashed.fork(), &model, "without damage");
    let probe = crashed.fork();
    drop(Driver::open_seeded(&probe, 2).unwrap());
    // Also when a recovery was interrupted before.
    for k in crashed.operations()..=probe.operations() {
        let stopped = crashed.fork();
        stopped.stop_before(k);
        drop(Driver::open_seeded(&stopped, 2));
        let disk = stopped.crash(&CrashMode::Kill);
        if disk.flip_bit(Path::new(&counting), 30, 1).is_ok() {
            check_recovery(&disk, &model, &format!("recovery operation {k}"));
        }
    }
}

#[test]
fn behind_a_damaged_checkpoint_the_older_one_finds_its_runs() {
    check_other_checkpoint(1);
}

#[test]
fn of_two_copies_at_one_lsn_that_name_other_runs_each_finds_its_own() {
    check_other_checkpoint(0);
}

/// A disk that says of a run that it is synced, and loses it: the start is refused, or the lookup fails,
/// and nothing wrong is ever found.
#[test]
fn a_run_that_a_disk_lost_is_noticed() {
    let disk = disk();
    let mut broker = Driver::open_seeded(&disk, 1).unwrap();
    let lie = Injection::new(Fault::LyingSync).on(OperationKind::SyncData);
    disk.inject(lie.under("index/"));
    broker.entry(Vec::new(), rows(0));
    broker.commit();
    checkpoint(&mut broker).unwrap();
    drop(broker);
    let expected = Model::values(1);
    let modes = [
        LossMode::Everything,
        LossMode::SizeFirst(Filling::Zeros),
        LossMode::SizeFirst(Filling::Noise(1)),
    ];
    let mixed = (0..100).map(|seed| LossMode::Mixed { seed });
    let (mut refused, mut failed) = (0, 0);
    for mode in modes.into_iter().chain(mixed) {
        match Driver::open_seeded(&disk.crash(&CrashMode::PowerLoss(mode)), 2) {
            Err(OpenError::Storage(StorageError::Corrupt(found))) => {
                assert!(found.path.starts_with("index"), "{found}");
                refused += 1;
            }
            Err(other) => panic!("{mode:?}: {other:?}"),
            Ok(broker) => {
                for key in 0..KEYS {
                    match broker.index_value(&row(key, None)) {
                        Ok(value) => {
                            let known = expected.get(&key).cloned().flatten();
                            assert_eq!(value, known, "{mode:?} {key}");
                        }
                        Err(StorageError::Corrupt(_)) => failed += 1,
                        Err(other) => panic!("{mode:?}: {other:?}"),
                    }
                }
            }
        }
    }
    assert!(
        refused > 2 && failed > 0,
        "refused={refused} failed={failed}"
    );
}

#[test]
fn a_dump_tells_runs_and_what_is_wrong_with_them() {
    let disk = disk();
    script(&disk, &mut Model::default()).unwrap();
    let tell = |disk: &SimDisk| {
        let mut items = Vec::new();
        let selection = Selection {
            rows: true,
            ..Selection::default()
        };
        Dump::new(disk.vfs()).run(&selection, &mut |item| {
            items.push(item.clone());
            std::ops::ControlFlow::Continue(())
        });
        items
    };
    let items = tell(&disk);
    assert!(items.iter().all(|item| !item.is_trouble()), "{items:?}");
    let runs: Vec<_> = items.iter().filter(|item| item.name() == "run").collect();
    assert_eq!(runs.len(), paths(&disk, "index/").len());
    for run in runs {
        assert!(run.to_string().contains(" role=named"), "{run}");
    }
    let is_index_row = |item: &&Item| matches!(item, Item::Row(row) if row.key.table == 0x8000);
    assert!(
        items.iter().filter(is_index_row).count() > 20,
        "rows of runs"
    );
    let path = paths(&disk, "index/").pop().unwrap();
    let damaged = disk.fork();
    damaged.flip_bit(Path::new(&path), 100, 0).unwrap();
    let told = tell(&damaged).into_iter().filter(Item::is_trouble);
    let told: Vec<_> = told.map(|item| item.to_string()).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("checksum"), "{told:?}");
    disk.vfs().unlink(Path::new(&path)).unwrap();
    let told = tell(&disk).into_iter().filter(Item::is_trouble);
    let told: Vec<_> = told.map(|item| item.to_string()).collect();
    assert!(told.len() == 1 && told[0].contains("missing"), "{told:?}");
}
