//! The end of the journal, torn in every way: the last round was never acknowledged, all before it was.

use std::path::{Path, PathBuf};

use towpath_storage::vfs::sim::{CrashMode, SimDisk, SimOptions};
use towpath_storage::{Lsn, OpenError};

use crate::driver::{Batch, Driver, Found, P0, P1, note_row, payload};
use crate::tamper::{bytes_at, cut, journal_path, overwrite, paths};

/// A disk on which the last round is one entry, and where that entry lies.
struct LastRound {
    disk: SimDisk,
    path: PathBuf,
    position: u64,
}

/// Parts of the entry: header 80 bytes, two lines of 80, frames of 64 + 30 + 2 and 64 + 61 + 3 bytes,
/// a row of 12 + 6 + 3.
const FIRST_FRAME: u64 = 240;
const SECOND_FRAME: u64 = FIRST_FRAME + 96;
const CHANGE: u64 = SECOND_FRAME + 128;
const ENTRY_BYTES: u64 = CHANGE + 21;

fn last_round() -> LastRound {
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
    LastRound {
        disk: disk.crash(&CrashMode::Kill),
        path: journal_path(at.file),
        position: at.position,
    }
}

/// Opens a disk whose last round is torn: everything before it is there, nothing of it, its bytes are set
/// aside, and the broker goes on.
fn check_torn(torn: &LastRound, disk: &SimDisk, what: &str) {
    let remains = bytes_at(disk, &torn.path, torn.position, 4096);
    let is_blank = remains.iter().all(|byte| *byte == 0);
    let mut broker = Driver::open(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    let kept = vec![Found::Batch(0, payload(0, 50))];
    assert_eq!(broker.read(P0, 0), kept, "{what}");
    assert_eq!(broker.read(P1, 0), [], "{what}");
    assert_eq!(broker.state.note("colour"), None, "{what}");
    assert_eq!(broker.storage.report.losses, [], "{what}");
    match &paths(disk, "quarantine/")[..] {
        [] => assert!(is_blank, "{what}: not set aside"),
        [path] => {
            let kept = disk.read(Path::new(path)).unwrap();
            assert!(!is_blank && kept == remains, "{what}: set aside as it was");
            let quarantined_bytes = broker.storage.report.quarantined_bytes;
            assert_eq!(quarantined_bytes, kept.len() as u64, "{what}");
        }
        more => panic!("{what}: {more:?}"),
    }
    broker.round([Batch::inline(P0, payload(9, 10))]);
    drop(broker);
    let broker = Driver::open(disk).unwrap();
    let kept = [kept, vec![Found::Batch(3, payload(9, 10))]].concat();
    assert_eq!(broker.read(P0, 0), kept, "{what}: goes on");
}

fn check_whole(disk: &SimDisk, what: &str) {
    let broker = Driver::open(disk).unwrap();
    let first = [
        Found::Batch(0, payload(0, 50)),
        Found::Batch(3, payload(1, 30)),
    ];
    assert_eq!(broker.read(P0, 0), first, "{what}");
    assert_eq!(
        broker.read(P1, 0),
        [Found::Batch(0, payload(2, 61))],
        "{what}"
    );
    assert_eq!(broker.state.note("colour"), Some("red"), "{what}");
    assert_eq!(paths(disk, "quarantine/"), Vec::<String>::new(), "{what}");
}

#[test]
fn an_intact_last_round_is_kept() {
    let torn = last_round();
    let bytes = bytes_at(&torn.disk, &torn.path, torn.position, 4096);
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    assert_eq!(written as u64, ENTRY_BYTES, "as these tests assume");
    check_whole(&torn.disk, "intact");
}

/// A file has its length before its first entry, so what is behind a cut may have been acknowledged.
#[test]
fn a_last_round_cut_at_any_byte_refuses_the_start() {
    let torn = last_round();
    for length in 0..ENTRY_BYTES {
        let disk = torn.disk.fork();
        cut(&disk, &torn.path, torn.position + length);
        match Driver::open(&disk) {
            Err(OpenError::JournalDamaged { .. }) => {}
            other => panic!("cut after {length} bytes: {other:?}"),
        }
    }
}

#[test]
fn a_last_round_with_zeros_from_any_byte_is_torn() {
    let torn = last_round();
    for length in 0..ENTRY_BYTES {
        let disk = torn.disk.fork();
        let zeros = vec![0; 4096 - length as usize];
        overwrite(&disk, &torn.path, torn.position + length, &zeros);
        check_torn(&torn, &disk, &format!("zeros after {length} bytes"));
    }
}

#[test]
fn a_last_round_with_noise_from_any_byte_is_torn() {
    let torn = last_round();
    for length in 0..ENTRY_BYTES {
        let disk = torn.disk.fork();
        let noise = payload(length + 77, 4096 - length as usize);
        overwrite(&disk, &torn.path, torn.position + length, &noise);
        check_torn(&torn, &disk, &format!("noise after {length} bytes"));
    }
}

#[test]
fn a_last_round_whose_beginning_was_lost_is_torn() {
    let torn = last_round();
    for length in 1..ENTRY_BYTES {
        let disk = torn.disk.fork();
        overwrite(&disk, &torn.path, torn.position, &vec![0; length as usize]);
        check_torn(&torn, &disk, &format!("zeros up to {length} bytes"));
    }
}

/// The headers of frames can be made from the directory, and padding means nothing.
#[test]
fn a_flipped_bit_in_the_last_round_makes_it_torn_or_harms_nothing() {
    let torn = last_round();
    for place in 0..ENTRY_BYTES {
        let disk = torn.disk.fork();
        let bit = u8::try_from(place % 8).unwrap();
        disk.flip_bit(&torn.path, torn.position + place, bit)
            .unwrap();
        let what = format!("bit in byte {place}");
        let is_needed = match place {
            ..FIRST_FRAME | CHANGE.. => true,
            FIRST_FRAME..SECOND_FRAME => (64..64 + 30).contains(&(place - FIRST_FRAME)),
            SECOND_FRAME..CHANGE => (64..64 + 61).contains(&(place - SECOND_FRAME)),
        };
        if is_needed {
            check_torn(&torn, &disk, &what);
        } else {
            check_whole(&disk, &what);
        }
    }
}

#[test]
fn a_torn_entry_behind_a_whole_one_of_its_round_is_set_aside() {
    let disk = SimDisk::new(SimOptions::default());
    let mut broker = Driver::open(&disk).unwrap();
    broker.create(P0);
    let at = broker.position();
    broker.round([
        Batch::inline(P0, payload(0, 40)),
        Batch::inline(P0, payload(1, 40)),
    ]);
    let entry_bytes = 80 + 80 + 104;
    let path = journal_path(at.file);
    for damage in [0, 80, 300] {
        let disk = disk.crash(&CrashMode::Kill);
        let second = at.position + entry_bytes;
        if damage < entry_bytes {
            disk.flip_bit(&path, second + damage, 0).unwrap();
        } else {
            overwrite(&disk, &path, second + 100, &[0; 164]);
        }
        let expected = bytes_at(&disk, &path, second, 4096 - entry_bytes as usize);
        let broker = Driver::open(&disk).unwrap();
        let kept = [Found::Batch(0, payload(0, 40))];
        assert_eq!(broker.read(P0, 0), kept, "the first entry was whole");
        let [path] = &paths(&disk, "quarantine/")[..] else {
            panic!("one file is set aside");
        };
        let aside = disk.read(Path::new(path)).unwrap();
        assert_eq!(aside, expected[..aside.len()]);
        assert!(aside.len() as u64 >= expected.len().min(264) as u64);
    }
}

/// Uses journal files again until six rounds from here will overwrite old ones; returns how many batches
/// there are.
fn recycled() -> (SimDisk, Driver, usize) {
    let disk = SimDisk::new(SimOptions::default());
    let mut broker = Driver::open(&disk).unwrap();
    broker.create(P0);
    for count in 1..200 {
        broker.round([Batch::inline(P0, payload(count, 3000))]);
        if count % 20 == 0 {
            broker.roll(P0);
            broker.checkpoint();
        }
        let at = broker.position();
        let behind = bytes_at(&disk, &journal_path(at.file), at.position, 7 * 4096);
        let is_old = |block: &[u8]| block.len() == 4096 && block.starts_with(b"TENT");
        if behind.chunks(4096).filter(|block| is_old(block)).count() == 7 {
            return (disk, broker, usize::try_from(count).unwrap());
        }
    }
    panic!("no journal file is used a second time");
}

#[test]
fn old_bytes_of_a_recycled_file_are_not_taken_for_a_torn_round() {
    let (disk, mut broker, count) = recycled();
    for rounds in 0..6 {
        let disk = disk.crash(&CrashMode::Kill);
        let after = Driver::open(&disk).unwrap();
        assert_eq!(after.storage.report.quarantined_bytes, 0, "rounds={rounds}");
        assert_eq!(paths(&disk, "quarantine/"), Vec::<String>::new());
        assert_eq!(after.read(P0, 0).len(), count + rounds);
        broker.round([Batch::inline(P0, payload(100, 3000))]);
    }
}

#[test]
fn a_torn_round_in_a_recycled_file_is_set_aside() {
    let (disk, mut broker, count) = recycled();
    let at = broker.position();
    broker.round([Batch::inline(P0, payload(100, 3000))]);
    let path = journal_path(at.file);
    // The header whole, the header damaged but still to be recognised.
    for damage in [300, 30] {
        let disk = disk.crash(&CrashMode::Kill);
        disk.flip_bit(&path, at.position + damage, 0).unwrap();
        let expected = bytes_at(&disk, &path, at.position, 4096);
        let after = Driver::open(&disk).unwrap();
        assert_eq!(after.storage.report.quarantined_bytes, 4096);
        assert_eq!(after.read(P0, 0).len(), count);
        let [aside] = &paths(&disk, "quarantine/")[..] else {
            panic!("one file is set aside");
        };
        assert_eq!(disk.read(Path::new(aside)).unwrap(), expected);
    }
}

#[test]
fn a_file_that_begins_with_a_torn_round_is_not_recycled() {
    let disk = SimDisk::new(SimOptions::default());
    Driver::open(&disk).unwrap().create(P0);
    // Its round is the first one of a file, since every start begins a new one.
    let mut broker = Driver::open(&disk).unwrap();
    let at = broker.position();
    broker.round([Batch::inline(P0, payload(0, 50))]);
    drop(broker);
    disk.flip_bit(&journal_path(at.file), at.position + 30, 0)
        .unwrap();
    let mut broker = Driver::open(&disk).unwrap();
    assert_eq!(broker.storage.report.quarantined_bytes, 4096);
    for _ in 0..5 {
        let prepared = broker.storage.journal_files.prepare(0, Lsn::ZERO).unwrap();
        let disk = disk.crash(&CrashMode::Kill);
        overwrite(&disk, &journal_path(prepared.number()), 0, &[0xa5; 512]);
        let after = Driver::open(&disk);
        assert!(after.is_ok(), "a torn header: {:?}", after.err());
    }
}

#[test]
fn setting_a_tail_aside_can_be_interrupted_anywhere() {
    let torn = last_round();
    let damaged = torn.position + CHANGE;
    torn.disk.flip_bit(&torn.path, damaged, 0).unwrap();
    let remains = bytes_at(&torn.disk, &torn.path, torn.position, 4096);
    let probe = torn.disk.fork();
    let start = probe.operations();
    check_torn(&torn, &probe, "uninterrupted");
    for k in start..probe.operations() {
        let disk = torn.disk.fork();
        disk.stop_before(k);
        drop(Driver::open(&disk));
        let disk = disk.crash(&CrashMode::Kill);
        let broker = Driver::open(&disk).unwrap_or_else(|error| panic!("operation {k}: {error}"));
        let kept = vec![Found::Batch(0, payload(0, 50))];
        assert_eq!(broker.read(P0, 0), kept, "operation {k}");
        let [aside] = &paths(&disk, "quarantine/")[..] else {
            panic!("operation {k}: it is set aside once");
        };
        let aside = disk.read(Path::new(aside)).unwrap();
        assert_eq!(aside, remains, "operation {k}");
    }
}
