//! Checkpoints: two copies of each, the newest that is whole counts, and one that fails leaves the one
//! before it standing.

use std::path::{Path, PathBuf};

use towpath_storage::format::checkpoint_file::{BLOCK_HEADER_BYTES, BLOCK_ROWS_BYTES, BlockHeader};
use towpath_storage::vfs::sim::{
    CrashMode, Fault, Injection, LossMode, OperationKind, SimDisk, SimOptions,
};
use towpath_storage::{CheckpointInput, OpenError, StateMachine};

use crate::driver::{Batch, Driver, Found, P0, note_row, payload};
use crate::tamper::{journal_path, overwrite, paths};

/// Rows behind a checkpoint and none in the journal.
fn only_in_checkpoint() -> SimDisk {
    let disk = SimDisk::new(SimOptions::default());
    let mut broker = Driver::open(&disk).unwrap();
    broker.create(P0);
    broker.round([Batch::inline(P0, payload(0, 50))]);
    broker.entry(Vec::new(), vec![note_row("colour", Some("red"))]);
    broker.commit();
    broker.checkpoint();
    drop(broker);
    disk
}

fn copies(disk: &SimDisk) -> [PathBuf; 2] {
    let paths = paths(disk, "checkpoint/");
    let [first, second] = &paths[..] else {
        panic!("two copies, not {paths:?}");
    };
    [first.into(), second.into()]
}

fn check_content(broker: &Driver, what: &str) {
    let found = [Found::Batch(0, payload(0, 50))];
    assert_eq!(broker.read(P0, 0), found, "{what}");
    assert_eq!(broker.state.note("colour"), Some("red"), "{what}");
}

#[test]
fn either_copy_may_be_damaged_in_any_byte() {
    let disk = only_in_checkpoint();
    for copy in copies(&disk) {
        let length = disk.read(&copy).unwrap().len() as u64;
        for place in 0..length {
            let disk = disk.fork();
            disk.flip_bit(&copy, place, 5).unwrap();
            let what = format!("{} byte {place}", copy.display());
            let broker = Driver::open(&disk).unwrap_or_else(|error| panic!("{what}: {error}"));
            check_content(&broker, &what);
        }
    }
}

#[test]
fn either_copy_may_be_missing_or_cut() {
    let disk = only_in_checkpoint();
    for copy in copies(&disk) {
        let missing = disk.fork();
        missing.vfs().unlink(&copy).unwrap();
        check_content(&Driver::open(&missing).unwrap(), "missing");
        for length in 0..disk.read(&copy).unwrap().len() as u64 {
            let disk = disk.fork();
            crate::tamper::cut(&disk, &copy, length);
            check_content(&Driver::open(&disk).unwrap(), &format!("cut to {length}"));
        }
    }
}

#[test]
fn without_an_intact_copy_the_start_is_refused() {
    let disk = only_in_checkpoint();
    for copy in copies(&disk) {
        disk.flip_bit(&copy, 3, 0).unwrap();
    }
    let before = disk.content_hash();
    match Driver::open(&disk).unwrap_err() {
        OpenError::NotUsable { what, .. } => assert_eq!(what, "no checkpoint is intact"),
        other => panic!("{other:?}"),
    }
    assert_eq!(disk.content_hash(), before, "nothing was changed");
}

#[test]
fn a_checkpoint_counts_under_its_own_name_only() {
    let disk = only_in_checkpoint();
    let [first, second] = copies(&disk);
    let name = first.to_str().unwrap();
    let lsn = &name["checkpoint/".len()..][..20];
    let incarnation = &name["checkpoint/".len() + 21..][..10];
    let later = |number: &str| {
        let width = number.len();
        format!("{:0width$}", number.parse::<u64>().unwrap() + 1)
    };
    for (from, to) in [(lsn, later(lsn)), (incarnation, later(incarnation))] {
        let disk = disk.fork();
        disk.vfs().unlink(&second).unwrap();
        let renamed = name.replacen(from, &to, 1);
        disk.vfs().rename(&first, Path::new(&renamed)).unwrap();
        match Driver::open(&disk).unwrap_err() {
            OpenError::NotUsable { what, .. } => assert_eq!(what, "no checkpoint is intact"),
            other => panic!("{other:?}"),
        }
    }
}

/// Blocks are what is read at once, and what one damaged byte costs.
#[test]
fn rows_stand_in_blocks_of_a_bounded_length() {
    let disk = SimDisk::new(SimOptions::default());
    let mut broker = Driver::open(&disk).unwrap();
    let value = "v".repeat(1_000);
    let rows = (0..300).map(|number| note_row(&format!("note-{number:03}"), Some(&value)));
    for chunk in rows.collect::<Vec<_>>().chunks(50) {
        broker.entry(Vec::new(), chunk.to_vec());
        broker.commit();
    }
    broker.checkpoint();
    for copy in copies(&disk) {
        let bytes = disk.read(&copy).unwrap();
        let (mut at, mut lengths) = (0, Vec::new());
        while let Some(header) = bytes.get(at..).and_then(BlockHeader::decode) {
            lengths.push(header.rows_bytes as usize);
            at += BLOCK_HEADER_BYTES + header.rows_bytes as usize;
        }
        let is_bounded = lengths.iter().all(|it| *it <= BLOCK_ROWS_BYTES);
        // Each is as full as rows of a kilobyte let it be, but for the last one.
        let is_used = lengths.iter().rev().skip(1).all(|it| *it > 63_000);
        assert!(is_bounded && is_used && lengths.len() >= 4, "{lengths:?}");
    }
}

/// A disk whose newest checkpoint has one copy, as a crash between the two leaves it; the one before it
/// is whole. Returns the path of the single copy.
fn between_copies() -> (SimDisk, PathBuf) {
    let disk = only_in_checkpoint();
    let mut broker = Driver::open(&disk).unwrap();
    broker.entry(Vec::new(), vec![note_row("size", Some("large"))]);
    broker.commit();
    let mut input = broker.checkpoint_input();
    let second = format!("checkpoint/{:020}-0000000002-2", input.lsn.get());
    disk.inject(Injection::new(Fault::NoSpace).under(&second));
    broker.storage.checkpointer.write(&mut input).unwrap_err();
    disk.heal();
    drop(broker);
    let newest = format!("checkpoint/{:020}-0000000002-1.checkpoint", input.lsn.get());
    assert_eq!(paths(&disk, "checkpoint/").len(), 3, "2 + 1 copies");
    (disk.crash(&CrashMode::Kill), newest.into())
}

#[test]
fn a_single_copy_counts() {
    let (disk, newest) = between_copies();
    // The journal is not needed.
    let broker = Driver::open(&disk).unwrap();
    check_content(&broker, "single copy");
    assert_eq!(broker.state.note("size"), Some("large"));
    assert_eq!(broker.storage.report.entry_count, 0, "nothing to replay");
    assert!(disk.read(&newest).is_err(), "superseded");
}

#[test]
fn behind_a_damaged_checkpoint_the_older_one_and_its_journal_count() {
    let (disk, newest) = between_copies();
    for place in 0..disk.read(&newest).unwrap().len() as u64 {
        let disk = disk.fork();
        disk.flip_bit(&newest, place, 1).unwrap();
        let broker = Driver::open(&disk).unwrap();
        check_content(&broker, "older");
        assert_eq!(broker.state.note("size"), Some("large"), "replayed");
        assert_eq!(broker.storage.report.entry_count, 1);
    }
}

#[test]
fn a_damaged_checkpoint_still_says_what_was_durable() {
    let (disk, newest) = between_copies();
    disk.flip_bit(&newest, 0, 0).unwrap();
    let journal = paths(&disk, "journal/").pop().unwrap();
    // Without the entry that the checkpoint covered, its loss would go unnoticed.
    overwrite(&disk, Path::new(&journal), 4096, &[0; 4096]);
    let before = disk.content_hash();
    match Driver::open(&disk).unwrap_err() {
        OpenError::JournalDamaged { after_lsn, what } => {
            assert_eq!(after_lsn.get(), 3);
            assert!(what.starts_with("a checkpoint names lsn 4"), "{what}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(disk.content_hash(), before, "nothing was changed");
    // Nor without the file.
    disk.vfs().unlink(Path::new(&journal)).unwrap();
    let error = Driver::open(&disk).unwrap_err();
    assert!(
        matches!(error, OpenError::JournalDamaged { .. }),
        "{error:?}"
    );
}

#[test]
fn rows_that_are_gone_are_not_in_the_next_checkpoint() {
    let disk = only_in_checkpoint();
    let mut broker = Driver::open(&disk).unwrap();
    assert_eq!(broker.state.loaded_row_count, 2);
    broker.entry(Vec::new(), vec![note_row("colour", None)]);
    broker.commit();
    broker.checkpoint();
    drop(broker);
    let broker = Driver::open(&disk).unwrap();
    assert_eq!(broker.state.note("colour"), None);
    assert_eq!(broker.state.loaded_row_count, 1);
}

#[test]
fn regression_a_copy_that_is_damaged_later_does_not_stop_checkpoints() {
    for (copy, damage) in [(0, false), (1, false), (0, true), (1, true)] {
        let disk = only_in_checkpoint();
        let mut broker = Driver::open(&disk).unwrap();
        let path = &copies(&disk)[copy];
        match damage {
            true => disk.flip_bit(path, 20, 0).unwrap(),
            false => disk.vfs().unlink(path).unwrap(),
        }
        broker.entry(Vec::new(), vec![note_row("size", Some("large"))]);
        broker.commit();
        broker.checkpoint();
        drop(broker);
        for path in copies(&disk) {
            let disk = disk.fork();
            disk.vfs().unlink(&path).unwrap();
            let broker = Driver::open(&disk).unwrap();
            check_content(&broker, "from the other copy");
            assert_eq!(broker.state.note("size"), Some("large"));
        }
    }
}

/// A checkpoint that fails at any operation, then one that does not, with what changed meanwhile.
#[test]
fn a_failed_checkpoint_gives_its_rows_back() {
    let before = only_in_checkpoint();
    let operations = |disk: &SimDisk| {
        let mut broker = Driver::open(disk).unwrap();
        broker.entry(Vec::new(), vec![note_row("size", Some("large"))]);
        broker.commit();
        let start = disk.operations();
        broker.checkpoint();
        disk.operations() - start
    };
    for k in 0..operations(&before.fork()) {
        let disk = before.fork();
        let mut broker = Driver::open(&disk).unwrap();
        broker.entry(Vec::new(), vec![note_row("size", Some("large"))]);
        broker.commit();
        let start = disk.operations();
        disk.inject(Injection::new(Fault::NoSpace).at_operation(start + k));
        let mut input = broker.checkpoint_input();
        let has_failed = broker.storage.checkpointer.write(&mut input).is_err();
        disk.heal();
        let what = format!("operation {k}, failed={has_failed}");
        if has_failed {
            let crashed = disk.crash(&CrashMode::PowerLoss(LossMode::Everything));
            let other = Driver::open(&crashed).unwrap();
            check_content(&other, &what);
            assert_eq!(other.state.note("size"), Some("large"), "{what}");
            for row in input.changed {
                broker.state.apply_row(row);
            }
        }
        broker.entry(Vec::new(), vec![note_row("colour", Some("red"))]);
        broker.commit();
        broker.checkpoint();
        let continuation = broker.position();
        drop(broker);
        overwrite(
            &disk,
            &journal_path(continuation.file),
            continuation.position,
            &[0; 4096],
        );
        let broker = Driver::open(&disk).unwrap();
        check_content(&broker, &what);
        assert_eq!(broker.state.note("size"), Some("large"), "{what}");
        assert_eq!(broker.storage.report.entry_count, 0, "{what}");
    }
}

#[test]
fn a_checkpoint_takes_two_syncs_of_files_and_two_of_their_folder() {
    let disk = only_in_checkpoint();
    let mut broker = Driver::open(&disk).unwrap();
    let count = |kind| disk.count(kind);
    let before = [OperationKind::SyncData, OperationKind::SyncDir].map(count);
    let mut input = CheckpointInput {
        changed: vec![note_row("a", Some("b"))],
        ..broker.checkpoint_input()
    };
    broker.storage.checkpointer.write(&mut input).unwrap();
    let after = [OperationKind::SyncData, OperationKind::SyncDir].map(count);
    assert_eq!([after[0] - before[0], after[1] - before[1]], [2, 2]);
}
