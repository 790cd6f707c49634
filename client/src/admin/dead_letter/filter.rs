//! Which dead letters are meant.

use std::time::SystemTime;

use bytes::Bytes;
use towpath_proto::ids::{Offset, PartitionId};
use towpath_proto::v1;

use super::DeadLetterKind;
use crate::time::to_ms;

/// Which dead letters are meant: what is set holds together. Nothing set means all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeadLetterFilter {
    filter: v1::DeadLetterFilter,
}

impl DeadLetterFilter {
    /// All.
    pub fn new() -> Self {
        Self::default()
    }

    /// This one; with each call one more.
    #[must_use]
    pub fn letter(mut self, partition: PartitionId, offset: Offset) -> Self {
        self.filter.letters.push(v1::DeadLetterRef {
            partition: partition.get(),
            offset: offset.get(),
        });
        self
    }

    /// Those of this partition; with each call of one more.
    #[must_use]
    pub fn partition(mut self, partition: PartitionId) -> Self {
        self.filter.partitions.push(partition.get());
        self
    }

    /// Those of this key.
    #[must_use]
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.filter.key = Some(key.into());
        self
    }

    /// Those of this kind.
    #[must_use]
    pub fn kind(mut self, kind: DeadLetterKind) -> Self {
        self.filter.set_kind(match kind {
            DeadLetterKind::Dead => v1::DeadLetterKind::Dead,
            DeadLetterKind::Parked => v1::DeadLetterKind::Parked,
            DeadLetterKind::Unknown => v1::DeadLetterKind::Unspecified,
        });
        self
    }

    /// Those whose reason holds this text, or one of whose failures does.
    #[must_use]
    pub fn reason_contains(mut self, text: impl Into<String>) -> Self {
        self.filter.reason_contains = text.into();
        self
    }

    /// Those that came there at this time or later.
    #[must_use]
    pub fn died_from(mut self, time: SystemTime) -> Self {
        self.filter.died_from_ms = Some(to_ms(time));
        self
    }

    /// Those that came there before this time.
    #[must_use]
    pub fn died_before(mut self, time: SystemTime) -> Self {
        self.filter.died_before_ms = Some(to_ms(time));
        self
    }

    pub(super) fn to_proto(&self) -> v1::DeadLetterFilter {
        self.filter.clone()
    }
}
