//! Which records of a subscription were handled: each must be, once, and each key in order.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio_util::sync::CancellationToken;
use towpath_client::{DeliveredRecord, Offset, PartitionId, Topic};

use super::fingerprint::{Fingerprint, mark_of};
use super::void;
use crate::commands::bench::keys::Keys;
use crate::failure::Failure;

const WORD_BITS: u64 = u64::BITS as u64;

/// What the clients of a subscription have handled together.
#[derive(Debug)]
pub(in crate::commands::bench) struct Ledger {
    /// One bit for each record of each partition.
    handled: Vec<Vec<AtomicU64>>,
    /// Of each partition: the number of its first record, counting those of all partitions.
    first_numbers: Vec<u64>,
    /// Of each key, which has one partition: one past the offset of its last record. None where records may
    /// come in any order.
    next_of_key: Vec<AtomicU64>,
    missing: AtomicU64,
    /// Of records with a value.
    count: AtomicU64,
    sum: AtomicU64,
    /// Set once everything was handled.
    complete: CancellationToken,
}

impl Ledger {
    /// Nothing was handled of a topic. `ordered_keys` is how many keys have to come in order.
    pub(in crate::commands::bench) fn new(topic: &Topic, ordered_keys: usize) -> Self {
        let ends = topic.partitions.iter().map(|it| it.end_offset);
        Self::of(ends, topic.record_count, ordered_keys)
    }

    fn of(ends: impl Iterator<Item = Offset>, records: u64, ordered_keys: usize) -> Self {
        let words = |end: Offset| usize::try_from(end.get().div_ceil(WORD_BITS)).unwrap_or(0);
        let mut number = 0;
        let (mut handled, mut first_numbers) = (Vec::new(), Vec::new());
        for end in ends {
            handled.push(zeros(words(end)));
            first_numbers.push(number);
            number += end.get();
        }
        Self {
            handled,
            first_numbers,
            count: AtomicU64::new(0),
            sum: AtomicU64::new(0),
            next_of_key: zeros(ordered_keys),
            missing: AtomicU64::new(records),
            complete: CancellationToken::new(),
        }
    }

    /// A record is handled.
    ///
    /// # Errors
    ///
    /// It was before, or comes out of its order: the run is void.
    pub(in crate::commands::bench) fn note(&self, record: &DeliveredRecord) -> Result<(), Failure> {
        let (partition, offset) = (record.partition(), record.offset());
        let key = record.key().and_then(Keys::number_of);
        if record.attempt() != 1 || !self.is_first(partition, offset) {
            return Err(void(format!("{} was delivered twice", record.address())));
        }
        if !key.is_none_or(|key| self.is_in_order(key, offset)) {
            let what = format!("{} came behind a later one of its key", record.address());
            return Err(void(what));
        }
        if let Some(value) = record.value() {
            let mut noted = Fingerprint::default();
            noted.note(partition, offset, mark_of(value));
            self.count.fetch_add(noted.count, Ordering::Relaxed);
            self.sum.fetch_add(noted.sum, Ordering::Relaxed);
        }
        if self.missing.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.complete.cancel();
        }
        Ok(())
    }

    /// The number of a record, counting those of all partitions from 0.
    pub(in crate::commands::bench) fn number_of(&self, record: &DeliveredRecord) -> u64 {
        let first = self.first_numbers.get(record.partition().get() as usize);
        first.copied().unwrap_or_default() + record.offset().get()
    }

    /// What was handled.
    pub(in crate::commands::bench) fn fingerprint(&self) -> Fingerprint {
        Fingerprint {
            count: self.count.load(Ordering::Relaxed),
            sum: self.sum.load(Ordering::Relaxed),
        }
    }

    /// Notes that a record was seen; false if it was before, or should not be there.
    fn is_first(&self, partition: PartitionId, offset: Offset) -> bool {
        let words = self.handled.get(partition.get() as usize);
        let index = usize::try_from(offset.get() / WORD_BITS).ok();
        let word = words.zip(index).and_then(|(words, index)| words.get(index));
        let bit = 1 << (offset.get() % WORD_BITS);
        word.is_some_and(|word| word.fetch_or(bit, Ordering::Relaxed) & bit == 0)
    }

    /// Notes the last record of a key; false if a later one was before. Whoever gets the next record of a key
    /// gets it after the broker has heard of this one.
    fn is_in_order(&self, key: usize, offset: Offset) -> bool {
        let next = self.next_of_key.get(key);
        next.is_none_or(|it| it.swap(offset.next().get(), Ordering::Relaxed) <= offset.get())
    }

    /// Waits until everything was handled.
    pub(in crate::commands::bench) async fn complete(&self) {
        self.complete.cancelled().await;
    }
}

fn zeros(count: usize) -> Vec<AtomicU64> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_seen_once_and_only_where_there_are_records() {
        let ledger = Ledger::of([Offset::new(70), Offset::new(1)].into_iter(), 71, 0);
        let is_first =
            |partition, offset| ledger.is_first(PartitionId::new(partition), Offset::new(offset));
        assert!(is_first(0, 69) && is_first(0, 5) && is_first(1, 0), "first");
        assert!(!is_first(0, 69) && !is_first(1, 0), "twice");
        assert!(!is_first(0, 128) && !is_first(2, 0), "nothing is there");
    }

    #[test]
    fn records_of_a_key_come_in_their_order() {
        let ledger = Ledger::of([Offset::new(70)].into_iter(), 70, 2);
        let is_in_order = |key, offset| ledger.is_in_order(key, Offset::new(offset));
        assert!(is_in_order(0, 0) && is_in_order(0, 9), "in order");
        assert!(is_in_order(1, 3), "another key");
        assert!(!is_in_order(0, 8), "behind a later one");
        assert!(is_in_order(7, 5) && is_in_order(7, 4), "any order");
    }
}
