//! Where a record is once it was written.

use std::time::SystemTime;

use towpath_proto::ids::{Lsn, Offset, PartitionId};

/// Where a record is, on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Position {
    /// Partition of the topic.
    pub partition: PartitionId,
    /// Offset in the partition.
    pub offset: Offset,
    /// Place in the one order over all topics; records that were written together share it.
    pub lsn: Lsn,
    /// When it was appended, by the broker's clock.
    pub append_time: SystemTime,
    /// The event was there already, at this partition and offset, and was not written again: its topic has
    /// a [dedupe window](crate::NewTopic::dedupe_window). LSN and time are those of the answer then; the
    /// event is not younger.
    pub is_repeated: bool,
}
