//! Durable subscriptions as they are shown, and what may be said to change them.

mod change;
mod config;
mod explain;
mod new;
mod pending;

use std::time::{Duration, SystemTime};

use towpath_proto::ids::{Lsn, Offset, PartitionId, TopicId};
use towpath_proto::names::{SubscriptionName, TopicName};
use towpath_proto::v1;

use super::hex;
use crate::Error;
use crate::time::from_ms;

pub use change::{
    SoughtSubscriptionPartition, SubscriptionDeletion, SubscriptionSeek, SubscriptionUpdate,
};
pub use config::{OnDeadLetter, OnFilterError, SubscriptionConfig, SubscriptionMode};
pub use explain::{FilterVerdict, Obstacle, ObstacleKind, RecordExplanation};
pub use new::{CreatedSubscription, NewSubscription};
pub use pending::{PendingList, PendingPage, PendingRecord, RecordHolder, RecordState};

/// A durable subscription.
#[expect(clippy::struct_field_names, reason = "an id says of what it is")]
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subscription {
    /// Name of the subscription.
    pub name: SubscriptionName,
    /// Which life of the name this is; 0 for a dry run of a creation.
    pub subscription_id: u64,
    /// Name of the topic whose records it gets.
    pub topic: TopicName,
    /// Which life of the topic's name that is.
    pub topic_id: TopicId,
    /// Its settings.
    pub config: SubscriptionConfig,
    /// Whether it was paused.
    pub is_paused: bool,
    /// When it was created, by the broker's clock.
    pub create_time: SystemTime,
    /// Changes with every change of the settings, for [`SubscriptionUpdate::if_unchanged`]; empty for a
    /// dry run of a creation.
    ///
    /// [`SubscriptionUpdate::if_unchanged`]: crate::SubscriptionUpdate::if_unchanged
    pub etag: String,
    /// Number of its consumers.
    pub consumer_count: u32,
    /// Every consumer; none in a list of subscriptions.
    pub consumers: Vec<SubscriptionConsumer>,
    /// Every partition, by number; none in a list of subscriptions.
    pub partitions: Vec<SubscriptionPartition>,
    /// Name of the topic of its dead letters; none once that was deleted, and for a dry run of a creation.
    pub dead_letter_topic: Option<TopicName>,
    /// Why something could last not be moved there, for people: it stays where it is and is tried again.
    /// None while nothing waits for that.
    pub dead_letter_problem: Option<String>,
    /// Bytes that its topic keeps past its retention because the subscription has not settled them; 0 in a
    /// list of subscriptions.
    pub held_bytes: u64,
    /// What it holds past the retention of its topic of what it may, in percent; at 100 records are let go
    /// of unsettled. 0 in a list of subscriptions.
    pub held_percent: u32,
    /// What an operator should know of that, from 80 percent on.
    pub hold_warning: Option<String>,
    /// The durable LSN that the offsets of the partitions belong to; 0 without partitions.
    pub lsn: Lsn,
}

/// Somebody who receives.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriptionConsumer {
    /// The id that it drew, as 32 hexadecimal digits.
    pub consumer_id: String,
    /// What it calls itself.
    pub client_name: String,
    /// When it connected, by the broker's clock.
    pub connect_time: SystemTime,
    /// Whether it is connected; otherwise what it has comes back when its deadline is over.
    pub is_connected: bool,
    /// Records that it has.
    pub in_flight_records: u64,
    /// Whether it gets records; of an exclusive subscription all but one wait.
    pub is_active: bool,
}

/// How far a subscription is in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriptionPartition {
    /// Number of the partition.
    pub partition: PartitionId,
    /// Everything below is settled, or waits for another attempt.
    pub floor_offset: Offset,
    /// The lowest offset that may still be read.
    pub log_start_offset: Offset,
    /// One past the last durable record.
    pub end_offset: Offset,
    /// Records that are not settled.
    pub lag_records: u64,
    /// How long ago the first of them was appended; zero where there is none.
    pub lag: Duration,
    /// Records that consumers have.
    pub in_flight_records: u64,
    /// Records that wait for another attempt, or behind one of their key that does.
    pub waiting_records: u64,
    /// Keys of which something is among the dead letters, so that what comes follows.
    pub parked_keys: u64,
    /// Its dead letters that are not settled, also those that were redriven.
    pub dead_letters: u64,
    /// Those of them that were redriven, and are delivered or wait for that.
    pub redriven_records: u64,
    /// Records that were gone before they were settled.
    pub skipped_records: u64,
    /// Bytes kept past the retention of the topic because the subscription has not settled them.
    pub held_bytes: u64,
    /// For how long the oldest of them is past the retention age; zero for a topic without one.
    pub held: Duration,
    /// Records that the filter was not true of, since the subscription was created.
    pub filtered_records: u64,
    /// Records that the filter could not judge, counted alike.
    pub unjudged_records: u64,
    /// Why nothing more is delivered from it; none while it goes on.
    pub halt_reason: Option<String>,
}

impl Subscription {
    pub(super) fn from_proto(subscription: Option<v1::Subscription>) -> Result<Self, Error> {
        let text = "the answer holds no subscription";
        let subscription = subscription.ok_or_else(|| Error::protocol(text))?;
        let name = SubscriptionName::new(&subscription.name).map_err(|error| {
            Error::protocol("the broker sent a bad subscription name").because(error)
        })?;
        let topic = topic_name(&subscription.topic)?;
        let dead_letter_topic = match subscription.dead_letter_topic.as_str() {
            "" => None,
            name => Some(topic_name(name)?),
        };
        let consumers = subscription.consumers.into_iter();
        let partitions = subscription.partitions.into_iter();
        Ok(Self {
            name,
            subscription_id: subscription.subscription_id,
            topic,
            topic_id: TopicId::new(subscription.topic_id),
            config: SubscriptionConfig::from_proto(subscription.config.unwrap_or_default()),
            is_paused: subscription.is_paused,
            create_time: from_ms(subscription.create_time_ms),
            etag: subscription.etag,
            consumer_count: subscription.consumer_count,
            consumers: consumers.map(SubscriptionConsumer::from_proto).collect(),
            partitions: partitions.map(SubscriptionPartition::from_proto).collect(),
            dead_letter_topic,
            dead_letter_problem: unless_empty(subscription.dead_letter_problem),
            held_bytes: subscription.held_bytes,
            held_percent: subscription.held_percent,
            hold_warning: unless_empty(subscription.hold_warning),
            lsn: Lsn::ZERO,
        })
    }

    pub(super) const fn at(mut self, lsn: u64) -> Self {
        self.lsn = Lsn::new(lsn);
        self
    }
}

impl SubscriptionConsumer {
    fn from_proto(consumer: v1::SubscriptionConsumer) -> Self {
        Self {
            consumer_id: hex(&consumer.consumer_id),
            client_name: consumer.client_name,
            connect_time: from_ms(consumer.connect_time_ms),
            is_connected: consumer.is_connected,
            in_flight_records: consumer.in_flight_records,
            is_active: consumer.is_active,
        }
    }
}

impl SubscriptionPartition {
    fn from_proto(partition: v1::SubscriptionPartition) -> Self {
        Self {
            partition: PartitionId::new(partition.partition),
            floor_offset: Offset::new(partition.floor_offset),
            log_start_offset: Offset::new(partition.log_start_offset),
            end_offset: Offset::new(partition.end_offset),
            lag_records: partition.lag_records,
            lag: Duration::from_millis(partition.lag_ms),
            in_flight_records: partition.in_flight_records,
            waiting_records: partition.waiting_records,
            parked_keys: partition.parked_keys,
            dead_letters: partition.dead_letters,
            redriven_records: partition.redriven_records,
            skipped_records: partition.skipped_records,
            filtered_records: partition.filtered_records,
            unjudged_records: partition.unjudged_records,
            halt_reason: unless_empty(partition.halt_reason),
            held_bytes: partition.held_bytes,
            held: Duration::from_millis(partition.held_ms),
        }
    }
}

fn topic_name(name: &str) -> Result<TopicName, Error> {
    TopicName::new(name)
        .map_err(|error| Error::protocol("the broker sent a bad topic name").because(error))
}

fn unless_empty(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}
