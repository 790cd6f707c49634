//! What a consumer of a group tells.

use std::ops::Deref;
use std::time::Duration;

use towpath_proto::ids::{Generation, Offset, PartitionId};
use towpath_proto::names::TopicName;

use crate::reader::BatchRecords;
use crate::{Batch, CaughtUp, Error, Gap, ReceivedRecord};

/// One thing that a consumer of a group has come to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum GroupItem {
    /// Records.
    Batch(GroupBatch),
    /// A partition was read to the end that it had when it was assigned; told once for each assignment.
    CaughtUp(CaughtUp),
    /// Offsets that hold no record any more. What comes next of the partition lies behind them.
    Gap(Gap),
    /// The consumer owns more partitions from now on.
    Assigned(Vec<AssignedPartition>),
    /// A partition cannot be read on; the others go on. Told once for each assignment.
    Stopped(StoppedPartition),
    /// Others are to get partitions; no more of their records come.
    Revoking(Revoking),
    /// The consumer does not own these any more: commits of them are refused.
    Lost(Vec<Assignment>),
}

/// A partition as it was assigned to this consumer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Assignment {
    /// Name of the topic.
    pub topic: TopicName,
    /// Number of the partition.
    pub partition: PartitionId,
    /// The change of owners with which this consumer got it.
    pub generation: Generation,
}

impl Assignment {
    /// A partition as a member learned it that speaks to the broker itself.
    pub const fn new(topic: TopicName, partition: PartitionId, generation: Generation) -> Self {
        Self {
            topic,
            partition,
            generation,
        }
    }
}

/// A partition that was assigned, and where it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AssignedPartition {
    /// Which.
    pub assignment: Assignment,
    /// Offset of the first record that the group has not committed.
    pub committed_offset: Offset,
    /// One past the last durable record.
    pub end_offset: Offset,
}

/// A partition that cannot be read on, such as one with damaged records. The consumer still owns it, and
/// nothing more of it comes until it is assigned again: after a seek, or to another member.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StoppedPartition {
    /// Which.
    pub assignment: Assignment,
    /// Why: with [`ErrorReason::LogCorrupt`](crate::ErrorReason::LogCorrupt) records are damaged, which
    /// the [`Gap`] before it names.
    pub error: Error,
}

/// Others are to get partitions: what was begun of them is to be finished and committed, and then they
/// are given back with [`GroupConsumer::give_back`](crate::GroupConsumer::give_back).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Revoking {
    /// Which.
    pub partitions: Vec<Assignment>,
    /// How long there is for that; afterwards the partitions are lost.
    pub grace: Duration,
}

/// Records of one partition, with the generation that commits of them name.
#[derive(Debug, Clone)]
pub struct GroupBatch {
    pub(super) batch: Batch,
    pub(super) generation: Generation,
}

impl GroupBatch {
    /// The generation in which the consumer owns the partition.
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// The records, in offset order.
    pub fn records(&self) -> GroupRecords {
        GroupRecords {
            records: self.batch.records(),
            assignment: self.assignment(),
        }
    }

    pub(super) fn assignment(&self) -> Assignment {
        Assignment {
            topic: self.batch.topic().clone(),
            partition: self.batch.partition(),
            generation: self.generation,
        }
    }
}

impl Deref for GroupBatch {
    type Target = Batch;

    fn deref(&self) -> &Batch {
        &self.batch
    }
}

impl IntoIterator for GroupBatch {
    type Item = GroupRecord;
    type IntoIter = GroupRecords;

    fn into_iter(self) -> GroupRecords {
        self.records()
    }
}

/// The records of a [`GroupBatch`], in offset order.
#[derive(Debug, Clone)]
pub struct GroupRecords {
    records: BatchRecords,
    assignment: Assignment,
}

impl GroupRecords {
    /// What the rest belongs to.
    pub(super) const fn assignment(&self) -> &Assignment {
        &self.assignment
    }

    /// What was not taken yet, as a batch; none if everything was.
    pub(super) fn into_rest(self) -> Option<GroupBatch> {
        let generation = self.assignment.generation;
        let batch = self.records.into_rest()?;
        Some(GroupBatch { batch, generation })
    }
}

impl Iterator for GroupRecords {
    type Item = GroupRecord;

    fn next(&mut self) -> Option<GroupRecord> {
        let record = self.records.next()?;
        let generation = self.assignment.generation;
        Some(GroupRecord { record, generation })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.records.size_hint()
    }
}

impl ExactSizeIterator for GroupRecords {}

/// A record, with the generation that a commit of it names.
#[derive(Debug, Clone)]
pub struct GroupRecord {
    record: ReceivedRecord,
    generation: Generation,
}

impl GroupRecord {
    /// The generation in which the consumer owns the partition.
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// The record without the generation.
    pub fn into_record(self) -> ReceivedRecord {
        self.record
    }

    pub(super) fn assignment(&self) -> Assignment {
        Assignment {
            topic: self.topic().clone(),
            partition: self.partition(),
            generation: self.generation,
        }
    }
}

impl Deref for GroupRecord {
    type Target = ReceivedRecord;

    fn deref(&self) -> &ReceivedRecord {
        &self.record
    }
}
