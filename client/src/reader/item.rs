//! What a reader tells.

use towpath_proto::ids::{Lsn, Offset, OffsetRange, PartitionId};
use towpath_proto::names::TopicName;
use towpath_proto::v1;

use super::Batch;

/// One thing that a reader has come to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ReaderItem {
    /// Records.
    Batch(Batch),
    /// A partition was read to the end that it had; told once for each partition.
    CaughtUp(CaughtUp),
    /// Offsets that hold no record any more. What comes next lies behind them.
    Gap(Gap),
}

/// A partition was read to the end that it had.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CaughtUp {
    /// Name of the topic.
    pub topic: TopicName,
    /// Number of the partition.
    pub partition: PartitionId,
    /// One past the last record that was there to read.
    pub end_offset: Offset,
    /// Everything in the partition up to and including this LSN was read before.
    pub lsn: Lsn,
}

/// Offsets that hold no record any more.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// Name of the topic.
    pub topic: TopicName,
    /// Number of the partition.
    pub partition: PartitionId,
    /// The offsets.
    pub range: OffsetRange,
    /// Why they are gone.
    pub reason: GapReason,
}

/// Why offsets hold no record any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GapReason {
    /// Retention or a request moved the log start offset past them before they were read, while the
    /// reader was slow or away. It goes on with the record at the log start offset.
    Trimmed,
    /// Compaction removed them: newer records of the same keys exist.
    Compacted,
    /// They were acknowledged but are damaged or lost. Unless
    /// [`ReaderBuilder::skip_data_loss`](crate::ReaderBuilder::skip_data_loss) was asked for, the
    /// reader gives the partition up with an error.
    DataLoss,
}

impl GapReason {
    pub(crate) const fn from_proto(reason: v1::GapReason) -> Self {
        match reason {
            v1::GapReason::Trimmed => Self::Trimmed,
            v1::GapReason::Compacted => Self::Compacted,
            v1::GapReason::DataLoss | v1::GapReason::Unspecified => Self::DataLoss,
        }
    }
}
