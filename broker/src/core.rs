//! The broker's decisions: one deterministic state machine.
//!
//! `decide` functions take the state as it is and say what becomes of a command: rows and appends, or
//! a refusal. `apply` functions are the only place where the state changes; replay after a crash runs
//! them alone. Nothing here does I/O, reads a clock, draws a random number or waits.

mod append;
mod apply;
mod broker_time;
mod changes;
mod commit;
mod compaction;
mod group;
mod index_rows;
mod named_producer;
mod partition;
mod producer;
mod records;
mod retention;
mod row;
mod schedule;
mod subscription;
#[cfg(test)]
mod tests;
mod topic;
mod topic_config;

use std::collections::BTreeMap;

use towpath_proto::limits;
use towpath_proto::names::{GroupName, TopicName};
use towpath_storage::{PartitionRef, SegmentRef, TopicId};

pub use append::{AppendDecision, AppendRefusal, AppendRequest, SpendDecision};
pub use broker_time::{BrokerTime, TimeJump};
pub use commit::{
    CommitAppend, CommitDecision, CommitExpectation, CommitKey, CommitOffsets, CommitRefusalCause,
    CommitRefused, CommitSettlement, CommitWish, RepeatedCommit,
};
pub use compaction::{
    CompactTopic, CompactTopicRefusal, CompactedSegment, CompactionPlan, SegmentSwap, TombstoneRule,
};
pub use group::{
    AssignedPartition, Commit, CommitRefusal, CommitVerdict, DeleteGroupRefusal, Departure,
    Generation, Group, GroupActivity, GroupDecision, GroupEvent, GroupId, GroupNotice,
    GroupPartition, GroupSummary, JoinGroup, JoinRefusal, Member, MemberId, Owner, Presence,
    SeekGroup, SeekRefusal, SessionId, SoughtPartition, TopicStart,
};
pub use index_rows::is_index_row_needed;
pub use named_producer::{
    NamedProducer, NamedProducerId, OpenProducerRefusal, ProducerFenced, ProducerLife,
    ProducerNotFound,
};
pub use partition::{Partition, Segment};
pub use producer::{AcceptedBatch, Outcome, SequenceVerdict};
pub use records::{
    Admission, BatchFacts, ChangedKey, EntryRows, EventRow, ExpectedVersionMismatch, FindKey,
    IndexedTopic, KeyHead, KeyVersion, RECORD_ROW_BYTES, RecordFacts, Remembered, STALE_HEADER,
    UnwrittenCause, UnwrittenRecord, index_filter_key_bytes, record_hash,
};
pub use retention::{Expiry, Trim, TrimRefusal, TrimTopic};
pub use schedule::{
    CommitSchedule, DueRecord, FindSchedule, FireFailure, FoundSchedule, Refill, RescheduleRefusal,
    ScheduleCounts, ScheduleId, ScheduleKey, ScheduleLimit, ScheduleName, ScheduleNotFound,
    ScheduleRefusal, ScheduleStep, ScheduleTime, ScheduledRecord, is_schedule_row_needed,
    schedule_of_id,
};
pub use subscription::{
    BurialFailure, BurialWish, BuriedRecord, CaughtUp, Connect, ConnectRefusal, Consumer,
    ConsumerDeparture, ConsumerId, CreateDecision, CreateSubscription, CreateSubscriptionRefusal,
    Credit, DeadLetter, DeadLetterCounts, DeadLetterState, DeleteSubscription,
    DeleteSubscriptionRefusal, DeletedSubscription, DeliveredSpan, Delivery, DeliveryOutcome,
    ExplainedKey, Failure, FilterDoubt, FilterVerdict, HOLD_WARNING_PERCENT, Halt, HashKey, Hold,
    HoldEnd, InspectFailure, InspectWish, Inspected, InspectedRecord, KeyHash, LaneProgress,
    LettersFull, ListPending, Mode, Obstacle, OnDeadLetter, OnFilterError, OpenDeadLetter,
    OpenDeadLetters, Parking, PartitionDescription, PartitionFilters, PartitionHold, PendingPage,
    PendingPosition, PendingRecord, REDRIVEN_RECORDS_MAX, RecordExplanation, RecordFilter,
    RecordHolder, RecordPlace, RetryPolicy, SUBSCRIPTIONS_MAX, SeekSubscription,
    SeekSubscriptionRefusal, Settlement, SkippedRecords, SoughtSubscriptionPartition, Subscription,
    SubscriptionConfig, SubscriptionCounts, SubscriptionDecision, SubscriptionDescription,
    SubscriptionEvent, SubscriptionId, SubscriptionNotFound, SubscriptionNotice,
    SubscriptionProgress, SubscriptionRevision, UpdateSubscription, UpdateSubscriptionRefusal,
    WaitingRecord,
};
pub use topic::{
    CreateTopic, CreateTopicRefusal, DeleteTopicRefusal, Topic, TopicInUse, TopicNotFound,
    TopicRevision, TopicSettings, UpdateTopic, UpdateTopicRefusal,
};
pub use topic_config::{
    SettingChange, StaleRecords, TopicConfig, TopicConfigChange, TopicConfigError,
};

use changes::Changes;
use group::Groups;
use index_rows::IndexRows;
use named_producer::NamedProducers;
use producer::Producers;
use schedule::Schedules;
use subscription::Subscriptions;

/// Numbers that decisions depend on.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_field_names,
    reason = "each is a maximum of something else"
)]
pub struct CoreLimits {
    /// A segment is left when the next frame would make it longer, bytes.
    pub segment_bytes_max: u64,
    /// Most topics.
    pub topic_count_max: usize,
    /// Most partitions of all topics together.
    pub partition_count_max: usize,
    /// Rows about producers without a name beyond which the least recently used are forgotten, bytes.
    pub producer_rows_bytes_max: usize,
    /// The same for those with a name, without the names themselves.
    pub named_producer_rows_bytes_max: usize,
    /// Most names of producers.
    pub producer_name_count_max: usize,
    /// Producers without a name that were silent for longer are forgotten, milliseconds.
    pub producer_idle_ms_max: i64,
    /// For how long past the retention age of its topic a subscription holds what it has not settled,
    /// milliseconds.
    pub hold_ms_max: u64,
    /// How much past the retention of its topic a subscription holds, bytes.
    pub hold_bytes_max: u64,
    /// Scheduled records of which it is in memory where they stand.
    pub schedule_window_max: usize,
    /// Most scheduled records of one topic.
    pub scheduled_per_topic_max: u64,
    /// Most bytes of them.
    pub scheduled_bytes_per_topic_max: u64,
    /// Most scheduled records of all topics.
    pub scheduled_max: u64,
    /// Most bytes of them.
    pub scheduled_bytes_max: u64,
}

impl Default for CoreLimits {
    fn default() -> Self {
        Self {
            segment_bytes_max: 256 * 1024 * 1024,
            topic_count_max: limits::TOPICS_MAX as usize,
            partition_count_max: limits::PARTITIONS_MAX as usize,
            producer_rows_bytes_max: limits::PRODUCER_ROWS_BYTES_MAX,
            named_producer_rows_bytes_max: limits::NAMED_PRODUCER_ROWS_BYTES_MAX,
            producer_name_count_max: limits::PRODUCER_NAMES_MAX as usize,
            producer_idle_ms_max: 24 * 60 * 60 * 1000,
            hold_ms_max: limits::HOLD_AGE_MS_MAX,
            hold_bytes_max: limits::HOLD_BYTES_MAX,
            schedule_window_max: 16_384,
            scheduled_per_topic_max: limits::SCHEDULED_PER_TOPIC_MAX,
            scheduled_bytes_per_topic_max: limits::SCHEDULED_BYTES_PER_TOPIC_MAX,
            scheduled_max: limits::SCHEDULED_MAX,
            scheduled_bytes_max: limits::SCHEDULED_BYTES_MAX,
        }
    }
}

/// Everything that the broker knows and must not forget, except the records.
#[derive(Debug)]
pub struct State {
    limits: CoreLimits,
    /// Id of the next topic; ids are never used again.
    next_topic: u64,
    /// Number of the next group; numbers are never used again.
    next_group: u64,
    /// The highest generation of any group that was deleted. One that has its name later goes on behind
    /// it, so that a member which has missed that commits nothing.
    past_generation: u64,
    topics: BTreeMap<TopicId, Topic>,
    names: BTreeMap<TopicName, TopicId>,
    /// Topics that were deleted and whose files may still be there.
    dropped: BTreeMap<TopicId, TopicName>,
    /// Segments that were trimmed and whose files may still be there, with the bytes of their frames.
    dropped_segments: BTreeMap<SegmentRef, u64>,
    producers: Producers,
    named_producers: NamedProducers,
    groups: Groups,
    /// Number of the next subscription; numbers are never used again.
    next_subscription: u64,
    subscriptions: Subscriptions,
    /// How many commits had a key.
    next_commit: u64,
    schedules: Schedules,
    changes: Changes,
    index: IndexRows,
    /// Set from outside while the disk is nearly full; not durable.
    is_space_low: bool,
}

impl State {
    /// The state of a broker that holds nothing.
    pub fn new(limits: CoreLimits) -> Self {
        Self {
            schedules: Schedules::new(limits.schedule_window_max),
            limits,
            next_topic: 1,
            next_group: 1,
            past_generation: 0,
            topics: BTreeMap::new(),
            names: BTreeMap::new(),
            dropped: BTreeMap::new(),
            dropped_segments: BTreeMap::new(),
            producers: Producers::default(),
            named_producers: NamedProducers::default(),
            groups: Groups::default(),
            next_subscription: 1,
            subscriptions: Subscriptions::default(),
            next_commit: 0,
            changes: Changes::default(),
            index: IndexRows::default(),
            is_space_low: false,
        }
    }

    /// The numbers that decisions depend on.
    pub fn limits(&self) -> &CoreLimits {
        &self.limits
    }

    /// The topic of a name.
    pub fn topic_named(&self, name: &TopicName) -> Option<&Topic> {
        self.topics.get(self.names.get(name)?)
    }

    /// The topic with an id.
    pub fn topic(&self, id: TopicId) -> Option<&Topic> {
        self.topics.get(&id)
    }

    /// All topics, in the order of their ids.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.topics.values()
    }

    /// Names of all topics, in order.
    pub fn topic_names(&self) -> impl Iterator<Item = &TopicName> {
        self.names.keys()
    }

    /// One partition.
    pub fn partition(&self, partition: PartitionRef) -> Option<&Partition> {
        self.topics
            .get(&partition.topic)?
            .partition(partition.partition)
    }

    /// The group of a number.
    pub fn group(&self, id: GroupId) -> Option<&Group> {
        self.groups.get(id)
    }

    /// The group of a name.
    pub fn group_named(&self, name: &GroupName) -> Option<&Group> {
        self.groups.named(name)
    }

    /// Groups in the order of their names, from behind one of them.
    pub fn groups_after(&self, name: Option<&GroupName>) -> impl Iterator<Item = &Group> {
        self.groups.after(name)
    }

    /// All groups.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter()
    }

    /// Topics that were deleted and whose files have not been reported removed.
    pub fn dropped(&self) -> impl Iterator<Item = (TopicId, &TopicName)> {
        self.dropped.iter().map(|(id, name)| (*id, name))
    }

    /// Says whether the disk is nearly full.
    pub fn set_space_low(&mut self, is_low: bool) {
        self.is_space_low = is_low;
    }

    /// Rows that changed since the last checkpoint.
    pub fn changed_row_count(&self) -> usize {
        self.changes.len()
    }

    /// How many commits had a key.
    pub fn next_commit(&self) -> u64 {
        self.next_commit
    }

    /// Memory of index rows that changed since the last checkpoint, about, bytes.
    pub fn changed_index_bytes(&self) -> usize {
        self.index.current_bytes()
    }

    /// Checkpoints whose index rows are still in memory.
    pub fn index_checkpoint_count(&self) -> usize {
        self.index.taken_count()
    }

    /// Lets go of the index rows of the oldest of those checkpoints. It has to be done, and nobody may
    /// carry anything from the runs that were there before it.
    pub fn forget_index_rows(&mut self) {
        self.index.forget_oldest();
    }
}
