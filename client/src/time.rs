//! Points in time: on the wire, milliseconds since the Unix epoch; for waiting, monotonic.

use std::pin::Pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, Sleep, sleep_until};

/// Further away than any process lives, and still a time that the clock can represent.
const FAR: Duration = Duration::from_hours(30 * 365 * 24);

/// Returns whole milliseconds since the Unix epoch, rounded down.
pub(crate) fn to_ms(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => {
            let ms = before.duration().as_nanos().div_ceil(1_000_000);
            i64::try_from(ms).map_or(i64::MIN, |ms| -ms)
        }
    }
}

/// Returns the point in time; what the platform cannot represent becomes the epoch.
pub(crate) fn from_ms(ms: i64) -> SystemTime {
    let distance = Duration::from_millis(ms.unsigned_abs());
    let time = match ms {
        0.. => UNIX_EPOCH.checked_add(distance),
        _ => UNIX_EPOCH.checked_sub(distance),
    };
    time.unwrap_or(UNIX_EPOCH)
}

/// Returns whole milliseconds, rounded down.
pub(crate) fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Returns the instant so much later, or one that is never reached.
pub(crate) fn later(now: Instant, duration: Duration) -> Instant {
    now + duration.min(FAR)
}

/// A timer whose time is mostly put off before it comes: it is set again when it goes off, not whenever
/// that happens.
#[derive(Debug)]
pub(crate) struct Alarm(Pin<Box<Sleep>>);

impl Alarm {
    pub(crate) fn new(at: Instant) -> Self {
        Self(Box::pin(sleep_until(at)))
    }

    /// Waits until a point in time. Safe to drop.
    pub(crate) async fn reached(&mut self, at: Instant) {
        if self.0.is_elapsed() || at < self.0.deadline() {
            self.0.as_mut().reset(at);
        }
        loop {
            self.0.as_mut().await;
            if at <= Instant::now() {
                return;
            }
            self.0.as_mut().reset(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_come_back_unchanged() {
        for ms in [0, 1, -1, 1_764_000_000_123, -62_135_596_800_000] {
            assert_eq!(to_ms(from_ms(ms)), ms, "there and back");
        }
    }

    #[test]
    fn an_endless_wait_has_an_end_that_the_clock_knows() {
        let now = Instant::now();
        assert!(
            later(now, Duration::MAX) > now + Duration::from_secs(1),
            "far away"
        );
    }

    #[test]
    fn fractions_are_rounded_down() {
        let half = Duration::from_micros(500);
        assert_eq!(to_ms(UNIX_EPOCH + half), 0, "after the epoch");
        assert_eq!(to_ms(UNIX_EPOCH - half), -1, "before the epoch");
    }

    #[tokio::test(start_paused = true)]
    async fn an_alarm_goes_off_when_it_is_to_and_not_before() {
        let start = Instant::now();
        let seconds = |count| start + Duration::from_secs(count);
        let mut alarm = Alarm::new(seconds(1));
        for at in [3, 2, 4, 4] {
            let early = tokio::time::timeout_at(seconds(1), alarm.reached(seconds(at))).await;
            assert_eq!(early.is_err(), Instant::now() < seconds(at), "before {at}");
        }
        alarm.reached(seconds(2)).await;
        assert_eq!(Instant::now(), seconds(2), "brought forward");
        alarm.reached(seconds(5)).await;
        assert_eq!(Instant::now(), seconds(5), "set again");
    }
}
