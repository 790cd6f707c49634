//! Journal files: prepared, used, freed, recycled; and what a full disk leaves of that.

use std::collections::BTreeSet;

use towpath_storage::Lsn;
use towpath_storage::format::journal_header::JournalHeader;
use towpath_storage::vfs::sim::{
    CrashMode, Fault, Injection, LossMode, OperationKind, SimDisk, SimOptions,
};

use crate::driver::{Batch, Driver, Found, JOURNAL_FILE_BYTES, P0, payload};
use crate::tamper::{journal_path, paths};

const ROOM_BYTES: u64 = JOURNAL_FILE_BYTES - 4096;

fn new_broker() -> Driver {
    let mut broker = Driver::open(&SimDisk::new(SimOptions::default())).unwrap();
    broker.create(P0);
    broker
}

/// A broker whose next journal file must be created.
fn without_spare() -> Driver {
    let mut broker = new_broker();
    broker.provide(0);
    assert_eq!(numbers(&broker.disk).len(), 2, "the current and the next");
    broker
}

fn header(disk: &SimDisk, number: u64) -> JournalHeader {
    JournalHeader::decode(&disk.read(&journal_path(number)).unwrap()).unwrap()
}

/// Numbers of the journal files on the disk.
fn numbers(disk: &SimDisk) -> Vec<u64> {
    let parse = |path: &String| path["journal/".len()..][..20].parse().unwrap();
    paths(disk, "journal/").iter().map(parse).collect()
}

#[test]
fn a_prepared_file_is_durable_and_holds_nothing() {
    let mut broker = new_broker();
    let before = broker.storage.journal_files.live_count();
    let file = broker.storage.journal_files.prepare(0, Lsn::ZERO).unwrap();
    assert_eq!(file.room_bytes(), ROOM_BYTES);
    assert_eq!(broker.storage.journal_files.live_count(), before + 1);
    let disk = broker
        .disk
        .crash(&CrashMode::PowerLoss(LossMode::Everything));
    let bytes = disk.read(&journal_path(file.number())).unwrap();
    assert_eq!(bytes.len() as u64, JOURNAL_FILE_BYTES, "allocated");
    assert_eq!(header(&disk, file.number()).number, file.number());
    assert!(bytes[4096..].iter().all(|byte| *byte == 0), "no entry");
}

#[test]
fn a_file_that_is_provided_is_room_for_rounds() {
    let mut broker = new_broker();
    let left = JOURNAL_FILE_BYTES - broker.position().position;
    let journal = &broker.storage.journal;
    assert!(journal.wants_file(), "none is prepared");
    assert_eq!(journal.room_bytes(), left);
    assert_eq!(journal.round_bytes_max(), left);
    broker.provide(0);
    let journal = &broker.storage.journal;
    assert!(!journal.wants_file(), "one is prepared");
    assert_eq!(journal.room_bytes(), left + ROOM_BYTES);
    assert_eq!(journal.round_bytes_max(), ROOM_BYTES);
}

#[test]
fn a_file_is_recycled_with_a_new_salt_and_without_taking_space() {
    let mut broker = new_broker();
    let (mut salts, mut seen) = (BTreeSet::new(), BTreeSet::new());
    for round in 0..60 {
        broker.round([Batch::inline(P0, payload(round, 12_000))]);
        if round % 6 == 5 {
            broker.roll(P0);
            broker.checkpoint();
        }
        let number = broker.position().file;
        let header = header(&broker.disk, number);
        assert_eq!(header.number, number);
        assert_eq!(header.broker_id, broker.storage.broker_id);
        if seen.insert(number) {
            assert!(salts.insert(header.salt), "never the same salt");
        }
        if round > 20 {
            assert!(
                salts.contains(&header.previous_salt),
                "knows its former life"
            );
        }
    }
    let created = broker.disk.count(OperationKind::Allocate);
    assert!(numbers(&broker.disk).len() <= 6, "bounded");
    assert!(seen.len() > 10, "files were used, {}", seen.len());
    let ordinary = paths(&broker.disk, "topics/").len() as u64;
    assert!(created < seen.len() as u64 + ordinary, "most were recycled");
}

#[test]
fn as_many_free_files_are_kept_as_were_in_use_but_at_most_eight() {
    let mut broker = new_broker();
    for (used, kept) in [(3, 2), (2, 2), (6, 5), (15, 8), (2, 8)] {
        while broker.storage.journal_files.live_count() < used {
            broker.round([Batch::inline(P0, payload(0, 20_000))]);
            broker.roll(P0);
        }
        broker.checkpoint();
        assert_eq!(broker.storage.journal_files.live_count(), 1, "used={used}");
        assert_eq!(numbers(&broker.disk).len(), kept + 1, "used={used}");
    }
    let disk = broker.disk.crash(&CrashMode::Kill);
    drop(Driver::open(&disk).unwrap());
    assert!(numbers(&disk).len() <= 6, "the next life begins with few");
}

#[test]
fn a_large_round_gets_a_file_of_its_own_size_that_is_not_kept() {
    let mut broker = new_broker();
    let large = payload(1, 150_000);
    broker.round([Batch::inline(P0, large.clone())]);
    let number = broker.position().file;
    let length = broker.disk.read(&journal_path(number)).unwrap().len() as u64;
    assert_eq!(length, 4096 + 151_552, "header and round, in whole blocks");
    assert_eq!(broker.storage.journal.round_bytes_max(), 0, "it is full");
    let small = payload(2, 10);
    broker.round([Batch::inline(P0, small.clone())]);
    let expected = [Found::Batch(0, large), Found::Batch(1, small)];
    assert_eq!(broker.read(P0, 0), expected);
    broker.checkpoint();
    assert!(!numbers(&broker.disk).contains(&number), "removed");
    let disk = broker.disk.crash(&CrashMode::Kill);
    assert_eq!(Driver::open(&disk).unwrap().read(P0, 0), expected);
}

#[test]
fn a_round_that_does_not_fit_goes_to_the_next_file_whole() {
    for length in [30_000, 40_000, 61_000] {
        let mut broker = new_broker();
        broker.round([Batch::inline(P0, payload(0, 30_000))]);
        broker.provide(0);
        let first = broker.position().file;
        let room = broker.storage.journal.room_bytes();
        broker.round([Batch::inline(P0, payload(1, length))]);
        let expected = [
            Found::Batch(0, payload(0, 30_000)),
            Found::Batch(1, payload(1, length)),
        ];
        let is_next = broker.position().file != first;
        assert_eq!(is_next, length > 30_000 - 4096, "length={length}");
        assert!(broker.storage.journal.room_bytes() < room);
        let disk = broker
            .disk
            .crash(&CrashMode::PowerLoss(LossMode::Everything));
        assert_eq!(Driver::open(&disk).unwrap().read(P0, 0), expected);
    }
}

#[test]
fn a_file_that_is_given_back_is_used_next() {
    let mut broker = new_broker();
    let files = &mut broker.storage.journal_files;
    let file = files.prepare(0, Lsn::ZERO).unwrap();
    let number = file.number();
    files.give_back(file);
    let again = files.prepare(0, Lsn::ZERO).unwrap();
    assert_eq!(again.number(), number + 1, "numbers are not used again");
    assert!(!numbers(&broker.disk).contains(&number), "renamed");
}

#[test]
fn a_full_disk_leaves_nothing_behind_and_is_tried_again() {
    for (starting, first) in [
        (new_broker as fn() -> Driver, "rename"),
        (without_spare, "create"),
    ] {
        let mut whole = starting();
        let before = whole.disk.operations();
        whole.disk.take_trace();
        whole.storage.journal_files.prepare(0, Lsn::ZERO).unwrap();
        let trace = whole.disk.trace();
        assert!(trace[0].starts_with(first), "{trace:?}");
        for (k, line) in (0..).zip(trace) {
            let mut broker = starting();
            let injection = Injection::new(Fault::NoSpace).at_operation(before + k);
            check_full_disk(&mut broker, injection, &line);
        }
    }
}

fn check_full_disk(broker: &mut Driver, injection: Injection, what: &str) {
    let disk = broker.disk.clone();
    let available = |disk: &SimDisk| disk.vfs().space().unwrap().available_bytes;
    let (space, known) = (available(&disk), numbers(&disk));
    disk.inject(injection);
    let error = broker
        .storage
        .journal_files
        .prepare(0, Lsn::ZERO)
        .unwrap_err();
    disk.heal();
    assert_eq!(error.is_full(), !what.starts_with("sync"), "{what}");
    if !error.is_full() {
        return;
    }
    // The header goes into space that is allocated.
    if !what.starts_with("write") {
        assert_eq!(numbers(&disk), known, "{what}");
        assert_eq!(available(&disk), space, "{what}: no space is kept");
    }
    let file = broker.storage.journal_files.prepare(0, Lsn::ZERO).unwrap();
    if let Some(unused) = broker.storage.journal.provide(file) {
        broker.storage.journal_files.give_back(unused);
    }
    for number in 0..6 {
        broker.round([Batch::inline(P0, payload(number, 20_000))]);
    }
    let disk = disk.crash(&CrashMode::PowerLoss(LossMode::Everything));
    let broker = Driver::open(&disk).unwrap();
    assert_eq!(broker.read(P0, 0).len(), 6, "{what}");
}

#[test]
fn a_disk_that_is_really_full_refuses_and_resumes() {
    let mut broker = without_spare();
    let disk = broker.disk.clone();
    let space = disk.vfs().space().unwrap();
    let used = space.total_bytes - space.available_bytes;
    disk.set_total_bytes(used + JOURNAL_FILE_BYTES / 2);
    let error = broker
        .storage
        .journal_files
        .prepare(0, Lsn::ZERO)
        .unwrap_err();
    assert!(error.is_full(), "{error:?}");
    let left = disk.vfs().space().unwrap().available_bytes;
    assert_eq!(left, JOURNAL_FILE_BYTES / 2, "nothing is kept");
    disk.set_total_bytes(used + 2 * JOURNAL_FILE_BYTES);
    broker.storage.journal_files.prepare(0, Lsn::ZERO).unwrap();
}

#[test]
fn recycling_can_be_interrupted_anywhere() {
    let prepared = || {
        let mut broker = new_broker();
        for round in 0..8 {
            broker.round([Batch::inline(P0, payload(round, 12_000))]);
        }
        broker.checkpoint();
        broker.round([Batch::inline(P0, payload(8, 12_000))]);
        broker
    };
    let mut whole = prepared();
    let before = whole.disk.operations();
    whole.disk.take_trace();
    whole.storage.journal_files.prepare(0, Lsn::ZERO).unwrap();
    assert!(
        whole.disk.trace()[0].starts_with("rename"),
        "{:?}",
        whole.disk.trace()
    );
    for k in 0..whole.disk.operations() - before {
        let mut broker = prepared();
        broker.disk.stop_before(before + k);
        broker
            .storage
            .journal_files
            .prepare(0, Lsn::ZERO)
            .unwrap_err();
        for state in broker.disk.crash_states(50) {
            let what = format!("operation {k}, {}", state.description);
            let mut broker =
                Driver::open(&state.disk).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(broker.read(P0, 0).len(), 9, "{what}");
            broker.round([Batch::inline(P0, payload(9, 50))]);
            drop(broker);
            let broker = Driver::open(&state.disk).unwrap();
            assert_eq!(broker.read(P0, 0).len(), 10, "{what}");
        }
    }
}

#[test]
fn numbers_only_grow() {
    let disk = SimDisk::new(SimOptions::default());
    let mut last = 0;
    for _ in 0..6 {
        let broker = Driver::open(&disk).unwrap();
        let number = broker.position().file;
        assert!(number > last, "{number} after {last}");
        last = number;
        assert!(numbers(&disk).len() <= 5, "bounded");
    }
}
