//! Topics and their partitions: creating, deleting, rolling.

use towpath_proto::limits::PARTITIONS_PER_TOPIC_MAX;
use towpath_proto::names::TopicName;
use towpath_storage::{ActiveSegment, Offset, PartitionRef, Row, TopicId};

use super::State;
use super::row::{BrokerRow, DroppedRow, PartitionRow, RowId, TopicRow};

/// A named set of partitions.
#[derive(Debug)]
pub struct Topic {
    pub(super) id: TopicId,
    pub(super) name: TopicName,
    pub(super) create_time_ms: i64,
    pub(super) partitions: Vec<Partition>,
}

impl Topic {
    pub(super) fn from_row(id: TopicId, name: TopicName, row: &TopicRow) -> Self {
        let partitions = (0..row.partition_count)
            .map(|_| Partition::default())
            .collect();
        Self {
            id,
            name,
            create_time_ms: row.create_time_ms,
            partitions,
        }
    }

    /// The topic's number.
    pub fn id(&self) -> TopicId {
        self.id
    }

    /// The topic's name.
    pub fn name(&self) -> &TopicName {
        &self.name
    }

    /// Broker time of its creation, milliseconds since the Unix epoch.
    pub fn create_time_ms(&self) -> i64 {
        self.create_time_ms
    }

    /// Its partitions, by number.
    pub fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    pub(super) fn partition(&self, number: u32) -> Option<&Partition> {
        self.partitions.get(number as usize)
    }

    pub(super) fn to_row(&self) -> TopicRow {
        TopicRow {
            name: self.name.as_str().to_owned(),
            partition_count: u32::try_from(self.partitions.len()).unwrap_or(u32::MAX),
            create_time_ms: self.create_time_ms,
        }
    }
}

/// One ordered log as the sequencer sees it.
#[derive(Debug, Default, Clone)]
pub struct Partition {
    pub(super) log_start: Offset,
    pub(super) end: Offset,
    pub(super) last_append_time_ms: Option<i64>,
    pub(super) size_bytes: u64,
    /// Base offset of each segment, ascending; the last is the active one.
    pub(super) segment_bases: Vec<Offset>,
    pub(super) active: Option<ActiveSegment>,
}

impl Partition {
    pub(super) fn from_row(row: &PartitionRow) -> Self {
        let segment_bases: Vec<_> = row.segment_bases.iter().copied().map(Offset::new).collect();
        let active = segment_bases.last().map(|base| ActiveSegment {
            next_position: row.next_position,
            is_after_run: row.is_after_run,
            ..ActiveSegment::new(*base)
        });
        Self {
            log_start: Offset::new(row.log_start),
            end: Offset::new(row.end),
            last_append_time_ms: row.last_append_time_ms,
            size_bytes: row.size_bytes,
            segment_bases,
            active,
        }
    }

    pub(super) fn to_row(&self) -> PartitionRow {
        PartitionRow {
            log_start: self.log_start.get(),
            end: self.end.get(),
            last_append_time_ms: self.last_append_time_ms,
            size_bytes: self.size_bytes,
            next_position: self.active.map_or(0, |active| active.next_position),
            is_after_run: self.active.is_some_and(|active| active.is_after_run),
            segment_bases: self.segment_bases.iter().map(|base| base.get()).collect(),
        }
    }

    /// Lowest offset that may be read.
    pub fn log_start(&self) -> Offset {
        self.log_start
    }

    /// Offset of the next record.
    pub fn end(&self) -> Offset {
        self.end
    }

    /// Append time of the last batch, milliseconds since the Unix epoch.
    pub fn last_append_time_ms(&self) -> Option<i64> {
        self.last_append_time_ms
    }

    /// Bytes of frames.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Base offset of each segment, ascending.
    pub fn segment_bases(&self) -> &[Offset] {
        &self.segment_bases
    }

    /// The segment that is appended to.
    pub fn active(&self) -> Option<&ActiveSegment> {
        self.active.as_ref()
    }
}

/// A wish for a topic.
#[derive(Debug, Clone)]
pub struct CreateTopic {
    /// Its name.
    pub name: TopicName,
    /// How many partitions; at least 1.
    pub partition_count: u32,
}

/// Why a topic is not created. Nothing changes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateTopicRefusal {
    /// There is one of that name.
    #[error("topic \"{name}\" exists already")]
    Exists {
        /// The name.
        name: TopicName,
        /// The topic's number.
        topic_id: TopicId,
    },
    /// The number of partitions is 0 or above the limit of one topic.
    #[error("a topic has 1 to {PARTITIONS_PER_TOPIC_MAX} partitions, not {partition_count}")]
    PartitionCount {
        /// What was asked for.
        partition_count: u32,
    },
    /// The broker has all the topics that it may have.
    #[error("the broker has {count} topics, the most that it may have")]
    TooManyTopics {
        /// How many it has.
        count: usize,
    },
    /// The broker would have too many partitions.
    #[error("the broker has {count} partitions and may have {count_max}")]
    TooManyPartitions {
        /// How many it has.
        count: usize,
        /// How many it may have.
        count_max: usize,
    },
}

/// Why a topic is not deleted. Nothing changes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeleteTopicRefusal {
    /// There is none of that name, or it has another id than the one asked for.
    #[error("topic \"{name}\" not found")]
    NotFound {
        /// The name.
        name: TopicName,
    },
}

impl State {
    /// Decides on creating a topic at broker time `now_ms`.
    ///
    /// # Errors
    /// [`CreateTopicRefusal`].
    pub fn create_topic(
        &self,
        wish: &CreateTopic,
        now_ms: i64,
    ) -> Result<(TopicId, Vec<Row>), CreateTopicRefusal> {
        if let Some(topic_id) = self.names.get(&wish.name) {
            let name = wish.name.clone();
            return Err(CreateTopicRefusal::Exists {
                name,
                topic_id: *topic_id,
            });
        }
        if !(1..=PARTITIONS_PER_TOPIC_MAX).contains(&wish.partition_count) {
            let partition_count = wish.partition_count;
            return Err(CreateTopicRefusal::PartitionCount { partition_count });
        }
        if self.topics.len() >= self.limits.topic_count_max {
            return Err(CreateTopicRefusal::TooManyTopics {
                count: self.topics.len(),
            });
        }
        let count: usize = self
            .topics
            .values()
            .map(|topic| topic.partitions.len())
            .sum();
        let count_max = self.limits.partition_count_max;
        if count + wish.partition_count as usize > count_max {
            return Err(CreateTopicRefusal::TooManyPartitions { count, count_max });
        }
        let topic_id = TopicId::new(self.next_topic);
        let topic = TopicRow {
            name: wish.name.as_str().to_owned(),
            partition_count: wish.partition_count,
            create_time_ms: now_ms,
        };
        let broker = BrokerRow {
            next_topic: self.next_topic + 1,
        };
        Ok((
            topic_id,
            vec![
                RowId::Broker.put(&broker),
                RowId::Topic(topic_id).put(&topic),
            ],
        ))
    }

    /// Decides on deleting a topic: of this name and, if given, of this id.
    ///
    /// # Errors
    /// [`DeleteTopicRefusal`].
    pub fn delete_topic(
        &self,
        name: &TopicName,
        topic_id: Option<TopicId>,
    ) -> Result<(TopicId, Vec<Row>), DeleteTopicRefusal> {
        let found = self.names.get(name).copied();
        let id = found
            .filter(|id| topic_id.is_none_or(|wanted| wanted == *id))
            .ok_or_else(|| DeleteTopicRefusal::NotFound { name: name.clone() })?;
        let dropped = DroppedRow {
            name: name.as_str().to_owned(),
        };
        Ok((
            id,
            vec![RowId::Topic(id).gone(), RowId::Dropped(id).put(&dropped)],
        ))
    }

    /// Decides that the files of deleted topics are gone for good.
    pub fn forget_dropped(&self, topics: &[TopicId]) -> Vec<Row> {
        let known = topics
            .iter()
            .filter(|topic| self.dropped.contains_key(topic));
        known.map(|topic| RowId::Dropped(*topic).gone()).collect()
    }

    /// Decides that a partition goes on in a new segment, from its end. `None` if the partition is
    /// gone, or already has a segment there.
    pub fn roll(&self, partition: PartitionRef) -> Option<Vec<Row>> {
        let mut rolled = self.partition(partition)?.clone();
        if rolled.segment_bases.last() == Some(&rolled.end) {
            return None;
        }
        rolled.segment_bases.push(rolled.end);
        rolled.active = Some(ActiveSegment::new(rolled.end));
        Some(vec![RowId::Partition(partition).put(&rolled.to_row())])
    }

    /// Notes that the files of a partition's active segment are ready up to `allocated_end`. Not
    /// durable. Returns whether the segment still is the active one.
    pub fn segment_ready(
        &mut self,
        partition: PartitionRef,
        base: Offset,
        allocated_end: u64,
    ) -> bool {
        let found = self
            .topics
            .get_mut(&partition.topic)
            .and_then(|topic| topic.partitions.get_mut(partition.partition as usize))
            .and_then(|partition| partition.active.as_mut())
            .filter(|active| active.base == base);
        let is_active = found.is_some();
        if let Some(active) = found {
            active.allocated_end = active.allocated_end.max(allocated_end);
        }
        is_active
    }
}
