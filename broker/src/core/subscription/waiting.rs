//! Records that have a row of their own: they failed and wait for another attempt, or they queue behind
//! one of their key that does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use towpath_storage::{Offset, OffsetRange};

use super::keys::KeyHash;
use super::lease::LeaseId;

/// An attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Broker time, milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// What the consumer said, or what became of it.
    pub reason: String,
    /// The delivery of which the consumer said so; none if it said nothing in time.
    pub delivery: Option<u64>,
}

/// A record that has a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingRecord {
    /// Hash of its key.
    pub key: KeyHash,
    /// Length of the encoded record, bytes.
    pub bytes: u32,
    /// Broker time of its append, milliseconds since the Unix epoch.
    pub append_time_ms: i64,
    /// Failed attempts that count.
    pub attempts: u32,
    /// Failed attempts in all: back-off grows with them.
    pub failure_count: u32,
    /// Broker time before which it is not delivered, milliseconds since the Unix epoch; 0 for one that has
    /// only to wait for its key.
    pub due_ms: i64,
    /// Its consumer went while it handled this one and others: it is delivered alone, to find out.
    pub is_suspect: bool,
    /// It is not delivered again, but goes to the dead letters for this reason.
    pub death: Option<String>,
    /// The last failures, oldest first.
    pub failures: Vec<Failure>,
}

impl WaitingRecord {
    /// One with which nothing has been tried, and that can be delivered at once.
    pub(super) fn untried(key: KeyHash, bytes: u32, append_time_ms: i64) -> Self {
        Self {
            key,
            bytes,
            append_time_ms,
            attempts: 0,
            failure_count: 0,
            due_ms: 0,
            is_suspect: false,
            death: None,
            failures: Vec::new(),
        }
    }
}

/// What is being done with a record that has a row. Volatile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handling {
    /// Nothing.
    None,
    /// It is with a consumer.
    Leased(LeaseId),
    /// It is on its way to the dead letters.
    Moving,
}

impl Handling {
    fn is_leased(self) -> bool {
        matches!(self, Self::Leased(_))
    }
}

#[derive(Debug)]
struct Row {
    record: WaitingRecord,
    handling: Handling,
}

/// The records of a partition that have rows, and what of them is next.
#[derive(Debug, Default)]
pub(super) struct WaitingRecords {
    rows: BTreeMap<Offset, Row>,
    by_key: BTreeSet<(KeyHash, Offset)>,
    /// Those that become due, with the time.
    due: BTreeSet<(i64, Offset)>,
    /// Those that can be delivered: all that are due in a mode without order; in an ordered one only
    /// suspects that are the first of their key.
    pub(super) ready: BTreeSet<Offset>,
    /// Suspects among the ready ones.
    pub(super) suspects: BTreeSet<Offset>,
    /// Those that are to go to the dead letters.
    pub(super) dying: BTreeSet<Offset>,
    /// Those among them that may be able to go now. What becomes of the others is known when their key
    /// lines up.
    pub(super) may_go: VecDeque<Offset>,
    /// Records with a consumer that are about to get a row.
    kept: BTreeMap<Offset, LeaseId>,
    /// Those that are not dead.
    living_count: u64,
    /// Those that are with a consumer.
    leased_count: u64,
}

impl WaitingRecords {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn get(&self, offset: Offset) -> Option<&WaitingRecord> {
        self.rows.get(&offset).map(|row| &row.record)
    }

    pub(super) fn handling(&self, offset: Offset) -> Option<Handling> {
        self.rows.get(&offset).map(|row| row.handling)
    }

    /// All, with what is being done with each, in the order of their offsets.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Offset, &WaitingRecord, Handling)> {
        self.rows
            .iter()
            .map(|(offset, row)| (*offset, &row.record, row.handling))
    }

    /// The lowest offset that has a row.
    pub(super) fn first(&self) -> Option<Offset> {
        self.rows.keys().next().copied()
    }

    /// Offsets from one on that have rows.
    pub(super) fn offsets_from(&self, start: Offset) -> impl Iterator<Item = Offset> {
        self.rows.range(start..).map(|(offset, _)| *offset)
    }

    /// Offsets of a range that have rows.
    pub(super) fn offsets_in(&self, range: OffsetRange) -> impl Iterator<Item = Offset> {
        let range = range.start..range.end.max(range.start);
        self.rows.range(range).map(|(offset, _)| *offset)
    }

    /// Records from `start` up to `end` that have rows.
    pub(super) fn rows_in(
        &self,
        start: Offset,
        end: Offset,
    ) -> impl Iterator<Item = (Offset, &WaitingRecord)> {
        let rows = self.rows.range(start..end.max(start));
        rows.map(|(offset, row)| (*offset, &row.record))
    }

    /// Records that are on their way to the dead letters.
    pub(super) fn moving(&self) -> Vec<Offset> {
        let moving = self.iter().filter(|(_, _, it)| *it == Handling::Moving);
        moving.map(|(offset, _, _)| offset).collect()
    }

    /// Records of a key that have rows, oldest first.
    pub(super) fn of_key(&self, key: KeyHash) -> impl Iterator<Item = Offset> {
        let range = (key, Offset::ZERO)..=(key, Offset::new(u64::MAX));
        self.by_key.range(range).map(|(_, offset)| *offset)
    }

    /// Whether a record of a key has a row and is not dead.
    pub(super) fn has_living(&self, key: KeyHash) -> bool {
        let mut records = self.of_key(key).filter_map(|offset| self.get(offset));
        records.any(|record| record.death.is_none())
    }

    /// Records that have rows and are not dead.
    pub(super) fn living_count(&self) -> u64 {
        self.living_count
    }

    /// Records that have rows and are with a consumer.
    pub(super) fn leased_count(&self) -> u64 {
        self.leased_count
    }

    /// Puts or removes a row. Nothing is being done with the record then, unless
    /// [`WaitingRecords::keep_leased`] was told otherwise.
    pub(super) fn put(&mut self, offset: Offset, record: Option<WaitingRecord>) {
        self.forget_times(offset);
        if let Some(before) = self.rows.remove(&offset) {
            self.by_key.remove(&(before.record.key, offset));
            self.living_count -= u64::from(before.record.death.is_none());
            self.leased_count -= u64::from(before.handling.is_leased());
        }
        let Some(record) = record else {
            return;
        };
        self.by_key.insert((record.key, offset));
        let handling = match self.kept.remove(&offset) {
            Some(lease) => Handling::Leased(lease),
            None => Handling::None,
        };
        self.living_count += u64::from(record.death.is_none());
        self.leased_count += u64::from(handling.is_leased());
        self.rows.insert(offset, Row { record, handling });
        self.note_times(offset);
    }

    /// Notes that a record which is about to get a row is with a consumer.
    pub(super) fn keep_leased(&mut self, offset: Offset, lease: LeaseId) {
        self.kept.insert(offset, lease);
    }

    /// Notes what is being done with a record; nothing makes it due again at its time.
    pub(super) fn set_handling(&mut self, offset: Offset, handling: Handling) {
        self.forget_times(offset);
        if let Some(row) = self.rows.get_mut(&offset) {
            self.leased_count -= u64::from(row.handling.is_leased());
            self.leased_count += u64::from(handling.is_leased());
            row.handling = handling;
        }
        self.note_times(offset);
    }

    /// Notes when a record with which nothing is being done is to be looked at.
    fn note_times(&mut self, offset: Offset) {
        if let Some(Row { record, handling }) = self.rows.get(&offset)
            && *handling == Handling::None
        {
            match record.death {
                Some(_) => {
                    self.may_go.push_back(offset);
                    self.dying.insert(offset)
                }
                None => self.due.insert((record.due_ms, offset)),
            };
        }
    }

    fn forget_times(&mut self, offset: Offset) {
        if let Some(row) = self.rows.get(&offset) {
            self.due.remove(&(row.record.due_ms, offset));
        }
        self.dying.remove(&offset);
        self.ready.remove(&offset);
        self.suspects.remove(&offset);
    }

    /// Looks again at a record, if it is one that is to go to the dead letters.
    pub(super) fn look_at_dying(&mut self, offset: Offset) {
        if self.dying.contains(&offset) {
            self.may_go.push_back(offset);
        }
    }

    /// Looks again at all records that are to go to the dead letters.
    pub(super) fn look_at_all_dying(&mut self) {
        self.may_go = self.dying.iter().copied().collect();
    }

    /// When the next one becomes due, broker time in milliseconds since the Unix epoch.
    pub(super) fn next_due_ms(&self) -> Option<i64> {
        self.due.first().map(|(due_ms, _)| *due_ms)
    }

    /// Takes one that has become due.
    pub(super) fn take_due(&mut self, now_ms: i64) -> Option<Offset> {
        let (due_ms, offset) = self.due.first().copied()?;
        (due_ms <= now_ms).then(|| {
            self.due.pop_first();
            offset
        })
    }

    /// Marks one that can be delivered.
    pub(super) fn make_ready(&mut self, offset: Offset) {
        let is_suspect = self.get(offset).is_some_and(|record| record.is_suspect);
        match is_suspect {
            true => self.suspects.insert(offset),
            false => self.ready.insert(offset),
        };
    }
}
