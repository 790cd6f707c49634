//! A batch while records are added to it, and after that.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;
use towpath_proto::batch::NewRecord;

use super::receipt::{Outcome, Receipt};
use crate::Record;
use crate::record::{Expectation, RecordHeaders};

/// When a batch is full.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchSize {
    /// A batch of several records is not larger; a larger record is a batch of its own.
    pub(super) bytes_max: usize,
    pub(super) records_max: u32,
}

/// A record with what it adds to a batch, which is computed once.
#[derive(Debug)]
pub(super) struct Weighed<'a> {
    pub(super) record: NewRecord<'a, RecordHeaders<'a>>,
    /// [`NewRecord::batch_len`] of the record.
    pub(super) batch_len: usize,
    /// What it rests on. It shares its batch with no other record then.
    pub(super) expectation: Option<Expectation>,
}

impl<'a> Weighed<'a> {
    /// Weighs a record; `source` is where events come from that do not say so themselves.
    pub(super) fn new(record: &'a Record, source: &'a str) -> Self {
        let expectation = record.expectation();
        let record = record.as_new_record(source);
        Self {
            batch_len: record.batch_len(),
            record,
            expectation,
        }
    }
}

/// A batch that takes records: they are encoded straight into what is going to be sent.
#[derive(Debug)]
pub(super) struct OpenBatch {
    bytes: BytesMut,
    record_count: u32,
    opened_at: Instant,
    expectation: Option<Expectation>,
    outcome: Arc<Outcome>,
}

impl OpenBatch {
    pub(super) fn new(capacity: usize, opened_at: Instant) -> Self {
        Self {
            bytes: BytesMut::with_capacity(capacity),
            record_count: 0,
            opened_at,
            expectation: None,
            outcome: Arc::default(),
        }
    }

    /// Whether a record that adds this many bytes still belongs into the batch.
    pub(super) fn has_room_for(&self, batch_len: usize, size: &BatchSize) -> bool {
        self.record_count == 0
            || (self.record_count < size.records_max
                && self.bytes.len().saturating_add(batch_len) <= size.bytes_max)
    }

    /// Whether no other record belongs into the batch.
    pub(super) fn is_full(&self, size: &BatchSize) -> bool {
        self.bytes.len() >= size.bytes_max
            || self.record_count >= size.records_max
            || self.expectation.is_some()
    }

    pub(super) fn push(&mut self, weighed: &Weighed<'_>) -> Receipt {
        weighed.record.put(&mut self.bytes);
        self.expectation = weighed.expectation;
        let receipt = Receipt::new(Arc::clone(&self.outcome), self.record_count);
        self.record_count += 1;
        receipt
    }

    pub(super) const fn opened_at(&self) -> Instant {
        self.opened_at
    }

    pub(super) const fn record_count(&self) -> u32 {
        self.record_count
    }

    pub(super) const fn outcome(&self) -> &Arc<Outcome> {
        &self.outcome
    }

    pub(super) fn close(self) -> ClosedBatch {
        ClosedBatch {
            bytes: self.bytes.freeze(),
            record_count: self.record_count,
            opened_at: self.opened_at,
            expectation: self.expectation,
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
    /// What its only record rests on.
    pub(super) expectation: Option<Expectation>,
    pub(super) outcome: Arc<Outcome>,
}
