//! Opening a data folder after anything may have happened to its files.

mod golden;

use std::ops::ControlFlow;
use std::path::Path;

use towpath_storage::PartitionRef;
use towpath_storage::dump::{Dump, Selection};
use towpath_storage::vfs::sim::{CrashMode, SimDisk};
use towpath_storage::vfs::{OpenMode, write_all_at};

use crate::given::Given;
use crate::storage_rooms::driver::{Batch, Driver, Found, P0, P1, payload};
use golden::{Golden, GoldenFile, Kind};

/// Most changes to files.
const EDIT_COUNT_MAX: usize = 8;
/// Most that a dump may tell of a folder of this size.
const ITEM_COUNT_MAX: usize = 100_000;

/// Changes to the files of a folder that holds a bit of everything.
pub fn recovery(data: &[u8]) {
    let golden = Golden::get();
    let disk = golden.disk.fork();
    let mut input = Given::new(data);
    let mut edited = Vec::new();
    while !input.is_empty() && edited.len() < EDIT_COUNT_MAX {
        let file = &golden.files[usize::from(input.u8()) % golden.files.len()];
        edit(&disk, file, golden, &mut input);
        edited.push(file);
    }
    look(&disk);
    let has = |kinds: &[Kind]| edited.iter().any(|file| kinds.contains(&file.kind));
    match Driver::open(&disk) {
        Ok(broker) => {
            let is_whole = !has(&[Kind::Journal, Kind::Checkpoint]);
            let is_lossless = is_whole && !has(&[Kind::Segment]);
            check(golden, &broker, is_whole, is_lossless, has(&[Kind::Run]));
            go_on(golden, broker, &disk);
        }
        Err(error) => {
            assert!(!error.to_string().is_empty(), "a reason");
            // With what was damaged put right, nothing is missing: a start that is refused has spoilt nothing.
            for file in &edited {
                restore(&disk, file);
            }
            let broker =
                Driver::open(&disk.crash(&CrashMode::Kill)).expect("it was refused for the damage");
            check(golden, &broker, true, true, false);
        }
    }
}

/// Whether the state knows a partition.
fn has(broker: &Driver, partition: PartitionRef) -> bool {
    broker.state.logs().contains_key(&partition)
}

/// Does one of the things that happen to files.
fn edit(disk: &SimDisk, file: &GoldenFile, golden: &Golden, input: &mut Given<'_>) {
    let length = file.bytes.len();
    let (choice, place) = (input.u8(), input.u32() as usize % length.max(1));
    // An earlier change may have taken the file away.
    let Ok(opened) = disk.vfs().open(&file.path, OpenMode::Write) else {
        return;
    };
    let overwrite = |bytes: &[u8]| write_all_at(&*opened, bytes, place as u64).expect("written");
    match choice % 8 {
        0 => overwrite(input.piece()),
        1 => {
            let mask = input.u8();
            overwrite(&[file.bytes.get(place).copied().unwrap_or_default() ^ mask.max(1)]);
        }
        2 => opened.set_len(place as u64).expect("cut"),
        3 => overwrite(&vec![0; usize::from(input.u16()).min(length - place)]),
        4 => disk.vfs().unlink(&file.path).expect("removed"),
        5 => {
            let other = &golden.files[usize::from(input.u8()) % golden.files.len()].bytes;
            let from = input.u32() as usize % other.len().max(1);
            let count = usize::from(input.u16()).min(other.len() - from);
            overwrite(&other[from..from + count]);
        }
        6 => opened
            .set_len(length as u64 + u64::from(input.u16()))
            .expect("extended"),
        _ => {
            let blank = vec![input.u8(); 512];
            let start = place / 512 * 512;
            write_all_at(&*opened, &blank, start as u64).expect("written");
        }
    }
}

fn restore(disk: &SimDisk, file: &GoldenFile) {
    let vfs = disk.vfs();
    let opened = vfs.open(&file.path, OpenMode::Write);
    let opened = opened
        .or_else(|_gone| vfs.open(&file.path, OpenMode::CreateNew))
        .expect("opened");
    opened.set_len(0).expect("emptied");
    write_all_at(&*opened, &file.bytes, 0).expect("written");
}

/// Whoever looks into the folder without opening it sees whatever there is.
fn look(disk: &SimDisk) {
    let selection = Selection {
        rows: true,
        stale: true,
        ..Selection::default()
    };
    let mut count = 0;
    Dump::new(disk.vfs()).run(&selection, &mut |item| {
        count += 1;
        assert!(!item.to_string().is_empty(), "something to say");
        assert!(count < ITEM_COUNT_MAX, "an end");
        ControlFlow::Continue(())
    });
}

/// What is there is what was written; what is missing is said to be, and only where there was damage.
fn check(
    golden: &Golden,
    broker: &Driver,
    is_whole: bool,
    is_lossless: bool,
    is_run_damaged: bool,
) {
    for (partition, expected) in [(P0, &golden.first), (P1, &golden.second)] {
        if !is_whole && !has(broker, partition) {
            continue;
        }
        let found = broker.read(partition, 0);
        for found in &found {
            match found {
                Found::Batch(..) => assert!(expected.contains(found), "a record that nobody wrote"),
                Found::Loss(..) => assert!(!is_lossless, "records are lost without need"),
            }
        }
        if is_lossless {
            assert_eq!(&found, expected, "everything");
        }
        if is_whole {
            assert_eq!(
                broker.log(partition).end(),
                golden.end(partition),
                "the end"
            );
        }
    }
    for row in &golden.rows {
        match broker.index_value(row) {
            Ok(value) if is_whole => assert_eq!(value, row.value, "an index row"),
            Ok(_) => {}
            Err(_) => assert!(is_run_damaged, "a run that nobody damaged"),
        }
    }
}

/// What is written from now on is kept, whatever happened before.
fn go_on(golden: &Golden, mut broker: Driver, disk: &SimDisk) {
    if !has(&broker, P0) {
        return;
    }
    let before = broker.read(P0, 0);
    let mut expected = before.clone();
    let offset = broker.log(P0).end().get();
    expected.push(Found::Batch(offset, payload(900, 700)));
    broker.roll(P0);
    broker.round([Batch::inline(P0, payload(900, 700))]);
    assert_eq!(broker.read(P0, 0), expected, "at once");
    drop(broker);
    let disk = disk.crash(&CrashMode::Kill);
    let broker = Driver::open(&disk).expect("what was opened once is opened again");
    assert_eq!(broker.read(P0, 0), expected, "after a restart");
    assert!(
        golden
            .files
            .iter()
            .any(|it| it.path.starts_with(Path::new("topics")))
    );
}
