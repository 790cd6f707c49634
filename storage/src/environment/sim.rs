//! Time and randomness that a test sets.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::random::SplitMix;
use super::{Clock, Entropy};

/// Clocks that stand still until they are moved.
#[derive(Debug)]
pub struct SimClock {
    time: Mutex<SimTime>,
}

#[derive(Debug)]
struct SimTime {
    wall_ns: i128,
    boot: Duration,
}

impl SimClock {
    /// Starts with the given wall-clock time, in milliseconds since the Unix epoch, and a boot
    /// clock of zero.
    pub fn new(wall_ms: i64) -> Self {
        let time = SimTime {
            wall_ns: to_ns(wall_ms),
            boot: Duration::ZERO,
        };
        Self {
            time: Mutex::new(time),
        }
    }

    /// Lets time pass on both clocks.
    pub fn advance(&self, span: Duration) {
        let mut time = self.lock();
        time.boot = time.boot.saturating_add(span);
        time.wall_ns += i128::try_from(span.as_nanos()).unwrap_or(i128::MAX >> 1);
    }

    /// Sets the wall clock, in either direction, as an operator or a time service does. The boot
    /// clock does not move.
    pub fn set_wall_ms(&self, wall_ms: i64) {
        self.lock().wall_ns = to_ns(wall_ms);
    }

    /// Steps the wall clock by a number of milliseconds, in either direction.
    pub fn jump_wall_ms(&self, step_ms: i64) {
        self.lock().wall_ns += to_ns(step_ms);
    }

    /// Starts the boot clock anew, as a restart of the machine does.
    pub fn reboot(&self) {
        self.lock().boot = Duration::ZERO;
    }

    fn lock(&self) -> MutexGuard<'_, SimTime> {
        self.time.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for SimClock {
    fn wall_ms(&self) -> i64 {
        let wall_ms = self.lock().wall_ns.div_euclid(NS_PER_MS);
        i64::try_from(wall_ms).unwrap_or(i64::MAX)
    }

    fn boot(&self) -> Duration {
        self.lock().boot
    }
}

/// A random source that repeats from its seed.
#[derive(Debug)]
pub struct SimEntropy {
    random: Mutex<SplitMix>,
}

impl SimEntropy {
    /// Starts the sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            random: Mutex::new(SplitMix::new(seed)),
        }
    }
}

impl Entropy for SimEntropy {
    fn next_u64(&self) -> u64 {
        self.random
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .next_u64()
    }
}

fn to_ns(ms: i64) -> i128 {
    i128::from(ms) * NS_PER_MS
}

const NS_PER_MS: i128 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_on_both_clocks_and_jumps_on_one() {
        let clock = SimClock::new(1_000);
        for _ in 0..3 {
            clock.advance(Duration::from_micros(500));
        }
        assert_eq!(
            (clock.wall_ms(), clock.boot()),
            (1_001, Duration::from_micros(1_500))
        );
        clock.jump_wall_ms(-2_000);
        assert_eq!(
            (clock.wall_ms(), clock.boot()),
            (-999, Duration::from_micros(1_500))
        );
        clock.set_wall_ms(5);
        clock.reboot();
        assert_eq!((clock.wall_ms(), clock.boot()), (5, Duration::ZERO));
    }

    #[test]
    fn entropy_repeats_from_its_seed() {
        let draw = |seed| {
            let entropy = SimEntropy::new(seed);
            [entropy.next_u64(), entropy.next_u64()]
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }
}
