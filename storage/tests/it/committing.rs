//! Rounds that fail: nothing is known of them, and nothing more is written.

use towpath_storage::StorageError;
use towpath_storage::vfs::sim::{
    CrashMode, Fault, Injection, LossMode, OperationKind, SimDisk, SimOptions, SyncFailure,
};

use crate::driver::{Batch, Driver, Found, P0, payload};

fn new_broker(sync_failure: SyncFailure) -> Driver {
    let disk = SimDisk::new(SimOptions {
        sync_failure,
        ..SimOptions::default()
    });
    let mut broker = Driver::open(&disk).unwrap();
    broker.create(P0);
    broker.round([Batch::inline(P0, payload(0, 100))]);
    broker
}

/// One round of each form fails at each of its calls; then nothing is taken, and a restart finds what was
/// acknowledged before, and the round whole or not at all.
#[test]
fn a_failed_round_poisons_the_journal_and_is_whole_or_not_at_all() {
    for sync_failure in [SyncFailure::CacheKept, SyncFailure::CacheReverted] {
        for (fault, kind) in [
            (Fault::Io, OperationKind::Write),
            (Fault::Io, OperationKind::SyncData),
            (Fault::NoSpace, OperationKind::SyncData),
        ] {
            for n in 0..2 {
                let mut broker = new_broker(sync_failure);
                let disk = broker.disk.clone();
                let durable = broker.storage.journal.durable();
                disk.inject(Injection::new(fault).on(kind).nth(n));
                let batches = vec![
                    Batch::reference(P0, payload(1, 700)),
                    Batch::reference(P0, payload(2, 700)),
                ];
                broker.entry(batches, Vec::new());
                let error = broker.try_commit().unwrap_err();
                assert!(matches!(error, StorageError::Io { .. }), "{error:?}");
                disk.heal();
                assert_eq!(broker.storage.journal.durable(), durable, "not moved");
                assert_eq!(broker.log(P0).end().get(), 1, "not shown");
                broker.entry(vec![Batch::inline(P0, payload(3, 10))], Vec::new());
                let error = broker.try_commit().unwrap_err();
                assert!(matches!(error, StorageError::Poisoned), "{error:?}");
                for mode in [
                    CrashMode::Kill,
                    CrashMode::PowerLoss(LossMode::Everything),
                    CrashMode::PowerLoss(LossMode::Nothing),
                ] {
                    check_restart(
                        &disk.crash(&mode),
                        &format!("{fault:?} {kind:?} {n} {mode:?}"),
                    );
                }
            }
        }
    }
}

fn check_restart(disk: &SimDisk, what: &str) {
    let broker = Driver::open(disk).unwrap();
    let before = [Found::Batch(0, payload(0, 100))];
    let whole = [
        before[0].clone(),
        Found::Batch(1, payload(1, 700)),
        Found::Batch(2, payload(2, 700)),
    ];
    let found = broker.read(P0, 0);
    assert!(found == before || found == whole, "{what}: {found:?}");
    assert_eq!(broker.storage.report.losses, [], "{what}");
}

/// What an entry names by reference is durable before the entry is: else a crash between the two syncs
/// could leave an entry without its records.
#[test]
fn a_run_is_durable_before_its_entry_is_written() {
    let mut broker = new_broker(SyncFailure::CacheKept);
    let disk = broker.disk.clone();
    broker.entry(vec![Batch::reference(P0, payload(1, 700))], Vec::new());
    disk.take_trace();
    broker.commit();
    let calls: Vec<_> = disk
        .take_trace()
        .iter()
        .map(|line| line.split(" @").next().unwrap().to_owned())
        .collect();
    let expected = [
        "write topics/1-topic-1/0/00000000000000000000.log",
        "sync topics/1-topic-1/0/00000000000000000000.log",
        "write journal/00000000000000000002.journal",
        "sync journal/00000000000000000002.journal",
    ];
    assert_eq!(calls, expected);
}

#[test]
fn short_writes_are_completed() {
    let mut broker = new_broker(SyncFailure::CacheKept);
    let disk = broker.disk.clone();
    disk.inject(Injection::new(Fault::Short));
    for number in 1..6 {
        let batch = match number % 2 {
            0 => Batch::reference(P0, payload(number, 9_000)),
            _ => Batch::inline(P0, payload(number, 9_000)),
        };
        broker.round([batch]);
    }
    broker.checkpoint();
    disk.heal();
    let broker = Driver::open(&disk.crash(&CrashMode::PowerLoss(LossMode::Everything))).unwrap();
    let found = broker.read(P0, 0);
    let expected: Vec<_> = (0..6)
        .map(|number| {
            let length = if number == 0 { 100 } else { 9_000 };
            Found::Batch(number, payload(number, length))
        })
        .collect();
    assert_eq!(found, expected);
}

/// Settling that fails is nothing to go on from; the journal has it all.
#[test]
fn a_failed_settling_costs_nothing() {
    for (kind, fault) in [
        (OperationKind::Write, Fault::Io),
        (OperationKind::SyncData, Fault::Io),
        (OperationKind::SyncData, Fault::NoSpace),
    ] {
        for n in 0..2 {
            let mut broker = new_broker(SyncFailure::CacheKept);
            let disk = broker.disk.clone();
            broker.round([Batch::inline(P0, payload(1, 9_000))]);
            disk.inject(Injection::new(fault).on(kind).under("topics").nth(n));
            let failed = broker.try_settle().is_err()
                || broker.storage.dirty.sync(&broker.storage.files).is_err();
            assert!(failed, "{kind:?} {n}");
            for mode in [
                CrashMode::Kill,
                CrashMode::PowerLoss(LossMode::Everything),
                CrashMode::PowerLoss(LossMode::Sectors { seed: n }),
            ] {
                let broker = Driver::open(&disk.crash(&mode)).unwrap();
                let expected = [
                    Found::Batch(0, payload(0, 100)),
                    Found::Batch(1, payload(1, 9_000)),
                ];
                assert_eq!(broker.read(P0, 0), expected, "{kind:?} {n} {mode:?}");
            }
        }
    }
}
