//! How subscriptions are written down.

use prost::Message;
use towpath_storage::{Offset, TopicId};

use super::dead::ParkedKey;
use super::filter::{OnFilterError, RecordFilter, SupersededFilter};
use super::keys::{HashKey, KeyHash};
use super::partition::SubscriptionPartition;
use super::settled::Block;
use super::waiting::{Failure, WaitingRecord};
use super::window::Judged;
use super::{Mode, OnDeadLetter, RetryPolicy, SubscriptionConfig};

/// Value of a subscription's row.
#[derive(Clone, PartialEq, Eq, Message)]
pub(in crate::core) struct SubscriptionRow {
    #[prost(string, tag = "1")]
    pub(in crate::core) name: String,
    #[prost(uint64, tag = "2")]
    pub(in crate::core) topic: u64,
    #[prost(int64, tag = "3")]
    pub(in crate::core) create_time_ms: i64,
    /// How often it was changed.
    #[prost(uint64, tag = "4")]
    pub(in crate::core) revision: u64,
    #[prost(uint32, tag = "5")]
    mode: u32,
    #[prost(uint32, tag = "6")]
    on_dead_letter: u32,
    #[prost(uint64, tag = "7")]
    backoff_ms_min: u64,
    #[prost(uint64, tag = "8")]
    backoff_ms_max: u64,
    #[prost(uint32, tag = "9")]
    attempts_max: u32,
    #[prost(uint64, optional, tag = "10")]
    age_ms_max: Option<u64>,
    #[prost(uint64, tag = "11")]
    ack_deadline_ms: u64,
    #[prost(string, optional, tag = "12")]
    filter: Option<String>,
    #[prost(bool, tag = "13")]
    pub(in crate::core) is_paused: bool,
    /// What keys are hashed with: 16 bytes.
    #[prost(bytes = "bytes", tag = "14")]
    hash_key: bytes::Bytes,
    /// Number of the topic of its dead letters.
    #[prost(uint64, tag = "15")]
    pub(in crate::core) dead_letter_topic: u64,
    /// How many partitions its topic has.
    #[prost(uint32, tag = "16")]
    pub(in crate::core) partition_count: u32,
    #[prost(uint32, tag = "30")]
    on_filter_error: u32,
}

const MODE_SHARED: u32 = 1;
const MODE_EXCLUSIVE: u32 = 2;
const ON_DEAD_LETTER_SKIP: u32 = 1;
const ON_FILTER_ERROR_DEAD_LETTER: u32 = 1;

impl SubscriptionRow {
    pub(super) fn new(
        name: &str,
        topic: TopicId,
        create_time_ms: i64,
        config: &SubscriptionConfig,
        hash_key: HashKey,
        dead_letter_topic: TopicId,
    ) -> Self {
        let RetryPolicy {
            backoff_ms_min,
            backoff_ms_max,
            attempts_max,
            age_ms_max,
        } = config.retry;
        Self {
            name: name.to_owned(),
            topic: topic.get(),
            create_time_ms,
            revision: 0,
            mode: match config.mode {
                Mode::KeyShared => 0,
                Mode::Shared => MODE_SHARED,
                Mode::Exclusive => MODE_EXCLUSIVE,
            },
            on_dead_letter: match config.on_dead_letter {
                OnDeadLetter::Park => 0,
                OnDeadLetter::Skip => ON_DEAD_LETTER_SKIP,
            },
            backoff_ms_min,
            backoff_ms_max,
            attempts_max,
            age_ms_max,
            ack_deadline_ms: config.ack_deadline_ms,
            filter: config.filter.clone(),
            is_paused: false,
            hash_key: hash_key.0.to_vec().into(),
            dead_letter_topic: dead_letter_topic.get(),
            partition_count: 0,
            on_filter_error: number_of(config.on_filter_error),
        }
    }

    pub(super) fn hash_key(&self) -> HashKey {
        HashKey(self.hash_key.as_ref().try_into().unwrap_or_default())
    }

    pub(super) fn config(&self) -> SubscriptionConfig {
        SubscriptionConfig {
            mode: match self.mode {
                MODE_SHARED => Mode::Shared,
                MODE_EXCLUSIVE => Mode::Exclusive,
                _ => Mode::KeyShared,
            },
            on_dead_letter: match self.on_dead_letter {
                ON_DEAD_LETTER_SKIP => OnDeadLetter::Skip,
                _ => OnDeadLetter::Park,
            },
            retry: RetryPolicy {
                backoff_ms_min: self.backoff_ms_min,
                backoff_ms_max: self.backoff_ms_max,
                attempts_max: self.attempts_max,
                age_ms_max: self.age_ms_max,
            },
            ack_deadline_ms: self.ack_deadline_ms,
            filter: self.filter.clone(),
            on_filter_error: on_filter_error(self.on_filter_error),
        }
    }
}

fn number_of(on_error: OnFilterError) -> u32 {
    match on_error {
        OnFilterError::Deliver => 0,
        OnFilterError::DeadLetter => ON_FILTER_ERROR_DEAD_LETTER,
    }
}

fn on_filter_error(number: u32) -> OnFilterError {
    match number {
        ON_FILTER_ERROR_DEAD_LETTER => OnFilterError::DeadLetter,
        _ => OnFilterError::Deliver,
    }
}

/// Value of the row of a filter that a subscription had before.
#[derive(Clone, PartialEq, Eq, Message)]
pub(in crate::core) struct SupersededFilterRow {
    #[prost(string, optional, tag = "1")]
    expression: Option<String>,
    #[prost(uint32, tag = "2")]
    on_error: u32,
    /// For each partition one past the last record that it holds for.
    #[prost(uint64, repeated, tag = "3")]
    ends: Vec<u64>,
}

impl SupersededFilter {
    pub(super) fn to_row(&self) -> SupersededFilterRow {
        SupersededFilterRow {
            expression: self.filter.expression.clone(),
            on_error: number_of(self.filter.on_error),
            ends: self.ends.iter().map(|end| end.get()).collect(),
        }
    }
}

impl SupersededFilterRow {
    pub(super) fn superseded(self) -> SupersededFilter {
        SupersededFilter {
            filter: RecordFilter {
                expression: self.expression,
                on_error: on_filter_error(self.on_error),
            },
            ends: self.ends.into_iter().map(Offset::new).collect(),
        }
    }
}

/// Value of the row of a partition of a subscription.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(in crate::core) struct SubscriptionPartitionRow {
    #[prost(uint64, tag = "1")]
    floor: u64,
    #[prost(uint64, tag = "2")]
    skipped_count: u64,
    /// How often it was moved: with each time nothing of what was known before counts.
    #[prost(uint64, tag = "3")]
    seek_count: u64,
    /// Records below the floor that the filter was not true of.
    #[prost(uint64, tag = "30")]
    filtered_count: u64,
    /// Records below the floor that it could not judge.
    #[prost(uint64, tag = "31")]
    unjudged_count: u64,
}

impl SubscriptionPartitionRow {
    /// The row of the partition when it was moved.
    pub(super) fn sought(self, to: Offset) -> Self {
        Self {
            floor: to.get(),
            seek_count: self.seek_count + 1,
            ..self
        }
    }

    pub(super) fn seek_count(&self) -> u64 {
        self.seek_count
    }

    pub(super) fn floor(&self) -> Offset {
        Offset::new(self.floor)
    }

    pub(super) fn set_floor(&mut self, floor: Offset) {
        self.floor = floor.get();
    }

    pub(super) fn skipped_count(&self) -> u64 {
        self.skipped_count
    }

    /// Counts records that were gone before they were settled.
    pub(super) fn skip(&mut self, count: u64) {
        self.skipped_count = self.skipped_count.saturating_add(count);
    }

    pub(super) fn judged(&self) -> Judged {
        Judged {
            filtered_count: self.filtered_count,
            unjudged_count: self.unjudged_count,
        }
    }

    /// Adds what a filter has sorted out of the records that the floor is moved over.
    pub(super) fn add_judged(&mut self, judged: Judged) {
        self.filtered_count += judged.filtered_count;
        self.unjudged_count += judged.unjudged_count;
    }
}

impl SubscriptionPartition {
    pub(super) fn to_row(&self) -> SubscriptionPartitionRow {
        SubscriptionPartitionRow {
            floor: self.settled.floor().get(),
            skipped_count: self.skipped_count,
            seek_count: self.seek_count,
            filtered_count: self.judged.filtered_count,
            unjudged_count: self.judged.unjudged_count,
        }
    }
}

/// Value of the row of a block of settled records.
#[derive(Clone, PartialEq, Eq, Message)]
pub(in crate::core) struct SettledBlockRow {
    /// A bit for each record, the first one lowest.
    #[prost(fixed64, repeated, tag = "1")]
    words: Vec<u64>,
}

pub(super) fn block_row(block: &Block) -> SettledBlockRow {
    SettledBlockRow {
        words: block.to_vec(),
    }
}

impl SettledBlockRow {
    pub(super) fn block(&self) -> Block {
        let mut block = Block::default();
        block
            .iter_mut()
            .zip(&self.words)
            .for_each(|(to, from)| *to = *from);
        block
    }
}

/// Value of the row of a key of which something is among the dead letters.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(in crate::core) struct ParkedKeyRow {
    #[prost(uint64, tag = "1")]
    count: u64,
    /// The highest offset of the source.
    #[prost(uint64, tag = "2")]
    highest: u64,
    /// The lowest offset among the dead letters.
    #[prost(uint64, tag = "3")]
    first_dead: u64,
    /// The highest one.
    #[prost(uint64, tag = "4")]
    last_dead: u64,
}

impl ParkedKey {
    pub(super) fn to_row(self) -> ParkedKeyRow {
        ParkedKeyRow {
            count: self.count,
            highest: self.highest.get(),
            first_dead: self.first_dead.get(),
            last_dead: self.last_dead.get(),
        }
    }
}

impl ParkedKeyRow {
    pub(super) fn key(self) -> ParkedKey {
        ParkedKey {
            count: self.count,
            highest: Offset::new(self.highest),
            first_dead: Offset::new(self.first_dead),
            last_dead: Offset::new(self.last_dead),
        }
    }
}

/// Value of the row of a record that waits.
#[derive(Clone, PartialEq, Eq, Message)]
pub(in crate::core) struct WaitingRecordRow {
    #[prost(fixed64, tag = "1")]
    key: u64,
    #[prost(uint32, tag = "2")]
    bytes: u32,
    #[prost(int64, tag = "3")]
    append_time_ms: i64,
    #[prost(uint32, tag = "4")]
    attempts: u32,
    #[prost(uint32, tag = "5")]
    failure_count: u32,
    #[prost(int64, tag = "6")]
    due_ms: i64,
    #[prost(bool, tag = "7")]
    is_suspect: bool,
    #[prost(string, optional, tag = "8")]
    death: Option<String>,
    #[prost(message, repeated, tag = "9")]
    failures: Vec<FailureRow>,
}

/// A failed attempt.
#[derive(Clone, PartialEq, Eq, Message)]
struct FailureRow {
    #[prost(int64, tag = "1")]
    time_ms: i64,
    #[prost(string, tag = "2")]
    reason: String,
    /// The delivery of which the consumer said so.
    #[prost(uint64, optional, tag = "3")]
    delivery: Option<u64>,
}

impl WaitingRecord {
    pub(super) fn to_row(&self) -> WaitingRecordRow {
        let failures = self.failures.iter().map(|it| FailureRow {
            time_ms: it.time_ms,
            reason: it.reason.clone(),
            delivery: it.delivery,
        });
        WaitingRecordRow {
            key: self.key.0,
            bytes: self.bytes,
            append_time_ms: self.append_time_ms,
            attempts: self.attempts,
            failure_count: self.failure_count,
            due_ms: self.due_ms,
            is_suspect: self.is_suspect,
            death: self.death.clone(),
            failures: failures.collect(),
        }
    }
}

impl WaitingRecordRow {
    pub(super) fn record(self) -> WaitingRecord {
        let failures = self.failures.into_iter().map(|it| Failure {
            time_ms: it.time_ms,
            reason: it.reason,
            delivery: it.delivery,
        });
        WaitingRecord {
            key: KeyHash(self.key),
            bytes: self.bytes,
            append_time_ms: self.append_time_ms,
            attempts: self.attempts,
            failure_count: self.failure_count,
            due_ms: self.due_ms,
            is_suspect: self.is_suspect,
            death: self.death,
            failures: failures.collect(),
        }
    }
}
