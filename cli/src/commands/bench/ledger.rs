//! Which records of a subscription were handled: each must be, once, and each key in order.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio_util::sync::CancellationToken;
use towpath_client::{DeliveredRecord, Offset, PartitionId, Topic};

use super::keys::Keys;
use crate::exit::Exit;
use crate::failure::Failure;

const WORD_BITS: u64 = u64::BITS as u64;

/// What the clients of a subscription have handled together.
#[derive(Debug)]
pub(super) struct Ledger {
    /// One bit for each record of each partition.
    handled: Vec<Vec<AtomicU64>>,
    /// Of each key, which has one partition: one past the offset of its last record. None where records may
    /// come in any order.
    next_of_key: Vec<AtomicU64>,
    missing: AtomicU64,
    /// Set once everything was handled.
    complete: CancellationToken,
}

impl Ledger {
    /// Nothing was handled of a topic. `ordered_keys` is how many keys have to come in order.
    pub(super) fn new(topic: &Topic, ordered_keys: usize) -> Self {
        let partitions = topic.partitions.iter();
        let words = |end: Offset| usize::try_from(end.get().div_ceil(WORD_BITS)).unwrap_or(0);
        Self {
            handled: partitions.map(|it| zeros(words(it.end_offset))).collect(),
            next_of_key: zeros(ordered_keys),
            missing: AtomicU64::new(topic.record_count),
            complete: CancellationToken::new(),
        }
    }

    /// A record is handled.
    ///
    /// # Errors
    ///
    /// It was before, or comes out of its order: the run is void.
    pub(super) fn note(&self, record: &DeliveredRecord) -> Result<(), Failure> {
        let (partition, offset) = (record.partition(), record.offset());
        if record.attempt() != 1 || !self.is_first(partition, offset) {
            return Err(void("was delivered twice", record));
        }
        let key = record.key().and_then(Keys::number_of);
        // ORDERING: whoever gets the next record of the key gets it after the broker has heard of this one.
        if let Some(next) = key.and_then(|key| self.next_of_key.get(key))
            && next.swap(offset.next().get(), Ordering::Relaxed) > offset.get()
        {
            return Err(void("came behind a later one of its key", record));
        }
        if self.missing.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.complete.cancel();
        }
        Ok(())
    }

    /// Notes that a record was seen; false if it was before, or should not be there.
    fn is_first(&self, partition: PartitionId, offset: Offset) -> bool {
        let words = self.handled.get(partition.get() as usize);
        let index = usize::try_from(offset.get() / WORD_BITS).ok();
        let word = words.zip(index).and_then(|(words, index)| words.get(index));
        let bit = 1 << (offset.get() % WORD_BITS);
        word.is_some_and(|word| word.fetch_or(bit, Ordering::Relaxed) & bit == 0)
    }

    /// Waits until everything was handled.
    pub(super) async fn complete(&self) {
        self.complete.cancelled().await;
    }
}

fn zeros(count: usize) -> Vec<AtomicU64> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

fn void(what: &str, record: &DeliveredRecord) -> Failure {
    let message = format!("void: {} {what}", record.address());
    Failure::new(Exit::Failed, message)
}
