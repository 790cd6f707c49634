//! Time and randomness of the machine.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

use super::{Clock, Entropy};

/// The clocks of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall_ms(&self) -> i64 {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the clock that others take"
        )]
        let now = SystemTime::now();
        // Saturates: a wall clock 292 million years off is wrong in any case.
        let to_ms = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        match now.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => to_ms(since),
            Err(before) => -to_ms(before.duration()),
        }
    }

    fn boot(&self) -> Duration {
        let time = clock_gettime(ClockId::Boottime);
        // The kernel keeps both parts non-negative and the second below 10^9.
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
        Duration::new(seconds, nanos)
    }
}

/// The random source of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[expect(
        clippy::expect_used,
        reason = "fails only on a kernel without a random source"
    )]
    fn next_u64(&self) -> u64 {
        // INVARIANT: a salt that is not random would let old journal bytes pass as new.
        getrandom::u64().expect("the operating system gives random bits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_is_after_this_was_written() {
        assert!(
            SystemClock.wall_ms() > 1_700_000_000_000,
            "wall clock in milliseconds"
        );
    }

    #[test]
    fn boot_time_never_steps_back() {
        let mut last = SystemClock.boot();
        for _ in 0..1_000 {
            let now = SystemClock.boot();
            assert!(now >= last, "boot clock went from {last:?} to {now:?}");
            last = now;
        }
        assert!(last > Duration::ZERO, "boot clock counts from the boot");
    }

    #[test]
    fn entropy_does_not_repeat() {
        assert_ne!(SystemEntropy.next_u64(), SystemEntropy.next_u64());
    }
}
