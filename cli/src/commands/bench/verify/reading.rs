//! What readers have got: each record of each partition, once, in order.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio_util::sync::CancellationToken;
use towpath_client::{Batch, Offset, OffsetRange, PartitionId};

use super::fingerprint::{Fingerprint, mark_of};
use super::void;
use crate::failure::Failure;

/// What readers of a topic have got together, each partition being one reader's at a time.
#[derive(Debug)]
pub(in crate::commands::bench) struct Reading {
    /// Of each partition: the offset that comes next.
    next: Vec<AtomicU64>,
    /// Of records with a value.
    count: AtomicU64,
    sum: AtomicU64,
    /// Records that are still to come, with those that the writers were made ready with.
    missing: AtomicU64,
    /// Of these, those that the writers were made ready with.
    ready_missing: AtomicU64,
    /// Set once all of those have come.
    live: CancellationToken,
    /// Set once everything has come.
    complete: CancellationToken,
}

impl Reading {
    /// Nothing was read yet of so many partitions, of which so many records are to come, and so many more
    /// that the writers were made ready with.
    pub(in crate::commands::bench) fn new(partitions: u32, records: u64, writers: u32) -> Self {
        Self {
            next: (0..partitions).map(|_| AtomicU64::new(0)).collect(),
            count: AtomicU64::new(0),
            sum: AtomicU64::new(0),
            missing: AtomicU64::new(records + u64::from(writers)),
            ready_missing: AtomicU64::new(writers.into()),
            live: CancellationToken::new(),
            complete: CancellationToken::new(),
        }
    }

    /// A batch has come; `each` is told the mark of every record with a value. Returns how many these are.
    ///
    /// # Errors
    ///
    /// Records before it are missing, or it has come before: the run is void.
    pub(in crate::commands::bench) fn note(
        &self,
        batch: &Batch,
        mut each: impl FnMut(u64),
    ) -> Result<u64, Failure> {
        self.expect_next(batch.partition(), batch.offsets())?;
        let mut noted = Fingerprint::default();
        for record in batch.records() {
            if let Some(value) = record.value() {
                let mark = mark_of(value);
                noted.note(batch.partition(), record.offset(), mark);
                each(mark);
            }
        }
        self.take(noted, batch.record_count().into());
        Ok(noted.count)
    }

    fn expect_next(&self, partition: PartitionId, offsets: OffsetRange) -> Result<(), Failure> {
        let Some(next) = self.next.get(partition.get() as usize) else {
            return Err(void(format!("there is no partition {partition}")));
        };
        let expected = next.swap(offsets.end().get(), Ordering::Relaxed);
        let (found, expected) = (offsets.start(), Offset::new(expected));
        let what = match found.cmp(&expected) {
            std::cmp::Ordering::Equal => return Ok(()),
            std::cmp::Ordering::Greater => "records are missing",
            std::cmp::Ordering::Less => "a record came again, or behind a later one",
        };
        Err(void(format!(
            "{what}: partition {partition} went on at {found} instead of {expected}"
        )))
    }

    /// So many records have come, of which these have a value.
    fn take(&self, noted: Fingerprint, all: u64) {
        self.count.fetch_add(noted.count, Ordering::Relaxed);
        self.sum.fetch_add(noted.sum, Ordering::Relaxed);
        let ready = all - noted.count;
        if ready > 0 && self.ready_missing.fetch_sub(ready, Ordering::Relaxed) <= ready {
            self.live.cancel();
        }
        if self.missing.fetch_sub(all, Ordering::Relaxed) <= all {
            self.complete.cancel();
        }
    }

    /// Waits until the readers have got all that the writers were made ready with.
    pub(in crate::commands::bench) async fn live(&self) {
        self.live.cancelled().await;
    }

    /// Waits until the readers have got everything.
    pub(in crate::commands::bench) async fn complete(&self) {
        self.complete.cancelled().await;
    }

    /// What they have got.
    pub(in crate::commands::bench) fn fingerprint(&self) -> Fingerprint {
        Fingerprint {
            count: self.count.load(Ordering::Relaxed),
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(reading: &Reading, partition: u32, start: u64, end: u64) -> Result<(), String> {
        let offsets = OffsetRange::new(Offset::new(start), Offset::new(end)).expect("a range");
        let noted = reading.expect_next(PartitionId::new(partition), offsets);
        noted.map_err(|failure| failure.message().to_owned())
    }

    #[test]
    fn what_is_lost_doubled_or_out_of_order_is_told() {
        let reading = Reading::new(2, 100, 0);
        assert_eq!(check(&reading, 0, 0, 5), Ok(()), "the first");
        assert_eq!(check(&reading, 1, 0, 3), Ok(()), "of another partition");
        assert_eq!(check(&reading, 0, 5, 6), Ok(()), "the next");
        let lost = check(&reading, 0, 8, 9).expect_err("lost");
        let message = "void: records are missing: partition 0 went on at 8 instead of 6";
        assert_eq!(lost, message);
        let doubled = check(&reading, 1, 0, 3).expect_err("doubled");
        let message = "void: a record came again, or behind a later one: partition 1 went on at 0 \
                       instead of 3";
        assert_eq!(doubled, message);
        let reordered = check(&reading, 0, 6, 8).expect_err("reordered");
        assert!(reordered.contains("behind a later one"), "{reordered}");
        assert!(check(&reading, 2, 0, 1).is_err(), "no such partition");
    }

    #[test]
    fn readers_are_live_and_done_once_all_has_come() {
        let reading = Reading::new(1, 3, 2);
        let take = |count, all| reading.take(Fingerprint { count, sum: 1 }, all);
        take(1, 2);
        assert!(!reading.live.is_cancelled(), "one of two");
        take(1, 2);
        assert!(reading.live.is_cancelled(), "both");
        assert!(!reading.complete.is_cancelled(), "four of five");
        take(1, 1);
        assert!(reading.complete.is_cancelled(), "all");
        assert_eq!(reading.fingerprint(), Fingerprint { count: 3, sum: 3 });
    }
}
