//! How far a measurement is, and how fast it goes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::seconds::{Seconds, WholeSeconds};
use super::stopwatch::{Elapsed, Stopwatch};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Progress, count_of};

/// A measurement in which nothing is done for so long does not go on: whatever the broker waits for by
/// itself, such as the deadline of an ack, is shorter.
const STILL_MAX: Duration = Duration::from_mins(2);
/// How often is looked whether it goes on.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Counts what is done, shows it where somebody watches, and takes time. Clones count together.
#[derive(Debug, Clone)]
pub(super) struct Meter {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    progress: Progress,
    pulse: Pulse,
    server_pid: Option<u32>,
    stopwatch: OnceLock<Stopwatch>,
    seconds: Mutex<Seconds>,
}

impl Meter {
    pub(super) fn new(progress: Progress, pulse: Pulse, server_pid: Option<u32>) -> Self {
        Self {
            shared: Arc::new(Shared {
                progress,
                pulse,
                server_pid,
                stopwatch: OnceLock::new(),
                seconds: Mutex::default(),
            }),
        }
    }

    /// Begins to take time, unless that has begun; returns when it began.
    pub(super) fn start(&self) -> Instant {
        let start = || Stopwatch::start(self.shared.server_pid);
        self.shared.stopwatch.get_or_init(start).started_at()
    }

    /// So many more are done.
    pub(super) fn advance(&self, count: u64) {
        self.shared.progress.advance(count);
        self.shared.pulse.beat(count);
        if let Some(stopwatch) = self.shared.stopwatch.get() {
            let after = stopwatch.started_at().elapsed();
            let seconds = self.shared.seconds.lock();
            let mut seconds = seconds.unwrap_or_else(PoisonError::into_inner);
            seconds.add(after, count);
        }
    }

    /// What it took until now, since the start, and how much was done in its seconds.
    ///
    /// # Errors
    ///
    /// It has never begun: the run is void.
    pub(super) fn stop(&self) -> Result<(Elapsed, Option<WholeSeconds>), Failure> {
        let stopwatch = self.shared.stopwatch.get();
        let stopwatch = stopwatch
            .ok_or_else(|| Failure::new(Exit::Failed, "void: nobody was given anything to read"))?;
        let elapsed = stopwatch.stop();
        let seconds = self.shared.seconds.lock();
        let seconds = seconds.unwrap_or_else(PoisonError::into_inner);
        Ok((elapsed, seconds.whole(elapsed.time)))
    }
}

/// Everything that was done in a run, by whatever meter. Clones count together.
#[derive(Debug, Clone, Default)]
pub(super) struct Pulse {
    beats: Arc<AtomicU64>,
}

impl Pulse {
    /// So many more things were done.
    pub(super) fn beat(&self, count: u64) {
        self.beats.fetch_add(count, Ordering::Relaxed);
    }

    /// Waits until nothing has been done for too long.
    pub(super) async fn stands_still(&self) -> Failure {
        let mut last = (self.beats.load(Ordering::Relaxed), Instant::now());
        while last.1.elapsed() < STILL_MAX {
            sleep(LOOK_INTERVAL).await;
            let beats = self.beats.load(Ordering::Relaxed);
            if beats != last.0 {
                last = (beats, Instant::now());
            }
        }
        let message = format!(
            "void: nothing has come for {} s, after {}",
            STILL_MAX.as_secs(),
            count_of(last.0, "record")
        );
        Failure::new(Exit::Failed, message)
            .hint("records were lost, or the broker or this process stands still")
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_run_stands_still_when_nothing_was_done_for_long() {
        let pulse = Pulse::default();
        let mut watching = tokio::spawn({
            let pulse = pulse.clone();
            async move { pulse.stands_still().await }
        });
        for _ in 0..5 {
            advance(STILL_MAX / 2).await;
            pulse.beat(1);
            tokio::task::yield_now().await;
        }
        assert!(!watching.is_finished(), "it goes on");
        let failure = (&mut watching).await.expect("an end");
        assert!(failure.message().contains("5 records"), "{failure:?}");
    }
}
