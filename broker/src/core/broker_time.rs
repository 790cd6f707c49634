//! Broker time: the one clock of entries, append times, timers and retention.
//!
//! It starts at the later of the wall clock and the last entry, runs on the boot clock, never steps
//! back, and slews towards the wall clock. So a jump of the wall clock expires nothing at once.

use std::time::Duration;

/// Of every second that passes, this part may be used to approach the wall clock.
const SLEW_DIVISOR: i64 = 10;
/// A difference to the wall clock beyond which someone should know.
const JUMP_MS: i64 = 60_000;

/// A wall clock so far past the last entry at a start is not trusted at once...
const DISTRUST_MS: i64 = 24 * 60 * 60 * 1000;
/// ... but after so long.
const DISTRUST_WAIT_MS: i64 = 60 * 60 * 1000;

/// The wall clock is far from broker time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeJump {
    /// Wall clock minus broker time, milliseconds.
    pub difference_ms: i64,
}

/// Broker time, advanced by whoever owns it.
#[derive(Debug, Clone)]
pub struct BrokerTime {
    now_ms: i64,
    boot: Duration,
    /// Part of a millisecond that passed and is not counted yet.
    rest: Duration,
    is_jump_reported: bool,
    trusts_age_from_ms: i64,
}

impl BrokerTime {
    /// Starts the clock after the entry at `last_ms`.
    pub fn new(last_ms: i64, wall_ms: i64, boot: Duration) -> Self {
        let now_ms = last_ms.max(wall_ms);
        let is_far = wall_ms.saturating_sub(last_ms) > DISTRUST_MS;
        Self {
            now_ms,
            boot,
            rest: Duration::ZERO,
            is_jump_reported: false,
            trusts_age_from_ms: now_ms + if is_far { DISTRUST_WAIT_MS } else { 0 },
        }
    }

    /// Says that there was no entry before, so that the wall clock cannot have jumped.
    pub fn trust_age(&mut self) {
        self.trusts_age_from_ms = self.now_ms;
    }

    /// When the age of records may be acted upon, milliseconds since the Unix epoch. A wall clock that
    /// was far past the last entry at the start may be wrong, and someone should have the time to see it.
    pub fn trusts_age_from_ms(&self) -> i64 {
        self.trusts_age_from_ms
    }

    /// Milliseconds since the Unix epoch, as of the last [`BrokerTime::advance`].
    pub fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// Moves the clock on to what the two clocks say now. Returns a jump of the wall clock the first
    /// time that it is noticed.
    pub fn advance(&mut self, wall_ms: i64, boot: Duration) -> Option<TimeJump> {
        let passed = boot.saturating_sub(self.boot) + self.rest;
        let passed_ms = i64::try_from(passed.as_millis()).unwrap_or(i64::MAX / 4);
        self.boot = self.boot.max(boot);
        self.rest = Duration::from_nanos(u64::from(passed.subsec_nanos() % 1_000_000));
        let difference_ms = wall_ms - (self.now_ms + passed_ms);
        let slew_max = passed_ms / SLEW_DIVISOR;
        // Small differences heal in one step forwards; nothing ever steps back.
        let slew_ms = match difference_ms {
            0..=2 => difference_ms,
            _ => difference_ms.clamp(-slew_max, slew_max),
        };
        self.now_ms += (passed_ms + slew_ms).max(0);
        self.report(difference_ms)
    }

    fn report(&mut self, difference_ms: i64) -> Option<TimeJump> {
        let is_jump = difference_ms.abs() > JUMP_MS;
        let is_new = is_jump && !self.is_jump_reported;
        self.is_jump_reported = is_jump;
        is_new.then_some(TimeJump { difference_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_clock_starts_at_the_later_of_wall_and_last_entry() {
        assert_eq!(BrokerTime::new(50, 40, SECOND).now_ms(), 50);
        assert_eq!(BrokerTime::new(40, 50, SECOND).now_ms(), 50);
    }

    #[test]
    fn a_step_back_of_the_wall_clock_only_slows_the_clock_down() {
        let mut time = BrokerTime::new(0, 1_000_000, SECOND);
        let jump = time.advance(0, 2 * SECOND);
        assert_eq!(
            jump,
            Some(TimeJump {
                difference_ms: -1_001_000
            })
        );
        assert_eq!(time.now_ms(), 1_000_900, "a second, less a tenth");
        assert_eq!(time.advance(1000, 3 * SECOND), None, "reported once");
        assert_eq!(time.now_ms(), 1_001_800);
    }

    #[test]
    fn a_jump_ahead_of_the_wall_clock_is_approached_slowly() {
        let mut time = BrokerTime::new(0, 0, SECOND);
        assert!(
            time.advance(365 * 86_400_000, 2 * SECOND).is_some(),
            "reported"
        );
        assert_eq!(time.now_ms(), 1100);
    }

    #[test]
    fn fractions_of_a_millisecond_are_not_lost() {
        let mut time = BrokerTime::new(0, 0, Duration::ZERO);
        for step in 1..=10_000_u32 {
            time.advance(0, Duration::from_micros(100) * step);
        }
        assert!(
            time.now_ms() >= 900,
            "a second passed in small steps: {}",
            time.now_ms()
        );
    }
}
