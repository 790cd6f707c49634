//! What names a record that a consumer has.

use bytes::Bytes;
use towpath_proto::ids::{Offset, PartitionId};

/// Number of a delivery, which the broker never uses again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::subscriber) struct DeliveryId(u64);

impl DeliveryId {
    pub(super) const fn new(number: u64) -> Self {
        Self(number)
    }

    pub(super) const fn get(self) -> u64 {
        self.0
    }
}

/// Where records come from: a partition of the topic, or one of its dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Source {
    pub(super) partition: PartitionId,
    pub(super) is_dead_letter: bool,
}

impl Source {
    pub(super) const fn new(partition: u32, is_dead_letter: bool) -> Self {
        Self {
            partition: PartitionId::new(partition),
            is_dead_letter,
        }
    }
}

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) source: Source,
    pub(super) offset: Offset,
}

/// What has to stay in order: a key of one source.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct LaneKey {
    pub(super) source: Source,
    pub(super) key: Bytes,
}

/// One delivery of one record. Whoever has it must settle it, once.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::subscriber) struct Ticket {
    pub(super) delivery: DeliveryId,
    pub(super) place: Place,
    /// None without a key: such a record is in no order with others.
    pub(super) lane: Option<LaneKey>,
    /// Whether others of its lane wait until it is settled.
    pub(super) holds_lane: bool,
}
