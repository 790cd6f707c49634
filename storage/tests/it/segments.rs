//! Segment files: made, made again after a failure, grown, refused, removed.

use std::path::Path;

use towpath_storage::vfs::sim::{
    CrashMode, Fault, Injection, LossMode, OperationKind, SimDisk, SimOptions,
};
use towpath_storage::vfs::{OpenMode, write_all_at};
use towpath_storage::{
    FIRST_STEP_BYTES, Offset, PartitionRef, SegmentBatch, SegmentRef, SegmentWish, Storage,
    StorageError, TopicId, ensure_segment, remove_segment, remove_segments, remove_topic,
};

use crate::driver::{Batch, Driver, Found, P0, P1, TOPIC, payload};
use crate::tamper::{cut, overwrite, paths};

const HEADER_BYTES: u64 = 4096;
const PATH: &str = "topics/1-orders/0/00000000000000000000.log";

fn wish(next_position: u64, allocated_end: u64) -> SegmentWish {
    SegmentWish {
        segment: SegmentRef::new(P0, Offset::ZERO),
        topic_name: "orders".to_owned(),
        next_position,
        allocated_end,
    }
}

fn blank() -> SegmentWish {
    wish(HEADER_BYTES, FIRST_STEP_BYTES)
}

fn new_folder() -> (SimDisk, Storage) {
    let disk = SimDisk::new(SimOptions::default());
    let storage = Driver::open(&disk).unwrap().storage;
    (disk, storage)
}

/// The header's bytes, as another folder of the same seed writes them.
fn good_file() -> Vec<u8> {
    let (disk, storage) = new_folder();
    ensure_segment(&storage.files, &blank()).unwrap();
    disk.read(Path::new(PATH)).unwrap()
}

/// A folder in which a file stands in the place of the segment.
fn occupied(bytes: &[u8]) -> (SimDisk, Storage) {
    let (disk, storage) = new_folder();
    drop(storage);
    for dir in ["topics/1-orders", "topics/1-orders/0"] {
        disk.vfs().create_dir(Path::new(dir)).unwrap();
    }
    create(&disk, PATH, bytes);
    let storage = Driver::open(&disk).unwrap().storage;
    (disk, storage)
}

fn create(disk: &SimDisk, path: &str, bytes: &[u8]) {
    let file = disk
        .vfs()
        .open(Path::new(path), OpenMode::CreateNew)
        .unwrap();
    write_all_at(&*file, bytes, 0).unwrap();
}

#[test]
fn a_segment_is_durable_when_it_is_ready() {
    let (disk, storage) = new_folder();
    assert_eq!(
        ensure_segment(&storage.files, &blank()).unwrap(),
        FIRST_STEP_BYTES
    );
    let disk = disk.crash(&CrashMode::PowerLoss(LossMode::Everything));
    let bytes = disk.read(Path::new(PATH)).unwrap();
    assert_eq!(bytes.len() as u64, FIRST_STEP_BYTES);
    assert!(bytes.starts_with(b"TOWPSGMT"), "the header is there");
    let index = Path::new(PATH).with_extension("index");
    assert_eq!(disk.read(&index).unwrap(), b"");
}

/// What a failed sync was to make durable may be lost for good, so it must not pass for a full disk.
#[test]
fn making_a_segment_can_fail_anywhere_and_be_tried_again_unless_a_sync_failed() {
    let (whole, storage) = new_folder();
    let before = whole.operations();
    whole.take_trace();
    ensure_segment(&storage.files, &blank()).unwrap();
    let trace = whole.trace();
    for (k, line) in (0..).zip(&trace) {
        let (disk, storage) = new_folder();
        disk.inject(Injection::new(Fault::NoSpace).at_operation(before + k));
        let first = ensure_segment(&storage.files, &blank());
        disk.heal();
        let what = format!("operation {k}, {line}");
        let is_sync = line.starts_with("sync");
        assert_eq!(first.unwrap_err().is_full(), !is_sync, "{what}");
        if is_sync {
            continue;
        }
        ensure_segment(&storage.files, &blank()).unwrap();
        let disk = disk.crash(&CrashMode::PowerLoss(LossMode::Everything));
        assert_eq!(disk.read(Path::new(PATH)).unwrap(), good_file(), "{what}");
        assert_eq!(paths(&disk, "quarantine/"), Vec::<String>::new(), "{what}");
    }
}

#[test]
fn a_failed_sync_of_a_batch_says_of_what() {
    let both = [P0, P1].map(|partition| SegmentWish {
        segment: SegmentRef::new(partition, Offset::ZERO),
        ..blank()
    });
    let made = |injection: Option<Injection>| {
        let (disk, storage) = new_folder();
        let mut batch = SegmentBatch::new(&storage.files);
        for wish in &both {
            batch.add(wish).unwrap();
        }
        disk.take_trace();
        injection.into_iter().for_each(|it| disk.inject(it));
        (batch.sync(), disk.trace())
    };
    let (synced, trace) = made(None);
    synced.unwrap();
    for kind in [OperationKind::SyncData, OperationKind::SyncDir] {
        let of_kind = trace.iter().filter(|line| {
            let word = line.split_whitespace().next();
            word == Some(kind.as_str())
        });
        let count = of_kind.clone().count() as u64;
        assert!(count >= 2, "{trace:?}");
        for (n, line) in (0..count).zip(of_kind) {
            let (synced, _) = made(Some(Injection::new(Fault::Io).on(kind).nth(n)));
            let StorageError::Io { path, .. } = synced.unwrap_err() else {
                panic!("{line}");
            };
            let told = line.split_whitespace().nth(1).unwrap();
            assert_eq!(path, Path::new(told), "{line}");
        }
    }
}

#[test]
fn a_segment_that_cannot_be_opened_is_not_called_missing() {
    let (disk, storage) = new_folder();
    ensure_segment(&storage.files, &blank()).unwrap();
    drop(storage);
    let storage = Driver::open(&disk).unwrap().storage;
    disk.inject(Injection::new(Fault::Io).on(OperationKind::Open));
    let error = ensure_segment(&storage.files, &wish(8192, FIRST_STEP_BYTES)).unwrap_err();
    assert!(matches!(error, StorageError::Io { .. }), "{error:?}");
}

#[test]
fn a_file_whose_maker_died_before_its_header_is_finished() {
    for length in [0, 10, 4096, 65_536] {
        let (disk, storage) = occupied(&vec![0; length]);
        ensure_segment(&storage.files, &blank()).unwrap();
        assert_eq!(disk.read(Path::new(PATH)).unwrap(), good_file());
        assert_eq!(paths(&disk, "quarantine/"), Vec::<String>::new());
    }
}

#[test]
fn a_foreign_file_in_the_place_of_a_blank_segment_is_set_aside() {
    let mut of_another_segment = good_file();
    of_another_segment[32] ^= 1;
    for foreign in [&b"my notes"[..], &of_another_segment] {
        let (disk, storage) = occupied(foreign);
        ensure_segment(&storage.files, &blank()).unwrap();
        assert_eq!(disk.read(Path::new(PATH)).unwrap(), good_file());
        let [aside] = &paths(&disk, "quarantine/")[..] else {
            panic!("one file is set aside");
        };
        assert_eq!(disk.read(Path::new(aside)).unwrap(), foreign);
    }
}

#[test]
fn a_segment_with_frames_is_never_made_anew() {
    let damages: [fn(&SimDisk); 5] = [
        |disk| disk.vfs().unlink(Path::new(PATH)).unwrap(),
        |disk| disk.flip_bit(Path::new(PATH), 40, 0).unwrap(),
        |disk| cut(disk, Path::new(PATH), 60),
        |disk| cut(disk, Path::new(PATH), 0),
        |disk| overwrite(disk, Path::new(PATH), 0, &[0; 4096]),
    ];
    for damage in damages {
        let (disk, storage) = new_folder();
        ensure_segment(&storage.files, &blank()).unwrap();
        drop(storage);
        damage(&disk);
        let storage = Driver::open(&disk).unwrap().storage;
        let before = disk.read(Path::new(PATH)).ok();
        let error = ensure_segment(&storage.files, &wish(5000, 80_000)).unwrap_err();
        assert!(matches!(error, StorageError::Corrupt(_)), "{error:?}");
        assert_eq!(disk.read(Path::new(PATH)).ok(), before, "left as it is");
    }
}

#[test]
fn a_segment_grows_and_never_shrinks() {
    let (disk, storage) = new_folder();
    ensure_segment(&storage.files, &blank()).unwrap();
    let ends = [(131_072, 131_072), (70_000, 131_072), (200_000, 200_000)];
    for (wished, expected) in ends {
        let end = ensure_segment(&storage.files, &wish(5000, wished)).unwrap();
        assert_eq!(end, expected);
        let length = disk.read(Path::new(PATH)).unwrap().len() as u64;
        assert_eq!(length, expected);
    }
    disk.inject(Injection::new(Fault::NoSpace).on(OperationKind::Allocate));
    let error = ensure_segment(&storage.files, &wish(5000, 300_000)).unwrap_err();
    assert!(error.is_full(), "{error:?}");
    disk.heal();
    ensure_segment(&storage.files, &wish(5000, 300_000)).unwrap();
}

#[test]
fn a_segment_that_the_disk_has_no_room_for_takes_none() {
    let (disk, storage) = new_folder();
    ensure_segment(&storage.files, &blank()).unwrap();
    let used = disk.vfs().space().unwrap();
    disk.set_total_bytes(used.total_bytes - used.available_bytes + 40_000);
    let before = disk.vfs().space().unwrap();
    let error = ensure_segment(&storage.files, &wish(5000, 300_000)).unwrap_err();
    assert!(error.is_full(), "{error:?}");
    assert_eq!(
        disk.vfs().space().unwrap(),
        before,
        "what it got is given back"
    );
    let length = disk.read(Path::new(PATH)).unwrap().len() as u64;
    assert_eq!(length, FIRST_STEP_BYTES);
}

#[test]
fn segments_that_are_made_together_sync_each_folder_once() {
    let (disk, storage) = new_folder();
    let wishes = (0..5).map(|partition| SegmentWish {
        segment: SegmentRef::new(
            PartitionRef {
                topic: TOPIC,
                partition,
            },
            Offset::ZERO,
        ),
        ..blank()
    });
    disk.take_trace();
    let mut batch = SegmentBatch::new(&storage.files);
    for wish in wishes {
        assert_eq!(batch.add(&wish).unwrap(), FIRST_STEP_BYTES);
    }
    let is_sync = |line: &String| line.starts_with("sync");
    assert!(!disk.take_trace().iter().any(is_sync), "not one by one");
    batch.sync().unwrap();
    let mut synced = disk.take_trace();
    let count = synced.len();
    synced.sort();
    synced.dedup();
    // Five files, the folder of each, and the two above.
    assert_eq!((synced.len(), count), (12, 12), "{synced:#?}");
    let after = disk.crash(&CrashMode::PowerLoss(LossMode::Everything));
    for partition in 0..5 {
        let path = format!("topics/1-orders/{partition}/00000000000000000000.log");
        assert!(after.read(Path::new(&path)).is_ok(), "{path} is durable");
    }
}

#[test]
fn a_topic_keeps_its_folder() {
    let (disk, storage) = new_folder();
    ensure_segment(&storage.files, &blank()).unwrap();
    let second = SegmentWish {
        topic_name: "renamed".to_owned(),
        segment: SegmentRef::new(P1, Offset::ZERO),
        ..blank()
    };
    ensure_segment(&storage.files, &second).unwrap();
    disk.read(Path::new("topics/1-orders/1/00000000000000000000.log"))
        .unwrap();
}

/// Two partitions with two segments each.
fn two_partitions() -> (SimDisk, Driver) {
    let disk = SimDisk::new(SimOptions::default());
    let mut broker = Driver::open(&disk).unwrap();
    for partition in [P0, P1] {
        broker.create(partition);
        broker.round([Batch::inline(partition, payload(1, 100))]);
        broker.roll(partition);
        broker.round([Batch::inline(partition, payload(2, 100))]);
    }
    broker.checkpoint();
    (disk, broker)
}

#[test]
fn removing_a_segment_leaves_its_neighbours() {
    let (disk, broker) = two_partitions();
    let segment = SegmentRef::new(P0, Offset::ZERO);
    remove_segment(&broker.storage.files, segment).unwrap();
    remove_segment(&broker.storage.files, segment).unwrap();
    let found = [Found::Loss(0, 1), Found::Batch(1, payload(2, 100))];
    assert_eq!(broker.read(P0, 0), found);
    assert_eq!(broker.read(P1, 0).len(), 2);
    let names = paths(&disk, "topics/1-topic-1/0/");
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn segments_that_were_removed_do_not_come_back_after_a_power_loss() {
    let (disk, broker) = two_partitions();
    let segment = SegmentRef::new(P0, Offset::ZERO);
    remove_segments(&broker.storage.files, &[segment]).unwrap();
    let after = disk.crash(&CrashMode::PowerLoss(LossMode::Everything));
    let names = paths(&after, "topics/1-topic-1/0/");
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn removing_a_topic_can_be_interrupted_anywhere_and_is_finished_later() {
    let (whole, broker) = two_partitions();
    let before = whole.operations();
    remove_topic(&broker.storage.files, TOPIC).unwrap();
    assert_eq!(paths(&whole, "topics/"), Vec::<String>::new());
    remove_topic(&broker.storage.files, TOPIC).unwrap();
    for k in 0..whole.operations() - before {
        let (disk, broker) = two_partitions();
        disk.stop_before(before + k);
        remove_topic(&broker.storage.files, TOPIC).unwrap_err();
        for state in disk.crash_states(30) {
            let broker = Driver::open(&state.disk).unwrap();
            remove_topic(&broker.storage.files, TOPIC).unwrap();
            let left = paths(&state.disk, "topics/");
            let what = format!("operation {k}, {}", state.description);
            assert_eq!(left, Vec::<String>::new(), "{what}");
        }
    }
}

#[test]
fn what_cannot_be_removed_is_told_and_removed_later() {
    use OperationKind::{List, RemoveDir, SyncDir, Unlink};
    for kind in [List, Unlink, RemoveDir] {
        let (disk, broker) = two_partitions();
        let files = &broker.storage.files;
        disk.inject(Injection::new(Fault::Io).on(kind).under("topics/"));
        let error = remove_topic(files, TOPIC).unwrap_err();
        assert!(!error.is_failed_sync(), "{kind:?}: {error:?}");
        disk.heal();
        remove_topic(files, TOPIC).unwrap();
        let left = paths(&disk, "topics/");
        assert_eq!(left, Vec::<String>::new(), "{kind:?}");
    }
    let segment = SegmentRef::new(P0, Offset::ZERO);
    for kind in [Unlink, SyncDir] {
        let (disk, broker) = two_partitions();
        disk.inject(Injection::new(Fault::Io).on(kind).under("topics/"));
        let error = remove_segments(&broker.storage.files, &[segment]).unwrap_err();
        assert_eq!(error.is_failed_sync(), kind == SyncDir, "{error:?}");
    }
}

#[test]
fn what_is_gone_already_is_removed() {
    let remove = |disk: &SimDisk, folder: &str| {
        for path in paths(disk, folder) {
            disk.vfs().unlink(Path::new(&path)).unwrap();
        }
        disk.vfs().remove_dir(Path::new(folder)).unwrap();
    };
    let (disk, broker) = two_partitions();
    let files = &broker.storage.files;
    remove(&disk, "topics/1-topic-1/1");
    remove_segments(files, &[SegmentRef::new(P1, Offset::ZERO)]).unwrap();
    remove(&disk, "topics/1-topic-1/0");
    remove(&disk, "topics/1-topic-1");
    remove_topic(files, TOPIC).unwrap();
}

#[test]
fn what_storage_did_not_make_outlives_its_topic() {
    let (disk, broker) = two_partitions();
    let mine = [
        "topics/1-topic-1/notes",
        "topics/1-topic-1/0/notes",
        "topics/1-topic-1/1/00000000000000000009.log.old",
    ];
    for path in mine {
        create(&disk, path, b"mine");
    }
    remove_topic(&broker.storage.files, TOPIC).unwrap();
    let mut left = paths(&disk, "topics/1-topic-1/");
    left.retain(|path| disk.read(Path::new(path)).is_ok());
    let mut expected = mine.map(str::to_owned);
    expected.sort();
    assert_eq!(left, expected);
    remove_topic(&broker.storage.files, TopicId::new(77)).unwrap();
}

#[test]
fn a_bounded_number_of_files_is_open() {
    let disk = SimDisk::new(SimOptions {
        // 16 segment files, journal, lock, and what is opened for a moment.
        descriptors_max: 16 + 8,
        ..SimOptions::default()
    });
    let mut broker = Driver::open(&disk).unwrap();
    broker.create(P0);
    for number in 0..40 {
        broker.round([Batch::inline(P0, payload(number, 100))]);
        broker.checkpoint();
        broker.roll(P0);
    }
    broker.storage.settler.forget_topic(TOPIC);
    let expected: Vec<_> = (0..40)
        .map(|number| Found::Batch(number, payload(number, 100)))
        .collect();
    assert_eq!(broker.read(P0, 0), expected);
    let opened = disk.count(OperationKind::Open);
    assert_eq!(broker.read(P0, 36), expected[36..]);
    let read_again = disk.count(OperationKind::Open) - opened;
    assert_eq!(read_again, 0, "those used last are still open");
    broker.read(P0, 0);
    let read_from_start = disk.count(OperationKind::Open) - opened;
    assert!(read_from_start >= 32, "those used first are not");
}
