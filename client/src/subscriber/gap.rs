//! Records that nobody will ever get.

use std::collections::VecDeque;

use towpath_proto::ids::{OffsetRange, PartitionId};
use towpath_proto::names::TopicName;

use crate::GapReason;

/// Gaps that wait to be taken; of more the oldest are only in the log.
const GAPS_MAX: usize = 1_000;

/// Records of a subscription that are gone without having been settled: somebody trimmed its topic, or it
/// has held them past the retention of the topic for as long as it may. Every consumer is told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeliveryGap {
    /// Name of the topic.
    pub topic: TopicName,
    /// Number of the partition.
    pub partition: PartitionId,
    /// Where they were. Between them may be others that were settled, or are among the dead letters.
    pub range: OffsetRange,
    /// How many.
    pub records: u64,
    /// Why they are gone.
    pub reason: GapReason,
}

/// Gaps that nobody has looked at.
#[derive(Debug, Default)]
pub(super) struct Gaps(VecDeque<DeliveryGap>);

impl Gaps {
    pub(super) fn push(&mut self, gap: DeliveryGap) {
        if self.0.len() == GAPS_MAX {
            self.0.pop_front();
        }
        let DeliveryGap {
            topic,
            partition,
            range,
            records,
            reason,
        } = &gap;
        tracing::warn!(
            %topic,
            %partition,
            offsets = %range,
            records,
            ?reason,
            "records are gone that the subscription had not settled"
        );
        self.0.push_back(gap);
    }

    pub(super) fn take(&mut self) -> Vec<DeliveryGap> {
        std::mem::take(&mut self.0).into()
    }
}
