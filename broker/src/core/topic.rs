//! Topics: creating, changing, deleting them; rolling their partitions to new segments.

use towpath_proto::limits::PARTITIONS_PER_TOPIC_MAX;
use towpath_proto::names::{SubscriptionName, TopicName};
use towpath_storage::{ActiveSegment, Offset, PartitionRef, Row, SegmentRef, TopicId};

use super::partition::{Partition, Segment};
use super::row::{BrokerRow, DroppedRow, RowId, TopicRow};
use super::subscription::Subscription;
use super::topic_config::{TopicConfig, TopicConfigChange, TopicConfigError};
use super::{CoreLimits, State};

/// A named set of partitions.
#[derive(Debug)]
pub struct Topic {
    pub(super) id: TopicId,
    pub(super) name: TopicName,
    pub(super) create_time_ms: i64,
    pub(super) config: TopicConfig,
    /// How often the configuration was changed.
    pub(super) revision: u64,
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
            config: row.config(),
            revision: row.revision,
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

    /// Its settings.
    pub fn config(&self) -> TopicConfig {
        self.config
    }

    /// How often its settings were changed: which state of them this is.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Both.
    pub fn settings(&self) -> TopicSettings {
        TopicSettings {
            config: self.config,
            revision: TopicRevision {
                topic_id: self.id,
                revision: self.revision,
            },
        }
    }

    /// Its partitions, by number.
    pub fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    /// Length at which one of its segments is left, bytes.
    pub fn segment_bytes_max(&self, limits: &CoreLimits) -> u64 {
        self.config
            .segment_bytes_max(self.partitions.len(), limits.segment_bytes_max)
    }

    pub(super) fn partition(&self, number: u32) -> Option<&Partition> {
        self.partitions.get(number as usize)
    }

    pub(super) fn to_row(&self) -> TopicRow {
        TopicRow {
            name: self.name.as_str().to_owned(),
            partition_count: u32::try_from(self.partitions.len()).unwrap_or(u32::MAX),
            create_time_ms: self.create_time_ms,
            revision: self.revision,
            ..TopicRow::default()
        }
        .with(self.config)
    }
}

/// A wish for a topic.
#[derive(Debug, Clone)]
pub struct CreateTopic {
    /// Its name.
    pub name: TopicName,
    /// How many partitions; at least 1.
    pub partition_count: u32,
    /// Its settings.
    pub config: TopicConfig,
}

/// A change of a topic's settings.
#[derive(Debug, Clone)]
pub struct UpdateTopic {
    /// The topic's name.
    pub name: TopicName,
    /// The state that the change was made for; none for whatever it is.
    pub expected: Option<TopicRevision>,
    /// What becomes of each setting.
    pub change: TopicConfigChange,
}

/// Which state of which topic's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicRevision {
    /// The topic's number.
    pub topic_id: TopicId,
    /// How often its settings had been changed.
    pub revision: u64,
}

/// Settings of a topic, and which state of them that is: never read apart, since a change may come
/// between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicSettings {
    /// The settings.
    pub config: TopicConfig,
    /// Their state.
    pub revision: TopicRevision,
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
    /// A setting is out of its range.
    #[error(transparent)]
    Config(#[from] TopicConfigError),
    /// The broker has all the topics that it may have.
    #[error(
        "the broker has {count} topics besides those of dead letters, the most that it may have"
    )]
    TooManyTopics {
        /// How many it may have.
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

/// Why a topic is not changed. Nothing changes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpdateTopicRefusal {
    /// There is none of that name.
    #[error("topic \"{name}\" not found")]
    NotFound {
        /// The name.
        name: TopicName,
    },
    /// It was changed, or created again, since the caller looked at it.
    #[error("topic \"{name}\" was changed by someone else")]
    Changed {
        /// The name.
        name: TopicName,
        /// What it is now.
        current: TopicRevision,
    },
    /// A setting is out of its range.
    #[error(transparent)]
    Config(#[from] TopicConfigError),
    /// It holds the dead letters of a subscription, which nothing lets go of by age.
    #[error("topic \"{}\" holds the dead letters of a subscription, which do not go by age", in_use.name)]
    LettersByAge {
        /// Whose they are.
        in_use: TopicInUse,
    },
}

/// There is no topic of a name, or it has another id than the one asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("topic \"{name}\" not found")]
pub struct TopicNotFound {
    /// The name.
    pub name: TopicName,
}

/// Subscriptions need a topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("topic \"{name}\" is needed by {}", needed_by(subscriptions, *count))]
pub struct TopicInUse {
    /// Its name.
    pub name: TopicName,
    /// The subscriptions that get its records, or whose dead letters it holds; the first few.
    pub subscriptions: Vec<SubscriptionName>,
    /// How many there are.
    pub count: usize,
}

fn needed_by(subscriptions: &[SubscriptionName], count: usize) -> String {
    let names: Vec<_> = subscriptions
        .iter()
        .map(|name| format!("subscription \"{name}\""))
        .collect();
    match count - names.len() {
        0 => names.join(", "),
        rest => format!("{} and {rest} more", names.join(", ")),
    }
}

/// Why a topic is not deleted. Nothing changes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeleteTopicRefusal {
    /// There is none of that name, or it has another id than the one asked for.
    #[error(transparent)]
    NotFound(#[from] TopicNotFound),
    /// Subscriptions get its records, or it holds the dead letters of one.
    #[error(transparent)]
    InUse(#[from] TopicInUse),
}

/// Subscriptions that a refusal names.
const NAMED_SUBSCRIPTIONS_MAX: usize = 10;

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
        wish.config.check()?;
        let count = self.limits.topic_count_max;
        if self.own_topic_count() >= count {
            return Err(CreateTopicRefusal::TooManyTopics { count });
        }
        self.new_topic(wish, now_ms)
    }

    /// Topics of dead letters are not counted: there is one for each subscription, and of these there is a
    /// limit of their own.
    fn own_topic_count(&self) -> usize {
        { self.topics.len() }.saturating_sub(self.subscriptions.len())
    }

    /// Decides on creating the topic of a subscription's dead letters. It is refused only where topics that
    /// subscriptions have left behind are too many, so that these cannot grow without end.
    pub(in crate::core) fn create_dead_letter_topic(
        &self,
        wish: &CreateTopic,
        now_ms: i64,
    ) -> Result<(TopicId, Vec<Row>), CreateTopicRefusal> {
        let count = self.limits.topic_count_max;
        if self.own_topic_count() > count {
            return Err(CreateTopicRefusal::TooManyTopics { count });
        }
        self.new_topic(wish, now_ms)
    }

    fn new_topic(
        &self,
        wish: &CreateTopic,
        now_ms: i64,
    ) -> Result<(TopicId, Vec<Row>), CreateTopicRefusal> {
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
            ..TopicRow::default()
        }
        .with(wish.config);
        let broker = BrokerRow {
            next_topic: self.next_topic + 1,
            ..self.broker_row()
        };
        Ok((
            topic_id,
            vec![
                RowId::Broker.put(&broker),
                RowId::Topic(topic_id).put(&topic),
            ],
        ))
    }

    /// Decides on changing a topic's settings. No rows if nothing would change.
    ///
    /// # Errors
    /// [`UpdateTopicRefusal`].
    pub fn update_topic(
        &self,
        wish: &UpdateTopic,
    ) -> Result<(TopicId, TopicConfig, Vec<Row>), UpdateTopicRefusal> {
        let name = || wish.name.clone();
        let topic = self
            .topic_named(&wish.name)
            .ok_or_else(|| UpdateTopicRefusal::NotFound { name: name() })?;
        let current = topic.settings().revision;
        if wish.expected.is_some_and(|expected| expected != current) {
            return Err(UpdateTopicRefusal::Changed {
                name: name(),
                current,
            });
        }
        let config = wish.change.applied_to(topic.config);
        config.check()?;
        if config.retention_age_ms.is_some() {
            let buriers = self.subscriptions.of_dead_letters(topic.id);
            Self::refuse_use(topic, buriers)
                .map_err(|in_use| UpdateTopicRefusal::LettersByAge { in_use })?;
        }
        if config == topic.config {
            return Ok((topic.id, config, Vec::new()));
        }
        let changed = TopicRow {
            revision: topic.revision + 1,
            ..topic.to_row()
        }
        .with(config);
        let rows = vec![RowId::Topic(topic.id).put(&changed)];
        Ok((topic.id, config, rows))
    }

    /// The topic of this name and, if given, of this id.
    ///
    /// # Errors
    /// [`TopicNotFound`].
    pub fn find_topic(
        &self,
        name: &TopicName,
        topic_id: Option<TopicId>,
    ) -> Result<&Topic, TopicNotFound> {
        let found = self.topic_named(name);
        let found = found.filter(|it| topic_id.is_none_or(|wanted| wanted == it.id));
        found.ok_or_else(|| TopicNotFound { name: name.clone() })
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
        let topic = self.find_topic(name, topic_id)?;
        let readers = self.subscriptions.of_topic(topic.id);
        let buriers = self.subscriptions.of_dead_letters(topic.id);
        Self::refuse_use(topic, readers.chain(buriers))?;
        Ok((topic.id, Self::delete_rows(topic)))
    }

    /// Refuses if there is any of these subscriptions.
    pub(super) fn refuse_use<'a>(
        topic: &Topic,
        subscriptions: impl Iterator<Item = &'a Subscription>,
    ) -> Result<(), TopicInUse> {
        let names: Vec<_> = subscriptions.map(Subscription::name).collect();
        match names.len() {
            0 => Ok(()),
            count => Err(TopicInUse {
                name: topic.name.clone(),
                subscriptions: names
                    .into_iter()
                    .take(NAMED_SUBSCRIPTIONS_MAX)
                    .cloned()
                    .collect(),
                count,
            }),
        }
    }

    /// The rows of an entry that deletes a topic.
    pub(super) fn delete_rows(topic: &Topic) -> Vec<Row> {
        let dropped = DroppedRow {
            name: topic.name.as_str().to_owned(),
        };
        let id = topic.id;
        vec![RowId::Topic(id).gone(), RowId::Dropped(id).put(&dropped)]
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
        if rolled
            .active
            .is_some_and(|active| active.base == rolled.end)
        {
            return None;
        }
        rolled.active = Some(ActiveSegment::new(rolled.end));
        let base = rolled.end;
        Some(vec![
            RowId::Partition(partition).put(&rolled.to_row()),
            RowId::Segment(SegmentRef::new(partition, base)).put(&Segment::new(base).to_row()),
        ])
    }

    /// Decides that nothing more is appended to the segment of a partition: the next append begins a
    /// new one, and a partition at rest has none to keep. `None` if the partition is gone, or appends
    /// to no segment.
    pub fn seal(&self, partition: PartitionRef) -> Option<Row> {
        let mut sealed = self.partition(partition)?.clone();
        sealed.active.take()?;
        Some(RowId::Partition(partition).put(&sealed.to_row()))
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
            .partition_mut(partition)
            .and_then(|partition| partition.active.as_mut())
            .filter(|active| active.base == base);
        let is_active = found.is_some();
        if let Some(active) = found {
            active.allocated_end = active.allocated_end.max(allocated_end);
        }
        is_active
    }
}
