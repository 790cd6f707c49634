//! How far subscriptions have come, and what they have done: for those who watch.

use towpath_proto::names::SubscriptionName;
use towpath_storage::{Offset, TopicId};

use super::hold::Hold;
use super::partition::SubscriptionPartition;
use super::{Subscription, SubscriptionId};

/// What a subscription has done since the start of the broker, in records. Volatile.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SubscriptionCounts {
    /// Handed to consumers.
    pub delivered: u64,
    /// Handled by them.
    pub acked: u64,
    /// Handling them failed, as consumers said.
    pub nacked: u64,
    /// Their consumers were handling them and said nothing in time.
    pub expired: u64,
    /// Given back, or taken back, without an attempt that counts.
    pub released: u64,
    /// Moved to the dead letters because they are dead.
    pub died: u64,
    /// Moved there behind a dead one of their key.
    pub parked: u64,
    /// Sorted out, since the filter was not true of them.
    pub filtered: u64,
    /// Such that the filter could not judge.
    pub unjudged: u64,
    /// Dead letters that were given back to be delivered again.
    pub redriven: u64,
    /// Dead letters that became records of a topic.
    pub republished: u64,
    /// Dead letters that were settled without being handled.
    pub discarded: u64,
}

/// How far a subscription has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionProgress {
    /// Its number.
    pub id: SubscriptionId,
    /// Its name.
    pub name: SubscriptionName,
    /// The topic whose records it gets.
    pub topic: TopicId,
    /// The topic of its dead letters.
    pub dead_letter_topic: TopicId,
    /// What it has done.
    pub counts: SubscriptionCounts,
    /// Its consumers, those that are away and have something included.
    pub consumer_count: usize,
    /// Records that consumers have.
    pub in_flight_count: u64,
    /// Whether something could last not be moved to the dead letters.
    pub has_dead_letter_problem: bool,
    /// What it holds past retention.
    pub hold: Hold,
    /// Its partitions, by number.
    pub partitions: Vec<LaneProgress>,
    /// Their dead letters.
    pub letters: Vec<LaneProgress>,
}

/// How far a subscription has come in a partition, or in its dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneProgress {
    /// Everything below is settled or has a row.
    pub floor: Offset,
    /// The lowest offset that may still be needed.
    pub first_needed: Offset,
    /// Settled records, such with rows, and such that a filter has sorted out, at or beyond the floor.
    pub beyond_floor_count: u64,
    /// Records that have rows.
    pub waiting_count: u64,
    /// Records that were gone before they were settled.
    pub skipped_count: u64,
    /// Keys of which something is among the dead letters.
    pub parked_count: u64,
    /// Whether nothing more is delivered from it.
    pub is_halted: bool,
}

impl Subscription {
    /// How far it has come, with what it holds.
    pub fn progress(&self, hold: Hold) -> SubscriptionProgress {
        let (sources, lanes) = self.partitions.split_at(
            self.partitions
                .len()
                .min(self.topic_partition_count as usize),
        );
        let told = |lanes: &[SubscriptionPartition]| {
            lanes.iter().map(SubscriptionPartition::progress).collect()
        };
        let consumers = self.consumers.iter();
        SubscriptionProgress {
            id: self.id,
            name: self.name.clone(),
            topic: self.topic,
            dead_letter_topic: self.dead_letter_topic,
            counts: self.counts,
            consumer_count: self.consumers.iter().count(),
            in_flight_count: consumers.map(|(_, it)| it.in_flight).sum(),
            has_dead_letter_problem: self.burial_problems.reason().is_some(),
            hold,
            partitions: told(sources),
            letters: told(lanes),
        }
    }
}

impl SubscriptionPartition {
    /// How far it is.
    pub(super) fn progress(&self) -> LaneProgress {
        LaneProgress {
            floor: self.settled.floor(),
            first_needed: self.first_needed(),
            beyond_floor_count: self.settled.beyond_floor() + self.passed_beyond_floor(),
            waiting_count: self.waiting.len() as u64,
            skipped_count: self.skipped_count,
            parked_count: self.parked.len() as u64,
            is_halted: self.halt.is_some(),
        }
    }
}
