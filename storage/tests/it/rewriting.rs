//! Rewriting segments: what is kept is found at its offset, what is not leaves a hole that is no damage,
//! and a crash at any point leaves the old files or the new one.
//!
//! The model is a list of records by offset. A record here has 8 bytes, its number.

mod crashes;
mod model;
mod races;

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use towpath_storage::vfs::sim::{Fault, Injection, OperationKind, SimDisk, SimOptions};
use towpath_storage::{Frame, Keep, Offset, StorageError, remove_unnamed_generations};

use crate::driver::{Batch, Driver, P0, Walked, codec_of};
use crate::tamper::paths;

const RECORD_BYTES: usize = 8;

/// Records by offset.
type Records = BTreeMap<u64, u64>;

/// A batch of records with these numbers.
fn batch(numbers: &[u64]) -> Batch {
    let payload: Vec<_> = numbers.iter().flat_map(|it| it.to_le_bytes()).collect();
    Batch::inline(P0, payload).records(u32::try_from(numbers.len()).unwrap())
}

/// The records of a frame with their offsets.
fn records_of(frame: &Frame) -> Vec<(u64, u64)> {
    let records = frame.payload.chunks_exact(RECORD_BYTES).zip(0..);
    let records = records.map(|(bytes, place)| {
        let offset = frame.offset_of(place).unwrap().get();
        (offset, u64::from_le_bytes(bytes.try_into().unwrap()))
    });
    let records: Vec<_> = records.collect();
    let count = frame.header.record_count as usize;
    assert_eq!(records.len(), count, "as many records as it says");
    records
}

/// Keeps what a predicate says of offset and number.
fn keep(frame: &Frame, is_kept: impl Fn(u64, u64) -> bool) -> Keep {
    let records = records_of(frame);
    let kept: Vec<_> = records
        .iter()
        .filter(|(at, it)| is_kept(*at, *it))
        .collect();
    if kept.len() == records.len() {
        return Keep::All;
    }
    if kept.is_empty() {
        return Keep::Nothing;
    }
    let base = frame.header.base_offset.get();
    let payload: Bytes = kept.iter().flat_map(|(_, it)| it.to_le_bytes()).collect();
    let deltas = kept.iter().map(|(at, _)| u32::try_from(at - base).unwrap());
    Keep::Only {
        codec: codec_of(&payload),
        payload,
        deltas: deltas.collect(),
    }
}

/// What a reader finds from an offset on. Nothing may be lost, and holes are told as such.
fn read(broker: &Driver, from: u64) -> Records {
    let mut found = Records::new();
    broker.walk(P0, from, |walked| match walked {
        Walked::Frame(frame) => {
            for (offset, number) in records_of(&frame) {
                assert!(found.insert(offset, number).is_none(), "twice {offset}");
            }
            let held = records_of(&frame).last().map(|(last, _)| last + 1);
            let hole = frame.hole_behind().map(|hole| hole.start.get());
            let behind = held.unwrap_or(frame.header.base_offset.get());
            let next = frame.header.next_offset().get();
            assert_eq!(hole, (behind < next).then_some(behind), "the hole behind");
        }
        Walked::Loss(lost) => panic!("{lost} are lost"),
    });
    found.retain(|offset, _| *offset >= from);
    found
}

/// Segments of so many batches each, of three records, sealed but for the last.
fn sealed(batch_counts: &[u64]) -> (Driver, Records) {
    let mut broker = Driver::open(&SimDisk::new(SimOptions::default())).unwrap();
    broker.create(P0);
    let (mut records, mut number) = (Records::new(), 0);
    for (place, count) in batch_counts.iter().enumerate() {
        if place > 0 {
            broker.roll(P0);
        }
        for _ in 0..*count {
            let numbers = [1000 + number, 1001 + number, 1002 + number];
            broker.round([batch(&numbers)]);
            records.extend((number..).zip(numbers));
            number += 3;
        }
    }
    broker.checkpoint();
    (broker, records)
}

fn log_path(name: &str) -> String {
    format!("topics/1-topic-1/0/{name}.log")
}

#[test]
fn what_is_kept_stays_at_its_offset_and_the_rest_is_a_hole() {
    let (mut broker, mut records) = sealed(&[4, 1]);
    // The first batch whole, the second not at all, of the third two, of the fourth the first.
    let kept = [0, 1, 2, 6, 8, 9];
    let is_kept = |at: u64, _| kept.contains(&at) || at >= 12;
    let rewritten = broker.rewrite(P0, 0..1, |frame| keep(frame, is_kept));
    let rewritten = rewritten.unwrap();
    assert_eq!((rewritten.kept_count, rewritten.removed_count), (6, 6));
    assert_eq!(rewritten.segment.generation, 1);
    assert_eq!(read(&broker, 0), records, "nobody sees it yet");
    broker.swap(&rewritten).unwrap();
    records.retain(|at, _| is_kept(*at, 0));
    for from in 0..15 {
        let expected = records.range(from..).map(|(at, it)| (*at, *it));
        assert_eq!(read(&broker, from), expected.collect(), "from {from}");
    }
    // Two frames of 64 + 24 bytes, one of 64 + 8 + 16, one of 64 + 4 + 8, one without records.
    assert_eq!(rewritten.size_bytes, 88 + 64 + 88 + 80);
}

#[test]
fn neighbours_become_one_and_what_is_left_of_them_goes_after_a_checkpoint() {
    let (mut broker, mut records) = sealed(&[3, 2, 4, 1]);
    let is_kept = |at: u64, _| at.is_multiple_of(2);
    let rewritten = broker.rewrite(P0, 0..3, |frame| keep(frame, is_kept));
    let rewritten = rewritten.unwrap();
    broker.swap(&rewritten).unwrap();
    records.retain(|at, _| *at >= 27 || is_kept(*at, 0));
    assert_eq!(read(&broker, 0), records);
    broker.checkpoint();
    broker.remove_sources(&rewritten).unwrap();
    assert_eq!(read(&broker, 0), records, "without the old files");
    let mut left = paths(&broker.disk, "topics/");
    left.retain(|path| path.contains(".log"));
    let rewritten = log_path("00000000000000000000-0000000001");
    assert_eq!(left, [rewritten, log_path("00000000000000000027")]);
    let disk = broker.disk.clone();
    drop(broker);
    assert_eq!(read(&Driver::open(&disk).unwrap(), 0), records, "a restart");
}

#[test]
fn offsets_without_records_that_follow_each_other_take_one_frame() {
    let (mut broker, _) = sealed(&[50, 50, 1]);
    let rewritten = broker.rewrite(P0, 0..2, |_| Keep::Nothing).unwrap();
    assert_eq!(rewritten.size_bytes, 64, "of a header");
    assert_eq!(rewritten.removed_count, 300);
    broker.swap(&rewritten).unwrap();
    let mut covered = Vec::new();
    broker.walk(P0, 7, |walked| match walked {
        Walked::Frame(frame) => {
            let next = frame.header.next_offset().get();
            covered.push((frame.header.base_offset.get(), next, frame.is_gone()));
        }
        Walked::Loss(lost) => panic!("{lost} are lost"),
    });
    assert_eq!(covered, [(0, 300, true), (300, 303, false)]);
}

#[test]
fn a_rewrite_that_is_given_up_leaves_nothing() {
    let (mut broker, records) = sealed(&[300, 1]);
    let before = paths(&broker.disk, "topics/");
    let rewrite = broker.begin_rewrite(P0, 0..1).unwrap();
    let rewrite = rewrite.step(1_000, &mut |_| Ok(Keep::All)).unwrap();
    assert_ne!(paths(&broker.disk, "topics/"), before, "it has begun");
    drop(rewrite);
    assert_eq!(paths(&broker.disk, "topics/"), before, "given up");
    let fails = |_: &Frame| {
        let corruption = towpath_storage::Corruption {
            path: "index".into(),
            position: 0,
            what: "no answer".to_owned(),
        };
        Err(StorageError::Corrupt(corruption))
    };
    let rewrite = broker.begin_rewrite(P0, 0..1).unwrap();
    rewrite.step(1_000, &mut { fails }).unwrap_err();
    assert_eq!(paths(&broker.disk, "topics/"), before, "not judged");
    assert_eq!(read(&broker, 0), records);
}

#[test]
fn a_damaged_segment_is_not_rewritten() {
    let (mut broker, _) = sealed(&[5, 1]);
    let path = log_path("00000000000000000000");
    broker
        .disk
        .flip_bit(Path::new(&path), 4096 + 88 + 70, 0)
        .unwrap();
    let refused = broker.rewrite(P0, 0..1, |_| Keep::All).unwrap_err();
    assert!(matches!(refused, StorageError::Corrupt(_)), "{refused}");
    let left = paths(&broker.disk, "topics/");
    assert!(
        !left.iter().any(|path| path.contains("-0000000001")),
        "{left:?}"
    );
}

#[test]
fn a_full_disk_ends_a_rewrite_and_nothing_else() {
    for write in 0..2 {
        let (mut broker, records) = sealed(&[5, 1]);
        let before = paths(&broker.disk, "topics/");
        let full = Injection::new(Fault::NoSpace).on(OperationKind::Write);
        broker.disk.inject(full.nth(write));
        let error = broker.rewrite(P0, 0..1, |_| Keep::Nothing).unwrap_err();
        broker.disk.heal();
        assert!(error.is_full(), "write {write}: {error}");
        assert_eq!(paths(&broker.disk, "topics/"), before, "write {write}");
        assert_eq!(read(&broker, 0), records, "write {write}");
        broker.rewrite(P0, 0..1, |_| Keep::Nothing).unwrap();
    }
}

#[test]
fn a_reader_that_holds_a_cursor_into_an_old_file_goes_on_in_the_new_one() {
    let (mut broker, mut records) = sealed(&[40, 40, 1]);
    let limit = towpath_storage::ReadLimit {
        bytes_max: 100,
        lsn_max: broker.storage.journal.durable(),
    };
    let reader = broker.storage.reader.clone();
    let end = Offset::new(240);
    let first = reader.read(broker.log(P0), None, Offset::new(60), end, limit);
    let first = first.unwrap();
    let next = first.frames.last().unwrap().header.next_offset();
    let is_kept = |at: u64| at.is_multiple_of(5);
    let rewritten = broker.rewrite(P0, 0..2, |frame| keep(frame, |at, _| is_kept(at)));
    let rewritten = rewritten.unwrap();
    broker.swap(&rewritten).unwrap();
    broker.checkpoint();
    broker.remove_sources(&rewritten).unwrap();
    records.retain(|at, _| is_kept(*at) || *at >= 240);
    let (mut at, mut cursor, mut found) = (next, first.cursor, Records::new());
    while at < end {
        let read = reader.read(broker.log(P0), cursor, at, end, limit).unwrap();
        assert_eq!(read.loss, None, "a hole is no damage");
        for frame in &read.frames {
            at = frame.header.next_offset();
            found.extend(records_of(frame));
        }
        cursor = read.cursor;
    }
    found.retain(|at, _| *at >= next.get());
    let expected = records.range(next.get()..240).map(|(at, it)| (*at, *it));
    assert_eq!(found, expected.collect());
}

#[test]
fn only_generations_that_nobody_names_are_removed() {
    let (mut broker, _) = sealed(&[3, 3, 1]);
    let first = broker.rewrite(P0, 0..1, |_| Keep::All).unwrap();
    broker.swap(&first).unwrap();
    let second = broker.rewrite(P0, 1..2, |_| Keep::All).unwrap();
    let named = broker.state.segments(P0);
    let files = &broker.storage.files;
    let count = remove_unnamed_generations(files, P0, |it| named.contains(&it));
    assert_eq!(count.unwrap(), 1, "the second");
    let left = paths(&broker.disk, "topics/");
    let holds = |segment: &str| left.contains(&log_path(segment));
    assert!(holds("00000000000000000000"), "what was appended stays");
    assert!(holds("00000000000000000000-0000000001"), "what is named");
    assert!(
        !left.iter().any(|path| path.contains("09-00")),
        "{second:?} {left:?}"
    );
}

#[test]
fn a_topic_goes_with_all_generations() {
    let (mut broker, _) = sealed(&[3, 1]);
    let rewritten = broker.rewrite(P0, 0..1, |_| Keep::All).unwrap();
    broker.swap(&rewritten).unwrap();
    broker.delete_topic(P0.topic);
    assert_eq!(paths(&broker.disk, "topics/"), Vec::<String>::new());
}
