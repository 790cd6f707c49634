//! One partition that a member owns.

use std::ops::Range;

use towpath_proto::ids::{Generation, Offset, OffsetRange, PartitionId};
use towpath_proto::v1;
use towpath_proto::wire::FetchedBatch;

use crate::reader::PartitionProgress;

/// A partition by the handle of its topic and its number.
pub(super) type Place = (u32, u32);

/// A partition that the member owns, as far as it knows.
#[derive(Debug)]
pub(super) struct Holding {
    pub(super) generation: Generation,
    pub(super) stage: Stage,
    /// Whether the broker said so over the present stream.
    pub(super) is_confirmed: bool,
    progress: PartitionProgress,
}

/// What is to become of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It is read.
    Held,
    /// It is to be given back once what was begun is handled.
    Revoking,
    /// It was given back. Remembered until another generation: if that did not arrive, the broker
    /// assigns it once more after a reconnect.
    Returned,
}

impl Holding {
    pub(super) fn new(partition: u32, generation: Generation, committed: Offset) -> Self {
        Self {
            generation,
            stage: Stage::Held,
            is_confirmed: true,
            progress: PartitionProgress::new(PartitionId::new(partition), committed, None),
        }
    }

    /// Whether records of it may be handed out.
    pub(super) fn is_held(&self) -> bool {
        self.stage == Stage::Held
    }

    pub(super) fn to_ref(&self, (handle, partition): Place) -> v1::AssignmentRef {
        v1::AssignmentRef {
            handle,
            partition,
            generation: self.generation.get(),
        }
    }

    /// The first offset that was not received.
    pub(super) const fn next_offset(&self) -> Offset {
        self.progress.next_offset
    }

    /// Whether a batch leaves out offsets without a word about them.
    pub(super) fn is_beyond_next(&self, batch: &FetchedBatch) -> bool {
        self.progress.is_beyond_next(batch)
    }

    /// Moves past a batch and returns the places of its records that did not come before.
    pub(super) fn take(&mut self, batch: &FetchedBatch) -> Range<u32> {
        self.progress.take(batch)
    }

    /// Moves past offsets without records and returns those that were not told before.
    pub(super) fn skip(&mut self, range: OffsetRange) -> Option<OffsetRange> {
        self.progress.skip(range)
    }

    /// Whether it is news that everything that was there was read.
    pub(super) const fn take_caught_up(&mut self) -> bool {
        self.progress.take_caught_up()
    }

    /// Takes no more records of it, and returns whether it did so far.
    pub(super) const fn fail(&mut self) -> bool {
        let is_news = !self.progress.has_failed();
        self.progress.fail();
        is_news
    }
}
