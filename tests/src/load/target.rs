//! The topics that are written and read.

use std::num::NonZeroU32;

use towpath_client::{Client, NewTopic, PartitionId, TopicName};
use towpath_proto::partitioner::partition_of;

use crate::history::Place;

/// One topic.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) name: TopicName,
    pub(super) id: u64,
    pub(super) partition_count: NonZeroU32,
}

/// All topics.
#[derive(Debug)]
pub(super) struct Targets(pub(super) Vec<Target>);

impl Target {
    pub(super) fn place(&self, partition: PartitionId) -> Place {
        Place {
            topic: self.id,
            partition: partition.get(),
        }
    }

    pub(super) fn place_of_key(&self, key: &[u8]) -> Place {
        self.place(partition_of(key, self.partition_count))
    }

    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        (0..self.partition_count.get()).map(|partition| self.place(PartitionId::new(partition)))
    }
}

impl Targets {
    pub(super) fn named(&self, name: &TopicName) -> Option<&Target> {
        self.0.iter().find(|target| target.name == *name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|target| target.name.to_string())
    }

    pub(super) fn places(&self) -> impl Iterator<Item = (&Target, Place)> {
        let targets = self.0.iter();
        targets.flat_map(|target| target.places().map(move |place| (target, place)))
    }
}

/// Creates the topics.
pub(super) async fn create_topics(client: &Client, topics: &[(String, u32)]) -> Targets {
    let mut targets = Vec::new();
    for (name, partition_count) in topics {
        let topic = NewTopic::new(name).partitions(*partition_count);
        let topic = client.admin().ensure_topic(topic).await;
        let topic = topic.unwrap_or_else(|error| panic!("topic {name}: {error}"));
        targets.push(Target {
            name: topic.name,
            id: topic.topic_id.get(),
            partition_count: NonZeroU32::new(topic.partition_count).expect("partitions"),
        });
    }
    Targets(targets)
}
