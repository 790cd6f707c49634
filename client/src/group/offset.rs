//! How far a consumer is: what a commit names.

use towpath_proto::ids::{Generation, Offset, PartitionId};
use towpath_proto::names::TopicName;

use super::item::{Assignment, GroupBatch, GroupRecord};

/// How far a consumer is in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupOffset {
    topic: TopicName,
    partition: PartitionId,
    generation: Generation,
    offset: Offset,
}

impl GroupOffset {
    /// Everything of this assignment below `offset` was handled.
    pub fn new(assignment: &Assignment, offset: Offset) -> Self {
        Self {
            topic: assignment.topic.clone(),
            partition: assignment.partition,
            generation: assignment.generation,
            offset,
        }
    }

    /// Name of the topic.
    pub const fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// Number of the partition.
    pub const fn partition(&self) -> PartitionId {
        self.partition
    }

    /// The generation in which the consumer got the partition.
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// Offset of the first record that was not handled.
    pub const fn offset(&self) -> Offset {
        self.offset
    }
}

/// What can be committed: a record or a batch, which stand for everything up to and including them, and
/// offsets.
pub trait ToGroupOffsets {
    /// How far the consumer is.
    fn to_group_offsets(&self) -> Vec<GroupOffset>;
}

impl ToGroupOffsets for GroupRecord {
    fn to_group_offsets(&self) -> Vec<GroupOffset> {
        vec![GroupOffset::new(&self.assignment(), self.offset().next())]
    }
}

impl ToGroupOffsets for GroupBatch {
    fn to_group_offsets(&self) -> Vec<GroupOffset> {
        vec![GroupOffset::new(&self.assignment(), self.offsets().end())]
    }
}

impl ToGroupOffsets for GroupOffset {
    fn to_group_offsets(&self) -> Vec<GroupOffset> {
        vec![self.clone()]
    }
}

impl ToGroupOffsets for [GroupOffset] {
    fn to_group_offsets(&self) -> Vec<GroupOffset> {
        self.to_vec()
    }
}

impl ToGroupOffsets for Vec<GroupOffset> {
    fn to_group_offsets(&self) -> Vec<GroupOffset> {
        self.clone()
    }
}
