//! Damage to entries that had been durable: what is said, what is kept, what the start is refused for.

use std::path::PathBuf;

use towpath_storage::vfs::sim::{CrashMode, LossMode, SimDisk, SimOptions};
use towpath_storage::{DataLoss, Lsn, Offset, OffsetRange, OpenError, PartitionRef};

use crate::driver::{Batch, Driver, Found, P0, P1, note_row, payload};
use crate::tamper::{journal_path, overwrite};

/// Parts of the damaged entry: header 80 bytes, two lines of 80, frames of 64 + 30 + 2 and 64 + 61 + 3
/// bytes, a row of 12 + 6 + 3.
const FRAMES: u64 = 240;
const FIRST_PAYLOAD: u64 = FRAMES + 64;
const SECOND_PAYLOAD: u64 = FRAMES + 96 + 64;
const CHANGE: u64 = FRAMES + 96 + 128;
const ENTRY_BYTES: u64 = CHANGE + 21;

const NOTHING_UNSYNCED: CrashMode = CrashMode::PowerLoss(LossMode::Everything);

/// A disk on which a round stands between two others, and where it stands.
struct Rounds {
    disk: SimDisk,
    path: PathBuf,
    position: u64,
    lsn: Lsn,
}

fn three_rounds(is_settled: bool) -> Rounds {
    let disk = SimDisk::new(SimOptions::default());
    let mut broker = Driver::open(&disk).unwrap();
    broker.create(P0);
    broker.create(P1);
    broker.round([Batch::inline(P0, payload(0, 50)).records(3)]);
    let at = broker.position();
    let batches = vec![
        Batch::inline(P0, payload(1, 30)).records(2),
        Batch::inline(P1, payload(2, 61)),
    ];
    broker.entry(batches, vec![note_row("colour", Some("red"))]);
    broker.commit();
    let lsn = broker.storage.journal.durable();
    broker.round([Batch::inline(P0, payload(3, 20))]);
    if is_settled {
        broker.settle();
    }
    let mode = if is_settled {
        CrashMode::Kill
    } else {
        NOTHING_UNSYNCED
    };
    Rounds {
        disk: disk.crash(&mode),
        path: journal_path(at.file),
        position: at.position,
        lsn,
    }
}

fn first_partition() -> Vec<Found> {
    vec![
        Found::Batch(0, payload(0, 50)),
        Found::Batch(3, payload(1, 30)),
        Found::Batch(5, payload(3, 20)),
    ]
}

fn second_partition() -> Vec<Found> {
    vec![Found::Batch(0, payload(2, 61))]
}

fn loss(partition: PartitionRef, start: u64, end: u64) -> DataLoss {
    let range = OffsetRange {
        start: Offset::new(start),
        end: Offset::new(end),
    };
    DataLoss { partition, range }
}

fn before(lsn: Lsn) -> Lsn {
    Lsn::new(lsn.get() - 1)
}

/// The start is refused, and names the last entry that is intact.
fn assert_refused(disk: &SimDisk, expected: Lsn, what: &str) {
    match Driver::open(disk) {
        Err(OpenError::JournalDamaged { after_lsn, .. }) => {
            assert_eq!(after_lsn, expected, "{what}");
        }
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn a_flipped_bit_in_a_durable_entry_is_never_silent() {
    let rounds = three_rounds(false);
    for place in 0..ENTRY_BYTES {
        for bit in 0..8 {
            let what = format!("byte {place} bit {bit}");
            let disk = rounds.disk.fork();
            disk.flip_bit(&rounds.path, rounds.position + place, bit)
                .unwrap();
            if !(FRAMES..CHANGE).contains(&place) {
                assert_refused(&disk, before(rounds.lsn), &what);
                continue;
            }
            let (mut first, mut second) = (first_partition(), second_partition());
            let mut losses = Vec::new();
            if (FIRST_PAYLOAD..FIRST_PAYLOAD + 30).contains(&place) {
                first[1] = Found::Loss(3, 5);
                losses.push(loss(P0, 3, 5));
            }
            if (SECOND_PAYLOAD..SECOND_PAYLOAD + 61).contains(&place) {
                second[0] = Found::Loss(0, 1);
                losses.push(loss(P1, 0, 1));
            }
            let broker = Driver::open(&disk).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(broker.storage.report.losses, losses, "{what}");
            assert_eq!(broker.read(P0, 0), first, "{what}");
            assert_eq!(broker.read(P1, 0), second, "{what}");
            assert_eq!(broker.read(P0, 5), first[2..], "{what}: behind the loss");
            assert_eq!(broker.state.note("colour"), Some("red"), "{what}");
        }
    }
}

#[test]
fn what_is_lost_stays_lost_and_what_is_near_it_stays() {
    let rounds = three_rounds(false);
    rounds
        .disk
        .flip_bit(&rounds.path, rounds.position + FIRST_PAYLOAD, 0)
        .unwrap();
    let mut expected = first_partition();
    expected[1] = Found::Loss(3, 5);
    let mut disk = rounds.disk;
    for start in 0..3 {
        let mut broker = Driver::open(&disk).unwrap();
        assert_eq!(broker.read(P0, 0), expected, "start={start}");
        let is_first = start == 0;
        assert_eq!(broker.storage.report.losses.len(), usize::from(is_first));
        broker.round([Batch::inline(P0, payload(10 + start, 9))]);
        expected.push(Found::Batch(6 + start, payload(10 + start, 9)));
        disk = disk.crash(&NOTHING_UNSYNCED);
    }
}

#[test]
fn records_that_the_segment_holds_are_not_lost_and_are_made_durable_again() {
    let rounds = three_rounds(true);
    for place in [FIRST_PAYLOAD, SECOND_PAYLOAD + 60] {
        let disk = rounds.disk.fork();
        disk.flip_bit(&rounds.path, rounds.position + place, 3)
            .unwrap();
        let broker = Driver::open(&disk).unwrap();
        assert_eq!(broker.storage.report.losses, []);
        assert_eq!(broker.read(P0, 0), first_partition());
        assert_eq!(broker.read(P1, 0), second_partition());
        drop(broker);
        // The segment was only in the page cache, and the journal is not needed any more.
        let broker = Driver::open(&disk.crash(&NOTHING_UNSYNCED)).unwrap();
        assert_eq!(broker.read(P0, 0), first_partition());
        assert_eq!(broker.read(P1, 0), second_partition());
    }
}

#[test]
fn regression_evidence_right_behind_an_entry_within_a_block_counts() {
    let disk = SimDisk::new(SimOptions::default());
    let mut broker = Driver::open(&disk).unwrap();
    broker.create(P0);
    let at = broker.position();
    broker.round([
        Batch::inline(P0, payload(0, 40)),
        Batch::inline(P0, payload(1, 40)),
    ]);
    let first = before(broker.storage.journal.durable());
    broker.round([Batch::inline(P0, payload(2, 40))]);
    let second_entry = at.position + 80 + 80 + 104;
    for place in [0, 79, 80, 159] {
        let disk = disk.crash(&CrashMode::Kill);
        disk.flip_bit(&journal_path(at.file), second_entry + place, 1)
            .unwrap();
        assert_refused(&disk, first, &format!("byte {place}"));
    }
}

#[test]
fn regression_a_file_that_was_prepared_and_not_used_does_not_end_the_journal() {
    let disk = SimDisk::new(SimOptions::default());
    let mut broker = Driver::open(&disk).unwrap();
    broker.create(P0);
    broker.round([Batch::inline(P0, payload(0, 40_000))]);
    let first_file = broker.position().file;
    broker.provide(0);
    // The entry does not fit into the file that was prepared, so that one is given back.
    broker.round([Batch::inline(P0, payload(1, 80_000))]);
    assert_eq!(broker.position().file, first_file + 2);
    let expected = broker.read(P0, 0);
    assert_eq!(expected.len(), 2);
    let broker = Driver::open(&disk.crash(&CrashMode::Kill)).unwrap();
    assert_eq!(broker.read(P0, 0), expected);
}

/// Entries in two journal files, and a third that is ready; where the last one ends in the first file, and
/// the second file.
fn two_files() -> (SimDisk, Lsn, u64) {
    let disk = SimDisk::new(SimOptions::default());
    let mut broker = Driver::open(&disk).unwrap();
    broker.create(P0);
    let first_file = broker.position().file;
    let mut last_in_first = broker.storage.journal.durable();
    while broker.position().file == first_file {
        last_in_first = broker.storage.journal.durable();
        broker.round([Batch::inline(P0, payload(0, 9_000))]);
    }
    let second_file = broker.position().file;
    broker.provide(0);
    broker.round([Batch::inline(P0, payload(1, 50))]);
    (disk.crash(&CrashMode::Kill), last_in_first, second_file)
}

/// What a refused start says is damaged.
fn refusal(disk: &SimDisk) -> String {
    match Driver::open(&disk.fork()) {
        Err(OpenError::JournalDamaged { what, .. }) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_missing_file_is_noticed_by_the_one_that_was_made_ready_behind_it() {
    let (disk, last_in_first, second_file) = two_files();
    disk.vfs().unlink(&journal_path(second_file)).unwrap();
    assert_refused(&disk.fork(), last_in_first, "missing");
    let what = refusal(&disk);
    let expected = format!("nothing is left in file {second_file} at position 0,");
    assert!(what.starts_with(&expected), "{what}");
    // Older releases do not say what was durable.
    let third = journal_path(second_file + 1);
    overwrite(&disk, &third, 64, &[0; 12]);
    let broker = Driver::open(&disk).unwrap();
    assert_eq!(broker.storage.lsn, last_in_first, "it ends earlier");
}

#[test]
fn damage_to_the_first_entry_of_a_file_is_told_as_such() {
    let (disk, last_in_first, second_file) = two_files();
    // Magic, LSN, another field; and all of the header.
    for (position, bytes) in [
        (0, &[0xff][..]),
        (16, &[0xff]),
        (40, &[0xff]),
        (0, &[0xff; 80]),
    ] {
        let disk = disk.fork();
        overwrite(&disk, &journal_path(second_file), 4096 + position, bytes);
        assert_refused(&disk.fork(), last_in_first, "damaged");
        let what = refusal(&disk);
        let expected =
            format!("the entry header is damaged in file {second_file} at position 4096,");
        assert!(what.starts_with(&expected), "{position}: {what}");
    }
}

#[test]
fn a_flipped_bit_in_the_header_of_a_later_file_is_never_silent() {
    let (disk, last_in_first, second_file) = two_files();
    for bit in 0..64 * 8 {
        let disk = disk.fork();
        let path = journal_path(second_file);
        disk.flip_bit(&path, bit / 8, u8::try_from(bit % 8).unwrap())
            .unwrap();
        assert_refused(&disk.fork(), last_in_first, &format!("bit={bit}"));
        let what = refusal(&disk);
        let expected = format!("the file header is damaged in file {second_file} at position 0,");
        assert!(what.starts_with(&expected), "bit={bit}: {what}");
    }
}

#[test]
fn a_later_file_that_begins_with_zeros_is_never_silent() {
    let (disk, last_in_first, second_file) = two_files();
    overwrite(&disk, &journal_path(second_file), 0, &[0; 4096]);
    assert_refused(&disk, last_in_first, "zeros for a header");
}

#[test]
fn a_missing_continuation_refuses_the_start() {
    let disk = SimDisk::new(SimOptions::default());
    let mut broker = Driver::open(&disk).unwrap();
    broker.create(P0);
    let checkpoint_lsn = Lsn::ZERO;
    let path = journal_path(broker.position().file);
    drop(broker);
    let missing = disk.fork();
    missing.vfs().unlink(&path).unwrap();
    assert_refused(&missing, checkpoint_lsn, "missing");
    let headless = disk.fork();
    headless.flip_bit(&path, 20, 0).unwrap();
    assert_refused(&headless, checkpoint_lsn, "header damaged");
}

/// A round by reference of two batches between inline ones; the journal holds it, the segment is damaged.
fn by_reference() -> SimDisk {
    let disk = SimDisk::new(SimOptions::default());
    let mut broker = Driver::open(&disk).unwrap();
    broker.create(P0);
    broker.round([Batch::inline(P0, payload(0, 50)).records(3)]);
    broker.round([
        Batch::reference(P0, payload(1, 300)).records(2),
        Batch::reference(P0, payload(2, 9_000)),
    ]);
    broker.round([Batch::inline(P0, payload(3, 20))]);
    disk.crash(&CrashMode::Kill)
}

/// Found, with those that are lost.
fn check_by_reference(disk: &SimDisk, lost: &[usize], what: &str) {
    let mut expected = vec![
        Found::Batch(0, payload(0, 50)),
        Found::Batch(3, payload(1, 300)),
        Found::Batch(5, payload(2, 9_000)),
        Found::Batch(6, payload(3, 20)),
    ];
    let bounds = [0, 3, 5, 6, 7];
    let mut losses = Vec::new();
    for place in lost {
        let (start, end) = (bounds[*place], bounds[place + 1]);
        expected[*place] = Found::Loss(start, end);
        losses.push(loss(P0, start, end));
    }
    for start in 0..3 {
        let broker = Driver::open(disk).unwrap();
        assert_eq!(broker.read(P0, 0), expected, "{what}, start {start}");
        let reported = if start == 0 { &losses[..] } else { &[] };
        assert_eq!(broker.storage.report.losses, reported, "{what}");
    }
}

#[test]
fn damaged_records_by_reference_are_lost_alone_and_a_damaged_header_is_restored() {
    let path = PathBuf::from("topics/1-topic-1/0/00000000000000000000.log");
    let disk = by_reference();
    check_by_reference(&disk, &[], "whole");
    // The run starts at 8192; its frames take 368 and 9064 bytes.
    let (first, second) = (8192, 8192 + 368);
    for byte in 0..64 {
        let disk = by_reference();
        disk.flip_bit(&path, first + byte, 1).unwrap();
        disk.flip_bit(&path, second + byte, 6).unwrap();
        check_by_reference(&disk, &[], &format!("headers, byte {byte}"));
    }
    for (position, lost) in [
        (first + 64, 1),
        (first + 363, 1),
        (second + 64, 2),
        (second + 9_063, 2),
    ] {
        let disk = by_reference();
        disk.flip_bit(&path, position, 2).unwrap();
        check_by_reference(&disk, &[lost], &format!("payload, position {position}"));
    }
    let disk = by_reference();
    overwrite(&disk, &path, first, &[0; 12_288]);
    check_by_reference(&disk, &[1, 2], "nothing was written");
    let disk = by_reference();
    crate::tamper::cut(&disk, &path, second + 100);
    check_by_reference(&disk, &[2], "the file is cut");
    let disk = by_reference();
    disk.vfs().unlink(&path).unwrap();
    check_by_reference(&disk, &[1, 2], "the file is gone");
}
