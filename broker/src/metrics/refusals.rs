//! Refusals that travel inside a stream, where no status of a call tells of them.

use std::sync::atomic::{AtomicU64, Ordering};

use towpath_proto::reason::ErrorReason;

/// How many batches of Produce streams were refused, by reason.
#[derive(Debug)]
pub(crate) struct Refusals {
    /// By the place of the reason among all.
    counts: Box<[AtomicU64]>,
}

impl Default for Refusals {
    fn default() -> Self {
        let counts = ErrorReason::ALL.iter().map(|_| AtomicU64::new(0));
        Self {
            counts: counts.collect(),
        }
    }
}

impl Refusals {
    /// Counts one.
    pub(crate) fn add(&self, reason: ErrorReason) {
        let place = ErrorReason::ALL.iter().position(|it| *it == reason);
        if let Some(count) = place.and_then(|place| self.counts.get(place)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Every reason with its count.
    pub(super) fn counts(&self) -> impl Iterator<Item = (ErrorReason, u64)> {
        let counts = self.counts.iter();
        let counts = counts.map(|count| count.load(Ordering::Relaxed));
        ErrorReason::ALL.iter().copied().zip(counts)
    }
}
