//! When a record that failed is tried again, and when it is not.

use std::collections::VecDeque;

use towpath_storage::Offset;

/// How a subscription tries again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Wait before the second attempt, milliseconds; it doubles with each failure.
    pub backoff_ms_min: u64,
    /// Longest wait, milliseconds.
    pub backoff_ms_max: u64,
    /// Failed attempts after which a record is dead.
    pub attempts_max: u32,
    /// A record that is older when an attempt fails is dead, milliseconds since its append.
    pub age_ms_max: Option<u64>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            backoff_ms_min: 1_000,
            backoff_ms_max: 5 * 60 * 1_000,
            attempts_max: 20,
            age_ms_max: None,
        }
    }
}

impl RetryPolicy {
    /// The wait behind the `failure_count`th failure in a row of a record, milliseconds: doubled each
    /// time, and up to a fifth longer or shorter, so that what failed together does not come back
    /// together.
    pub(super) fn backoff_ms(&self, failure_count: u32, offset: Offset) -> u64 {
        let doublings = failure_count.saturating_sub(1).min(32);
        let wait_ms = self.backoff_ms_min.saturating_mul(1 << doublings);
        let wait_ms = wait_ms.min(self.backoff_ms_max);
        // No random source: a replay must decide alike. 0 to 400 thousandths.
        let share = scatter(offset.get(), failure_count) % 401;
        let spread_ms = u128::from(wait_ms) * u128::from(800 + share) / 1_000;
        u64::try_from(spread_ms).unwrap_or(wait_ms)
    }
}

/// Spreads numbers over all of 64 bits: the finisher of `SplitMix64` (Steele, Lea and Flood, "Fast splittable
/// pseudorandom number generators", OOPSLA 2014).
fn scatter(offset: u64, failure_count: u32) -> u64 {
    let mut mixed = offset
        .wrapping_add(u64::from(failure_count) << 40)
        .wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Settlements in a row that must have failed before it is an outage.
const OUTAGE_FAILURES: usize = 50;
/// Keys that these must be of.
const OUTAGE_KEYS: usize = 10;

/// Tells an outage of what handlers depend on from records that cannot be handled: while it lasts,
/// failures count no attempt. Volatile.
#[derive(Debug, Default)]
pub(super) struct OutageWatch {
    /// Keys of the failures since the last success, oldest first.
    failed_keys: VecDeque<u64>,
}

impl OutageWatch {
    /// A handler was done with a record.
    pub(super) fn note_success(&mut self) {
        self.failed_keys.clear();
    }

    /// A handler failed with a record of this key.
    pub(super) fn note_failure(&mut self, key: u64) {
        if self.failed_keys.len() == OUTAGE_FAILURES {
            self.failed_keys.pop_front();
        }
        self.failed_keys.push_back(key);
    }

    /// Whether everything fails, whatever it is.
    pub(super) fn is_outage(&self) -> bool {
        if self.failed_keys.len() < OUTAGE_FAILURES {
            return false;
        }
        let mut keys: Vec<_> = self.failed_keys.iter().collect();
        keys.sort_unstable();
        keys.dedup();
        keys.len() >= OUTAGE_KEYS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_are_spread() {
        let policy = RetryPolicy::default();
        for (failure_count, expected_ms) in [(1, 1_000), (2, 2_000), (9, 256_000), (10, 300_000)] {
            let waits: Vec<_> = (0..1_000)
                .map(|offset| policy.backoff_ms(failure_count, Offset::new(offset)))
                .collect();
            let (low, high) = (expected_ms * 8 / 10, expected_ms * 12 / 10);
            assert!(
                waits.iter().all(|wait_ms| (low..=high).contains(wait_ms)),
                "{failure_count} failures"
            );
            let width = waits.iter().max().unwrap() - waits.iter().min().unwrap();
            assert!(width > (high - low) * 9 / 10, "{failure_count} failures");
        }
        assert!(policy.backoff_ms(u32::MAX, Offset::ZERO) <= 360_000);
        let endless = RetryPolicy {
            backoff_ms_max: u64::MAX,
            ..policy
        };
        assert!(endless.backoff_ms(u32::MAX, Offset::ZERO) > 1 << 40);
    }

    #[test]
    fn an_outage_is_fifty_failures_in_a_row_of_ten_keys() {
        let mut watch = OutageWatch::default();
        (0..100).for_each(|it| watch.note_failure(it % 9));
        assert!(!watch.is_outage(), "nine keys");
        watch.note_failure(9);
        assert!(watch.is_outage(), "ten");
        watch.note_success();
        (0..49).for_each(|it| watch.note_failure(it));
        assert!(!watch.is_outage(), "one short");
        watch.note_failure(0);
        assert!(watch.is_outage());
    }
}
