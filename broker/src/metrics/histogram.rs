//! How often a number fell between which bounds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts of observations between fixed bounds. Observing takes three relaxed additions at most.
#[derive(Debug)]
pub(crate) struct Histogram {
    /// Upper bounds, inclusive, ascending, in the unit of what is observed.
    bounds: &'static [u64],
    /// One for each bound, and one for what lies above all.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// A histogram as it is at one time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// Each bound, with how many lie at or below it.
    pub(super) cumulative: Vec<(u64, u64)>,
    /// How many there are.
    pub(super) count: u64,
    /// Their sum.
    pub(super) sum: u64,
}

/// Bounds for the time of calls and appends, nanoseconds: 100 us to 10 s.
pub(crate) const LATENCY_BOUNDS: &[u64] = &[
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// Bounds for numbers of records.
pub(crate) const COUNT_BOUNDS: &[u64] = &[
    1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000,
];

impl Histogram {
    /// Nothing observed yet, between these bounds.
    pub(crate) fn new(bounds: &'static [u64]) -> Self {
        Self {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }

    /// Observes a number.
    pub(crate) fn observe(&self, number: u64) {
        let place = self.bounds.partition_point(|bound| *bound < number);
        if let Some(count) = self.counts.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(number, Ordering::Relaxed);
    }

    /// Observes a time, in nanoseconds.
    pub(crate) fn observe_time(&self, time: Duration) {
        self.observe(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// What was observed so far. The count is that of the buckets, so the two never differ.
    pub(super) fn snapshot(&self) -> Snapshot {
        let mut count = 0;
        let mut cumulative = Vec::with_capacity(self.bounds.len());
        for (place, observed) in self.counts.iter().enumerate() {
            count += observed.load(Ordering::Relaxed);
            if let Some(bound) = self.bounds.get(place) {
                cumulative.push((*bound, count));
            }
        }
        Snapshot {
            cumulative,
            count,
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_what_lies_below_it() {
        let histogram = Histogram::new(&[10, 20]);
        for number in [0, 10, 11, 20, 21] {
            histogram.observe(number);
        }
        let expected = Snapshot {
            cumulative: vec![(10, 2), (20, 4)],
            count: 5,
            sum: 62,
        };
        assert_eq!(histogram.snapshot(), expected);
    }

    #[test]
    fn bounds_ascend() {
        for bounds in [LATENCY_BOUNDS, COUNT_BOUNDS] {
            assert!(
                bounds.is_sorted_by(|left, right| left < right),
                "{bounds:?}"
            );
        }
    }
}
