//! The dump tells what is there, tells damage in its place, and touches nothing.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use towpath_storage::TopicId;
use towpath_storage::dump::{Dump, Ending, Item, Selection};
use towpath_storage::vfs::sim::{CrashMode, Fault, Injection, OperationKind, SimDisk, SimOptions};
use towpath_storage::vfs::{OpenMode, RealVfs, Vfs, write_all_at};

use crate::driver::{Batch, Driver, P0, P1, note_row, payload};
use crate::tamper::{cut, journal_path, overwrite};

const LOG: &str = "topics/1-topic-1/0/00000000000000000000.log";
const ALL: Selection = Selection {
    checkpoints: true,
    runs: true,
    journal: true,
    segments: true,
    rows: true,
    stale: true,
    topic: None,
};

fn dump(disk: &SimDisk, selection: &Selection) -> Vec<Item> {
    let mut items = Vec::new();
    Dump::new(disk.vfs()).run(selection, &mut |item| {
        items.push(item.clone());
        ControlFlow::Continue(())
    });
    items
}

fn lines(items: &[Item]) -> Vec<String> {
    items.iter().map(Item::to_string).collect()
}

fn troubles(items: &[Item]) -> Vec<String> {
    let troubles = items.iter().filter(|item| item.is_trouble());
    troubles.map(Item::to_string).collect()
}

/// Records in a checkpoint, a segment and the journal.
fn used() -> SimDisk {
    let disk = SimDisk::new(SimOptions::default());
    let mut broker = Driver::open(&disk).unwrap();
    broker.create(P0);
    broker.create(P1);
    broker.round([Batch::inline(P0, payload(0, 50)).records(3)]);
    broker.entry(Vec::new(), vec![note_row("colour", Some("red"))]);
    broker.commit();
    broker.checkpoint();
    broker.round([
        Batch::inline(P0, payload(1, 100)),
        Batch::reference(P1, payload(2, 5_000)),
    ]);
    broker.settle();
    broker.mark();
    drop(broker);
    disk
}

fn end_of(items: &[Item]) -> (u64, Ending) {
    let end = items.iter().find_map(|item| match item {
        Item::JournalEnd { lsn, ending } => Some((lsn.get(), ending.clone())),
        _ => None,
    });
    end.expect("the end of the journal is told")
}

#[test]
fn everything_is_told_and_nothing_is_touched() {
    let disk = used();
    let (before, operations) = (disk.content_hash(), disk.operations());
    let items = dump(&disk, &ALL);
    assert_eq!(disk.content_hash(), before, "every byte is as it was");
    assert_eq!(disk.operations(), operations, "nothing was even tried");
    assert_eq!(troubles(&items), Vec::<String>::new());
    let count = |name| items.iter().filter(|item| item.name() == name).count();
    let counted = [
        "folder",
        "checkpoint",
        "table",
        "journal_file",
        "entry",
        "append",
        "journal_end",
        "segment",
        "frame",
        "index_entry",
    ]
    .map(|name| (name, count(name)));
    let expected = [
        ("folder", 1),
        ("checkpoint", 2),
        ("table", 4),
        ("journal_file", 2),
        ("entry", 7),
        ("append", 3),
        ("journal_end", 1),
        ("segment", 2),
        ("frame", 3),
        ("index_entry", 2),
    ];
    assert_eq!(counted, expected);
    let (lsn, ending) = end_of(&items);
    assert_eq!(lsn, 7);
    assert!(matches!(ending, Ending::Clean { .. }), "{ending:?}");
}

#[test]
fn a_selection_leaves_the_rest_out() {
    let disk = used();
    let none = Selection {
        checkpoints: false,
        runs: false,
        journal: false,
        segments: false,
        ..ALL
    };
    let names = |selection: &Selection| {
        let mut names: Vec<_> = dump(&disk, selection).iter().map(Item::name).collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    assert_eq!(names(&none), ["folder"]);
    let checkpoints = Selection {
        checkpoints: true,
        rows: false,
        ..none
    };
    assert_eq!(names(&checkpoints), ["checkpoint", "folder", "table"]);
    let other_topic = Selection {
        segments: true,
        topic: Some(TopicId::new(9)),
        ..none
    };
    assert_eq!(names(&other_topic), ["folder"]);
    let this_topic = Selection {
        topic: Some(TopicId::new(1)),
        ..other_topic
    };
    assert_eq!(
        names(&this_topic),
        ["folder", "frame", "index_entry", "segment"]
    );
}

#[test]
fn a_dump_that_is_broken_off_tells_no_more() {
    let disk = used();
    for limit in 1..20 {
        let mut count = 0;
        Dump::new(disk.vfs()).run(&ALL, &mut |_| {
            count += 1;
            match count < limit {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        });
        assert_eq!(count, limit);
    }
}

#[test]
fn a_running_broker_is_named() {
    let disk = used();
    assert!(!lines(&dump(&disk, &ALL))[0].contains("user_pid"));
    let broker = Driver::open(&disk).unwrap();
    let first = &lines(&dump(&disk, &ALL))[0];
    assert!(first.contains(" user_pid=1"), "{first}");
    drop(broker);
}

#[test]
fn damage_is_told_in_its_place_and_reading_goes_on() {
    let disk = used();
    let whole = dump(&disk, &ALL);
    // The second frame's payload, then its header.
    let position = 4096 + 120;
    disk.flip_bit(Path::new(LOG), position + 70, 0).unwrap();
    let items = dump(&disk, &ALL);
    assert_eq!(items.len(), whole.len(), "nothing is left out");
    let found = troubles(&items);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("frame position=4216 "), "{found:?}");
    assert!(
        found[0].ends_with("damage=\"the payload does not match its checksum\""),
        "{found:?}"
    );
    disk.flip_bit(Path::new(LOG), 4096 + 20, 0).unwrap();
    let found = troubles(&dump(&disk, &ALL));
    assert_eq!(
        found[0],
        format!("trouble path={LOG} position=4096 what=\"these bytes are no frame\"")
    );
    assert!(found[1].starts_with("frame position=4216 "), "{found:?}");
}

#[test]
fn each_damaged_entry_is_told_and_those_behind_it() {
    let disk = used();
    let entries: Vec<_> = dump(&disk, &ALL)
        .into_iter()
        .filter_map(|item| match item {
            Item::Entry { at, header, .. } => Some((at, header)),
            _ => None,
        })
        .collect();
    for (place, (at, header)) in entries.iter().enumerate() {
        let path = journal_path(at.file);
        let in_header = disk.fork();
        in_header.flip_bit(&path, at.position + 30, 1).unwrap();
        let items = dump(&in_header, &ALL);
        let left = items.iter().filter(|item| item.name() == "entry").count();
        let is_first_of_two = entries
            .get(place + 1)
            .is_some_and(|(next, _)| next.position % 4096 != 0);
        let lost = if is_first_of_two { 2 } else { 1 };
        assert_eq!(left, entries.len() - lost, "lsn {}", header.lsn);
        if header.change_bytes > 0 {
            let disk = disk.fork();
            disk.flip_bit(&path, at.position + header.entry_bytes() - 8, 1)
                .unwrap();
            let found = troubles(&dump(&disk, &ALL));
            assert!(
                found[0].contains("the directory or the change is damaged"),
                "{found:?}"
            );
        }
    }
}

#[test]
fn the_end_of_the_journal_is_judged_as_recovery_does() {
    let disk = used();
    let entries: Vec<_> = dump(&disk, &ALL)
        .into_iter()
        .filter_map(|item| match item {
            Item::Entry { at, .. } => Some(at),
            _ => None,
        })
        .collect();
    let [.., append, _, mark] = &entries[..] else {
        panic!("{entries:?}");
    };
    let torn = disk.fork();
    torn.flip_bit(&journal_path(mark.file), mark.position + 9, 0)
        .unwrap();
    let (lsn, ending) = end_of(&dump(&torn, &ALL));
    assert_eq!((lsn, matches!(ending, Ending::Torn { .. })), (6, true));
    let damaged = disk.fork();
    damaged
        .flip_bit(&journal_path(append.file), append.position + 9, 0)
        .unwrap();
    match end_of(&dump(&damaged, &ALL)) {
        (4, Ending::Damaged { at, evidence, .. }) => {
            assert_eq!((at, evidence), (*append, *mark));
        }
        other => panic!("{other:?}"),
    }
    Driver::open(&damaged).unwrap_err();
    let missing = disk.fork();
    missing.vfs().unlink(&journal_path(append.file)).unwrap();
    let (_, ending) = end_of(&dump(&missing, &ALL));
    assert!(matches!(ending, Ending::Missing { .. }), "{ending:?}");
}

#[test]
fn stale_entries_are_told_on_request_only() {
    let disk = SimDisk::new(SimOptions::default());
    let mut broker = Driver::open(&disk).unwrap();
    broker.create(P0);
    for number in 0..45 {
        broker.round([Batch::inline(P0, payload(number, 3_000))]);
        if number % 20 == 19 {
            broker.checkpoint();
        }
    }
    let stale = |selection: &Selection| {
        let items = dump(&disk, selection);
        assert_eq!(troubles(&items), Vec::<String>::new());
        let is_stale = |item: &&Item| matches!(item, Item::StaleEntry { .. });
        items.iter().filter(is_stale).count()
    };
    assert!(stale(&ALL) > 0, "files are recycled");
    assert_eq!(stale(&Selection::default()), 0);
}

/// Whatever one bit is, and wherever a file is cut: the dump ends, tells something, and does not panic.
#[test]
fn no_damage_stops_it() {
    let disk = used();
    let count = dump(&disk, &ALL).len();
    for path in disk.paths() {
        let Ok(bytes) = disk.read(Path::new(&path)) else {
            continue;
        };
        let written = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        for place in (0..written).step_by(13) {
            let disk = disk.fork();
            disk.flip_bit(Path::new(&path), place as u64, 2).unwrap();
            assert!(dump(&disk, &ALL).len() * 2 > count, "{path} byte {place}");
        }
        for length in (0..=written).step_by(61) {
            let disk = disk.fork();
            cut(&disk, Path::new(&path), length as u64);
            assert!(!dump(&disk, &ALL).is_empty(), "{path} cut to {length}");
        }
    }
}

#[test]
fn lengths_that_are_not_true_cost_no_memory() {
    let disk = used();
    // A frame that claims 4 GiB, with a checksum that is right.
    let header = towpath_storage::FrameHeader {
        payload_bytes: u32::MAX,
        payload_crc: 1,
        codec: 0,
        record_count: 1,
        base_offset: towpath_storage::Offset::new(4),
        lsn: towpath_storage::Lsn::new(9),
        append_time_ms: 0,
        sparse: None,
    };
    let place = towpath_storage::FramePlace {
        segment: towpath_storage::SegmentRef::new(P0, towpath_storage::Offset::ZERO),
        position: 8192,
    };
    overwrite(&disk, Path::new(LOG), 8192, &header.encode(&place));
    let found = troubles(&dump(&disk, &ALL));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("payload_bytes=4294967295"), "{found:?}");
}

#[test]
fn a_disk_that_fails_is_told() {
    let disk = used();
    for kind in [
        OperationKind::Open,
        OperationKind::Read,
        OperationKind::List,
    ] {
        let whole = disk.fork();
        let before = whole.count(kind);
        let count = dump(&whole, &ALL).len();
        for n in 0..whole.count(kind) - before {
            let disk = disk.fork();
            disk.inject(Injection::new(Fault::Io).on(kind).nth(n));
            let items = dump(&disk, &ALL);
            assert!(!troubles(&items).is_empty(), "{kind:?} {n} is told");
            assert!(items.len() <= count + 1, "{kind:?} {n}");
        }
    }
}

#[test]
fn a_folder_that_is_none_is_told() {
    let disk = SimDisk::new(SimOptions::default());
    let file = disk
        .vfs()
        .open(Path::new("notes"), OpenMode::CreateNew)
        .unwrap();
    write_all_at(&*file, b"mine", 0).unwrap();
    let expected = [
        "folder path=/simulated/ trouble=\"there is no FORMAT file\"",
        "unknown path=notes",
        "trouble path=checkpoint position=0 what=\"cannot list checkpoint: No such file or directory \
         (os error 2)\"",
        "trouble path=journal position=0 what=\"cannot list journal: No such file or directory \
         (os error 2)\"",
        "trouble path=journal position=0 what=\"no checkpoint is intact, so that nothing says where \
         the journal begins\"",
    ];
    assert_eq!(lines(&dump(&disk, &ALL)), expected);
}

#[test]
fn a_newer_format_is_told() {
    let disk = used();
    overwrite(
        &disk,
        Path::new("FORMAT"),
        0,
        b"towpath data folder\nformat 7\n",
    );
    let first = &lines(&dump(&disk, &ALL))[0];
    let expected = "folder path=/simulated/ trouble=\"the format 7 is newer than this release\"";
    assert_eq!(first, expected);
}

#[test]
fn a_folder_of_the_machine_is_told_alike() {
    let sim = used().crash(&CrashMode::Kill);
    let folder = tempfile::tempdir().unwrap();
    let real: std::sync::Arc<dyn Vfs> = std::sync::Arc::new(RealVfs::new(folder.path()).unwrap());
    for path in sim.paths() {
        match sim.read(Path::new(&path)) {
            Ok(bytes) => {
                let file = real.open(Path::new(&path), OpenMode::CreateNew).unwrap();
                write_all_at(&*file, &bytes, 0).unwrap();
                file.set_len(bytes.len() as u64).unwrap();
            }
            Err(_) => real.create_dir(Path::new(&path)).unwrap(),
        }
    }
    let mut found = Vec::new();
    Dump::new(std::sync::Arc::clone(&real)).run(&ALL, &mut |item| {
        found.push(item.to_string());
        ControlFlow::Continue(())
    });
    let expected = lines(&dump(&sim, &ALL));
    assert_eq!(found[1..], expected[1..]);
    let path: PathBuf = folder.path().join("");
    assert!(found[0].starts_with(&format!("folder path={}", path.display())));
}
