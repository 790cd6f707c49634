//! Records that were appended together, decoded one by one as they are looked at.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use towpath_proto::batch::OwnedRecords;
use towpath_proto::ids::{Lsn, Offset, OffsetRange, PartitionId};
use towpath_proto::names::TopicName;

use crate::ReceivedRecord;
use crate::record::Origin;

/// Records of one partition that were appended together and were asked for; never empty.
///
/// Its bytes were checked when it was received, so that going through the records cannot fail.
#[derive(Clone)]
pub struct Batch {
    origin: Arc<Origin>,
    /// Places within the fetched batch of the records that were asked for.
    wanted: Range<u32>,
    range: OffsetRange,
}

impl Batch {
    /// Keeps the records of a checked batch at these places; none if there are none.
    pub(crate) fn new(origin: Arc<Origin>, wanted: Range<u32>) -> Option<Self> {
        let start = origin.batch.offset_of(wanted.start)?;
        let end = origin.batch.offset_of(wanted.end.checked_sub(1)?)?.next();
        let range = OffsetRange::new(start, end).filter(|range| !range.is_empty())?;
        Some(Self {
            origin,
            wanted,
            range,
        })
    }

    /// Name of the topic.
    pub fn topic(&self) -> &TopicName {
        &self.origin.topic
    }

    /// Partition of the topic.
    pub fn partition(&self) -> PartitionId {
        self.origin.partition()
    }

    /// From the first record to one past the last; without holes unless the batch was compacted.
    pub const fn offsets(&self) -> OffsetRange {
        self.range
    }

    /// Place of the batch in the one order over all topics.
    pub fn lsn(&self) -> Lsn {
        self.origin.lsn()
    }

    /// When the batch was appended, by the broker's clock.
    pub fn append_time(&self) -> SystemTime {
        self.origin.append_time()
    }

    /// Number of records.
    pub const fn record_count(&self) -> u32 {
        self.wanted.end - self.wanted.start
    }

    /// The records, in offset order.
    pub fn records(&self) -> BatchRecords {
        let mut records = OwnedRecords::new(self.origin.batch.batch.clone());
        for _ in 0..self.wanted.start {
            records.next();
        }
        BatchRecords {
            origin: Arc::clone(&self.origin),
            records,
            left: self.wanted.clone(),
        }
    }
}

#[expect(
    clippy::into_iter_without_iter,
    reason = "`records` is that, by a better name"
)]
impl IntoIterator for &Batch {
    type Item = ReceivedRecord;
    type IntoIter = BatchRecords;

    fn into_iter(self) -> BatchRecords {
        self.records()
    }
}

impl IntoIterator for Batch {
    type Item = ReceivedRecord;
    type IntoIter = BatchRecords;

    fn into_iter(self) -> BatchRecords {
        self.records()
    }
}

/// Shows place and size only: keys and values belong in no log.
impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("topic", self.topic())
            .field("partition", &self.partition())
            .field("offsets", &self.range)
            .field("record_count", &self.record_count())
            .finish_non_exhaustive()
    }
}

/// The records of a [`Batch`], in offset order.
#[derive(Clone)]
pub struct BatchRecords {
    origin: Arc<Origin>,
    records: OwnedRecords,
    left: Range<u32>,
}

impl BatchRecords {
    /// Offset of the record that comes next.
    pub(crate) fn next_offset(&self) -> Option<Offset> {
        let is_left = !self.left.is_empty();
        self.origin
            .batch
            .offset_of(self.left.start)
            .filter(|_| is_left)
    }

    /// Where the records come from.
    pub(crate) fn place(&self) -> (&TopicName, PartitionId) {
        (&self.origin.topic, self.origin.partition())
    }

    /// What was not taken yet, as a batch; none if everything was.
    pub(crate) fn into_rest(self) -> Option<Batch> {
        Batch::new(self.origin, self.left)
    }
}

impl Iterator for BatchRecords {
    type Item = ReceivedRecord;

    fn next(&mut self) -> Option<ReceivedRecord> {
        let offset = self
            .left
            .next()
            .and_then(|index| self.origin.batch.offset_of(index))?;
        // The batch was walked when it was received: there is no fault to come.
        let record = self.records.next()?.ok()?;
        Some(ReceivedRecord::new(
            Arc::clone(&self.origin),
            offset,
            record,
        ))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.left.size_hint()
    }
}

impl ExactSizeIterator for BatchRecords {}

impl fmt::Debug for BatchRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchRecords")
            .field("origin", &self.origin)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}
