//! Where records of a subscription are: in a partition of its topic, or in one of its dead letters.
//!
//! The state machine numbers both in one row, first the partitions of the topic. Clients are told the
//! number of the partition, and whether it is one of dead letters.

use std::sync::Arc;

use towpath_storage::{PartitionLog, TopicId};

use super::Shared;
use crate::runtime::published::TopicView;

/// A partition as clients name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Its number.
    pub(super) partition: u32,
    /// Whether it is one of the topic of dead letters.
    pub(super) is_dead_letter: bool,
}

impl Place {
    /// The partition that has a number in the state machine.
    pub(super) fn of_number(number: u32, partition_count: u32) -> Self {
        match number.checked_sub(partition_count) {
            None => Self {
                partition: number,
                is_dead_letter: false,
            },
            Some(partition) => Self {
                partition,
                is_dead_letter: true,
            },
        }
    }

    /// Its number in the state machine; one that nothing has if there is no such partition.
    pub(super) fn number(self, partition_count: u32) -> u32 {
        match self {
            Self { partition, .. } if partition >= partition_count => u32::MAX,
            Self {
                partition,
                is_dead_letter: true,
            } => partition_count + partition,
            Self { partition, .. } => partition,
        }
    }
}

/// The topics of a subscription.
#[derive(Debug, Clone)]
pub(super) struct Topics {
    /// Its records.
    pub(super) source: Arc<TopicView>,
    /// Its dead letters.
    pub(super) dead_letters: TopicId,
}

impl Topics {
    /// How many partitions each has.
    pub(super) fn partition_count(&self) -> u32 {
        crate::api::convert::partition_count(&self.source)
    }

    /// The topic of a place; none if that of the dead letters was deleted.
    pub(super) fn topic_of(&self, shared: &Shared, place: Place) -> Option<Arc<TopicView>> {
        match place.is_dead_letter {
            false => Some(Arc::clone(&self.source)),
            true => shared
                .published()
                .topics()
                .with_id(self.dead_letters)
                .map(Arc::clone),
        }
    }

    /// The log of a partition that has a number in the state machine.
    pub(super) fn log_of(&self, shared: &Shared, number: u32) -> Option<Arc<PartitionLog>> {
        let place = Place::of_number(number, self.partition_count());
        let topic = self.topic_of(shared, place)?;
        let handle = topic.partition(place.partition)?;
        Some(Arc::clone(handle.log()))
    }

    /// Name of the topic of dead letters; empty if it was deleted.
    pub(super) fn dead_letter_topic(&self, shared: &Shared) -> String {
        let topics = shared.published().topics();
        let topic = topics.with_id(self.dead_letters);
        topic.map(|it| it.name().to_string()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_that_of_one_partition() {
        let check = |number: u32, partition: u32, is_dead_letter: bool| {
            let place = Place {
                partition,
                is_dead_letter,
            };
            assert_eq!(Place::of_number(number, 4), place);
            assert_eq!(place.number(4), number);
        };
        check(0, 0, false);
        check(3, 3, false);
        check(4, 0, true);
        check(7, 3, true);
    }

    #[test]
    fn a_partition_that_is_not_there_has_a_number_of_its_own() {
        for is_dead_letter in [false, true] {
            let place = Place {
                partition: 4,
                is_dead_letter,
            };
            assert_eq!(place.number(4), u32::MAX);
        }
    }
}
