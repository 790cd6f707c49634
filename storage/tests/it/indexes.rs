//! Index files against the rule: an entry for the first frame, then for each that starts 16 KiB or more
//! behind the last one that has an entry.

use std::path::PathBuf;

use towpath_storage::format::index_entry::{INDEX_ENTRY_BYTES, IndexEntry};
use towpath_storage::vfs::sim::{CrashMode, Fault, Injection, LossMode, SimDisk, SimOptions};
use towpath_storage::{FrameForm, Offset};

use crate::driver::{Batch, Driver, Found, P0, payload};
use crate::tamper::{cut, overwrite};

const INTERVAL_BYTES: u64 = 16 * 1024;

fn path(base: u64) -> PathBuf {
    PathBuf::from(format!("topics/1-topic-1/0/{base:020}.index"))
}

/// The entries of an index file, all of which must be whole.
fn entries(disk: &SimDisk, base: u64) -> Vec<IndexEntry> {
    let bytes = disk.read(&path(base)).unwrap();
    assert_eq!(bytes.len() % INDEX_ENTRY_BYTES, 0, "whole entries");
    bytes
        .chunks(INDEX_ENTRY_BYTES)
        .map(|chunk| IndexEntry::decode(chunk, Offset::new(base)).unwrap())
        .collect()
}

/// Frames of one segment as they were appended, and the index that they should have.
#[derive(Debug, Default)]
struct Model {
    entries: Vec<IndexEntry>,
}

impl Model {
    fn append(&mut self, broker: &mut Driver, batch: Batch) {
        let base_offset = broker.log(P0).end();
        let before = *broker.state.active(P0);
        let padded = (64 + batch.payload.len() as u64).next_multiple_of(8);
        let append_time_ms = broker.time_ms;
        broker.round([batch]);
        let position = broker.state.active(P0).next_position - padded;
        assert!(position >= before.next_position, "appended behind the last");
        let is_due = self
            .entries
            .last()
            .is_none_or(|last| position >= last.position + INTERVAL_BYTES);
        if is_due {
            self.entries.push(IndexEntry {
                base_offset,
                position,
                append_time_ms,
            });
        }
        broker.time_ms += 7;
    }
}

fn batch(number: u64) -> Batch {
    let length = [30, 5_000, 900, 17_000, 16_320][usize::try_from(number % 5).unwrap()];
    match number % 7 {
        3 => Batch::reference(P0, payload(number, length)),
        _ => Batch::inline(P0, payload(number, length)).records(2),
    }
}

fn new_broker() -> Driver {
    let mut broker = Driver::open(&SimDisk::new(SimOptions::default())).unwrap();
    broker.create(P0);
    broker
}

/// A closed folder with an index of a few entries, nothing of it in the journal.
fn indexed() -> (SimDisk, Model) {
    let mut broker = new_broker();
    let mut model = Model::default();
    for number in 0..25 {
        model.append(&mut broker, batch(number));
        if number % 3 == 0 {
            broker.settle();
        }
    }
    broker.checkpoint();
    assert!(model.entries.len() > 5, "{}", model.entries.len());
    (broker.disk.clone(), model)
}

/// Opens the folder, appends once more, and compares the index.
fn check_after_append(disk: &SimDisk, what: &str) {
    let mut model = indexed().1;
    let mut broker = Driver::open(disk).unwrap();
    for number in 100..104 {
        model.append(&mut broker, batch(number));
    }
    broker.settle();
    assert_eq!(entries(disk, 0), model.entries, "{what}");
}

#[test]
fn an_index_follows_the_rule_for_both_forms_of_append() {
    let (disk, model) = indexed();
    assert_eq!(entries(&disk, 0), model.entries);
    check_after_append(&disk, "goes on after a restart");
    let forms = [batch(3).form, batch(4).form];
    assert_eq!(forms, [FrameForm::Reference, FrameForm::Inline]);
}

#[test]
fn each_segment_has_an_index_of_its_own() {
    let mut broker = new_broker();
    let first = batch(0);
    broker.round([first]);
    broker.roll(P0);
    let mut model = Model::default();
    for number in 1..6 {
        model.append(&mut broker, batch(number));
    }
    broker.settle();
    assert_eq!(entries(&broker.disk, 0).len(), 1);
    assert_eq!(entries(&broker.disk, 2), model.entries);
}

#[test]
fn an_index_is_durable_with_the_checkpoint() {
    let (disk, model) = indexed();
    let disk = disk.crash(&CrashMode::PowerLoss(LossMode::Everything));
    assert_eq!(entries(&disk, 0), model.entries);
}

#[test]
fn replay_adds_the_entries_that_a_power_loss_took() {
    let mut broker = new_broker();
    let mut model = Model::default();
    for number in 0..20 {
        model.append(&mut broker, batch(number));
        broker.settle();
    }
    let disk = broker
        .disk
        .crash(&CrashMode::PowerLoss(LossMode::Everything));
    assert_eq!(entries(&disk, 0), [], "never synced");
    drop(Driver::open(&disk).unwrap());
    assert_eq!(entries(&disk, 0), model.entries);
}

#[test]
fn a_missing_index_is_rebuilt_at_the_next_append() {
    let (disk, _) = indexed();
    disk.vfs().unlink(&path(0)).unwrap();
    check_after_append(&disk, "missing");
}

#[test]
fn a_damaged_index_is_rebuilt_from_the_damage_on() {
    let (disk, model) = indexed();
    for place in 0..model.entries.len() * INDEX_ENTRY_BYTES {
        let disk = disk.fork();
        disk.flip_bit(&path(0), place as u64, 3).unwrap();
        check_after_append(&disk, &format!("byte {place}"));
    }
}

#[test]
fn an_index_cut_anywhere_is_completed() {
    let (disk, model) = indexed();
    for length in 0..model.entries.len() * INDEX_ENTRY_BYTES {
        let disk = disk.fork();
        cut(&disk, &path(0), length as u64);
        check_after_append(&disk, &format!("cut to {length}"));
    }
}

#[test]
fn entries_past_the_last_frame_are_cut() {
    let (disk, model) = indexed();
    let last = model.entries.last().unwrap();
    let end = (model.entries.len() * INDEX_ENTRY_BYTES) as u64;
    for stale_count in 1..4 {
        let disk = disk.fork();
        for number in 0..stale_count {
            let stale = IndexEntry {
                base_offset: Offset::new(1_000 + number),
                position: last.position + 200_000 + number * INTERVAL_BYTES,
                append_time_ms: 5,
            };
            let position = end + number * INDEX_ENTRY_BYTES as u64;
            overwrite(&disk, &path(0), position, &stale.encode(Offset::ZERO));
        }
        check_after_append(&disk, &format!("{stale_count} stale entries"));
    }
}

#[test]
fn entries_out_of_order_end_the_index() {
    let (disk, model) = indexed();
    let second = model.entries[1].encode(Offset::ZERO);
    overwrite(&disk, &path(0), 3 * INDEX_ENTRY_BYTES as u64, &second);
    check_after_append(&disk, "an entry twice");
}

#[test]
fn an_index_of_another_segment_is_not_taken() {
    let (disk, model) = indexed();
    let foreign: Vec<u8> = model
        .entries
        .iter()
        .flat_map(|entry| entry.encode(Offset::new(77)))
        .collect();
    overwrite(&disk, &path(0), 0, &foreign);
    check_after_append(&disk, "foreign");
}

/// Its checksum is right, since nothing but the base offset is mixed into it.
#[test]
fn an_index_of_another_segment_with_the_same_base_is_not_taken() {
    let (disk, model) = indexed();
    let whole = Driver::open(&disk.fork()).unwrap().read(P0, 0);
    let foreign = model.entries.iter().flat_map(|entry| {
        let foreign = IndexEntry {
            position: entry.position + 8,
            append_time_ms: entry.append_time_ms + 1,
            ..*entry
        };
        foreign.encode(Offset::ZERO)
    });
    let foreign: Vec<u8> = foreign.collect();
    overwrite(&disk, &path(0), 0, &foreign);
    let broker = Driver::open(&disk.fork()).unwrap();
    for (place, found) in whole.iter().enumerate() {
        let Found::Batch(base, _) = found else {
            panic!("{found:?}");
        };
        assert_eq!(broker.read(P0, *base), whole[place..], "from {base}");
    }
    drop(broker);
    check_after_append(&disk, "of another partition");
}

/// A full disk makes the index sparser; nothing else depends on it.
#[test]
fn a_full_disk_costs_index_entries_and_nothing_else() {
    let mut broker = new_broker();
    let disk = broker.disk.clone();
    let full =
        Injection::new(Fault::NoSpace).under("topics/1-topic-1/0/00000000000000000000.index");
    disk.inject(full);
    let mut expected = Vec::new();
    for number in 0..12 {
        expected.push(Found::Batch(number, payload(number, 9_000)));
        broker.round([Batch::inline(P0, payload(number, 9_000))]);
        broker.settle();
    }
    assert_eq!(entries(&disk, 0), []);
    assert_eq!(broker.read(P0, 0), expected);
    disk.heal();
    for number in 12..15 {
        expected.push(Found::Batch(number, payload(number, 9_000)));
        broker.round([Batch::inline(P0, payload(number, 9_000))]);
        broker.settle();
    }
    let found = entries(&disk, 0);
    assert_eq!(found[0].base_offset, Offset::new(12), "goes on");
    for offset in 0..15 {
        let rest = &expected[usize::try_from(offset).unwrap()..];
        assert_eq!(broker.read(P0, offset), rest);
    }
}
