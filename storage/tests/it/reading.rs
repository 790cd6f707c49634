//! Reading a partition: from memory, from segments, across their borders, and around damage.

use std::path::{Path, PathBuf};

use towpath_storage::vfs::sim::{CrashMode, Fault, Injection, OperationKind, SimDisk, SimOptions};
use towpath_storage::{Lsn, Offset, OffsetRange, ReadLimit, StorageError, TailRead};

use crate::driver::{Batch, Driver, Found, P0, P1, payload};
use crate::tamper::{cut, overwrite};

fn new_broker() -> Driver {
    let mut broker = Driver::open(&SimDisk::new(SimOptions::default())).unwrap();
    broker.create(P0);
    broker
}

fn segment_path(base: u64) -> PathBuf {
    PathBuf::from(format!("topics/1-topic-1/0/{base:020}.log"))
}

fn index_path(base: u64) -> PathBuf {
    segment_path(base).with_extension("index")
}

fn limit(bytes_max: usize, lsn_max: u64) -> ReadLimit {
    ReadLimit {
        bytes_max,
        lsn_max: Lsn::new(lsn_max),
    }
}

/// Batches with 1, 2 and 3 records in turn, of many sizes; returns what a reader finds.
fn fill(broker: &mut Driver, count: u64) -> Vec<Found> {
    let mut expected = Vec::new();
    for number in 0..count {
        let length = [1, 700, 40, 2_900, 64][usize::try_from(number % 5).unwrap()];
        let batch = Batch::inline(P0, payload(number, length));
        let records = u32::try_from(number % 3 + 1).unwrap();
        expected.push(Found::Batch(
            broker.log(P0).end().get(),
            payload(number, length),
        ));
        broker.round([batch.records(records)]);
    }
    expected
}

fn base_of(found: &Found) -> u64 {
    match found {
        Found::Batch(base, _) => *base,
        Found::Loss(start, _) => *start,
    }
}

/// From each offset a reader finds the batch that holds it and all that follow.
fn check_from_every_offset(broker: &Driver, expected: &[Found], what: &str) {
    let end = broker.log(P0).end().get();
    for offset in 0..end {
        let first = expected.partition_point(|found| base_of(found) <= offset) - 1;
        let mut rest = expected[first..].to_vec();
        if let Found::Loss(start, _) = &mut rest[0] {
            *start = offset;
        }
        assert_eq!(broker.read(P0, offset), rest, "{what}, from {offset}");
    }
}

#[test]
fn every_offset_is_found_in_memory_on_disk_and_on_the_border() {
    let mut broker = new_broker();
    // Nothing is evicted.
    broker.tail = towpath_storage::TailCache::new(usize::MAX);
    let mut expected = fill(&mut broker, 30);
    check_from_every_offset(&broker, &expected, "in memory");
    broker.settle();
    broker.tail = towpath_storage::TailCache::new(0);
    let more = fill(&mut broker, 30);
    expected.extend(more);
    check_from_every_offset(&broker, &expected, "older ones in memory too");
    let disk = broker.disk.clone();
    drop(broker);
    let mut broker = Driver::open(&disk).unwrap();
    check_from_every_offset(&broker, &expected, "on disk");
    expected.extend(fill(&mut broker, 10));
    check_from_every_offset(&broker, &expected, "on both");
    broker.settle();
    check_from_every_offset(&broker, &expected, "evicted");
}

#[test]
fn a_read_goes_on_from_segment_to_segment() {
    let mut broker = new_broker();
    let mut expected = Vec::new();
    for _ in 0..4 {
        expected.extend(fill(&mut broker, 11));
        broker.settle();
        broker.roll(P0);
    }
    check_from_every_offset(&broker, &expected, "an empty segment last");
    expected.extend(fill(&mut broker, 1));
    broker.settle();
    check_from_every_offset(&broker, &expected, "five segments");
    let disk = broker.disk.crash(&CrashMode::Kill);
    let broker = Driver::open(&disk).unwrap();
    check_from_every_offset(&broker, &expected, "after a restart");
}

/// The reader's block is 256 KiB.
#[test]
fn frames_larger_than_a_block_are_read_whole() {
    let mut broker = new_broker();
    let mut expected = Vec::new();
    for (number, length) in [30, 262_080, 50, 262_081, 262_144, 900_000, 7]
        .into_iter()
        .enumerate()
    {
        let bytes = payload(number as u64, length);
        expected.push(Found::Batch(broker.log(P0).end().get(), bytes.clone()));
        if length > 100_000 {
            broker.roll(P0);
        }
        broker.round([Batch::inline(P0, bytes).records(2)]);
        if length > 100_000 {
            broker.roll(P0);
        }
    }
    broker.settle();
    check_from_every_offset(&broker, &expected, "large frames");
}

#[test]
fn runs_by_reference_and_the_gaps_around_them_are_read() {
    let mut broker = new_broker();
    let mut expected = Vec::new();
    for number in 0..6 {
        let lengths = if number % 2 == 0 {
            vec![300]
        } else {
            vec![5000, 20, 9000]
        };
        for (place, length) in lengths.into_iter().enumerate() {
            let bytes = payload(number * 10 + place as u64, length);
            expected.push(Found::Batch(expected.len() as u64, bytes.clone()));
            let batch = match number % 2 {
                0 => Batch::inline(P0, bytes),
                _ => Batch::reference(P0, bytes),
            };
            broker.entry(vec![batch], Vec::new());
        }
        broker.commit();
    }
    check_from_every_offset(&broker, &expected, "not settled");
    broker.settle();
    check_from_every_offset(&broker, &expected, "settled");
    let broker = Driver::open(&broker.disk.crash(&CrashMode::Kill)).unwrap();
    check_from_every_offset(&broker, &expected, "after a restart");
}

#[test]
fn a_limit_of_bytes_ends_a_read_behind_at_least_one_batch() {
    let mut broker = new_broker();
    for number in 0..10 {
        broker.round([Batch::inline(P0, payload(number, 100))]);
    }
    broker.settle();
    let log = broker.log(P0);
    for (bytes_max, count) in [(0, 1), (1, 1), (100, 1), (199, 1), (200, 2), (1000, 10)] {
        let mut cursor = None;
        let mut offset = Offset::ZERO;
        while offset < log.end() {
            let read = broker
                .storage
                .reader
                .read(log, cursor, offset, log.end(), limit(bytes_max, 99))
                .unwrap();
            let left = usize::try_from(log.end().since(offset)).unwrap();
            assert_eq!(read.frames.len(), count.min(left), "bytes_max={bytes_max}");
            offset = read.frames.last().unwrap().header.next_offset();
            cursor = read.cursor;
        }
    }
}

#[test]
fn a_read_from_disk_shows_nothing_of_a_later_entry() {
    let mut broker = new_broker();
    let first = broker.storage.journal.durable().get() + 1;
    for number in 0..3 {
        broker.round([Batch::inline(P0, payload(number, 10))]);
    }
    broker.settle();
    let log = broker.log(P0);
    for (lsn_max, count) in [(first - 1, 0), (first, 1), (first + 1, 2), (first + 9, 3)] {
        let read = broker
            .storage
            .reader
            .read(log, None, Offset::ZERO, log.end(), limit(1000, lsn_max))
            .unwrap();
        assert_eq!(read.frames.len(), count);
        assert_eq!(read.loss, None, "what comes later is not lost");
    }
}

#[test]
fn a_cursor_saves_the_look_up() {
    let mut broker = new_broker();
    fill(&mut broker, 60);
    broker.settle();
    let (log, reader) = (broker.log(P0), &broker.storage.reader);
    let reads = |cursor, offset| {
        let before = broker.disk.count(OperationKind::Read);
        let read = reader
            .read(log, cursor, offset, log.end(), limit(500, 999))
            .unwrap();
        (read, broker.disk.count(OperationKind::Read) - before)
    };
    let (first, with_look_up) = reads(None, Offset::ZERO);
    let next = first.frames.last().unwrap().header.next_offset();
    let (second, without) = reads(first.cursor, next);
    assert_eq!(second.frames[0].header.base_offset, next);
    let what = "neither is the index read nor held against its frame";
    assert_eq!(without + 2, with_look_up, "{what}");
    // A cursor of another place is of no use, and of no harm.
    let (third, _) = reads(first.cursor, Offset::new(5));
    let holder = &third.frames[0].header;
    assert!(holder.base_offset <= Offset::new(5) && Offset::new(5) < holder.next_offset());
}

/// A partition of two segments on disk, all of it beyond the journal, and where the frames lie.
struct OnDisk {
    disk: SimDisk,
    expected: Vec<Found>,
    /// Segment, position, length with padding, offsets.
    frames: Vec<(u64, u64, u64, OffsetRange)>,
}

fn on_disk() -> OnDisk {
    let mut broker = new_broker();
    let mut expected = Vec::new();
    let mut frames = Vec::new();
    for segment in 0..2 {
        if segment > 0 {
            broker.settle();
            broker.roll(P0);
        }
        let base = broker.log(P0).end().get();
        for found in fill(&mut broker, 40) {
            let Found::Batch(start, bytes) = &found else {
                unreachable!()
            };
            let position = match frames.last() {
                Some((last_base, position, length, _)) if *last_base == base => position + length,
                _ => 4096,
            };
            let length = (64 + bytes.len() as u64).next_multiple_of(8);
            let range = OffsetRange {
                start: Offset::new(*start),
                end: Offset::new(*start),
            };
            frames.push((base, position, length, range));
            expected.push(found);
        }
    }
    let end = broker.log(P0).end();
    for place in 0..frames.len() {
        frames[place].3.end = frames.get(place + 1).map_or(end, |next| next.3.start);
    }
    broker.checkpoint();
    let disk = broker.disk.clone();
    drop(broker);
    OnDisk {
        disk,
        expected,
        frames,
    }
}

/// Opens the disk and compares: one loss, in the place of the batches that lie in it.
fn check_loss(on_disk: &OnDisk, disk: &SimDisk, loss: OffsetRange, what: &str) {
    let broker = Driver::open(disk).unwrap();
    assert_eq!(
        broker.storage.report.losses,
        [],
        "{what}: beyond the journal"
    );
    let is_before = |found: &&Found| base_of(found) < loss.start.get();
    let is_behind = |found: &&Found| base_of(found) >= loss.end.get();
    let mut expected: Vec<_> = on_disk.expected.iter().filter(is_before).cloned().collect();
    expected.push(Found::Loss(loss.start.get(), loss.end.get()));
    expected.extend(on_disk.expected.iter().filter(is_behind).cloned());
    check_from_every_offset(&broker, &expected, what);
}

#[test]
fn damaged_records_are_lost_alone() {
    let on_disk = on_disk();
    for (place, (base, position, _, range)) in on_disk.frames.iter().enumerate() {
        let disk = on_disk.disk.fork();
        disk.flip_bit(&segment_path(*base), position + 64, 2)
            .unwrap();
        check_loss(
            &on_disk,
            &disk,
            *range,
            &format!("payload of frame {place}"),
        );
    }
}

/// Frames are found again at the next intact header, as long as the index vouches for the place.
#[test]
fn a_damaged_header_costs_its_own_records_where_the_index_goes_on() {
    let on_disk = on_disk();
    let indexed = last_indexed(&on_disk);
    for (place, (base, position, _, range)) in on_disk.frames.iter().enumerate() {
        let end = if *position < indexed[base].0 {
            range.end
        } else {
            indexed[base].1
        };
        let loss = OffsetRange { end, ..*range };
        // 80 frames: each byte of the header is hit.
        let byte = place as u64 % 64;
        let disk = on_disk.disk.fork();
        disk.flip_bit(&segment_path(*base), position + byte, 1)
            .unwrap();
        let what = format!("byte {byte} of the header of frame {place}");
        check_loss(&on_disk, &disk, loss, &what);
    }
}

/// For each segment the position of its last indexed frame, and where the segment ends.
fn last_indexed(on_disk: &OnDisk) -> std::collections::BTreeMap<u64, (u64, Offset)> {
    let mut indexed = std::collections::BTreeMap::new();
    for (base, position, _, range) in &on_disk.frames {
        let (last, end) = indexed.entry(*base).or_insert((4096, range.end));
        if *position >= *last + 16 * 1024 {
            *last = *position;
        }
        *end = range.end;
    }
    indexed
}

#[test]
fn a_segment_cut_short_loses_what_lay_behind_the_cut() {
    let on_disk = on_disk();
    for (base, position, length, range) in on_disk.frames.iter().step_by(7) {
        let end = last_indexed(&on_disk)[base].1;
        for inside in [0, 30, 64, length - 8] {
            let disk = on_disk.disk.fork();
            cut(&disk, &segment_path(*base), position + inside);
            let loss = OffsetRange { end, ..*range };
            let broker = Driver::open(&disk).unwrap();
            let found = broker.read(P0, range.start.get());
            let lost: u64 = found
                .iter()
                .map(|found| match found {
                    Found::Loss(start, end) => end - start,
                    Found::Batch(..) => 0,
                })
                .sum();
            assert_eq!(lost, loss.end.since(loss.start), "position {position}");
            let behind: Vec<_> = found
                .into_iter()
                .filter(|found| matches!(found, Found::Batch(..)))
                .collect();
            let expected: Vec<_> = on_disk
                .expected
                .iter()
                .filter(|found| base_of(found) >= end.get())
                .cloned()
                .collect();
            assert_eq!(behind, expected, "the next segment is whole");
        }
    }
}

#[test]
fn a_missing_segment_is_lost_and_no_other() {
    let on_disk = on_disk();
    let bases: Vec<_> = last_indexed(&on_disk).into_iter().collect();
    for (base, (_, end)) in bases {
        let disk = on_disk.disk.fork();
        disk.vfs().unlink(&segment_path(base)).unwrap();
        let loss = OffsetRange {
            start: Offset::new(base),
            end,
        };
        check_loss(&on_disk, &disk, loss, &format!("segment {base}"));
    }
}

#[test]
fn a_frame_copied_to_another_place_is_not_taken() {
    let on_disk = on_disk();
    let (base, from, length, _) = on_disk.frames[0];
    let (other_base, to, other_length, range) = on_disk.frames[5];
    assert_eq!((base, length), (other_base, other_length), "of one size");
    let bytes = on_disk.disk.read(&segment_path(base)).unwrap();
    let copy = &bytes[from as usize..(from + length) as usize];
    overwrite(&on_disk.disk, &segment_path(base), to, copy);
    check_loss(&on_disk, &on_disk.disk.fork(), range, "copied");
}

#[test]
fn a_missing_or_damaged_index_changes_no_answer() {
    let on_disk = on_disk();
    for base in last_indexed(&on_disk).into_keys() {
        let path = index_path(base);
        let length = on_disk.disk.read(&path).unwrap().len() as u64;
        assert!(length >= 2 * 32, "more than one entry");
        let missing = on_disk.disk.fork();
        missing.vfs().unlink(&path).unwrap();
        let broker = Driver::open(&missing).unwrap();
        check_from_every_offset(&broker, &on_disk.expected, "no index");
        for byte in 0..length {
            let disk = on_disk.disk.fork();
            disk.flip_bit(&path, byte, 6).unwrap();
            let broker = Driver::open(&disk).unwrap();
            assert_eq!(broker.read(P0, 0), on_disk.expected, "byte {byte}");
            let last = base_of(on_disk.expected.last().unwrap());
            assert_eq!(broker.read(P0, last).len(), 1, "byte {byte}");
        }
    }
}

#[test]
fn a_disk_that_cannot_be_read_loses_nothing() {
    let on_disk = on_disk();
    let broker = Driver::open(&on_disk.disk).unwrap();
    let log = broker.log(P0);
    let injection = Injection::new(Fault::Io).on(OperationKind::Read);
    on_disk.disk.inject(injection.under("topics"));
    let read = broker
        .storage
        .reader
        .read(log, None, Offset::ZERO, log.end(), limit(100, 999));
    assert!(matches!(read, Err(StorageError::Io { .. })), "{read:?}");
    on_disk.disk.heal();
    assert_eq!(broker.read(P0, 0), on_disk.expected);
}

#[test]
fn short_reads_are_completed() {
    let on_disk = on_disk();
    on_disk.disk.inject(Injection::new(Fault::Short));
    let broker = Driver::open(&on_disk.disk).unwrap();
    assert_eq!(broker.read(P0, 0), on_disk.expected);
}

#[test]
fn a_time_is_found_in_every_segment_and_in_memory() {
    let mut broker = new_broker();
    broker.create(P1);
    let start = broker.time_ms;
    // Batches at these times; several share one.
    let times = [10, 20, 20, 20, 35, 35, 50, 51, 52, 90, 90, 90];
    for is_settled in [true, false] {
        let mut expected = Vec::new();
        let first = broker.log(P0).end().get();
        let begin = if is_settled { 0 } else { 1000 };
        for (place, time) in times.into_iter().enumerate() {
            if place % 4 == 3 {
                broker.roll(P0);
            }
            broker.time_ms = start + begin + time;
            broker.round([Batch::inline(P0, payload(place as u64, 9_000)).records(2)]);
            expected.push((begin + time, first + 2 * place as u64));
            if is_settled {
                broker.settle();
            }
        }
        let end = broker.log(P0).end().get();
        for time in begin..begin + 100 {
            let found = broker
                .storage
                .reader
                .offset_at_time(broker.log(P0), start + time)
                .unwrap();
            let wanted = expected.iter().find(|(at, _)| *at >= time);
            assert_eq!(
                found.get(),
                wanted.map_or(end, |(_, offset)| *offset),
                "time {time}, settled={is_settled}"
            );
        }
    }
    let empty = broker.log(P1);
    let found = broker.storage.reader.offset_at_time(empty, 0).unwrap();
    assert_eq!(found, Offset::ZERO, "nothing was ever appended");
}

#[test]
fn a_time_is_found_without_indexes_and_behind_damage() {
    let mut broker = new_broker();
    let start = broker.time_ms;
    for number in 0..30 {
        broker.time_ms = start + number;
        if number % 10 == 9 {
            broker.roll(P0);
        }
        broker.round([Batch::inline(P0, payload(number.unsigned_abs(), 3_000))]);
    }
    broker.checkpoint();
    let disk = broker.disk.clone();
    drop(broker);
    let check = |disk: &SimDisk, lost: Option<u64>| {
        let broker = Driver::open(disk).unwrap();
        for number in 0..30 {
            let found = broker
                .storage
                .reader
                .offset_at_time(broker.log(P0), start + i64::try_from(number).unwrap())
                .unwrap();
            let wanted = if lost == Some(number) {
                number + 1
            } else {
                number
            };
            assert_eq!(found, Offset::new(wanted), "number={number} lost={lost:?}");
        }
    };
    check(&disk, None);
    for base in [0, 9, 19, 29] {
        let without = disk.fork();
        without.vfs().unlink(&index_path(base)).unwrap();
        check(&without, None);
    }
    let damaged = disk.fork();
    let fourth = 4096 + 3 * (64 + 3_000);
    damaged.flip_bit(&segment_path(0), fourth + 70, 0).unwrap();
    check(&damaged, Some(3));
}

#[test]
fn nothing_is_read_at_the_end() {
    let mut broker = new_broker();
    let all = limit(1000, 99);
    assert_eq!(broker.log(P0).read_tail(Offset::ZERO, all), TailRead::AtEnd);
    broker.round([Batch::inline(P0, payload(0, 10))]);
    broker.settle();
    assert_eq!(
        broker.log(P0).read_tail(Offset::ZERO, all),
        TailRead::OnDisk {
            until: Offset::new(1)
        }
    );
    assert_eq!(
        broker.log(P0).read_tail(Offset::new(1), all),
        TailRead::AtEnd
    );
}

#[test]
fn what_is_appended_behind_damage_is_read() {
    let mut broker = new_broker();
    for number in 0..3 {
        broker.round([Batch::inline(P0, payload(number, 100))]);
    }
    broker.settle();
    let log = PathBuf::from("topics/1-topic-1/0/00000000000000000000.log");
    // The second frame of three, each of 164 bytes with padding to 168: no index entry lies behind it.
    broker.disk.flip_bit(&log, 4096 + 168 + 20, 3).unwrap();
    let mut expected = vec![
        Found::Batch(0, payload(0, 100)),
        Found::Loss(1, 2),
        Found::Batch(2, payload(2, 100)),
    ];
    assert_eq!(
        broker.read(P0, 0),
        expected,
        "what lies behind is found again"
    );
    broker.round([Batch::inline(P0, payload(3, 100))]);
    broker.settle();
    expected.push(Found::Batch(3, payload(3, 100)));
    assert_eq!(broker.read(P0, 0), expected, "and so is what comes later");
}

#[test]
fn the_index_of_another_segment_is_not_believed() {
    let mut broker = new_broker();
    broker.create(P1);
    for number in 0..12 {
        broker.time_ms += 1_000;
        broker.round([
            Batch::inline(P0, payload(number, 6_000)),
            Batch::inline(P1, payload(number, 9_000)).records(3),
        ]);
    }
    broker.settle();
    let index = |partition| format!("topics/1-topic-1/{partition}/00000000000000000000.index");
    let other = broker.disk.read(Path::new(&index(1))).unwrap();
    let own = broker.disk.read(Path::new(&index(0))).unwrap();
    assert!(
        other.len() >= own.len() && other[32..] != own[32..],
        "another one"
    );
    overwrite(&broker.disk, Path::new(&index(0)), 0, &other);
    for offset in 0..12 {
        let found = broker.read(P0, offset);
        assert_eq!(found[0], Found::Batch(offset, payload(offset, 6_000)));
        let log = broker.log(P0);
        let time_ms = broker.time_ms - 1_000 * (11 - i64::try_from(offset).unwrap());
        let at = broker.storage.reader.offset_at_time(log, time_ms).unwrap();
        assert_eq!(at, Offset::new(offset), "by its time");
    }
}
