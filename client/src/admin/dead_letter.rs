//! Dead letters as they are shown and chosen.

mod filter;
mod job;
mod list;

use std::time::SystemTime;

use towpath_proto::ids::{Offset, PartitionId};
use towpath_proto::v1;

use crate::time::from_ms;
use crate::{Error, Record};

pub use filter::DeadLetterFilter;
pub use job::{DeadLetterJob, DeadLetterProgress, DiscardDeadLetters, RedriveDeadLetters};
pub use list::DeadLetterList;

/// A record among the dead letters of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Its partition, in the topic of the dead letters and in the one it comes from.
    pub partition: PartitionId,
    /// Its offset in the topic of the dead letters.
    pub offset: Offset,
    /// Where it stands.
    pub state: DeadLetterState,
    /// Why it is there.
    pub kind: DeadLetterKind,
    /// When it came there, by the broker's clock.
    pub death_time: SystemTime,
    /// Name of the topic that it comes from; empty if somebody else has written it there.
    pub origin_topic: String,
    /// Its offset there.
    pub origin_offset: Offset,
    /// When it was appended there, by the broker's clock.
    pub origin_append_time: SystemTime,
    /// Failed attempts that counted.
    pub attempts: u32,
    /// Why it is dead; empty for one that is parked.
    pub reason: String,
    /// The latest failed attempts, oldest first.
    pub failures: Vec<FailedAttempt>,
    /// What became of it since it was redriven, oldest first.
    pub redrive_failures: Vec<FailedAttempt>,
    /// It was redriven, and this dead letter of its key, in the same partition, is dead again: nothing
    /// becomes of it until that one is redriven or discarded.
    pub behind_offset: Option<Offset>,
    /// The record as it was, with as much of its value as was asked for.
    pub record: Record,
    /// Length of its value, in bytes.
    pub value_bytes: u64,
}

/// Where a dead letter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeadLetterState {
    /// It waits for somebody to redrive or to discard it.
    Dead,
    /// It was given back to the subscription, and is not settled yet.
    Redriven,
    /// One that this version does not know.
    Unknown,
}

/// Why a record is among the dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeadLetterKind {
    /// Its attempts are spent, it is too old, or a consumer has said that it cannot be handled.
    Dead,
    /// A record of its key before it is dead.
    Parked,
    /// One that this version does not know.
    Unknown,
}

/// An attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedAttempt {
    /// When, by the broker's clock.
    pub time: SystemTime,
    /// Why, as its consumer said.
    pub reason: String,
}

impl DeadLetter {
    fn from_proto(letter: v1::DeadLetter) -> Result<Self, Error> {
        let state = match letter.state() {
            v1::DeadLetterState::Dead => DeadLetterState::Dead,
            v1::DeadLetterState::Redriven => DeadLetterState::Redriven,
            v1::DeadLetterState::Unspecified => DeadLetterState::Unknown,
        };
        let kind = match letter.kind() {
            v1::DeadLetterKind::Dead => DeadLetterKind::Dead,
            v1::DeadLetterKind::Parked => DeadLetterKind::Parked,
            v1::DeadLetterKind::Unspecified => DeadLetterKind::Unknown,
        };
        let text = "the broker sent a dead letter without its record";
        let record = letter.record.ok_or_else(|| Error::protocol(text))?;
        let failed = |it: v1::FailedAttempt| FailedAttempt {
            time: from_ms(it.time_ms),
            reason: it.reason,
        };
        Ok(Self {
            partition: PartitionId::new(letter.partition),
            offset: Offset::new(letter.offset),
            state,
            kind,
            death_time: from_ms(letter.death_time_ms),
            origin_topic: letter.origin_topic,
            origin_offset: Offset::new(letter.origin_offset),
            origin_append_time: from_ms(letter.origin_append_time_ms),
            attempts: letter.attempts,
            reason: letter.reason,
            failures: letter.failures.into_iter().map(failed).collect(),
            redrive_failures: letter.redrive_failures.into_iter().map(failed).collect(),
            behind_offset: letter.behind_offset.map(Offset::new),
            record: Record::from_proto(record),
            value_bytes: letter.value_bytes,
        })
    }
}
