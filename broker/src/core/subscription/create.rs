//! Creating a subscription, and the topic of its dead letters with it.

use std::collections::BTreeSet;

use towpath_proto::names::{SubscriptionName, TopicName};
use towpath_storage::{Offset, PartitionRef, Row, TopicId};

use super::keys::HashKey;
use super::partition::{Lane, SubscriptionPartition};
use super::rows::SubscriptionRow;
use super::{Subscription, SubscriptionConfig, SubscriptionId};
use crate::core::partition::Partition;
use crate::core::row::{BrokerRow, RowId};
use crate::core::{CreateTopic, CreateTopicRefusal, State, TopicConfig};

/// Subscriptions that a broker may have.
pub const SUBSCRIPTIONS_MAX: usize = 10_000;

/// A wish for a new subscription.
#[derive(Debug, Clone)]
pub struct CreateSubscription {
    /// Its name.
    pub name: SubscriptionName,
    /// The topic whose records it gets.
    pub topic: TopicId,
    /// What it is to be.
    pub config: SubscriptionConfig,
    /// Where it begins: one offset for each partition of the topic.
    pub starts: Vec<Offset>,
    /// What keys are hashed with.
    pub hash_key: HashKey,
    /// Name of the topic of its dead letters, which is created unless it is there.
    pub dead_letter_topic: TopicName,
}

/// Why a subscription is not created. Nothing changes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateSubscriptionRefusal {
    /// There is another one of that name.
    #[error("subscription \"{name}\" exists already and differs in {}", differing.join(", "))]
    Exists {
        /// The name.
        name: SubscriptionName,
        /// The settings that differ.
        differing: Vec<&'static str>,
    },
    /// The topic was deleted meanwhile.
    #[error("topic {topic} not found")]
    TopicNotFound {
        /// Which.
        topic: TopicId,
    },
    /// There is a topic of the name for its dead letters, with another number of partitions.
    #[error("topic \"{topic}\" is there already and has not {partition_count} partitions")]
    DeadLetterPartitions {
        /// The topic.
        topic: TopicName,
        /// How many it would have to have.
        partition_count: u32,
    },
    /// There is a topic of the name for its dead letters, which lets go of records by age.
    #[error("topic \"{topic}\" is there already and lets go of records by age")]
    DeadLetterAge {
        /// The topic.
        topic: TopicName,
    },
    /// There is a topic of the name for its dead letters, which looks at the keys of what is written: dead
    /// letters are not looked at.
    #[error("topic \"{topic}\" is there already and looks at keys, as it cannot for dead letters")]
    DeadLetterKeys {
        /// The topic.
        topic: TopicName,
    },
    /// Its dead letters would come back to it.
    #[error("dead letters in topic \"{topic}\" would come back to the subscription")]
    DeadLetterCycle {
        /// The topic.
        topic: TopicName,
    },
    /// The topic for its dead letters cannot be created.
    #[error(transparent)]
    DeadLetterTopic(#[from] CreateTopicRefusal),
    /// The broker has all the subscriptions that it may have.
    #[error("the broker has {SUBSCRIPTIONS_MAX} subscriptions, the most that it may have")]
    TooMany,
}

/// What becomes of a wish for a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateDecision {
    /// It is created.
    Create {
        /// Its number.
        id: SubscriptionId,
        /// The topic for its dead letters, if there was none of its name.
        made_topic: Option<TopicId>,
        /// The rows of one entry.
        rows: Vec<Row>,
    },
    /// There is one of that name which is the same.
    Existing(SubscriptionId),
}

impl State {
    /// Decides on creating a subscription.
    ///
    /// # Errors
    /// [`CreateSubscriptionRefusal`].
    pub fn create_subscription(
        &self,
        wish: &CreateSubscription,
        now_ms: i64,
    ) -> Result<CreateDecision, CreateSubscriptionRefusal> {
        if let Some(known) = self.subscriptions.named(&wish.name) {
            let differing = known.differing(wish);
            let name = wish.name.clone();
            return match differing.is_empty() {
                true => Ok(CreateDecision::Existing(known.id)),
                false => Err(CreateSubscriptionRefusal::Exists { name, differing }),
            };
        }
        let topic = wish.topic;
        if self.topic(topic).is_none() {
            return Err(CreateSubscriptionRefusal::TopicNotFound { topic });
        }
        if self.subscriptions.len() >= SUBSCRIPTIONS_MAX {
            return Err(CreateSubscriptionRefusal::TooMany);
        }
        let id = SubscriptionId::new(self.next_subscription);
        let partition_count = u32::try_from(wish.starts.len()).unwrap_or(u32::MAX);
        let (dead_letter_topic, made) = self.dead_letter_topic(wish, partition_count, now_ms)?;
        let broker = BrokerRow {
            next_subscription: self.next_subscription + 1,
            next_topic: self.next_topic + u64::from(made.is_some()),
            ..self.broker_row()
        };
        let name = wish.name.as_str();
        let mut row = SubscriptionRow::new(
            name,
            topic,
            now_ms,
            &wish.config,
            wish.hash_key,
            dead_letter_topic,
        );
        row.partition_count = partition_count;
        let is_ordered = wish.config.mode.is_ordered();
        let letters = (0..partition_count).map(|partition| {
            let place = PartitionRef {
                topic: dead_letter_topic,
                partition,
            };
            let known = self.partition(place);
            // What was dead before is not its own.
            known.map_or(Offset::ZERO, Partition::end)
        });
        let lanes = wish.starts.iter().map(|start| (*start, Lane::Source));
        let lanes = lanes.chain(letters.map(|start| (start, Lane::DeadLetters)));
        let partitions = (0..).zip(lanes).map(|(number, (start, lane))| {
            let begun = SubscriptionPartition::new(start, is_ordered, lane);
            RowId::SubscriptionPartition(id, number).put(&begun.to_row())
        });
        let made_topic = made.as_ref().map(|_| dead_letter_topic);
        let first = [RowId::Broker.put(&broker)].into_iter().chain(made);
        let rows = first
            .chain([RowId::Subscription(id).put(&row)])
            .chain(partitions);
        Ok(CreateDecision::Create {
            id,
            made_topic,
            rows: rows.collect(),
        })
    }

    /// The topic for the dead letters of a new subscription, with its row if it has to be made.
    fn dead_letter_topic(
        &self,
        wish: &CreateSubscription,
        partition_count: u32,
        now_ms: i64,
    ) -> Result<(TopicId, Option<Row>), CreateSubscriptionRefusal> {
        let name = wish.dead_letter_topic.clone();
        let Some(known) = self.topic_named(&name) else {
            let wish = CreateTopic {
                name,
                partition_count,
                config: TopicConfig::default(),
            };
            let (topic, rows) = self.create_dead_letter_topic(&wish, now_ms)?;
            let row = rows
                .into_iter()
                .find(|row| row.key == RowId::Topic(topic).key());
            return Ok((topic, row));
        };
        if known.partitions().len() != partition_count as usize {
            return Err(CreateSubscriptionRefusal::DeadLetterPartitions {
                topic: name,
                partition_count,
            });
        }
        if known.config().retention_age_ms.is_some() {
            return Err(CreateSubscriptionRefusal::DeadLetterAge { topic: name });
        }
        if known.config().has_key_heads() {
            return Err(CreateSubscriptionRefusal::DeadLetterKeys { topic: name });
        }
        if self.leads_to(known.id(), wish.topic) {
            return Err(CreateSubscriptionRefusal::DeadLetterCycle { topic: name });
        }
        Ok((known.id(), None))
    }

    /// Whether dead letters of subscriptions bring what is in one topic into another one, over any number of
    /// them.
    fn leads_to(&self, from: TopicId, to: TopicId) -> bool {
        let mut seen = BTreeSet::from([from]);
        let mut open = vec![from];
        while let Some(topic) = open.pop() {
            if topic == to {
                return true;
            }
            let of_topic = self.subscriptions.of_topic(topic);
            let targets = of_topic.map(|it| it.dead_letter_topic);
            open.extend(targets.filter(|target| seen.insert(*target)));
        }
        false
    }
}

impl Subscription {
    /// Names of what another one of its name would have different.
    fn differing(&self, wish: &CreateSubscription) -> Vec<&'static str> {
        let (own, other) = (&self.config, &wish.config);
        let settings = [
            ("topic", self.topic == wish.topic),
            ("mode", own.mode == other.mode),
            ("on_dead_letter", own.on_dead_letter == other.on_dead_letter),
            (
                "ack_deadline_ms",
                own.ack_deadline_ms == other.ack_deadline_ms,
            ),
            (
                "backoff_min_ms",
                own.retry.backoff_ms_min == other.retry.backoff_ms_min,
            ),
            (
                "backoff_max_ms",
                own.retry.backoff_ms_max == other.retry.backoff_ms_max,
            ),
            (
                "attempts_max",
                own.retry.attempts_max == other.retry.attempts_max,
            ),
            ("age_max_ms", own.retry.age_ms_max == other.retry.age_ms_max),
            ("filter", own.filter == other.filter),
            (
                "on_filter_error",
                own.on_filter_error == other.on_filter_error,
            ),
        ];
        let differing = settings.into_iter().filter(|(_, is_same)| !is_same);
        differing.map(|(name, _)| name).collect()
    }
}
