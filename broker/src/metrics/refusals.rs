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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_count_of_its_own() {
        let refusals = Refusals::default();
        let expected: Vec<_> = ErrorReason::ALL.iter().copied().zip(1..).collect();
        for (reason, count) in &expected {
            (0..*count).for_each(|_| refusals.add(*reason));
        }
        assert_eq!(refusals.counts().collect::<Vec<_>>(), expected);
    }
}
