//! What a commit names by the numbers of the protocol, for those who have no consumer of this SDK.

use towpath_proto::ids::{OffsetRange, PartitionId};
use towpath_proto::v1;

use crate::DeliveryOutcome;

/// Records that a consumer of a subscription has, as the broker calls them: what a program learned that
/// speaks to it itself, by `Pull` or `Receive` of docs/protocol.md.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PulledRecords {
    /// Name of the subscription.
    pub subscription: String,
    /// Number of the delivery.
    pub delivery: u64,
    /// Partition of the topic, or of the dead letters.
    pub partition: PartitionId,
    /// Which records of it.
    pub ranges: Vec<OffsetRange>,
    /// Whether partition and offsets are those of the dead-letter topic.
    pub is_dead_letter: bool,
}

impl PulledRecords {
    /// Records of the topic that came with one delivery.
    pub fn new(
        subscription: impl Into<String>,
        delivery: u64,
        partition: PartitionId,
        ranges: impl IntoIterator<Item = OffsetRange>,
    ) -> Self {
        Self {
            subscription: subscription.into(),
            delivery,
            partition,
            ranges: ranges.into_iter().collect(),
            is_dead_letter: false,
        }
    }

    /// Partition and offsets are those of the dead-letter topic: the records were redriven.
    #[must_use]
    pub const fn of_dead_letters(mut self) -> Self {
        self.is_dead_letter = true;
        self
    }

    pub(super) fn settle(&self, outcome: &DeliveryOutcome) -> v1::SettleRecords {
        let ranges = self.ranges.iter().map(|range| v1::OffsetRange {
            start: range.start().get(),
            end: range.end().get(),
        });
        v1::SettleRecords {
            subscription: self.subscription.clone(),
            settlement: Some(v1::Settlement {
                delivery: self.delivery,
                partition: self.partition.get(),
                ranges: ranges.collect(),
                outcome: Some(outcome.to_proto()),
                is_dead_letter: self.is_dead_letter,
            }),
        }
    }
}
