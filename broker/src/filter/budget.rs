//! How much work evaluating may be.

use std::cell::Cell;

use super::{Doubt, STEPS_PER_RECORD_MAX};

/// Bytes that are read or copied for one step.
const BYTES_PER_STEP: usize = 32;

/// Steps that were taken for many records.
#[derive(Debug, Default)]
pub(crate) struct Steps(u64);

impl Steps {
    /// How many.
    pub(crate) const fn taken(&self) -> u64 {
        self.0
    }
}

/// The steps that are left for one record.
#[derive(Debug)]
pub(super) struct Budget<'a> {
    left: Cell<u64>,
    steps: &'a mut Steps,
}

impl<'a> Budget<'a> {
    pub(super) const fn new(steps: &'a mut Steps) -> Self {
        Self {
            left: Cell::new(STEPS_PER_RECORD_MAX),
            steps,
        }
    }

    /// Takes steps.
    pub(super) fn take(&self, count: usize) -> Result<(), Doubt> {
        let left = self.left.get().checked_sub(count as u64);
        self.left.set(left.unwrap_or(0));
        left.map(drop).ok_or(Doubt::TooCostly)
    }

    /// Takes the steps for so many bytes.
    pub(super) fn take_bytes(&self, count: usize) -> Result<(), Doubt> {
        self.take(1 + count / BYTES_PER_STEP)
    }
}

impl Drop for Budget<'_> {
    fn drop(&mut self) {
        self.steps.0 += STEPS_PER_RECORD_MAX - self.left.get();
    }
}
