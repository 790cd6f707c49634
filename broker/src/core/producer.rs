//! Idempotent producers: which batches were accepted, so that a repeated one makes no duplicate.
//!
//! One rule for each producer and partition: the sequence after the last is new; one of the last 128
//! is answered as it was the first time; anything else is refused without effect. Each life of a named
//! producer begins anew. Whether a life may write at all is not decided here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use towpath_proto::limits::PRODUCER_WINDOW_BATCHES;
use towpath_storage::{
    DirectoryLine, Lsn, Offset, PartitionRef, ProducerId, ProducerStamp, TopicId,
};

use super::named_producer::{NamedProducerId, ProducerLife};
use super::row::{OutcomeRow, ProducerRow};

/// Memory and row bytes of a producer in a partition, without its outcomes.
const BASE_BYTES: usize = 144;
/// Memory and row bytes of one outcome.
const OUTCOME_BYTES: usize = 32;

/// Where an accepted batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceptedBatch {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Number of its records.
    pub record_count: u32,
    /// The entry that appended it.
    pub lsn: Lsn,
    /// Broker time of that entry, milliseconds since the Unix epoch.
    pub append_time_ms: i64,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is on disk.
    Accepted(AcceptedBatch),
    /// It was refused for good and its sequence is spent.
    Spent {
        /// Number of the reason in `error.proto`.
        reason: i32,
    },
}

/// What a sequence number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SequenceVerdict {
    /// The next batch.
    Next,
    /// A batch that was seen before; its outcome then.
    Repeated(Outcome),
    /// Neither; the next batch carries `expected`.
    Gap {
        /// The sequence that would be next.
        expected: u64,
    },
    /// The producer is not known, and the batch is not its first.
    Unknown,
}

/// What one producer has written to one partition.
#[derive(Debug, Clone)]
pub(super) struct ProducerPartition {
    epoch: u32,
    last_sequence: u64,
    last_used_ms: i64,
    /// Of the last sequences, oldest first; never empty.
    outcomes: VecDeque<Outcome>,
}

impl ProducerPartition {
    fn judge(&self, stamp: ProducerStamp) -> SequenceVerdict {
        let expected = self.last_sequence + 1;
        if stamp.sequence == expected {
            return SequenceVerdict::Next;
        }
        let age = usize::try_from(self.last_sequence.wrapping_sub(stamp.sequence));
        let outcome = age
            .ok()
            .and_then(|age| self.outcomes.len().checked_sub(age.checked_add(1)?))
            .and_then(|place| self.outcomes.get(place));
        outcome.map_or(SequenceVerdict::Gap { expected }, |it| {
            SequenceVerdict::Repeated(*it)
        })
    }

    fn bytes(&self) -> usize {
        BASE_BYTES + OUTCOME_BYTES * self.outcomes.len()
    }

    fn push(&mut self, outcome: Outcome) {
        if self.outcomes.len() >= PRODUCER_WINDOW_BATCHES as usize {
            self.outcomes.pop_front();
        }
        self.outcomes.push_back(outcome);
    }

    pub(super) fn from_row(row: &ProducerRow) -> Self {
        Self {
            epoch: row.epoch,
            last_sequence: row.last_sequence,
            last_used_ms: row.last_used_ms,
            outcomes: row.outcomes.iter().map(Outcome::from).collect(),
        }
    }

    pub(super) fn to_row(&self) -> ProducerRow {
        ProducerRow {
            epoch: self.epoch,
            last_sequence: self.last_sequence,
            last_used_ms: self.last_used_ms,
            outcomes: self.outcomes.iter().map(OutcomeRow::from).collect(),
        }
    }

    /// As it is after one more outcome; `known` is none for the first batch of a producer's life.
    pub(super) fn after(
        known: Option<&Self>,
        stamp: ProducerStamp,
        outcome: Outcome,
        now_ms: i64,
    ) -> Self {
        let mut after = known.cloned().unwrap_or(Self {
            epoch: stamp.epoch,
            last_sequence: 0,
            last_used_ms: now_ms,
            outcomes: VecDeque::new(),
        });
        after.last_sequence = stamp.sequence;
        after.last_used_ms = now_ms;
        after.push(outcome);
        after
    }
}

/// Notes that one search for the least recently used looks at, so that a round waits for no long one.
const SEARCH_MAX: usize = 10_000;

/// A producer in a partition.
type Key = (ProducerId, PartitionRef);

/// All producers that are remembered.
#[derive(Debug, Default)]
pub(super) struct Producers {
    known: BTreeMap<Key, Known>,
    unnamed: Pool,
    /// Apart, so that any number of producers without a name pushes none with a name out.
    named: Pool,
}

/// Producers that share a bound.
#[derive(Debug, Default)]
struct Pool {
    bytes: usize,
    /// One note for each that is known. Volatile.
    by_use: BTreeSet<(i64, Key)>,
}

/// Which producers to forget some of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// Those without a name, also when they were idle since before a time.
    Unnamed {
        /// Broker time, milliseconds since the Unix epoch.
        idle_before_ms: i64,
    },
    /// Those with a name, however idle only while there are too many.
    Named,
}

#[derive(Debug)]
struct Known {
    value: ProducerPartition,
    /// A time at which it was used, under which it is noted: perhaps not the last one, since an append
    /// does not move the note. A search moves those that it finds too early to where they belong.
    noted_ms: i64,
}

impl Producers {
    pub(super) fn get(
        &self,
        producer: ProducerId,
        partition: PartitionRef,
    ) -> Option<&ProducerPartition> {
        let known = self.known.get(&(producer, partition))?;
        Some(&known.value)
    }

    /// The same, unless it is of another life.
    pub(super) fn of_life(
        &self,
        partition: PartitionRef,
        stamp: ProducerStamp,
    ) -> Option<&ProducerPartition> {
        let known = self.get(stamp.id, partition);
        known.filter(|known| known.epoch == stamp.epoch)
    }

    pub(super) fn judge(&self, partition: PartitionRef, stamp: ProducerStamp) -> SequenceVerdict {
        match self.of_life(partition, stamp) {
            Some(known) => known.judge(stamp),
            None if stamp.sequence == 0 => SequenceVerdict::Next,
            None => SequenceVerdict::Unknown,
        }
    }

    /// The last sequence of a life of a producer in each partition of a topic that it has written to.
    pub(super) fn last_sequences(
        &self,
        life: ProducerLife,
        topic: TopicId,
    ) -> impl Iterator<Item = (u32, u64)> {
        let first = PartitionRef {
            topic,
            partition: 0,
        };
        let last = PartitionRef {
            topic,
            partition: u32::MAX,
        };
        self.known
            .range((life.id, first)..=(life.id, last))
            .filter(move |(_, known)| known.value.epoch == life.epoch)
            .map(|((_, partition), known)| (partition.partition, known.value.last_sequence))
    }

    /// Takes the effect of an append.
    pub(super) fn append(&mut self, line: &DirectoryLine, stamp: ProducerStamp) {
        let outcome = Outcome::Accepted(AcceptedBatch {
            base_offset: line.frame.base_offset,
            record_count: line.frame.record_count,
            lsn: line.frame.lsn,
            append_time_ms: line.frame.append_time_ms,
        });
        let now_ms = line.frame.append_time_ms;
        let known = self
            .known
            .get_mut(&(stamp.id, line.place.segment.partition));
        match known.map(|known| &mut known.value) {
            Some(known) if known.epoch == stamp.epoch => {
                let before = known.bytes();
                known.last_sequence = stamp.sequence;
                known.last_used_ms = now_ms;
                known.push(outcome);
                let added = known.bytes() - before;
                self.pool_of(stamp.epoch).bytes += added;
            }
            _ => {
                let after = ProducerPartition::after(None, stamp, outcome, now_ms);
                self.put(stamp.id, line.place.segment.partition, Some(after));
            }
        }
    }

    pub(super) fn put(
        &mut self,
        producer: ProducerId,
        partition: PartitionRef,
        value: Option<ProducerPartition>,
    ) {
        let key = (producer, partition);
        self.remove(&key);
        if let Some(value) = value {
            let noted_ms = value.last_used_ms;
            let pool = self.pool_of(value.epoch);
            pool.bytes += value.bytes();
            pool.by_use.insert((noted_ms, key));
            self.known.insert(key, Known { value, noted_ms });
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(old) = self.known.remove(key) {
            let pool = self.pool_of(old.value.epoch);
            pool.bytes -= old.value.bytes();
            pool.by_use.remove(&(old.noted_ms, *key));
        }
    }

    fn pool_of(&mut self, epoch: u32) -> &mut Pool {
        match epoch {
            0 => &mut self.unnamed,
            _ => &mut self.named,
        }
    }

    /// Forgets everything about lives of a name but one; returns which rows are gone.
    pub(super) fn remove_lives_but(
        &mut self,
        name: NamedProducerId,
        epoch: Option<u32>,
    ) -> Vec<(ProducerId, PartitionRef)> {
        let first = PartitionRef {
            topic: TopicId::new(0),
            partition: 0,
        };
        let last = PartitionRef {
            topic: TopicId::new(u64::MAX),
            partition: u32::MAX,
        };
        let ids = (name.producer([0; 4]), first)..=(name.producer([u8::MAX; 4]), last);
        let known = self.known.range(ids);
        let gone: Vec<_> = known
            .filter(|(_, known)| Some(known.value.epoch) != epoch)
            .map(|(key, _)| *key)
            .collect();
        gone.iter().for_each(|key| self.remove(key));
        gone
    }

    /// Forgets everything about a topic; returns which rows are gone.
    pub(super) fn remove_topic(&mut self, topic: TopicId) -> Vec<(ProducerId, PartitionRef)> {
        let known = self.known.keys();
        let gone: Vec<_> = known
            .filter(|(_, partition)| partition.topic == topic)
            .copied()
            .collect();
        gone.iter().for_each(|key| self.remove(key));
        gone
    }

    pub(super) fn bytes_of_unnamed(&self) -> usize {
        self.unnamed.bytes
    }

    pub(super) fn bytes_of_named(&self) -> usize {
        self.named.bytes
    }

    /// Rows to forget, at most `count_max`: those that are idle for too long, and the least recently used
    /// ones while all of their kind take more than `bytes_max`. Costs what it finds, and what was used
    /// since it was looked at last.
    pub(super) fn forgettable(
        &mut self,
        which: Naming,
        bytes_max: usize,
        count_max: usize,
    ) -> Vec<Key> {
        let (pool, idle_before_ms) = match which {
            Naming::Unnamed { idle_before_ms } => (&mut self.unnamed, idle_before_ms),
            Naming::Named => (&mut self.named, i64::MIN),
        };
        let mut surplus = pool.bytes.saturating_sub(bytes_max);
        let mut found = Vec::new();
        let mut moved = Vec::new();
        for (noted_ms, key) in pool.by_use.iter().take(SEARCH_MAX).copied() {
            let is_wanted = surplus > 0 || noted_ms < idle_before_ms;
            if !is_wanted || found.len() >= count_max {
                break;
            }
            let Some(known) = self.known.get_mut(&key) else {
                continue;
            };
            if known.value.last_used_ms == noted_ms {
                surplus = surplus.saturating_sub(known.value.bytes());
                found.push(key);
            } else {
                known.noted_ms = known.value.last_used_ms;
                moved.push(((noted_ms, key), (known.noted_ms, key)));
            }
        }
        for (before, after) in moved {
            pool.by_use.remove(&before);
            pool.by_use.insert(after);
        }
        found
    }
}

impl From<&OutcomeRow> for Outcome {
    fn from(row: &OutcomeRow) -> Self {
        // What was accepted has the LSN of its entry, also if there was nothing left to write.
        if row.lsn == 0 {
            return Self::Spent {
                reason: row.refusal,
            };
        }
        Self::Accepted(AcceptedBatch {
            base_offset: Offset::new(row.base_offset),
            record_count: row.record_count,
            lsn: Lsn::new(row.lsn),
            append_time_ms: row.append_time_ms,
        })
    }
}

impl From<&Outcome> for OutcomeRow {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Accepted(batch) => Self {
                base_offset: batch.base_offset.get(),
                record_count: batch.record_count,
                lsn: batch.lsn.get(),
                append_time_ms: batch.append_time_ms,
                refusal: 0,
            },
            Outcome::Spent { reason } => Self {
                refusal: *reason,
                ..Self::default()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(sequence: u64) -> ProducerStamp {
        ProducerStamp {
            id: ProducerId::new([1; 16]),
            epoch: 0,
            sequence,
        }
    }

    fn accepted(base: u64) -> Outcome {
        Outcome::Accepted(AcceptedBatch {
            base_offset: Offset::new(base),
            record_count: 1,
            lsn: Lsn::new(base + 1),
            append_time_ms: 5,
        })
    }

    const PARTITION: PartitionRef = PartitionRef {
        topic: TopicId::new(1),
        partition: 0,
    };

    fn producers(batches: u64) -> Producers {
        let mut producers = Producers::default();
        for sequence in 0..batches {
            let known = producers.get(stamp(0).id, PARTITION);
            let after = ProducerPartition::after(known, stamp(sequence), accepted(sequence), 5);
            producers.put(stamp(0).id, PARTITION, Some(after));
        }
        producers
    }

    #[test]
    fn only_the_next_sequence_is_new_and_the_window_is_answered_again() {
        let empty = Producers::default();
        assert_eq!(empty.judge(PARTITION, stamp(0)), SequenceVerdict::Next);
        assert_eq!(empty.judge(PARTITION, stamp(1)), SequenceVerdict::Unknown);
        let known = producers(200);
        assert_eq!(known.judge(PARTITION, stamp(200)), SequenceVerdict::Next);
        assert_eq!(
            known.judge(PARTITION, stamp(201)),
            SequenceVerdict::Gap { expected: 200 }
        );
        for sequence in 72..200 {
            let verdict = known.judge(PARTITION, stamp(sequence));
            assert_eq!(verdict, SequenceVerdict::Repeated(accepted(sequence)));
        }
        assert_eq!(
            known.judge(PARTITION, stamp(71)),
            SequenceVerdict::Gap { expected: 200 }
        );
        assert_eq!(
            known.judge(PARTITION, stamp(u64::MAX)),
            SequenceVerdict::Gap { expected: 200 }
        );
    }

    #[test]
    fn a_newer_life_starts_afresh_and_what_an_older_one_wrote_goes() {
        let mut known = producers(3);
        let newer = ProducerStamp {
            epoch: 1,
            ..stamp(0)
        };
        assert_eq!(known.judge(PARTITION, newer), SequenceVerdict::Next);
        let newer_gap = ProducerStamp {
            epoch: 1,
            ..stamp(3)
        };
        assert_eq!(known.judge(PARTITION, newer_gap), SequenceVerdict::Unknown);
        let after = ProducerPartition::after(None, newer, accepted(9), 5);
        known.put(newer.id, PARTITION, Some(after));
        assert_eq!(
            known.judge(PARTITION, newer),
            SequenceVerdict::Repeated(accepted(9))
        );
        assert_eq!(known.bytes_of_unnamed(), 0, "it took the place");
        assert_eq!(known.bytes_of_named(), BASE_BYTES + OUTCOME_BYTES);
        let name = NamedProducerId::of(newer.id);
        assert_eq!(known.remove_lives_but(name, Some(1)), []);
        let gone = known.remove_lives_but(name, Some(2));
        assert_eq!(gone, [(newer.id, PARTITION)]);
        assert_eq!((known.bytes_of_named(), known.named.by_use.len()), (0, 0));
    }

    #[test]
    fn producers_without_a_name_push_none_with_a_name_out() {
        let mut known = producers(3);
        let named = ProducerStamp {
            id: ProducerId::new([2; 16]),
            epoch: 4,
            sequence: 0,
        };
        let after = ProducerPartition::after(None, named, accepted(0), 1);
        known.put(named.id, PARTITION, Some(after));
        let day = 24 * 60 * 60 * 1000;
        let idle = Naming::Unnamed {
            idle_before_ms: day,
        };
        assert_eq!(known.forgettable(idle, 0, 9), [(stamp(0).id, PARTITION)]);
        assert_eq!(known.forgettable(Naming::Named, usize::MAX, 9), []);
        let surplus = known.forgettable(Naming::Named, 0, 9);
        assert_eq!(surplus, [(named.id, PARTITION)], "beyond their own bound");
    }

    #[test]
    fn rows_survive_the_round_trip() {
        let mut known = producers(3).get(stamp(0).id, PARTITION).unwrap().clone();
        known.push(Outcome::Spent { reason: 3 });
        let again = ProducerPartition::from_row(&known.to_row());
        assert_eq!(again.outcomes, known.outcomes);
        assert_eq!(again.last_sequence, known.last_sequence);
    }

    #[test]
    fn the_bytes_are_those_of_the_rows_that_are_left() {
        let mut known = producers(130);
        assert_eq!(known.bytes_of_unnamed(), BASE_BYTES + 128 * OUTCOME_BYTES);
        let unnamed = |idle_before_ms| Naming::Unnamed { idle_before_ms };
        assert_eq!(known.forgettable(unnamed(5), usize::MAX, 9), []);
        assert_eq!(
            known.forgettable(unnamed(6), usize::MAX, 9),
            [(stamp(0).id, PARTITION)],
            "idle"
        );
        assert_eq!(
            known.forgettable(unnamed(0), 100, 9),
            [(stamp(0).id, PARTITION)],
            "over the bound"
        );
        assert_eq!(
            known.remove_topic(PARTITION.topic),
            [(stamp(0).id, PARTITION)]
        );
        assert_eq!(known.bytes_of_unnamed(), 0);
    }

    #[test]
    fn the_least_recently_used_are_forgotten_first_wherever_they_were_noted() {
        let id = |number: u8| ProducerId::new([number; 16]);
        let mut known = Producers::default();
        for number in 0..10 {
            let first = ProducerStamp {
                id: id(number),
                ..stamp(0)
            };
            let used_ms = i64::from(number);
            let after = ProducerPartition::after(None, first, accepted(0), used_ms);
            known.put(first.id, PARTITION, Some(after));
        }
        // An append comes by no note.
        for number in [0, 3] {
            let value = known.known.get_mut(&(id(number), PARTITION)).unwrap();
            value.value.last_used_ms = 100 + i64::from(number);
        }
        let one = BASE_BYTES + OUTCOME_BYTES;
        let forget = |known: &mut Producers, bytes_max, count_max| {
            let found = known.forgettable(
                Naming::Unnamed {
                    idle_before_ms: i64::MIN,
                },
                bytes_max,
                count_max,
            );
            for (producer, partition) in &found {
                known.put(*producer, *partition, None);
            }
            let found = found.iter().map(|(producer, _)| producer.as_bytes()[0]);
            found.collect::<Vec<_>>()
        };
        assert_eq!(forget(&mut known, 6 * one, 3), [1, 2, 4]);
        assert_eq!(forget(&mut known, 6 * one, 3), [5]);
        assert_eq!(forget(&mut known, one, 9), [6, 7, 8, 9, 0]);
        assert_eq!(known.unnamed.by_use.len(), 1, "no note without a row");

        // What is put again, or goes with its topic, leaves none behind either.
        let again = known.get(id(3), PARTITION).cloned();
        known.put(id(3), PARTITION, again);
        let last = known.known.get_mut(&(id(3), PARTITION)).unwrap();
        last.value.last_used_ms = 200;
        let again = known.get(id(3), PARTITION).cloned();
        known.put(id(3), PARTITION, again);
        assert_eq!(known.unnamed.by_use.len(), 1, "one note for a row");
        known
            .known
            .get_mut(&(id(3), PARTITION))
            .unwrap()
            .value
            .last_used_ms = 300;
        known.remove_topic(PARTITION.topic);
        assert_eq!(
            (known.unnamed.by_use.len(), known.bytes_of_unnamed()),
            (0, 0)
        );
    }
}
