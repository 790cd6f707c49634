//! How fast a call may go.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Lets so many letters a second go.
#[derive(Debug)]
pub(super) struct Pace {
    /// None for as many as can.
    per_letter: Option<Duration>,
    /// Most letters of one step.
    step_max: usize,
    /// Nothing goes before.
    free_at: Instant,
}

impl Pace {
    /// At most so many letters a second; 0 for as many as can.
    pub(super) fn new(records_per_second_max: u32) -> Self {
        Self {
            per_letter: Duration::from_secs(1).checked_div(records_per_second_max),
            step_max: match records_per_second_max {
                0 => usize::MAX,
                rate => rate as usize,
            },
            free_at: Instant::now(),
        }
    }

    /// Letters of a step that may have at most so many: it takes a second at most.
    pub(super) fn step(&self, count_max: usize) -> usize {
        count_max.min(self.step_max)
    }

    /// Waits until the next step may go.
    pub(super) async fn wait(&self) {
        if self.per_letter.is_some() {
            sleep_until(self.free_at).await;
        }
    }

    /// Notes that so many letters went. What did not go costs no time.
    pub(super) fn note(&mut self, count: usize) {
        if let Some(per_letter) = self.per_letter {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            self.free_at = Instant::now() + per_letter.saturating_mul(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_what_went_is_waited_for() {
        let mut pace = Pace::new(10);
        assert_eq!((pace.step(200), pace.step(4)), (10, 4));
        let begin = Instant::now();
        for (count, waited_ms) in [(0, 0), (10, 1_000), (0, 1_000), (5, 1_500)] {
            pace.note(count);
            pace.wait().await;
            let waited = begin.elapsed();
            assert_eq!(waited, Duration::from_millis(waited_ms), "after {count}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_nothing_waits() {
        let mut pace = Pace::new(0);
        assert_eq!(pace.step(200), 200);
        let begin = Instant::now();
        pace.note(1_000_000);
        pace.wait().await;
        assert_eq!(begin.elapsed(), Duration::ZERO, "at once");
    }
}
