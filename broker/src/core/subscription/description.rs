//! What is told of a subscription.

use towpath_proto::names::SubscriptionName;
use towpath_storage::{Offset, TopicId};

use super::consumer::{Consumer, ConsumerId};
use super::create::CreateSubscription;
use super::inspected::Halt;
use super::partition::SubscriptionPartition;
use super::progress::LaneProgress;
use super::{Mode, Subscription, SubscriptionConfig, SubscriptionId};

/// What is told of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionDescription {
    /// Its number; none for one that was only validated.
    pub id: Option<SubscriptionId>,
    /// Its name.
    pub name: SubscriptionName,
    /// The topic whose records it gets.
    pub topic: TopicId,
    /// What it was asked to be.
    pub config: SubscriptionConfig,
    /// Whether it was paused.
    pub is_paused: bool,
    /// Broker time of its creation, milliseconds since the Unix epoch.
    pub create_time_ms: i64,
    /// How often it was changed.
    pub revision: u64,
    /// The topic of its dead letters; none for one that was only validated.
    pub dead_letter_topic: Option<TopicId>,
    /// Why something could last not be moved there.
    pub dead_letter_problem: Option<String>,
    /// How many consumers it has.
    pub consumer_count: usize,
    /// Its consumers, with whether each gets records.
    pub consumers: Vec<(ConsumerId, Consumer, bool)>,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionDescription>,
}

/// What is told of a partition of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionDescription {
    /// Everything below is settled or has a row.
    pub floor: Offset,
    /// The lowest offset that may still be needed.
    pub first_needed: Offset,
    /// Records at or beyond the floor that are settled, have rows, or that nobody is to get.
    pub beyond_floor_count: u64,
    /// Records that consumers have.
    pub in_flight_count: u64,
    /// Records that have rows.
    pub waiting_count: u64,
    /// Records that were gone before they were settled.
    pub skipped_count: u64,
    /// Records that the filter was not true of.
    pub filtered_count: u64,
    /// Records that the filter could not judge.
    pub unjudged_count: u64,
    /// Keys of which something is among the dead letters.
    pub parked_count: u64,
    /// Why nothing more is delivered from it.
    pub halt: Option<Halt>,
    /// Its dead letters.
    pub letters: Option<LaneProgress>,
    /// Those of them that are on their way back.
    pub redriven_count: u64,
}

impl SubscriptionDescription {
    /// What a subscription would be.
    pub fn of_wish(wish: &CreateSubscription) -> Self {
        Self {
            id: None,
            name: wish.name.clone(),
            topic: wish.topic,
            config: wish.config.clone(),
            is_paused: false,
            create_time_ms: 0,
            revision: 0,
            dead_letter_topic: None,
            dead_letter_problem: None,
            consumer_count: 0,
            consumers: Vec::new(),
            partitions: Vec::new(),
        }
    }
}

impl Subscription {
    /// Everything that is told of it.
    pub fn describe(&self) -> SubscriptionDescription {
        let holder = self.consumers.holder();
        let is_active = |id, consumer: &Consumer| match self.config.mode {
            Mode::Exclusive => holder == Some(id),
            Mode::KeyShared | Mode::Shared => consumer.session.is_some(),
        };
        let consumers = self.consumers.iter();
        let consumers = consumers.map(|(id, it)| (id, it.clone(), is_active(id, it)));
        let partitions = (0..self.topic_partition_count).zip(&self.partitions);
        let partitions = partitions.map(|(number, it)| self.describe_partition(number, it));
        SubscriptionDescription {
            consumers: consumers.collect(),
            partitions: partitions.collect(),
            ..self.summary()
        }
    }

    /// The same without consumers and partitions.
    pub fn summary(&self) -> SubscriptionDescription {
        SubscriptionDescription {
            id: Some(self.id),
            name: self.name.clone(),
            topic: self.topic,
            config: self.config.clone(),
            is_paused: self.is_paused,
            create_time_ms: self.create_time_ms,
            revision: self.revision,
            dead_letter_topic: Some(self.dead_letter_topic),
            dead_letter_problem: self.burial_problems.reason().cloned(),
            consumer_count: self.consumers.iter().count(),
            consumers: Vec::new(),
            partitions: Vec::new(),
        }
    }

    fn describe_partition(
        &self,
        number: u32,
        partition: &SubscriptionPartition,
    ) -> PartitionDescription {
        let leases = self.leases.iter();
        let leases = leases.filter(|(_, lease)| lease.partition == number);
        let judged = partition.judged_in_all();
        let lane = self.partitions.get(self.dead_lane(number) as usize);
        PartitionDescription {
            floor: partition.settled.floor(),
            first_needed: partition.first_needed(),
            beyond_floor_count: partition.settled.beyond_floor() + partition.passed_beyond_floor(),
            in_flight_count: leases
                .map(|(_, lease)| u64::from(lease.records.count_ones()))
                .sum(),
            waiting_count: partition.waiting.len() as u64,
            skipped_count: partition.skipped_count,
            filtered_count: judged.filtered_count,
            unjudged_count: judged.unjudged_count,
            parked_count: partition.parked.len() as u64,
            halt: partition.halt,
            letters: lane.map(SubscriptionPartition::progress),
            redriven_count: lane.map_or(0, |lane| lane.waiting.living_count()),
        }
    }
}
