//! What the sequencer is asked about scheduled records, and how it answers.

use std::convert::Infallible;

use bytes::Bytes;
use towpath_storage::{PartitionRef, TopicId};

use super::command::{Answer, CarriedFacts, CommandError, Permits, fail, row_bytes_of, send};
use super::index_view::IndexSnapshot;
use crate::core::{
    AppendRequest, FindSchedule, Refill, RescheduleRefusal, ScheduleCounts, ScheduleKey,
    ScheduleNotFound, ScheduleTime,
};

/// Something about scheduled records that appends nothing.
#[derive(Debug)]
pub enum ScheduleCommand {
    /// Those that are due next were read from the disk; none if that failed.
    Refilled {
        /// What was found.
        refill: Option<Refill>,
        /// Where.
        snapshot: IndexSnapshot,
    },
    /// Take one away.
    Cancel {
        /// Which.
        wish: FindSchedule,
        /// Where it was looked up.
        snapshot: IndexSnapshot,
        /// Where the answer goes: where it stood.
        answer: Answer<ScheduleKey, ScheduleNotFound>,
    },
    /// Tell what changed of late.
    List {
        /// From where on.
        from: ScheduleKey,
        /// Whose sums are told; none for those of all topics.
        topic: Option<TopicId>,
        /// How many at most.
        count_max: usize,
        /// Where the answer goes.
        answer: Answer<ScheduleChanges, Infallible>,
    },
}

/// What became of late of the scheduled records from some place on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleChanges {
    /// In order: the row of each, none for one that is gone.
    pub changed: Vec<(ScheduleKey, Option<Bytes>)>,
    /// Those before it are all; none for all that there are.
    pub until: Option<ScheduleKey>,
    /// What is scheduled in the topic that was asked for, or in all.
    pub counts: ScheduleCounts,
}

/// A scheduled record that becomes due at another time.
#[derive(Debug)]
pub struct RescheduleCommand {
    /// Which.
    pub wish: FindSchedule,
    /// When.
    pub when: ScheduleTime,
    /// Where it was looked up.
    pub snapshot: IndexSnapshot,
    /// Where the answer goes: where it stands then.
    pub answer: Answer<ScheduleKey, RescheduleRefusal>,
    /// What it holds of the memory for waiting batches.
    pub permits: Permits,
}

impl RescheduleCommand {
    /// Room that its rows take in an entry at most, bytes.
    pub(super) fn row_bytes(&self, record_bytes_max: usize) -> usize {
        let on_disk = self.wish.record_on_disk.as_ref();
        // One that is not on disk was changed of late, and may be as long as any.
        SCHEDULED_ROW_BYTES + on_disk.map_or(record_bytes_max, Bytes::len)
    }
}

/// What the rows of a scheduled record take at most beside the record and its id.
pub(super) const SCHEDULED_ROW_BYTES: usize = 512;
/// What the rows take at most that take one away.
pub(super) const FIRED_ROW_BYTES: usize = 128;

/// Due records that are ready to be appended.
#[derive(Debug)]
pub struct Fire {
    /// A batch for each partition, with its bytes.
    pub batches: Vec<(AppendRequest, Bytes)>,
    /// The records of each batch.
    pub keys: Vec<Vec<ScheduleKey>>,
    /// Records that could not be read.
    pub unreadable: Vec<ScheduleKey>,
    /// What the records say, if one of their topics looks at them.
    pub facts: Option<Box<CarriedFacts>>,
}

impl Fire {
    /// All records that are appended.
    pub(super) fn all_keys(&self) -> Vec<ScheduleKey> {
        self.keys.iter().flatten().copied().collect()
    }

    /// Room that its rows take in an entry at most, bytes.
    pub(super) fn row_bytes(&self) -> usize {
        let counts = self.keys.iter().map(Vec::len);
        // Beside one row for each topic there is one for each record.
        let taken = (counts.sum::<usize>() + self.batches.len()) * FIRED_ROW_BYTES;
        taken + row_bytes_of(self.facts.as_deref())
    }

    /// The records of a partition.
    pub(super) fn keys_of(&self, partition: PartitionRef) -> &[ScheduleKey] {
        let batches = self.batches.iter().zip(&self.keys);
        let mut found = batches.filter(|((request, _), _)| request.partition == partition);
        found.next().map_or(&[], |(_, keys)| keys)
    }
}

/// An answer that rests on what is not durable yet.
#[derive(Debug)]
pub(super) enum AnsweredSchedule {
    Cancel(
        Answer<ScheduleKey, ScheduleNotFound>,
        Result<ScheduleKey, ScheduleNotFound>,
    ),
    Reschedule(
        Answer<ScheduleKey, RescheduleRefusal>,
        Result<ScheduleKey, RescheduleRefusal>,
    ),
    List(Answer<ScheduleChanges, Infallible>, ScheduleChanges),
}

impl ScheduleCommand {
    /// Answers that the broker stops, or that the disk failed.
    pub(super) fn fail(self, is_begun: bool) {
        match self {
            Self::Refilled { .. } => {}
            Self::Cancel { answer, .. } => fail(answer, is_begun),
            Self::List { answer, .. } => fail(answer, is_begun),
        }
    }
}

impl AnsweredSchedule {
    pub(super) fn send(self) {
        match self {
            Self::Cancel(answer, result) => send(answer, result.map_err(CommandError::Refused)),
            Self::Reschedule(answer, result) => send(answer, result.map_err(CommandError::Refused)),
            Self::List(answer, changes) => send(answer, Ok(changes)),
        }
    }

    pub(super) fn fail(self) {
        match self {
            Self::Cancel(answer, _) => send(answer, Err(CommandError::Failed)),
            Self::Reschedule(answer, _) => send(answer, Err(CommandError::Failed)),
            Self::List(answer, _) => send(answer, Err(CommandError::Failed)),
        }
    }
}
