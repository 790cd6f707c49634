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
use super::settled::{bit_of, word_of};
use super::waiting::{Handling, WaitingRecord};
use super::{OnDeadLetter, Subscription, SubscriptionDecision};
use crate::core::partition::Partition;
use crate::core::row::RowId;
use crate::core::{State, Topic};

/// Records that are on their way to the dead letters at once.
const BURIED_AT_ONCE_MAX: usize = 256;
/// Records of one batch of dead letters: with a row for each the entry stays small.
pub(super) const BURIAL_RECORDS_MAX: usize = 64;
/// Bytes of the records of such a batch, unless it has only one: with what is said of them it is one that
/// every reader takes.
const BURIAL_BYTES_MAX: u64 = 1024 * 1024;
/// How long nothing is moved after it could not be, milliseconds.
const PAUSE_MS: i64 = 5_000;

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

/// A key of which something is among the dead letters. Durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ParkedKey {
    /// Records of it that are among the dead letters and not settled there.
    pub(super) count: u64,
    /// The highest offset of the source among them: what a seek back brings again is not copied again.
    pub(super) highest: Offset,
    /// The lowest offset of them among the dead letters.
    pub(super) first_dead: Offset,
}

/// What of a partition is on its way to the dead letters. Volatile.
#[derive(Debug, Default)]
pub(super) struct Burials {
    /// Decided, and not asked for yet.
    pub(super) wished: Vec<BuriedRecord>,
    /// Asked for.
    pub(super) moving_count: usize,
    /// Records that are among the dead letters already, to be settled.
    pub(super) known: Vec<Offset>,
    /// Keys to look at when it goes on after a pause.
    pub(super) held_keys: Vec<KeyHash>,
    /// How often all moves were called back.
    epoch: u64,
}

impl SubscriptionPartition {
    /// Decides that the next records of a parked key go to the dead letters.
    pub(super) fn park(&mut self, key: KeyHash) {
        let Some(parked) = self.parked.get(&key).copied() else {
            return;
        };
        if self.burials.is_full() {
            self.burials.held_keys.push(key);
            return;
        }
        let row = self.waiting.of_key(key).next();
        let in_window = self.window.records_of(key).next();
        match (row, in_window) {
            (Some(row), in_window) if in_window.is_none_or(|first| row < first) => {
                self.bury_row(row);
            }
            (row, _) => {
                let end = row.unwrap_or(self.window.end());
                let run = self.window.records_of(key);
                let run = run.take_while(|offset| *offset < end);
                for offset in run.take(BURIAL_RECORDS_MAX).collect::<Vec<_>>() {
                    if offset <= parked.highest {
                        self.window.remove_ready(word_of(offset), bit_of(offset));
                        self.burials.known.push(offset);
                        self.window.keys.line_up(key);
                    } else {
                        self.bury_ready(key, offset);
                    }
                }
            }
        }
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
            self.window.keys.entry(record.key).leased_count += 1;
        }
        self.burials.wished.push(BuriedRecord {
            offset,
            key: record.key,
            record,
        });
    }

    /// Decides which dead records can go now: in an ordered mode those that are the first of their key.
    fn bury_dying(&mut self) {
        if self.lane == Lane::DeadLetters {
            // They are among the dead letters already.
            return;
        }
        for offset in self.waiting.dying.iter().copied().collect::<Vec<_>>() {
            if self.burials.is_full() {
                return;
            }
            let key = self.waiting.get(offset).map(|record| record.key);
            let is_next = match key {
                Some(key) if self.is_ordered => {
                    let before = self.window.records_of(key).next();
                    self.window.keys.get(key).leased_count == 0
                        && self.waiting.of_key(key).next() == Some(offset)
                        && before.is_none_or(|before| offset < before)
                }
                Some(_) => true,
                None => false,
            };
            if is_next {
                self.bury_row(offset);
            }
        }
    }
}

impl SubscriptionPartition {
    /// Leaves everything where it is that was on its way. Returns what is among the dead letters already
    /// and is to be settled.
    pub(super) fn call_burials_back(&mut self) -> Vec<Offset> {
        for offset in self.waiting.moving() {
            self.waiting.set_handling(offset, Handling::None);
            self.unlock_row(offset);
        }
        for (word, records) in self.window.all_moving() {
            self.window.end_moving(word, records);
        }
        let known = std::mem::take(&mut self.burials.known);
        self.burials.call_back();
        known
    }

    /// The same because one wish could not be carried out: those behind it may hold later records of its
    /// keys, which must not get there before.
    pub(super) fn leave_all(&mut self) {
        self.burials.known = self.call_burials_back();
    }
}

impl SubscriptionPartition {
    /// Whether anything is to go to the dead letters.
    fn has_burials(&self) -> bool {
        let is_source = self.lane == Lane::Source;
        is_source && (!self.waiting.dying.is_empty() || self.burials.has_any())
    }
}

impl Burials {
    fn has_any(&self) -> bool {
        self.moving_count > 0 || !self.wished.is_empty() || !self.held_keys.is_empty()
    }

    /// Forgets what is on its way.
    pub(super) fn call_back(&mut self) {
        *self = Self {
            epoch: self.epoch + 1,
            held_keys: std::mem::take(&mut self.held_keys),
            ..Self::default()
        };
    }

    fn is_full(&self) -> bool {
        self.wished.len() + self.moving_count >= BURIED_AT_ONCE_MAX
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
    pub(super) fn ask_for_burials(&mut self, now_ms: i64, decision: &mut SubscriptionDecision) {
        if self.burial_problem.is_some() && !self.partitions.iter().any(|it| it.has_burials()) {
            // What could not be moved is not there any more.
            self.burial_problem = None;
        }
        if self
            .burial_pause_until_ms
            .is_some_and(|until| now_ms < until)
        {
            return;
        }
        self.burial_pause_until_ms = None;
        for (number, partition) in (0..).zip(&mut self.partitions) {
            for key in std::mem::take(&mut partition.burials.held_keys) {
                partition.window.keys.line_up(key);
            }
            partition.bury_dying();
            for offset in std::mem::take(&mut partition.burials.known) {
                decision.note_done(number, word_of(offset), bit_of(offset));
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
        self.write_settled(decision);
    }

    /// Decides on records whose dead letters are appended with the same entry, from `base` on. None if they
    /// are not on their way any more: nothing may be appended then.
    pub(super) fn bury(&mut self, wish: &BurialWish, base: Offset) -> Option<Vec<Row>> {
        let (id, is_park) = (self.id, self.config.on_dead_letter == OnDeadLetter::Park);
        let number = wish.partition;
        let partition = self.partitions.get_mut(number as usize)?;
        if partition.burials.epoch != wish.epoch {
            return None;
        }
        self.burial_problem = None;
        let mut fresh: BTreeSet<KeyHash> = BTreeSet::new();
        let is_late = wish.records.iter().any(|buried| {
            let key = buried.key;
            let is_open = partition.parked.contains_key(&key) || fresh.contains(&key);
            fresh.insert(key);
            // Nothing of its key is dead any more: it is delivered instead.
            buried.is_parked() && !is_open
        });
        if is_late {
            partition.leave_all();
            return None;
        }
        let mut decision = SubscriptionDecision::default();
        let mut parked: BTreeMap<KeyHash, ParkedKey> = BTreeMap::new();
        partition.burials.moving_count -= wish.records.len();
        let parked_count = wish.records.iter().filter(|it| it.is_parked()).count();
        self.counts.parked += parked_count as u64;
        self.counts.died += (wish.records.len() - parked_count) as u64;
        for (place, buried) in (0..).zip(&wish.records) {
            let (word, records) = (word_of(buried.offset), bit_of(buried.offset));
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
            if is_park {
                let known = partition.parked.get(&buried.key).copied();
                let dead = base.advance(place);
                let known = parked
                    .entry(buried.key)
                    .or_insert(known.unwrap_or(ParkedKey {
                        count: 0,
                        highest: buried.offset,
                        first_dead: dead,
                    }));
                known.count += 1;
                known.highest = known.highest.max(buried.offset);
                known.first_dead = known.first_dead.min(dead);
            }
        }
        let parked = parked
            .into_iter()
            .map(|(key, parked)| RowId::ParkedKey(id, number, key.0).put(&parked.to_row()));
        decision.rows.extend(parked);
        self.write_settled(&mut decision);
        Some(decision.rows)
    }

    /// Notes that records could not be moved: they stay, and are tried again.
    pub(super) fn burial_failed(&mut self, wish: &BurialWish, reason: String, now_ms: i64) {
        let Some(partition) = self.partitions.get_mut(wish.partition as usize) else {
            return;
        };
        if partition.burials.epoch != wish.epoch {
            return;
        }
        partition.leave_all();
        self.burial_pause_until_ms = Some(now_ms + PAUSE_MS);
        self.burial_problem = Some(reason);
    }
}

/// Records as batches of dead letters, in their order.
pub(super) fn batches(records: Vec<BuriedRecord>) -> Vec<Vec<BuriedRecord>> {
    let mut batches: Vec<Vec<BuriedRecord>> = Vec::new();
    let mut bytes = 0;
    for buried in records {
        let more = u64::from(buried.record.bytes);
        match batches.last_mut() {
            Some(last) if last.len() < BURIAL_RECORDS_MAX && bytes + more <= BURIAL_BYTES_MAX => {
                bytes += more;
                last.push(buried);
            }
            _ => {
                bytes = more;
                batches.push(vec![buried]);
            }
        }
    }
    batches
}
