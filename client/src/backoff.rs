//! How long to wait before the next try.

use std::time::Duration;

/// Before the first repetition; a broker that only dropped a connection answers at once.
const FIRST: Duration = Duration::from_millis(20);
/// However long an outage lasts, its end is noticed within this time.
const LONGEST: Duration = Duration::from_secs(2);

/// Waits that double from 20 ms to 2 s, each shortened by up to a half at random, so that clients
/// that lost the same broker do not come back all at once.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    ceiling: Duration,
    random: fastrand::Rng,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self::seeded(fastrand::u64(..))
    }

    pub(crate) fn seeded(seed: u64) -> Self {
        Self {
            ceiling: FIRST,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// Returns how long to wait this time.
    pub(crate) fn next_wait(&mut self) -> Duration {
        let ceiling = self.ceiling;
        self.ceiling = LONGEST.min(ceiling * 2);
        ceiling.mul_f64(self.random.f64().mul_add(0.5, 0.5))
    }

    /// The last try succeeded: the next wait is short again.
    pub(crate) const fn reset(&mut self) {
        self.ceiling = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_two_seconds_and_start_again_after_a_success() {
        for seed in 0..100 {
            let mut backoff = Backoff::seeded(seed);
            for ceiling_ms in [20, 40, 80, 160, 320, 640, 1280, 2000, 2000] {
                let ceiling = Duration::from_millis(ceiling_ms);
                let wait = backoff.next_wait();
                assert!(
                    ceiling / 2 <= wait && wait <= ceiling,
                    "{wait:?} of {ceiling:?}"
                );
            }
            backoff.reset();
            assert!(backoff.next_wait() <= FIRST, "after a success");
        }
    }

    #[test]
    fn clients_do_not_wait_equally_long() {
        let waits: std::collections::BTreeSet<_> = (0..100)
            .map(|seed| Backoff::seeded(seed).next_wait())
            .collect();
        assert!(waits.len() > 90, "{} different waits", waits.len());
    }
}
