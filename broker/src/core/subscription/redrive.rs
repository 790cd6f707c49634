//! Dead letters that go back: each is a record of a second lane, beside the partition that it came from.
//!
//! A dead letter stays in its topic until it is settled there. To redrive it gives it a row in the lane of
//! its partition, so that it is delivered like any other record with a row: the records of a key one after
//! the other, in the order in which they died. Until the last dead letter of a key is settled, what comes
//! from the source for that key follows to the dead letters. One that fails for good once more keeps its
//! row, and is dead again where it is.

use std::collections::BTreeSet;

use towpath_storage::{Offset, OffsetRange, Row};

use super::keys::{HashKey, KeyHash};
use super::pass::WAITING_RECORDS_MAX;
use super::settled::{bit_of, offset_of, offsets_in, word_of, words_in};
use super::waiting::{Failure, Handling, WaitingRecord};
use super::{Subscription, SubscriptionDecision, SubscriptionId};
use crate::core::State;
use crate::core::row::RowId;

/// Dead letters that one entry sends back or discards: with a row for each it stays small.
pub const REDRIVEN_RECORDS_MAX: usize = 200;

/// What is known of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its offset among the dead letters.
    pub offset: Offset,
    /// Hash of its key, in the partition that it came from.
    pub key: KeyHash,
    /// Length of the encoded record, bytes.
    pub bytes: u32,
    /// Broker time at which it died, milliseconds since the Unix epoch.
    pub append_time_ms: i64,
}

/// Where a dead letter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadLetterState {
    /// It waits to be looked at.
    Dead,
    /// It is on its way back.
    Redriven,
    /// It was handled or discarded.
    Settled,
}

/// Words of settled bits that one look at the dead letters goes through.
const WORDS_LOOKED_AT_MAX: u64 = 4 * 1024;

/// A dead letter that is not settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenDeadLetter {
    /// Its offset among the dead letters.
    pub offset: Offset,
    /// Where it stands: not settled.
    pub state: DeadLetterState,
    /// Attempts that failed since it was redriven, oldest first.
    pub failures: Vec<Failure>,
}

/// The dead letters of a part of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenDeadLetters {
    /// What the keys of the subscription are hashed with.
    pub hash_key: HashKey,
    /// Those that are not settled, ascending.
    pub letters: Vec<OpenDeadLetter>,
    /// Everything before it was looked at.
    pub next: Offset,
}

/// What became of a wish about dead letters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeadLetterCounts {
    /// It was done for so many.
    pub done: usize,
    /// So many were settled before, or on their way back.
    pub passed: usize,
    /// So many had no room: they stay dead.
    pub left: usize,
}

impl Subscription {
    /// Number of the lane of the dead letters of a partition.
    pub(super) fn dead_lane(&self, partition: u32) -> u32 {
        self.topic_partition_count + partition
    }

    /// The partition whose dead letters a lane holds; none for a partition of the source.
    pub(super) fn source_of(&self, number: u32) -> Option<u32> {
        number.checked_sub(self.topic_partition_count)
    }

    /// Where a dead letter of a partition stands.
    pub(super) fn dead_letter_state(&self, partition: u32, offset: Offset) -> DeadLetterState {
        let lane = self.partitions.get(self.dead_lane(partition) as usize);
        let row = lane.and_then(|lane| lane.waiting.get(offset));
        match (row, lane.is_some_and(|lane| lane.settled.contains(offset))) {
            (Some(row), _) if row.death.is_none() => DeadLetterState::Redriven,
            (Some(_), _) | (None, false) => DeadLetterState::Dead,
            (None, true) => DeadLetterState::Settled,
        }
    }

    /// Looks for dead letters of a partition that are not settled, within `range`, in its order, until there
    /// are `count_max`. Every record of `range` exists.
    pub fn open_dead_letters(
        &self,
        partition: u32,
        range: OffsetRange,
        count_max: usize,
    ) -> OpenDeadLetters {
        let mut letters = Vec::new();
        let Some(lane) = self.partitions.get(self.dead_lane(partition) as usize) else {
            return OpenDeadLetters {
                hash_key: self.hash_key,
                letters,
                next: range.end,
            };
        };
        let floor = lane.settled.floor();
        let below_floor = OffsetRange {
            start: range.start,
            end: range.end.min(floor),
        };
        let beyond_floor = OffsetRange {
            start: range.start.max(floor),
            end: range.end,
        };
        let rows = lane.waiting.offsets_in(below_floor);
        let words_end = word_of(beyond_floor.start) + WORDS_LOOKED_AT_MAX;
        let words = words_in(beyond_floor).take_while(|(word, _)| *word < words_end);
        let open = words.flat_map(|(word, bits)| {
            let settled = lane.settled.word(word);
            offsets_in(word, bits)
                .filter(move |it| settled & bit_of(*it) == 0 || lane.waiting.get(*it).is_some())
        });
        for offset in rows.chain(open).take(count_max) {
            let row = lane.waiting.get(offset);
            letters.push(OpenDeadLetter {
                offset,
                state: self.dead_letter_state(partition, offset),
                failures: row.map(|row| row.failures.clone()).unwrap_or_default(),
            });
        }
        let next = match letters.last() {
            Some(last) if letters.len() >= count_max => last.offset.advance(1),
            _ => range.end.min(offset_of(words_end, 0)).max(range.start),
        };
        OpenDeadLetters {
            hash_key: self.hash_key,
            letters,
            next,
        }
    }

    /// Decides that dead letters of a partition are delivered again; at most [`REDRIVEN_RECORDS_MAX`].
    pub(super) fn redrive(
        &mut self,
        partition: u32,
        letters: &[DeadLetter],
        decision: &mut SubscriptionDecision,
    ) -> DeadLetterCounts {
        let number = self.dead_lane(partition);
        let mut counts = DeadLetterCounts::default();
        let Some(lane) = self.partitions.get(number as usize) else {
            return counts;
        };
        let mut room = WAITING_RECORDS_MAX.saturating_sub(lane.waiting.len());
        for letter in letters {
            if self.dead_letter_state(partition, letter.offset) != DeadLetterState::Dead {
                counts.passed += 1;
                continue;
            }
            if room == 0 {
                counts.left += 1;
                continue;
            }
            (room, counts.done) = (room - 1, counts.done + 1);
            let row = WaitingRecord {
                key: letter.key,
                bytes: letter.bytes,
                append_time_ms: letter.append_time_ms,
                attempts: 0,
                failure_count: 0,
                due_ms: 0,
                is_suspect: false,
                death: None,
                failures: Vec::new(),
            };
            let id = RowId::WaitingRecord(self.id, number, letter.offset);
            decision.rows.push(id.put(&row.to_row()));
            decision.note_done(number, word_of(letter.offset), bit_of(letter.offset));
        }
        self.write_settled(decision);
        counts
    }

    /// Decides that dead letters of a partition are done with; at most [`REDRIVEN_RECORDS_MAX`]. What is with
    /// a consumer is not.
    pub(super) fn discard(
        &mut self,
        partition: u32,
        letters: &[DeadLetter],
        decision: &mut SubscriptionDecision,
    ) -> DeadLetterCounts {
        let number = self.dead_lane(partition);
        let mut counts = DeadLetterCounts::default();
        let mut keys = BTreeSet::new();
        for letter in letters {
            let Some(lane) = self.partitions.get(number as usize) else {
                return counts;
            };
            let state = self.dead_letter_state(partition, letter.offset);
            match (state, lane.waiting.handling(letter.offset)) {
                (DeadLetterState::Settled, _) => {
                    counts.passed += 1;
                    continue;
                }
                (_, Some(Handling::Leased(_) | Handling::Moving)) => {
                    counts.left += 1;
                    continue;
                }
                (_, Some(Handling::None)) => {
                    let id = RowId::WaitingRecord(self.id, number, letter.offset);
                    decision.rows.push(id.gone());
                }
                (_, None) => {
                    decision.note_done(number, word_of(letter.offset), bit_of(letter.offset));
                }
            }
            counts.done += 1;
            self.note_letter_settled(number, letter.key, letter.offset, decision);
            keys.insert(letter.key);
        }
        for key in keys {
            // Those behind it in the lane may go on.
            if let Some(lane) = self.partitions.get_mut(number as usize) {
                lane.window.keys.line_up(key);
            }
        }
        self.write_settled(decision);
        counts
    }

    /// Notes that a dead letter of a key was settled in a lane. With the last one the key is free again.
    pub(super) fn note_letter_settled(
        &mut self,
        lane: u32,
        key: KeyHash,
        offset: Offset,
        decision: &mut SubscriptionDecision,
    ) {
        let Some(number) = self.source_of(lane) else {
            return;
        };
        let partition = self.partitions.get(number as usize);
        let parked = partition.and_then(|it| it.parked.get(&key));
        if parked.is_some_and(|it| it.holds(offset)) {
            *decision.freed.entry((number, key)).or_default() += 1;
        }
        self.look_at_source(lane, key);
    }

    /// Looks at a key of the source again: fewer of its dead letters are on their way back.
    pub(super) fn look_at_source(&mut self, lane: u32, key: KeyHash) {
        let partition = self.source_of(lane);
        let partition = partition.and_then(|partition| self.partition_mut(partition));
        if let Some(partition) = partition {
            partition.window.keys.line_up(key);
        }
    }

    /// Writes how many dead letters are left of each key of which some were settled. Comes last: each row
    /// holds all that the entry changes of it.
    pub(super) fn write_freed(&self, decision: &mut SubscriptionDecision) {
        for ((number, key), count) in std::mem::take(&mut decision.freed) {
            let partition = self.partitions.get(number as usize);
            let Some(mut parked) = partition.and_then(|it| it.parked.get(&key)).copied() else {
                continue;
            };
            parked.count = parked.count.saturating_sub(count);
            let id = RowId::ParkedKey(self.id, number, key.0);
            decision.rows.push(match parked.count {
                0 => id.gone(),
                _ => id.put(&parked.to_row()),
            });
        }
    }
}

impl State {
    /// Decides that dead letters of a partition are delivered again; at most [`REDRIVEN_RECORDS_MAX`], in
    /// their order.
    pub fn redrive(
        &mut self,
        id: SubscriptionId,
        partition: u32,
        letters: &[DeadLetter],
    ) -> (DeadLetterCounts, SubscriptionDecision) {
        let mut decision = SubscriptionDecision::default();
        let subscription = self.activate(id);
        let counts = subscription.map(|it| it.redrive(partition, letters, &mut decision));
        (counts.unwrap_or_default(), decision)
    }

    /// Decides that dead letters of a partition are done with; at most [`REDRIVEN_RECORDS_MAX`].
    pub fn discard(
        &mut self,
        id: SubscriptionId,
        partition: u32,
        letters: &[DeadLetter],
    ) -> (DeadLetterCounts, SubscriptionDecision) {
        let mut decision = SubscriptionDecision::default();
        let subscription = self.activate(id);
        let counts = subscription.map(|it| it.discard(partition, letters, &mut decision));
        (counts.unwrap_or_default(), decision)
    }

    /// Decides that dead letters of a partition are done with because the same entry appends them to a
    /// topic; at most [`REDRIVEN_RECORDS_MAX`]. None unless each of them is dead: nothing may be appended
    /// then.
    pub fn republish(
        &mut self,
        id: SubscriptionId,
        partition: u32,
        letters: &[DeadLetter],
    ) -> Option<Vec<Row>> {
        let subscription = self.activate(id)?;
        let mut offsets = letters.iter().map(|letter| letter.offset);
        let is_dead = |it| subscription.dead_letter_state(partition, it) == DeadLetterState::Dead;
        if !offsets.all(is_dead) {
            return None;
        }
        let (counts, decision) = self.discard(id, partition, letters);
        (counts.done == letters.len()).then_some(decision.rows)
    }
}
