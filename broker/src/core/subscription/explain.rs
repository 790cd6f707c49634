//! Why nothing happens to a record.

use towpath_storage::{Offset, TopicId};

use super::filter::RecordFilter;
use super::inspected::Halt;
use super::keys::KeyHash;
use super::partition::SubscriptionPartition;
use super::pending::{PendingRecord, RecordPlace};
use super::{DeadLetterState, Mode, Subscription};

/// The key of a record, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExplainedKey {
    /// The record cannot be read.
    Unknown,
    /// It has none.
    None,
    /// This one.
    Known(bytes::Bytes),
}

/// Why nothing happens to a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// The subscription is paused.
    Paused,
    /// Nobody is connected.
    NoConsumers,
    /// No consumer that may get records allows more; the one that has an exclusive subscription, by its name.
    NoCredit(Option<String>),
    /// Nothing more is read from the partition.
    Halted(Halt),
    /// It waits for its next attempt: broker time of that, milliseconds since the Unix epoch.
    BackOff(i64),
    /// This earlier record of its key comes first.
    Key(Offset),
    /// Its key has so many dead letters.
    Parked(u64, Parking),
    /// The dead letters cannot be written.
    DeadLetters(String),
    /// This record, of a partition, is delivered alone.
    Suspect(u32, Offset),
    /// It is to be delivered alone, to a consumer that has nothing.
    NoIdleConsumer,
    /// As many records of the partition wait as may.
    Full,
}

/// What becomes of a record whose key has dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parking {
    /// It follows them.
    Follows,
    /// Some of them are delivered again: it waits for what becomes of these.
    AwaitsRedriven,
    /// The subscription was moved back before them: it waits for the last of them, and its key begins anew.
    AwaitsAll,
}

/// Where a record is, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordExplanation {
    /// Where it is.
    pub record: PendingRecord,
    /// Why nothing happens to it, the nearest reason first.
    pub obstacles: Vec<Obstacle>,
    /// The filter that holds for it.
    pub filter: RecordFilter,
    /// The topic of the dead letters.
    pub dead_letter_topic: TopicId,
    /// Where among the dead letters the first one lies that may be its own; none if none can be.
    pub letters_from: Option<Offset>,
}

impl Subscription {
    /// Where a record of a partition is, and why; none if there is no such partition.
    pub fn explain(
        &self,
        number: u32,
        offset: Offset,
        key: &ExplainedKey,
        now_ms: i64,
    ) -> Option<RecordExplanation> {
        let is_source = number < self.partition_count();
        let partition = self.partitions.get(number as usize).filter(|_| is_source)?;
        let mut record = self.pending_record(number, partition, offset, now_ms);
        let key = self.key_hash(number, partition, offset, key);
        if record.place == RecordPlace::Ahead {
            record.behind = key.and_then(|key| partition.first_of_key_before(key, offset));
        }
        Some(RecordExplanation {
            obstacles: self.obstacles(number, partition, &record, key),
            filter: self.filters_of(number).of(offset).clone(),
            dead_letter_topic: self.dead_letter_topic,
            letters_from: self.letters_from(number, &record, key),
            record,
        })
    }

    /// Where a dead letter of a partition stands; with what is known of it if it is delivered again.
    pub fn explain_letter(
        &self,
        partition: u32,
        offset: Offset,
        now_ms: i64,
    ) -> (DeadLetterState, Option<PendingRecord>) {
        let number = self.dead_lane(partition);
        let state = self.dead_letter_state(partition, offset);
        let lane = self.partitions.get(number as usize);
        let lane = lane.filter(|lane| lane.waiting.get(offset).is_some());
        (
            state,
            lane.map(|lane| self.pending_record(number, lane, offset, now_ms)),
        )
    }

    fn key_hash(
        &self,
        number: u32,
        partition: &SubscriptionPartition,
        offset: Offset,
        key: &ExplainedKey,
    ) -> Option<KeyHash> {
        if !partition.is_ordered {
            return None;
        }
        match key {
            ExplainedKey::Known(key) => Some(self.hash_key.of_key(key)),
            ExplainedKey::None => Some(self.hash_key.of_keyless(number, offset)),
            ExplainedKey::Unknown => partition.waiting.get(offset).map(|row| row.key),
        }
    }

    pub(super) fn obstacles(
        &self,
        number: u32,
        partition: &SubscriptionPartition,
        record: &PendingRecord,
        key: Option<KeyHash>,
    ) -> Vec<Obstacle> {
        let is_undelivered = match record.place {
            RecordPlace::Ahead | RecordPlace::Ready | RecordPlace::Waiting => true,
            RecordPlace::Dying => false,
            RecordPlace::InFlight | RecordPlace::Filtered | RecordPlace::Settled => {
                return Vec::new();
            }
        };
        let mut obstacles = Vec::new();
        let parked = key.and_then(|key| Some((partition.parked.get(&key)?, key)));
        obstacles.extend(parked.map(|(parked, key)| {
            let first = record.behind.unwrap_or(record.offset);
            let parking = match is_undelivered {
                _ if partition.comes_again(key, first) => Parking::AwaitsAll,
                true if self.is_redriven(number, key) => Parking::AwaitsRedriven,
                _ => Parking::Follows,
            };
            Obstacle::Parked(parked.count, parking)
        }));
        obstacles.extend(record.behind.map(Obstacle::Key));
        if parked.is_some() || !is_undelivered {
            let problem = self.burial_problems.reason().cloned();
            obstacles.extend(problem.map(Obstacle::DeadLetters));
        }
        if !is_undelivered {
            return obstacles;
        }
        if record.is_suspect {
            obstacles.push(Obstacle::NoIdleConsumer);
        } else if record.due_ms != 0 {
            obstacles.push(Obstacle::BackOff(record.due_ms));
        }
        if record.place == RecordPlace::Ahead {
            obstacles.extend(partition.halt.map(Obstacle::Halted));
            let is_full = !partition.has_row_room();
            obstacles.extend(is_full.then_some(Obstacle::Full));
        }
        obstacles.extend(self.general_obstacle(record));
        obstacles
    }

    /// Whether dead letters of a key of a partition are delivered again.
    fn is_redriven(&self, number: u32, key: KeyHash) -> bool {
        let lane = self.partitions.get(self.dead_lane(number) as usize);
        lane.is_some_and(|lane| lane.waiting.has_living(key))
    }

    /// Why nothing at all is delivered, or nothing like this record.
    fn general_obstacle(&self, record: &PendingRecord) -> Option<Obstacle> {
        if self.is_paused {
            return Some(Obstacle::Paused);
        }
        if self.consumers.connected().next().is_none() {
            return Some(Obstacle::NoConsumers);
        }
        let holder = match self.config.mode {
            Mode::Exclusive => self.consumers.holder(),
            Mode::KeyShared | Mode::Shared => None,
        };
        let mut may_get = self.consumers.connected();
        let is_closed = match holder {
            Some(holder) => may_get.all(|(id, it)| id != holder || !it.credit.is_open()),
            None => may_get.all(|(_, it)| !it.credit.is_open()),
        };
        if is_closed {
            let name = holder.and_then(|holder| self.consumers.get(holder));
            return Some(Obstacle::NoCredit(name.map(|it| it.client_name.clone())));
        }
        let is_alone = self.consumers.connected().count() == 1 || holder.is_some();
        let suspect = self.suspicion.alone();
        suspect
            .filter(|it| *it != (record.partition, record.offset))
            .filter(|_| is_alone || record.is_suspect)
            .map(|(partition, offset)| Obstacle::Suspect(partition, offset))
    }

    /// Where its dead letter may lie: nowhere unless it is settled.
    fn letters_from(
        &self,
        number: u32,
        record: &PendingRecord,
        key: Option<KeyHash>,
    ) -> Option<Offset> {
        if record.place != RecordPlace::Settled {
            return None;
        }
        let partition = self.partitions.get(number as usize)?;
        let lane = self.partitions.get(self.dead_lane(number) as usize)?;
        let alone = self.hash_key.of_keyless(number, record.offset);
        match key.filter(|key| *key != alone) {
            Some(key) if self.parks() => {
                let parked = partition.parked.get(&key)?;
                (record.offset <= parked.highest).then_some(parked.first_dead)
            }
            _ => Some(lane.first_needed()),
        }
    }
}
