//! Dead letters: records that are not delivered again go, whole, to a topic of their own; and while a key
//! has a dead letter, what comes behind it follows.
//!
//! Moving a record takes three steps. Here it is decided that it goes; elsewhere its bytes are read and
//! made a dead letter; and one entry appends that and settles the record. Until then the record stays
//! where it is, and its key with it.

use std::collections::{BTreeMap, BTreeSet};

use towpath_storage::{Offset, Row, TopicId};

use super::keys::KeyHash;
use super::partition::{Lane, SubscriptionPartition};
use super::repeat::FailedDeliveries;
use super::settled::{bit_of, word_of};
use super::waiting::{Handling, WaitingRecord};
use super::{OnDeadLetter, Subscription, SubscriptionDecision};
use crate::core::partition::Partition;
use crate::core::row::RowId;
use crate::core::{State, Topic};

/// Records that are on their way to the dead letters at once.
const BURIED_AT_ONCE_MAX: usize = 256;
/// Keys of a partition that have dead letters, nearly: each is kept in memory.
pub(super) const PARKED_KEYS_MAX: usize = 1_000_000;
/// Records of one batch of dead letters: with a row for each the entry stays small.
pub(super) const BURIAL_RECORDS_MAX: usize = 64;
/// Bytes of the records of such a batch, unless it has only one: with what is said of them it is one that
/// every reader takes.
const BURIAL_BYTES_MAX: u64 = 1024 * 1024;

/// Records that go to the dead letters with one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BurialWish {
    /// Number of the partition, in the source and among the dead letters.
    pub partition: u32,
    /// Which of the moves of the partition it belongs to: it comes too late when those were called back.
    pub epoch: u64,
    /// The records, ascending within each key.
    pub records: Vec<BuriedRecord>,
}

/// A record that goes to the dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuriedRecord {
    /// Its offset.
    pub offset: Offset,
    /// Hash of its key.
    pub key: KeyHash,
    /// What is known of its attempts.
    pub record: WaitingRecord,
}

impl BuriedRecord {
    /// Whether it is only behind a dead one of its key.
    pub fn is_parked(&self) -> bool {
        self.record.death.is_none()
    }
}

/// A topic of dead letters holds as much as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the topic of the dead letters holds {size_bytes} bytes and may hold {bytes_max}")]
pub struct LettersFull {
    size_bytes: u64,
    bytes_max: u64,
}

/// As many keys have dead letters as may: records of others stay in the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{PARKED_KEYS_MAX} keys of a partition have dead letters: redrive or discard some")]
struct TooManyParkedKeys;

/// A key of which something is among the dead letters. Durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ParkedKey {
    /// Records of it that are among the dead letters and not settled there.
    pub(super) count: u64,
    /// The highest offset of the source among them: what a seek back brings again waits in the source.
    pub(super) highest: Offset,
    /// The lowest offset of them among the dead letters.
    pub(super) first_dead: Offset,
    /// The highest one: what anybody else wrote there behind it is none of them.
    pub(super) last_dead: Offset,
}

impl ParkedKey {
    /// Whether what lies at an offset among the dead letters may be of it: not if somebody else wrote it
    /// there before its first one or behind its last one.
    pub(super) fn holds(&self, offset: Offset) -> bool {
        self.first_dead <= offset && offset <= self.last_dead
    }
}

/// What of a partition is on its way to the dead letters. Volatile.
#[derive(Debug, Default)]
pub(super) struct Burials {
    /// Decided, and not asked for yet.
    pub(super) wished: Vec<BuriedRecord>,
    /// Asked for.
    pub(super) moving_count: usize,
    /// Keys to look at when it goes on after a pause.
    pub(super) held_keys: Vec<KeyHash>,
    /// Nothing can be moved for now.
    pub(super) is_paused: bool,
    /// As many keys have dead letters as may.
    lacks_keys: bool,
    /// How often all moves were called back.
    epoch: u64,
}

impl SubscriptionPartition {
    /// Decides that the next records of a parked key go to the dead letters.
    ///
    /// Not those that a seek back brings again: dead letters of the key lie behind them in its order, and
    /// perhaps are these very records. They wait here until the key is free.
    pub(super) fn park(&mut self, key: KeyHash) {
        let row = self.waiting.of_key(key).next();
        let in_window = self.window.records_of(key).next();
        let Some(first) = row.into_iter().chain(in_window).min() else {
            return;
        };
        if self.comes_again(key, first) || self.unreadable.contains(first) {
            return;
        }
        if self.burials.is_full() {
            self.burials.held_keys.push(key);
            return;
        }
        match (row, in_window) {
            (Some(row), in_window) if in_window.is_none_or(|first| row < first) => {
                let rows = self.waiting.of_key(key);
                let rows = rows.take_while(|it| {
                    in_window.is_none_or(|first| *it < first) && !self.unreadable.contains(*it)
                });
                let bytes_of = |it| self.waiting.get(it).map_or(0, |row| row.bytes);
                for row in first_batch(rows, bytes_of) {
                    self.bury_row(row);
                }
            }
            (row, _) => {
                let end = row.unwrap_or(self.window.end());
                let run = self.window.records_of(key);
                let run = run.take_while(|it| *it < end && !self.unreadable.contains(*it));
                for offset in first_batch(run, |it| self.window.bytes(it)) {
                    self.bury_ready(key, offset);
                }
            }
        }
    }

    /// Whether a seek back brings a record again whose key has dead letters at or behind it.
    pub(super) fn comes_again(&self, key: KeyHash, offset: Offset) -> bool {
        let parked = self.parked.get(&key);
        parked.is_some_and(|parked| offset <= parked.highest)
    }

    fn bury_ready(&mut self, key: KeyHash, offset: Offset) {
        let record = self.facts(super::lease::Held::Window, offset);
        self.window.begin_moving(word_of(offset), bit_of(offset));
        self.burials.wished.push(BuriedRecord {
            offset,
            key,
            record,
        });
    }

    /// Decides that a record that has a row goes to the dead letters: a dead one, or one whose key is
    /// parked.
    fn bury_row(&mut self, offset: Offset) {
        let Some(record) = self.waiting.get(offset).cloned() else {
            return;
        };
        if self.waiting.handling(offset) != Some(Handling::None) || !self.has_come_to(offset) {
            return;
        }
        self.waiting.set_handling(offset, Handling::Moving);
        if self.is_ordered {
            self.window.keys.lock(record.key);
        }
        self.burials.wished.push(BuriedRecord {
            offset,
            key: record.key,
            record,
        });
    }

    /// Decides which dead records can go now: in an ordered mode those that are the first of their key. Fails
    /// if one would park a key more than there may be: `parks` tells whether one parks its key.
    fn bury_dying(
        &mut self,
        parks: impl Fn(KeyHash, Offset) -> bool,
    ) -> Result<(), TooManyParkedKeys> {
        let mut outcome = Ok(());
        if self.lane == Lane::DeadLetters {
            // They are among the dead letters already.
            self.waiting.may_go.clear();
            return outcome;
        }
        self.find_dying();
        while !self.burials.is_full()
            && let Some(offset) = self.waiting.may_go.pop_front()
        {
            if !self.waiting.dying.contains(&offset) {
                continue;
            }
            let key = self.waiting.get(offset).map(|record| record.key);
            let is_next = match key {
                _ if self.unreadable.contains(offset) => false,
                Some(key) if self.comes_again(key, offset) => false,
                Some(key) if !self.may_park(key) && parks(key, offset) => {
                    outcome = Err(TooManyParkedKeys);
                    false
                }
                Some(key) if self.is_ordered => self.is_next_of_key(key, offset),
                Some(_) => true,
                None => false,
            };
            if is_next {
                self.bury_row(offset);
            }
        }
        self.burials.lacks_keys |= outcome.is_err();
        outcome
    }

    /// Finds dying records that may have become the first of their key.
    fn find_dying(&mut self) {
        if !self.is_ordered {
            return;
        }
        let has_dying = !self.waiting.dying.is_empty();
        match self.window.keys.take_lined_up(has_dying) {
            Some(keys) => {
                for key in keys {
                    let first = self.waiting.of_key(key).next();
                    if let Some(first) = first {
                        self.waiting.look_at_dying(first);
                    }
                }
            }
            None => self.waiting.look_at_all_dying(),
        }
    }

    /// A key has no dead letters any more: if there were too many such keys, another one may have some.
    pub(super) fn forget_parked(&mut self, key: KeyHash) {
        self.parked.remove(&key);
        self.look_for_room();
        // What it has kept from consumers may be theirs now.
        self.window.keys.line_up(key);
    }

    /// Looks again at what had to wait because of too many keys that had dead letters, or might soon.
    fn look_for_room(&mut self) {
        if std::mem::take(&mut self.burials.lacks_keys) {
            self.waiting.look_at_all_dying();
        }
    }

    fn may_park(&self, key: KeyHash) -> bool {
        let count = self.parked.len() + self.burials.wished.len() + self.burials.moving_count;
        count < PARKED_KEYS_MAX || self.parked.contains_key(&key)
    }
}

impl SubscriptionPartition {
    /// Leaves everything where it is that was on its way: also when one wish could not be carried out, for
    /// those behind it may hold later records of its keys, which must not get there before.
    pub(super) fn call_burials_back(&mut self) {
        for offset in self.waiting.moving() {
            self.waiting.set_handling(offset, Handling::None);
            self.unlock_row(offset);
        }
        for (word, records) in self.window.all_moving() {
            self.window.end_moving(word, records);
        }
        self.burials.call_back();
    }

    /// Leaves records of one wish where they are that were on their way.
    pub(super) fn leave(&mut self, records: &[BuriedRecord]) {
        for buried in records {
            let offset = buried.offset;
            match self.waiting.handling(offset) {
                Some(_) => {
                    self.waiting.set_handling(offset, Handling::None);
                    self.unlock_row(offset);
                }
                None => self.window.end_moving(word_of(offset), bit_of(offset)),
            }
        }
        self.burials.moving_count -= records.len();
    }

    /// Whether anything is to go to the dead letters.
    pub(super) fn has_burials(&self) -> bool {
        let is_source = self.lane == Lane::Source;
        is_source && (!self.waiting.dying.is_empty() || self.burials.has_any())
    }
}

impl Burials {
    fn has_any(&self) -> bool {
        self.has_moving() || !self.held_keys.is_empty()
    }

    /// Whether something is on its way.
    pub(super) fn has_moving(&self) -> bool {
        self.moving_count > 0 || !self.wished.is_empty()
    }

    /// Forgets what is on its way.
    pub(super) fn call_back(&mut self) {
        *self = Self {
            epoch: self.epoch + 1,
            held_keys: std::mem::take(&mut self.held_keys),
            is_paused: self.is_paused,
            lacks_keys: self.lacks_keys,
            ..Self::default()
        };
    }

    /// Whether a wish belongs to what is on its way now.
    pub(super) fn is_of_now(&self, wish: &BurialWish) -> bool {
        self.epoch == wish.epoch
    }

    /// Whether no more may be on its way.
    fn is_full(&self) -> bool {
        self.is_paused || self.wished.len() + self.moving_count >= BURIED_AT_ONCE_MAX
    }
}

impl State {
    /// Whether a topic has room for dead letters: retention by bytes lets go of none that is not settled,
    /// so that records stay in the source once there is no room.
    ///
    /// # Errors
    /// [`LettersFull`].
    pub fn check_letters(&self, topic: TopicId) -> Result<(), LettersFull> {
        let topic = self.topic(topic);
        let bytes_max = topic.and_then(|topic| topic.config().retention_bytes);
        let partitions = topic.into_iter().flat_map(Topic::partitions);
        let size_bytes: u64 = partitions.map(Partition::size_bytes).sum();
        match bytes_max {
            Some(bytes_max) if size_bytes >= bytes_max => Err(LettersFull {
                size_bytes,
                bytes_max,
            }),
            _ => Ok(()),
        }
    }
}

impl Subscription {
    /// Asks for what is to go to the dead letters.
    pub(super) fn ask_for_burials(&mut self, decision: &mut SubscriptionDecision) {
        let (parks, hash_key) = (self.parks(), self.hash_key);
        for (number, partition) in (0..).zip(&mut self.partitions) {
            // Nothing comes behind a record without a key.
            let parks = |key, offset| parks && key != hash_key.of_keyless(number, offset);
            if let Err(error) = partition.bury_dying(parks) {
                self.burial_problems.note(&error);
            }
            let wished = std::mem::take(&mut partition.burials.wished);
            partition.burials.moving_count += wished.len();
            let epoch = partition.burials.epoch;
            let batches = batches(wished).into_iter();
            decision.burials.extend(batches.map(|records| BurialWish {
                partition: number,
                epoch,
                records,
            }));
        }
    }

    /// Whether what comes behind a dead record of its key follows it.
    pub(super) fn parks(&self) -> bool {
        self.config.on_dead_letter == OnDeadLetter::Park && self.config.mode.is_ordered()
    }

    /// Decides on records whose dead letters are appended with the same entry, from `base` on. None if they
    /// are not on their way any more: nothing may be appended then.
    pub(super) fn bury(&mut self, wish: &BurialWish, base: Offset) -> Option<Vec<Row>> {
        let (id, number) = (self.id, wish.partition);
        let parks = self.parks();
        let hash_key = self.hash_key;
        let partition = self.partitions.get_mut(number as usize)?;
        if !partition.burials.is_of_now(wish) {
            return None;
        }
        self.burial_problems.note_success();
        let mut fresh: BTreeSet<KeyHash> = BTreeSet::new();
        let is_late = wish.records.iter().any(|buried| {
            let key = buried.key;
            let is_open = partition.parked.contains_key(&key) || fresh.contains(&key);
            fresh.insert(key);
            // Nothing of its key is dead any more: it is delivered instead.
            buried.is_parked() && !is_open
        });
        if is_late {
            partition.call_burials_back();
            return None;
        }
        let mut decision = SubscriptionDecision::default();
        let mut parked: BTreeMap<KeyHash, ParkedKey> = BTreeMap::new();
        partition.burials.moving_count -= wish.records.len();
        partition.look_for_room();
        let parked_count = wish.records.iter().filter(|it| it.is_parked()).count();
        self.counts.parked += parked_count as u64;
        self.counts.died += (wish.records.len() - parked_count) as u64;
        for (place, buried) in (0..).zip(&wish.records) {
            let (word, records) = (word_of(buried.offset), bit_of(buried.offset));
            partition
                .recently_dead
                .note(buried.offset, FailedDeliveries::of(&buried.record));
            match partition.waiting.handling(buried.offset) {
                Some(_) => {
                    partition.unlock_row(buried.offset);
                    let row = RowId::WaitingRecord(id, number, buried.offset);
                    decision.rows.push(row.gone());
                }
                None => {
                    partition.window.finish_moving(word, records);
                    decision.note_done(number, word, records);
                }
            }
            // Nothing comes behind a record without a key.
            let is_alone = buried.key == hash_key.of_keyless(number, buried.offset);
            if parks && !is_alone {
                let known = partition.parked.get(&buried.key).copied();
                let dead = base.advance(place);
                let known = parked
                    .entry(buried.key)
                    .or_insert(known.unwrap_or(ParkedKey {
                        count: 0,
                        highest: buried.offset,
                        first_dead: dead,
                        last_dead: dead,
                    }));
                known.count += 1;
                known.highest = known.highest.max(buried.offset);
                known.first_dead = known.first_dead.min(dead);
                known.last_dead = known.last_dead.max(dead);
            }
        }
        let parked = parked
            .into_iter()
            .map(|(key, parked)| RowId::ParkedKey(id, number, key.0).put(&parked.to_row()));
        decision.rows.extend(parked);
        self.write_settled(&mut decision);
        Some(decision.rows)
    }
}

/// Records as batches of dead letters, in their order. Those of a key, which come one behind the other and fit
/// into one batch, stay together: so no wish has to wait for another one.
pub(super) fn batches(records: Vec<BuriedRecord>) -> Vec<Vec<BuriedRecord>> {
    let mut batches: Vec<(Size, Vec<BuriedRecord>)> = Vec::new();
    for run in records.chunk_by(|one, next| one.key == next.key) {
        let size = run
            .iter()
            .fold(Size::default(), |size, it| size.with(it.record.bytes));
        match batches.last_mut() {
            Some((of_last, last)) if of_last.and(size).is_of_batch() => {
                *of_last = of_last.and(size);
                last.extend_from_slice(run);
            }
            _ => batches.push((size, run.to_vec())),
        }
    }
    batches.into_iter().map(|(_, batch)| batch).collect()
}

/// The first of some records, as many as one batch takes.
fn first_batch(
    records: impl Iterator<Item = Offset>,
    bytes_of: impl Fn(Offset) -> u32,
) -> Vec<Offset> {
    let mut size = Size::default();
    let fits = |offset: &Offset| {
        size = size.with(bytes_of(*offset));
        size.is_of_batch()
    };
    records.take_while(fits).collect()
}

/// How much records of a batch are.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    count: usize,
    bytes: u64,
}

impl Size {
    fn with(self, bytes: u32) -> Self {
        self.and(Self {
            count: 1,
            bytes: bytes.into(),
        })
    }

    fn and(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            bytes: self.bytes + other.bytes,
        }
    }

    /// Whether they can be one batch: a record alone can, however large.
    fn is_of_batch(self) -> bool {
        let is_small = self.count <= BURIAL_RECORDS_MAX && self.bytes <= BURIAL_BYTES_MAX;
        is_small || self.count == 1
    }
}
