//! Dead letters that go back: each is a record of a second lane, beside the partition that it came from.
//!
//! A dead letter stays in its topic until it is settled there. To redrive it gives it a row in the lane of
//! its partition, so that it is delivered like any other record with a row: the records of a key one after
//! the other, in the order in which they died. Until the last dead letter of a key is settled, what comes
//! from the source for that key follows to the dead letters. One that fails for good once more keeps its
//! row, and is dead again where it is.

use std::collections::BTreeSet;

use towpath_storage::{Offset, Row};

use super::keys::KeyHash;
use super::pass::WAITING_RECORDS_MAX;
use super::settled::{bit_of, word_of};
use super::waiting::{Handling, WaitingRecord};
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

/// What became of a wish about dead letters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeadLetterCounts {
    /// It was done for so many.
    pub done: usize,
    /// So many were settled before, or on their way back, or are not those that were meant.
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

    /// Decides that dead letters of a partition are delivered again; at most [`REDRIVEN_RECORDS_MAX`]. With
    /// `behind` only those of keys that have had a dead letter before that offset, and one ever since.
    pub(super) fn redrive(
        &mut self,
        partition: u32,
        letters: &[DeadLetter],
        behind: Option<Offset>,
        decision: &mut SubscriptionDecision,
    ) -> DeadLetterCounts {
        let number = self.dead_lane(partition);
        let mut counts = DeadLetterCounts::default();
        let Some(lane) = self.partitions.get(number as usize) else {
            return counts;
        };
        let mut keys = BTreeSet::new();
        let mut room = WAITING_RECORDS_MAX.saturating_sub(lane.waiting.len());
        for letter in letters {
            let is_dead = self.dead_letter_state(partition, letter.offset) == DeadLetterState::Dead;
            let is_behind = |it| self.has_parked_before(partition, letter.key, it);
            if !is_dead || !behind.is_none_or(is_behind) {
                counts.passed += 1;
                continue;
            }
            if room == 0 {
                counts.left += 1;
                continue;
            }
            (room, counts.done) = (room - 1, counts.done + 1);
            let row = WaitingRecord::untried(letter.key, letter.bytes, letter.append_time_ms);
            let id = RowId::WaitingRecord(self.id, number, letter.offset);
            decision.rows.push(id.put(&row.to_row()));
            decision.note_done(number, word_of(letter.offset), bit_of(letter.offset));
            keys.insert(letter.key);
        }
        self.counts.redriven += counts.done as u64;
        self.call_back_behind(partition, &keys);
        self.write_settled(decision);
        counts
    }

    /// Whether a key has had a dead letter before an offset, and one ever since.
    fn has_parked_before(&self, partition: u32, key: KeyHash, before: Offset) -> bool {
        let source = self.partitions.get(partition as usize);
        let parked = source.and_then(|source| source.parked.get(&key));
        parked.is_some_and(|it| it.first_dead < before)
    }

    /// Leaves in the source what is on its way to the dead letters behind some of its key that are delivered
    /// again: it waits for them. Behind the last of them it would stay among the dead letters.
    fn call_back_behind(&mut self, partition: u32, keys: &BTreeSet<KeyHash>) {
        let Some(source) = self.partition_mut(partition) else {
            return;
        };
        // Nothing of a parked key is with a consumer.
        let is_on_its_way =
            |key: &&KeyHash| source.parked.contains_key(key) && source.window.keys.is_locked(**key);
        if keys.iter().any(|key| is_on_its_way(&key)) {
            source.call_burials_back();
        }
    }

    /// Decides that dead letters of a partition are done with; at most [`REDRIVEN_RECORDS_MAX`]. What is with
    /// a consumer is not.
    fn settle_letters(
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
        let counts = subscription.map(|it| it.redrive(partition, letters, None, &mut decision));
        (counts.unwrap_or_default(), decision)
    }

    /// The same of those whose keys have had a dead letter before an offset, and one ever since: they were
    /// parked behind it.
    pub fn redrive_behind(
        &mut self,
        id: SubscriptionId,
        partition: u32,
        letters: &[DeadLetter],
        before: Offset,
    ) -> (DeadLetterCounts, SubscriptionDecision) {
        let mut decision = SubscriptionDecision::default();
        let behind = Some(before);
        let subscription = self.activate(id);
        let counts = subscription.map(|it| it.redrive(partition, letters, behind, &mut decision));
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
        let counts = subscription.map(|it| {
            let counts = it.settle_letters(partition, letters, &mut decision);
            it.counts.discarded += counts.done as u64;
            counts
        });
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
        let mut decision = SubscriptionDecision::default();
        let counts = subscription.settle_letters(partition, letters, &mut decision);
        let is_all = counts.done == letters.len();
        if is_all {
            subscription.counts.republished += counts.done as u64;
        }
        is_all.then_some(decision.rows)
    }
}
