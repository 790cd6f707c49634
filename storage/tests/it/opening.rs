//! Opening a data folder: what is refused, what is left alone, what is begun anew.

use std::path::Path;

use towpath_storage::vfs::sim::{
    CrashMode, Fault, Injection, LossMode, OperationKind, SimDisk, SimOptions,
};
use towpath_storage::vfs::{OpenMode, write_all_at};
use towpath_storage::{OpenError, StorageError};

use crate::driver::{Batch, Driver, Found, P0, P1, payload};
use crate::tamper::{journal_path, overwrite, paths};

/// A closed folder with records in it, in the journal and in a segment.
fn used() -> SimDisk {
    let disk = SimDisk::new(SimOptions::default());
    let mut broker = Driver::open(&disk).unwrap();
    broker.create(P0);
    broker.round([Batch::inline(P0, payload(0, 50))]);
    broker.checkpoint();
    broker.round([Batch::inline(P0, payload(1, 50))]);
    drop(broker);
    disk
}

fn content() -> [Found; 2] {
    [
        Found::Batch(0, payload(0, 50)),
        Found::Batch(1, payload(1, 50)),
    ]
}

fn create(disk: &SimDisk, path: &str, bytes: &[u8]) {
    let file = disk
        .vfs()
        .open(Path::new(path), OpenMode::CreateNew)
        .unwrap();
    write_all_at(&*file, bytes, 0).unwrap();
}

/// Opening fails and changes nothing at all, not even where the lock file is missing.
fn assert_untouched(disk: &SimDisk) -> OpenError {
    disk.vfs().unlink(Path::new("LOCK")).unwrap();
    let (before, operations) = (disk.content_hash(), disk.operations());
    let error = Driver::open(disk).unwrap_err();
    assert_eq!(disk.content_hash(), before, "every byte is as it was");
    assert_eq!(disk.operations(), operations, "nothing was even tried");
    error
}

#[test]
fn a_folder_of_a_newer_format_is_left_untouched() {
    let disk = used();
    let text = b"towpath data folder\nformat 4\nwhatever comes with it\n";
    overwrite(&disk, Path::new("FORMAT"), 0, text);
    match assert_untouched(&disk) {
        OpenError::NewerFormat {
            found: 4,
            supported: 3,
        } => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_folder_without_its_format_file_is_left_untouched() {
    let disk = used();
    disk.vfs().unlink(Path::new("FORMAT")).unwrap();
    let error = assert_untouched(&disk);
    assert!(matches!(error, OpenError::NotUsable { .. }), "{error:?}");
}

#[test]
fn a_folder_with_a_damaged_format_file_is_left_untouched() {
    let length = used().read(Path::new("FORMAT")).unwrap().len() as u64;
    for place in 0..length {
        let disk = used();
        disk.flip_bit(Path::new("FORMAT"), place, 0).unwrap();
        // "format 2" and "format 3" are one bit apart, and have different checksums.
        let error = assert_untouched(&disk);
        assert!(
            matches!(error, OpenError::NotUsable { .. }),
            "place={place}: {error:?}"
        );
    }
}

#[test]
fn a_folder_in_use_is_left_untouched() {
    let disk = used();
    let broker = Driver::open(&disk).unwrap();
    let before = disk.content_hash();
    match Driver::open(&disk).unwrap_err() {
        OpenError::Locked { pid: Some(1), .. } => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(disk.content_hash(), before);
    drop(broker);
    Driver::open(&disk).unwrap();
}

#[test]
fn each_start_is_a_new_incarnation_of_the_same_folder() {
    let disk = used();
    let first = Driver::open(&disk).unwrap().storage;
    let (broker_id, incarnation) = (first.broker_id, first.incarnation);
    assert!(!first.report.is_new, "it was made before");
    drop(first);
    for life in 1..4 {
        let storage = Driver::open(&disk).unwrap().storage;
        assert_eq!(storage.broker_id, broker_id);
        assert_eq!(storage.incarnation, incarnation + life);
        assert_eq!(storage.lsn.get(), 3, "starting adds no entry");
    }
}

#[test]
fn names_that_storage_did_not_give_are_left_alone() {
    let disk = used();
    disk.vfs().create_dir(Path::new("backup")).unwrap();
    disk.vfs().create_dir(Path::new("old.tmp")).unwrap();
    disk.vfs()
        .create_dir(Path::new("topics/not-a-topic"))
        .unwrap();
    let mine = [
        "notes.txt",
        "notes.tmp",
        "backup/FORMAT",
        "journal/1.journal",
        "journal/readme",
        "checkpoint/readme",
        "checkpoint/notes.tmp",
        "topics/readme",
        "topics/not-a-topic/0",
        "topics/1-topic-1/readme",
        "topics/1-topic-1/0/readme",
        "quarantine/readme",
    ];
    for path in mine {
        create(&disk, path, path.as_bytes());
    }
    let mut broker = Driver::open(&disk).unwrap();
    assert_eq!(broker.read(P0, 0), content());
    broker.roll(P0);
    broker.checkpoint();
    for path in mine {
        assert_eq!(
            disk.read(Path::new(path)).unwrap(),
            path.as_bytes(),
            "{path}"
        );
    }
}

#[test]
fn what_an_interrupted_writer_left_is_removed() {
    let disk = used();
    let left = [
        "FORMAT.tmp",
        "checkpoint/00000000000000000009-0000000001-1.checkpoint.tmp",
    ];
    for path in left {
        create(&disk, path, b"half");
    }
    let broker = Driver::open(&disk).unwrap();
    assert_eq!(broker.read(P0, 0), content());
    for path in left {
        assert!(disk.read(Path::new(path)).is_err(), "{path}");
    }
}

#[test]
fn making_a_folder_can_be_interrupted_anywhere() {
    let whole = SimDisk::new(SimOptions::default());
    create(&whole, "notes.txt", b"mine");
    let before = whole.operations();
    drop(Driver::open(&whole).unwrap());
    for k in 0..whole.operations() - before {
        let disk = SimDisk::new(SimOptions::default());
        create(&disk, "notes.txt", b"mine");
        disk.vfs().sync_dir(Path::new("")).unwrap();
        disk.stop_before(disk.operations() + k);
        Driver::open(&disk).unwrap_err();
        for state in disk.crash_states(20) {
            let what = format!("operation {k}, {}", state.description);
            let mut broker =
                Driver::open(&state.disk).unwrap_or_else(|error| panic!("{what}: {error}"));
            broker.create(P0);
            broker.round([Batch::inline(P0, payload(0, 5))]);
            drop(broker);
            let broker = Driver::open(&state.disk).unwrap();
            let found = [Found::Batch(0, payload(0, 5))];
            assert_eq!(broker.read(P0, 0), found, "{what}");
            state.disk.read(Path::new("notes.txt")).unwrap();
            assert!(
                state.disk.read(Path::new("INITIALIZING")).is_err(),
                "{what}"
            );
        }
    }
}

/// Nothing was ever acknowledged from a folder that was not finished, so what it holds of storage's goes.
#[test]
fn an_unfinished_folder_is_begun_anew_and_holds_nothing_of_before() {
    let disk = used();
    let leftover = paths(&disk, "checkpoint/");
    let salts = |disk: &SimDisk| {
        let mut paths = paths(disk, "journal/");
        paths.retain(|path| path.ends_with(".journal"));
        let files = paths.iter().map(|path| disk.read(Path::new(path)).unwrap());
        files.map(|it| it[..4096].to_vec()).collect::<Vec<_>>()
    };
    let before = salts(&disk);
    create(&disk, "INITIALIZING", b"");
    disk.vfs().unlink(Path::new("FORMAT")).unwrap();
    let mine = ["journal/readme", "checkpoint/readme"];
    for path in mine {
        create(&disk, path, b"mine");
    }
    create(&disk, "checkpoint/0.checkpoint.tmp", b"half");
    let broker = Driver::open_seeded(&disk, 7).unwrap();
    assert!(broker.storage.report.is_new, "it was begun");
    assert_eq!(broker.storage.lsn.get(), 0, "nothing was replayed");
    for path in mine {
        assert_eq!(disk.read(Path::new(path)).unwrap(), b"mine", "{path}");
    }
    for path in leftover {
        assert!(disk.read(Path::new(&path)).is_err(), "{path}");
    }
    let after = salts(&disk);
    assert!(before.iter().all(|it| !after.contains(it)), "old journal");
}

/// Without its marker a folder that is being made would look like one that has lost its format file.
#[test]
fn a_folder_is_not_made_without_its_marker() {
    let disk = SimDisk::new(SimOptions::default());
    let fault = Injection::new(Fault::NoSpace).under("INITIALIZING");
    disk.inject(fault.on(OperationKind::Create));
    Driver::open(&disk).unwrap_err();
    let folders = ["journal", "checkpoint", "topics"];
    let made = disk.paths();
    let is_made = |it: &String| folders.contains(&it.trim_end_matches('/'));
    assert!(!made.iter().any(is_made), "{made:?}");
    disk.heal();
    Driver::open(&disk).unwrap();
}

/// The marker of an unfinished folder allows to begin anew, so it must not outlive its purpose.
#[test]
fn regression_a_marker_that_outlived_the_making_permits_nothing() {
    let disk = used();
    create(&disk, "INITIALIZING", b"");
    drop(Driver::open(&disk).unwrap());
    let disk = disk.crash(&CrashMode::PowerLoss(LossMode::Everything));
    disk.vfs().unlink(Path::new("FORMAT")).unwrap();
    let error = assert_untouched(&disk);
    assert!(matches!(error, OpenError::NotUsable { .. }), "{error:?}");
}

#[test]
fn a_checkpoint_of_another_folder_is_not_taken() {
    let disk = used();
    let other = SimDisk::new(SimOptions::default());
    drop(Driver::open_seeded(&other, 99).unwrap());
    let [first, second] = &paths(&other, "checkpoint/")[..] else {
        panic!("two copies");
    };
    for path in paths(&disk, "checkpoint/") {
        disk.vfs().unlink(Path::new(&path)).unwrap();
    }
    for path in [first, second] {
        create(&disk, path, &other.read(Path::new(path)).unwrap());
    }
    match Driver::open(&disk).unwrap_err() {
        OpenError::NotUsable { what, .. } => assert_eq!(what, "no checkpoint is intact"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_journal_file_of_another_folder_is_not_read() {
    let disk = used();
    let other = SimDisk::new(SimOptions::default());
    let foreign = Driver::open_seeded(&other, 99).unwrap();
    let path = journal_path(foreign.position().file);
    overwrite(&disk, &path, 0, &other.read(&path).unwrap());
    let error = Driver::open(&disk).unwrap_err();
    assert!(
        matches!(error, OpenError::JournalDamaged { .. }),
        "{error:?}"
    );
}

#[test]
fn a_disk_that_cannot_be_read_decides_nothing() {
    for kind in [
        OperationKind::Open,
        OperationKind::List,
        OperationKind::Len,
        OperationKind::Read,
    ] {
        check_unreadable(kind);
    }
}

fn check_unreadable(kind: OperationKind) {
    let whole = used().fork();
    let before = whole.count(kind);
    drop(Driver::open(&whole).unwrap());
    for n in 0..whole.count(kind) - before {
        let disk = used();
        disk.inject(Injection::new(Fault::Io).on(kind).nth(n));
        match Driver::open(&disk) {
            Err(OpenError::Storage(StorageError::Io { .. })) => {}
            // A journal file that is about to be written over need not be readable.
            Ok(broker) => assert_eq!(broker.read(P0, 0), content(), "{kind:?} {n}"),
            other => panic!("{kind:?} {n}: {other:?}"),
        }
        disk.heal();
        let broker = Driver::open(&disk).unwrap();
        assert_eq!(
            broker.read(P0, 0),
            content(),
            "{kind:?} {n}: nothing was decided"
        );
    }
}

/// The folder of a topic is found by its id, whatever its name; one file that is missing must not hide
/// the others.
#[test]
fn regression_a_missing_segment_file_costs_only_what_it_held() {
    let disk = SimDisk::new(SimOptions::default());
    let mut broker = Driver::open(&disk).unwrap();
    broker.create(P0);
    broker.create(P1);
    broker.round([Batch::inline(P0, payload(0, 50))]);
    broker.round([Batch::inline(P1, payload(1, 50))]);
    broker.checkpoint();
    broker.round([Batch::inline(P0, payload(2, 50))]);
    drop(broker);
    disk.vfs()
        .unlink(Path::new("topics/1-topic-1/0/00000000000000000000.log"))
        .unwrap();
    for _ in 0..2 {
        let broker = Driver::open(&disk).unwrap();
        let found = [Found::Loss(0, 1), Found::Batch(1, payload(2, 50))];
        assert_eq!(broker.read(P0, 0), found);
        assert_eq!(broker.read(P1, 0), [Found::Batch(0, payload(1, 50))]);
    }
}

#[test]
fn a_folder_of_an_older_format_becomes_one_of_this() {
    for older in ["format 1", "format 2"] {
        check_upgrade(older);
    }
}

fn check_upgrade(older: &str) {
    let disk = used();
    let text = String::from_utf8(disk.read(Path::new("FORMAT")).unwrap()).unwrap();
    let body = text.replace("format 3", older);
    let body = &body[..body.find("crc").unwrap()];
    let older = format!("{body}crc {:08x}\n", crc32fast::hash(body.as_bytes()));
    overwrite(&disk, Path::new("FORMAT"), 0, older.as_bytes());
    assert_eq!(older.len(), text.len(), "the digit is all that differs");
    // Whatever happens meanwhile, it is one or the other.
    let probe = disk.fork();
    let start = probe.operations();
    drop(Driver::open(&probe).unwrap());
    for k in start..probe.operations() {
        let stopped = disk.fork();
        stopped.stop_before(k);
        drop(Driver::open(&stopped));
        for state in stopped.crash_states(12) {
            drop(Driver::open(&state.disk).unwrap());
            let found = state.disk.read(Path::new("FORMAT")).unwrap();
            assert_eq!(
                found,
                text.as_bytes(),
                "operation {k}, {}",
                state.description
            );
        }
    }
}

/// What lies in a segment as it was written is checked there, and not written once more.
#[test]
fn what_went_by_reference_is_left_as_it_is() {
    let disk = SimDisk::new(SimOptions::default());
    let mut broker = Driver::open(&disk).unwrap();
    broker.create(P0);
    broker.create(P1);
    for (number, length) in (0..).zip([9_000, 17, 4_096, 30_000]) {
        for partition in [P0, P1] {
            broker.round([Batch::reference(partition, payload(number, length))]);
        }
    }
    let disk = disk.crash(&CrashMode::Kill);
    disk.take_trace();
    let broker = Driver::open(&disk).unwrap();
    assert!(broker.storage.report.entry_count >= 8, "they are replayed");
    let trace = disk.trace();
    let written = trace.iter().filter(|line| {
        let mut words = line.split_whitespace();
        let is_write = words.next() == Some("write");
        let path = Path::new(words.next().unwrap_or_default());
        let is_log = is_write && path.extension().is_some_and(|it| it == "log");
        let position = words.next().and_then(|it| it.strip_prefix('@'));
        // Each begins on a block; what lies between them is filled.
        is_log && position.unwrap().parse::<u64>().unwrap() % 4096 == 0
    });
    assert_eq!(written.collect::<Vec<_>>(), Vec::<&String>::new());
    for partition in [P0, P1] {
        assert_eq!(broker.read(partition, 0).len(), 4);
    }
}
