//! A batch while records are added to it, and after that.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;
use towpath_proto::batch::NewRecord;

use super::receipt::{Outcome, Receipt};

/// When a batch is full.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchSize {
    /// A batch of several records is not larger; a larger record is a batch of its own.
    pub(super) bytes_max: usize,
    pub(super) records_max: u32,
}

/// A batch that takes records: they are encoded straight into what is going to be sent.
#[derive(Debug)]
pub(super) struct OpenBatch {
    bytes: BytesMut,
    record_count: u32,
    opened_at: Instant,
    outcome: Arc<Outcome>,
}

impl OpenBatch {
    pub(super) fn new(capacity: usize, opened_at: Instant) -> Self {
        Self {
            bytes: BytesMut::with_capacity(capacity),
            record_count: 0,
            opened_at,
            outcome: Arc::default(),
        }
    }

    /// Whether a record that adds this many bytes still belongs into the batch.
    pub(super) fn has_room_for(&self, batch_len: usize, size: &BatchSize) -> bool {
        self.record_count == 0
            || (self.record_count < size.records_max
                && self.bytes.len().saturating_add(batch_len) <= size.bytes_max)
    }

    pub(super) fn is_full(&self, size: &BatchSize) -> bool {
        self.bytes.len() >= size.bytes_max || self.record_count >= size.records_max
    }

    pub(super) fn push<'a, H>(&mut self, record: &NewRecord<'a, H>) -> Receipt
    where
        H: IntoIterator<Item = (&'a str, &'a [u8])> + Clone,
    {
        record.put(&mut self.bytes);
        let receipt = Receipt::new(Arc::clone(&self.outcome), self.record_count);
        self.record_count += 1;
        receipt
    }

    pub(super) const fn opened_at(&self) -> Instant {
        self.opened_at
    }

    pub(super) const fn outcome(&self) -> &Arc<Outcome> {
        &self.outcome
    }

    pub(super) fn close(self) -> ClosedBatch {
        ClosedBatch {
            bytes: self.bytes.freeze(),
            record_count: self.record_count,
            opened_at: self.opened_at,
            outcome: self.outcome,
        }
    }
}

/// A batch whose bytes stay as they are, however often it is sent.
#[derive(Debug)]
pub(super) struct ClosedBatch {
    /// The encoded `RecordBatch`. Its length is also what the batch holds of the producer's room.
    pub(super) bytes: Bytes,
    pub(super) record_count: u32,
    /// When its first record was taken: from then on its time runs.
    pub(super) opened_at: Instant,
    pub(super) outcome: Arc<Outcome>,
}
