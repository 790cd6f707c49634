//! What a step of the producer's state machine has for the world outside.

use std::sync::Arc;

use super::batch::ClosedBatch;
use super::receipt::{Appended, Outcome};
use crate::Error;

/// Collected under the lane's lock, carried out once it is free.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// Outcomes that have their result and whose waiters are to be woken.
    settled: Vec<Arc<Outcome>>,
    freed_bytes: usize,
}

impl Effects {
    /// Gives a batch its result, unless it has one.
    pub(super) fn settle(&mut self, batch: &ClosedBatch, result: Result<Appended, Error>) {
        if batch.outcome.set(result) {
            self.settled.push(Arc::clone(&batch.outcome));
        }
    }

    /// A batch is gone, and its memory with it.
    pub(super) fn release(&mut self, batch: &ClosedBatch) {
        self.freed_bytes += batch.bytes.len();
    }

    /// Bytes of batches that are gone.
    pub(super) const fn freed_bytes(&self) -> usize {
        self.freed_bytes
    }

    /// Wakes who waited for what was settled.
    pub(super) fn wake(&self) {
        self.settled.iter().for_each(|outcome| outcome.wake());
    }
}
