//! How far one partition was read.

use std::ops::Range;

use towpath_proto::ids::{Lsn, Offset, OffsetRange, PartitionId};
use towpath_proto::wire::FetchedBatch;

/// One partition that is read.
#[derive(Debug)]
pub(crate) struct PartitionProgress {
    pub(crate) id: PartitionId,
    /// The first offset that was not delivered.
    pub(crate) next_offset: Offset,
    /// Where reading ends; none for a reader that follows.
    pub(crate) end: Option<End>,
    is_caught_up: bool,
    has_failed: bool,
}

/// The end of a partition when it was first opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) offset: Offset,
    /// The durable LSN that the offset belongs to.
    pub(crate) lsn: Lsn,
}

impl PartitionProgress {
    pub(crate) const fn new(id: PartitionId, start: Offset, end: Option<End>) -> Self {
        Self {
            id,
            next_offset: start,
            end,
            is_caught_up: false,
            has_failed: false,
        }
    }

    /// Whether there is more to read.
    pub(super) const fn is_wanted(&self) -> bool {
        !self.has_failed && (!self.is_caught_up || self.end.is_none())
    }

    /// Whether a batch leaves out offsets that are wanted, without a word about them.
    pub(crate) fn is_beyond_next(&self, batch: &FetchedBatch) -> bool {
        self.is_wanted() && self.next_offset < Offset::new(batch.base_offset)
    }

    /// Moves past a batch and returns the places of its records that are wanted.
    pub(crate) fn take(&mut self, batch: &FetchedBatch) -> Range<u32> {
        if self.has_failed {
            return 0..0;
        }
        let end = self.end.map_or(Offset::new(u64::MAX), |end| end.offset);
        let wanted = index_of(batch, self.next_offset)..index_of(batch, end);
        self.move_to(batch.next_offset());
        wanted
    }

    /// Moves past offsets without records and returns those that are wanted.
    pub(crate) fn skip(&mut self, range: OffsetRange) -> Option<OffsetRange> {
        if self.has_failed {
            return None;
        }
        let start = range.start().max(self.next_offset);
        let end = self
            .end
            .map_or(range.end(), |end| end.offset.min(range.end()));
        self.move_to(range.end());
        OffsetRange::new(start, end).filter(|range| !range.is_empty())
    }

    /// The end, if it was reached and that was not told yet.
    pub(super) fn take_end(&mut self) -> Option<End> {
        let end = self.end.filter(|end| end.offset <= self.next_offset);
        end.filter(|_| self.take_caught_up())
    }

    /// Whether it is news that everything that was there was read.
    pub(crate) const fn take_caught_up(&mut self) -> bool {
        let is_news = !self.is_caught_up && !self.has_failed;
        self.is_caught_up = true;
        is_news
    }

    /// Gives the partition up.
    pub(crate) const fn fail(&mut self) {
        self.has_failed = true;
    }

    /// Whether it was given up.
    pub(crate) const fn has_failed(&self) -> bool {
        self.has_failed
    }

    fn move_to(&mut self, offset: Offset) {
        let end = self.end.map_or(offset, |end| end.offset.min(offset));
        self.next_offset = self.next_offset.max(end);
    }
}

/// Place of the first record whose offset is not below this one.
fn index_of(batch: &FetchedBatch, offset: Offset) -> u32 {
    let distance = offset.get().saturating_sub(batch.base_offset);
    let distance = u32::try_from(distance).unwrap_or(u32::MAX);
    let index = if batch.offset_deltas.is_empty() {
        distance
    } else {
        let below = batch
            .offset_deltas
            .partition_point(|delta| *delta < distance);
        u32::try_from(below).unwrap_or(u32::MAX)
    };
    index.min(batch.record_count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(start: u64, end: Option<u64>) -> PartitionProgress {
        let end = end.map(|offset| End {
            offset: Offset::new(offset),
            lsn: Lsn::new(9),
        });
        PartitionProgress::new(PartitionId::new(0), Offset::new(start), end)
    }

    fn dense(base_offset: u64, record_count: u32) -> FetchedBatch {
        FetchedBatch {
            base_offset,
            record_count,
            ..FetchedBatch::default()
        }
    }

    fn sparse(base_offset: u64, offset_deltas: &[u32]) -> FetchedBatch {
        FetchedBatch {
            offset_deltas: offset_deltas.to_vec(),
            ..dense(base_offset, u32::try_from(offset_deltas.len()).unwrap())
        }
    }

    #[track_caller]
    fn check(start: u64, end: Option<u64>, batch: &FetchedBatch, wanted: Range<u32>, next: u64) {
        let mut partition = partition(start, end);
        assert_eq!(partition.take(batch), wanted, "places");
        assert_eq!(partition.next_offset.get(), next, "next offset");
    }

    #[test]
    fn records_outside_of_what_is_wanted_are_left_out() {
        check(10, None, &dense(10, 5), 0..5, 15);
        check(12, None, &dense(10, 5), 2..5, 15);
        check(10, Some(13), &dense(10, 5), 0..3, 13);
        check(15, None, &dense(10, 5), 5..5, 15);
        check(20, None, &dense(10, 5), 5..5, 20);
        check(0, None, &dense(10, 5), 0..5, 15);
    }

    #[test]
    fn offsets_of_a_compacted_batch_are_its_own() {
        let batch = sparse(10, &[0, 3, 4, 9]);
        check(10, None, &batch, 0..4, 20);
        check(11, None, &batch, 1..4, 20);
        check(14, None, &batch, 2..4, 20);
        check(14, Some(15), &batch, 2..3, 15);
    }

    #[test]
    fn gaps_are_told_only_where_something_was_wanted() {
        let range = |start, end| OffsetRange::new(Offset::new(start), Offset::new(end)).unwrap();
        let mut reading = partition(10, Some(30));
        assert_eq!(reading.skip(range(0, 10)), None, "behind");
        assert_eq!(
            reading.skip(range(5, 20)),
            Some(range(10, 20)),
            "half behind"
        );
        assert_eq!(reading.next_offset.get(), 20, "next offset");
        assert_eq!(
            reading.skip(range(20, 50)),
            Some(range(20, 30)),
            "beyond the end"
        );
        assert!(reading.take_end().is_some(), "end");
    }

    #[test]
    fn nothing_comes_of_a_partition_that_was_given_up() {
        let mut reading = partition(10, Some(15));
        reading.fail();
        assert_eq!(reading.take(&dense(10, 5)), 0..0, "records");
        assert_eq!(reading.skip(OffsetRange::default()), None, "gap");
        assert_eq!(reading.take_end(), None, "end");
        assert_eq!(reading.next_offset.get(), 10, "next offset");
    }

    #[test]
    fn offsets_that_are_left_out_are_noticed() {
        let mut reading = partition(10, None);
        assert!(!reading.is_beyond_next(&dense(8, 5)), "overlaps");
        assert!(!reading.is_beyond_next(&dense(10, 5)), "follows");
        assert!(reading.is_beyond_next(&dense(11, 5)), "leaves one out");
        reading.fail();
        assert!(!reading.is_beyond_next(&dense(11, 5)), "given up");
    }

    #[test]
    fn the_end_is_told_once() {
        let mut reading = partition(10, Some(15));
        assert_eq!(reading.take_end(), None, "not there yet");
        reading.take(&dense(10, 5));
        assert!(reading.is_wanted(), "to be told");
        assert!(reading.take_end().is_some(), "told");
        assert_eq!(reading.take_end(), None, "told again");
        assert!(!reading.is_wanted(), "read to the end");
    }
}
