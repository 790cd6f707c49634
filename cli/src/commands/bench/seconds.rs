//! How much was done in each second of a measurement: a broker that stands still shows there.

use std::time::Duration;

/// Shorter measurements do not tell a worst second.
const SECONDS_MIN: usize = 3;

/// How much was done in each second.
#[derive(Debug, Default)]
pub(super) struct Seconds {
    counts: Vec<u64>,
}

/// What whole seconds of a measurement have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WholeSeconds {
    /// Fewest records of one.
    pub(super) worst: u64,
    /// Records of the median one.
    pub(super) median: u64,
}

impl Seconds {
    /// So many more were done, so long after the start.
    pub(super) fn add(&mut self, after: Duration, count: u64) {
        let second = usize::try_from(after.as_secs()).unwrap_or(usize::MAX);
        if second >= self.counts.len() {
            self.counts.resize(second.saturating_add(1), 0);
        }
        if let Some(counted) = self.counts.get_mut(second) {
            *counted += count;
        }
    }

    /// The whole seconds of a measurement that took so long; none if they are too few. What was done in
    /// the last second, which is not whole, does not count.
    pub(super) fn whole(&self, time: Duration) -> Option<WholeSeconds> {
        let whole = usize::try_from(time.as_secs()).ok()?;
        let mut counts = self.counts.clone();
        counts.resize(whole, 0);
        counts.sort_unstable();
        let median = counts.get(whole / 2).copied()?;
        let worst = counts.first().copied()?;
        (whole >= SECONDS_MIN).then_some(WholeSeconds { worst, median })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(counts: &[(u64, u64)]) -> Seconds {
        let mut seconds = Seconds::default();
        for (millis, count) in counts {
            seconds.add(Duration::from_millis(*millis), *count);
        }
        seconds
    }

    #[test]
    fn the_worst_and_the_median_are_of_whole_seconds() {
        let counted = seconds(&[(0, 5), (999, 5), (1_000, 7), (2_500, 30), (3_100, 1)]);
        let whole = counted.whole(Duration::from_millis(3_200));
        let expected = WholeSeconds {
            worst: 7,
            median: 10,
        };
        assert_eq!(whole, Some(expected), "three and a bit");
        assert_eq!(counted.whole(Duration::from_millis(2_999)), None, "two");
    }

    #[test]
    fn a_second_in_which_nothing_was_done_is_the_worst() {
        let counted = seconds(&[(0, 9), (2_000, 9), (3_000, 9)]);
        let worst = |millis| {
            counted
                .whole(Duration::from_millis(millis))
                .map(|it| it.worst)
        };
        assert_eq!(worst(4_000), Some(0), "in the middle");
        let late = seconds(&[(0, 9)]).whole(Duration::from_secs(3));
        assert_eq!(late.map(|it| it.worst), Some(0), "in the end");
    }
}
