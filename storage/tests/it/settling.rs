//! Settling: which calls write the frames of a round into their segments, and what is synced when.

use towpath_storage::vfs::sim::{CrashMode, LossMode, OperationKind, SimDisk, SimOptions, Trace};
use towpath_storage::{PartitionRef, StorageOptions, TopicId};

use crate::driver::{Batch, Driver, Found, P0, P1, TOPIC, options, payload};
use crate::tamper::paths;

const LOG: &str = "topics/1-topic-1/0/00000000000000000000.log";
const OTHER_LOG: &str = "topics/1-topic-1/1/00000000000000000000.log";

fn new_broker() -> Driver {
    let mut broker = Driver::open(&SimDisk::new(SimOptions::default())).unwrap();
    broker.create(P0);
    broker.create(P1);
    broker
}

/// The calls that settling makes, without their checksums; those on indexes left out.
fn calls_of_settling(broker: &mut Driver) -> Vec<String> {
    broker.disk.take_trace();
    broker.settle();
    let mut calls = broker.disk.take_trace();
    calls.retain(|line| !line.contains(".index"));
    let without_crc = |line: String| line.split(" crc=").next().unwrap_or_default().to_owned();
    calls.into_iter().map(without_crc).collect()
}

#[test]
fn frames_that_lie_one_behind_the_other_take_one_call() {
    let mut broker = new_broker();
    for number in 0..5 {
        // 64 + 100 bytes, padded to 168.
        broker.round([
            Batch::inline(P0, payload(number, 100)),
            Batch::inline(P1, payload(number, 30)),
        ]);
    }
    let expected = [
        format!("write {LOG} @4096 +840"),
        format!("write {OTHER_LOG} @4096 +480"),
    ];
    assert_eq!(calls_of_settling(&mut broker), expected);
}

#[test]
fn a_run_is_not_written_again_but_the_gaps_around_it_are_filled() {
    let mut broker = new_broker();
    broker.round([Batch::inline(P0, payload(0, 100))]);
    broker.round([
        Batch::reference(P0, payload(1, 5_000)),
        Batch::reference(P0, payload(2, 100)),
    ]);
    broker.round([Batch::inline(P0, payload(3, 100))]);
    // 4096 + 168 = 4264, the run from 8192 on takes 5064 + 168 bytes, the next block starts at 16384.
    let expected = [
        format!("write {LOG} @4096 +168"),
        format!("write {LOG} @4264 +3928"),
        format!("write {LOG} @13424 +{}", 16_384 - 13_424 + 168),
    ];
    assert_eq!(calls_of_settling(&mut broker), expected);
    let bytes = broker.disk.read(LOG.as_ref()).unwrap();
    let is_blank = |range: std::ops::Range<usize>| bytes[range].iter().all(|byte| *byte == 0);
    assert!(is_blank(4264..8192) && is_blank(13_424..16_384), "zeros");
}

/// A round by reference that was lost leaves its frames in the segment.
#[test]
fn what_a_lost_round_left_in_a_gap_is_wiped_out() {
    let mut broker = new_broker();
    broker.round([Batch::inline(P0, payload(0, 100))]);
    let disk = broker.disk.clone();
    let before = disk.operations();
    broker.entry(vec![Batch::reference(P0, payload(1, 700))], Vec::new());
    broker.entry(vec![Batch::reference(P0, payload(2, 700))], Vec::new());
    // The run and its sync pass, the journal does not.
    disk.stop_before(before + 2);
    broker.try_commit().unwrap_err();
    let disk = disk.crash(&CrashMode::PowerLoss(LossMode::Everything));
    let lost = disk.read(LOG.as_ref()).unwrap();
    assert_eq!(lost[8192..8196], *b"TFRM", "frames of the lost round");
    let mut broker = Driver::open(&disk).unwrap();
    assert_eq!(broker.read(P0, 0), [Found::Batch(0, payload(0, 100))]);
    broker.ensure(P0, 65_536).unwrap();
    broker.round([Batch::reference(P0, payload(3, 200))]);
    broker.round([Batch::reference(P0, payload(4, 200))]);
    broker.settle();
    let bytes = disk.read(LOG.as_ref()).unwrap();
    assert_eq!(bytes[8192..8196], *b"TFRM");
    assert!(
        bytes[8192 + 264..12_288].iter().all(|byte| *byte == 0),
        "nothing of the lost round"
    );
    let expected = [(0, 0, 100), (1, 3, 200), (2, 4, 200)]
        .map(|(base, number, length)| Found::Batch(base, payload(number, length)));
    assert_eq!(broker.read(P0, 0), expected);
}

#[test]
fn settling_syncs_nothing_and_a_checkpoint_each_file_once() {
    let mut broker = new_broker();
    for number in 0..5 {
        broker.round([
            Batch::inline(P0, payload(number, 9_000)),
            Batch::inline(P1, payload(number, 30)),
        ]);
        let before = broker.disk.count(OperationKind::SyncData);
        broker.settle();
        let after = broker.disk.count(OperationKind::SyncData);
        assert_eq!(after, before, "settling syncs nothing");
    }
    broker.disk.take_trace();
    let count = broker.storage.dirty.sync(&broker.storage.files).unwrap();
    assert_eq!(count, 2, "segments");
    let index = |log: &str| log.replace(".log", ".index");
    let expected = [
        LOG.to_owned(),
        index(LOG),
        OTHER_LOG.to_owned(),
        index(OTHER_LOG),
    ]
    .map(|path| format!("sync {path}"));
    assert_eq!(broker.disk.take_trace(), expected);
    let count = broker.storage.dirty.sync(&broker.storage.files).unwrap();
    assert_eq!(count, 0, "nothing was written since");
    assert_eq!(broker.disk.take_trace(), Vec::<String>::new());
}

/// Each dirty segment keeps descriptors open, so there is a limit to them.
#[test]
fn too_many_dirty_segments_are_synced_without_waiting_for_a_checkpoint() {
    let disk = SimDisk::new(SimOptions {
        trace: Trace::Off,
        ..SimOptions::default()
    });
    let mut broker = Driver::open(&disk).unwrap();
    let partitions: Vec<_> = (0..300)
        .map(|partition| PartitionRef {
            topic: TopicId::new(1),
            partition,
        })
        .collect();
    for partition in &partitions {
        broker.create(*partition);
        broker.round([Batch::inline(*partition, payload(1, 10))]);
    }
    let before = disk.count(OperationKind::SyncData);
    broker.settle();
    let synced = disk.count(OperationKind::SyncData) - before;
    assert_eq!(synced, 2 * 257, "segments and indexes, when there are 257");
    let count = broker.storage.dirty.sync(&broker.storage.files).unwrap();
    assert_eq!(count, 300 - 257, "the rest");
    let crashed = disk.crash(&CrashMode::PowerLoss(LossMode::Everything));
    assert_eq!(paths(&crashed, "topics/").len(), 1 + 3 * 300);
}

#[test]
fn a_dropped_topic_is_not_synced_any_more() {
    let mut broker = new_broker();
    broker.round([Batch::inline(P0, payload(0, 10))]);
    broker.settle();
    broker.storage.settler.forget_topic(P0.topic);
    let count = broker.storage.dirty.sync(&broker.storage.files).unwrap();
    assert_eq!(count, 0);
}

/// Syncs of segments in a trace.
fn segment_syncs(disk: &SimDisk) -> Vec<String> {
    let mut syncs = disk.take_trace();
    syncs.retain(|line| line.starts_with("sync topics/") && !line.contains(".index"));
    syncs
}

#[test]
fn recovery_syncs_a_segment_once_however_often_it_writes_to_it() {
    const PARTITIONS: u32 = 60;
    let disk = SimDisk::new(SimOptions::default());
    let sizes = StorageOptions {
        dirty_segment_count_max: 4,
        ..options()
    };
    let mut broker = Driver::open_with(&disk, 0, &sizes).unwrap();
    let partitions = (0..PARTITIONS).map(|partition| PartitionRef {
        topic: TOPIC,
        partition,
    });
    partitions
        .clone()
        .for_each(|partition| broker.create(partition));
    // More than recovery settles at once, three times over, in each part of it all partitions.
    for number in 0..4 {
        for partition in partitions.clone() {
            broker.round([Batch::inline(partition, payload(number, 60_000))]);
        }
    }
    drop(broker);

    let after = disk.crash(&CrashMode::Kill);
    let mut broker = Driver::open_with(&after, 1, &sizes).unwrap();
    let mut syncs = segment_syncs(&after);
    let count = syncs.len();
    syncs.sort();
    syncs.dedup();
    assert_eq!((syncs.len(), count), (PARTITIONS as usize, count));
    assert_eq!(count, PARTITIONS as usize, "once each");

    for partition in partitions {
        broker.round([Batch::inline(partition, payload(9, 60))]);
    }
    broker.settle();
    let count = segment_syncs(&after).len();
    assert_eq!(count, PARTITIONS as usize, "afterwards few are kept dirty");
}
