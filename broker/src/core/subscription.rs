//! Durable subscriptions: who gets which record, and what becomes of it.
//!
//! Of each partition a subscription knows which records are *settled*, which *wait* for another attempt or
//! behind one of their key that does, and which are in its *window*: inspected, ready or with a
//! consumer. A record is in exactly one of these places. Settled ones and those that wait are rows;
//! windows, leases and consumers are volatile: after a restart everything that was with a consumer is
//! ready again, and no attempt is counted for it.
//!
//! In the ordered modes a key is with one consumer at a time, in runs of a few records, and what comes
//! behind a record that waits stays behind it. Nothing else waits for it.

mod apply;
#[cfg(test)]
mod audit;
mod burial_failure;
mod caught_up;
mod change;
mod connect;
mod consumer;
mod create;
mod dead;
mod delete;
mod deliver;
mod description;
mod entry;
mod expire;
mod explain;
mod filter;
mod hand_over;
mod hold;
mod inspected;
mod keys;
mod lease;
mod leased;
mod let_go;
mod open_letters;
mod partition;
mod pass;
mod pending;
mod progress;
mod recently_dead;
mod redrive;
mod repeat;
mod retry;
mod rows;
mod settle;
mod settled;
mod subscriptions;
mod suspects;
#[cfg(test)]
mod tests;
mod unreadable;
mod waiting;
mod window;

use std::collections::BTreeMap;
use std::fmt;

use towpath_proto::names::SubscriptionName;
use towpath_storage::{Offset, OffsetRange, Row, TopicId};

use super::group::SessionId;
use burial_failure::BurialProblems;
use caught_up::Spell;
use consumer::Consumers;
use filter::SupersededFilter;
use lease::Leases;
use let_go::Leaving;
use partition::SubscriptionPartition;
use repeat::RecentlyGivenBack;
use retry::OutageWatch;
use suspects::Suspicion;

pub use burial_failure::BurialFailure;
pub use caught_up::CaughtUp;
pub use change::{
    SeekSubscription, SeekSubscriptionRefusal, SoughtSubscriptionPartition, SubscriptionRevision,
    UpdateSubscription, UpdateSubscriptionRefusal,
};
pub use connect::{Connect, ConnectRefusal, ConsumerDeparture};
pub use consumer::{Consumer, ConsumerId, Credit};
pub use create::{
    CreateDecision, CreateSubscription, CreateSubscriptionRefusal, SUBSCRIPTIONS_MAX,
};
pub use dead::{BurialWish, BuriedRecord, LettersFull};
pub use delete::{
    DeleteSubscription, DeleteSubscriptionRefusal, DeletedSubscription, SubscriptionNotFound,
};
pub use description::{PartitionDescription, SubscriptionDescription};
pub use explain::{ExplainedKey, Obstacle, Parking, RecordExplanation};
pub use filter::{FilterDoubt, FilterVerdict, OnFilterError, PartitionFilters, RecordFilter};
pub use hold::{HOLD_WARNING_PERCENT, Hold, HoldEnd, PartitionHold};
pub use inspected::{Halt, InspectFailure, Inspected};
pub use keys::{HashKey, KeyHash};
pub use open_letters::{OpenDeadLetter, OpenDeadLetters};
pub use pending::{
    ListPending, PendingPage, PendingPosition, PendingRecord, RecordHolder, RecordPlace,
};
pub use progress::{LaneProgress, SubscriptionCounts, SubscriptionProgress};
pub use redrive::{DeadLetter, DeadLetterCounts, DeadLetterState, REDRIVEN_RECORDS_MAX};
pub use retry::RetryPolicy;
pub use settle::{DeliveryOutcome, Settlement};
pub(super) use subscriptions::Subscriptions;
pub use waiting::{Failure, WaitingRecord};
pub use window::InspectedRecord;

/// Number of a subscription; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(u64);

impl SubscriptionId {
    /// Wraps a number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who gets records, and in which order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// Any consumer; the records of one key one after the other.
    #[default]
    KeyShared,
    /// Any consumer, in no order.
    Shared,
    /// One consumer at a time; the records of one key one after the other.
    Exclusive,
}

impl Mode {
    /// Whether the records of a key are handled in their order.
    pub fn is_ordered(self) -> bool {
        match self {
            Self::KeyShared | Self::Exclusive => true,
            Self::Shared => false,
        }
    }
}

/// What becomes of the later records of a key of which one is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDeadLetter {
    /// They go to the dead letters as well, in order, until the key is redriven or discarded.
    Park,
    /// They are delivered.
    Skip,
}

/// What a subscription was asked to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionConfig {
    /// Who gets records.
    pub mode: Mode,
    /// What dead letters do to their key.
    pub on_dead_letter: OnDeadLetter,
    /// When what failed is tried again.
    pub retry: RetryPolicy,
    /// How long a consumer may keep a record before it says more of it, milliseconds.
    pub ack_deadline_ms: u64,
    /// Which records are delivered: an expression; none for all.
    pub filter: Option<String>,
    /// What becomes of records that the filter cannot judge.
    pub on_filter_error: OnFilterError,
}

/// One subscription.
#[derive(Debug)]
pub struct Subscription {
    id: SubscriptionId,
    name: SubscriptionName,
    topic: TopicId,
    /// Broker time of its creation, milliseconds since the Unix epoch.
    create_time_ms: i64,
    /// How often it was changed.
    revision: u64,
    config: SubscriptionConfig,
    hash_key: HashKey,
    /// Filters that it had before and that still hold for some records, by the revision that was theirs.
    superseded: BTreeMap<u64, SupersededFilter>,
    is_paused: bool,
    /// How many partitions its topic has.
    topic_partition_count: u32,
    /// By number; behind the partitions of the topic those of its dead letters, each a lane of records that
    /// are delivered again.
    partitions: Vec<SubscriptionPartition>,
    consumers: Consumers,
    leases: Leases,
    outage: OutageWatch,
    /// Number of the next delivery: never used again, also not after a restart.
    next_delivery: u64,
    /// The partition that is served next.
    next_partition: u32,
    suspicion: Suspicion,
    given_back: RecentlyGivenBack,
    spell: Spell,
    /// The topic of its dead letters.
    dead_letter_topic: TopicId,
    burial_problems: BurialProblems,
    leaving: Leaving,
    /// What it has done. Volatile.
    counts: SubscriptionCounts,
}

/// Records that were delivered together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// To be named when they are settled.
    pub number: u64,
    /// Number of the partition.
    pub partition: u32,
    /// Which, ascending.
    pub spans: Vec<DeliveredSpan>,
}

/// Adjacent records in the same attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveredSpan {
    /// Which.
    pub range: OffsetRange,
    /// Number of this attempt at each of them, from 1.
    pub attempt: u32,
}

/// What a consumer is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubscriptionEvent {
    /// It has records.
    Delivered(Delivery),
    /// It has these records no more.
    Lost {
        /// Number of the partition.
        partition: u32,
        /// Which.
        ranges: Vec<OffsetRange>,
    },
    /// These records are gone, and nobody gets them.
    Skipped(SkippedRecords),
    /// Nothing can be handed out to it now.
    CaughtUp(CaughtUp),
    /// Another connection of the same consumer has taken over.
    Replaced,
    /// The subscription was deleted.
    Deleted,
}

/// Records that are gone without having been settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SkippedRecords {
    /// Number of the partition.
    pub partition: u32,
    /// Where they were: between others that were settled, or are dead.
    pub range: OffsetRange,
    /// How many they were.
    pub count: u64,
}

/// Something to be told to a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionNotice {
    /// To whom.
    pub session: SessionId,
    /// What.
    pub event: SubscriptionEvent,
}

/// Records that are to be inspected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InspectWish {
    /// Its number, to be named with what was found.
    pub number: u64,
    /// Number of the partition.
    pub partition: u32,
    /// From here on.
    pub start: Offset,
    /// Most records.
    pub count_max: u64,
}

/// A decision about subscriptions: what is journaled, and what follows once that is durable.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SubscriptionDecision {
    /// Rows of one entry; none if nothing durable changes.
    pub rows: Vec<Row>,
    /// What consumers are told, in order.
    pub notices: Vec<SubscriptionNotice>,
    /// What is to be inspected.
    pub inspections: Vec<InspectWish>,
    /// What goes to the dead letters.
    pub burials: Vec<BurialWish>,
    /// What is gone.
    pub skipped: Vec<SkippedRecords>,
    /// Records of words that leave the window and whose rows are not written yet, by partition.
    done: BTreeMap<u32, Vec<(u64, u64)>>,
    /// Dead letters that are settled, by the partition of the source and the key.
    freed: BTreeMap<(u32, KeyHash), u64>,
}

impl SubscriptionDecision {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
            && self.notices.is_empty()
            && self.inspections.is_empty()
            && self.burials.is_empty()
            && self.skipped.is_empty()
    }
}

impl Subscription {
    /// Its number.
    pub fn id(&self) -> SubscriptionId {
        self.id
    }

    /// Its name.
    pub fn name(&self) -> &SubscriptionName {
        &self.name
    }

    /// The topic whose records it gets.
    pub fn topic(&self) -> TopicId {
        self.topic
    }

    /// What it was asked to be.
    pub fn config(&self) -> &SubscriptionConfig {
        &self.config
    }

    /// The topic of its dead letters.
    pub fn dead_letter_topic(&self) -> TopicId {
        self.dead_letter_topic
    }

    /// What keys are hashed with.
    pub fn hash_key(&self) -> HashKey {
        self.hash_key
    }

    /// How many partitions its topic has.
    pub fn partition_count(&self) -> u32 {
        self.topic_partition_count
    }

    fn partition_mut(&mut self, number: u32) -> Option<&mut SubscriptionPartition> {
        self.partitions.get_mut(number as usize)
    }
}
