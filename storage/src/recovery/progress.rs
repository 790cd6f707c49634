//! Saying how far a recovery has come, so that a slow start is not a silent one.

use std::time::Duration;

use crate::environment::Environment;

/// How often.
const INTERVAL: Duration = Duration::from_secs(3);

/// Says in the log what recovery does, while it takes long.
#[derive(Debug)]
pub(super) struct Progress {
    environment: Environment,
    /// When it is said next, by the boot clock.
    next_at: Duration,
}

impl Progress {
    pub(super) fn new(environment: &Environment) -> Self {
        Self {
            environment: environment.clone(),
            next_at: environment.clock.boot() + INTERVAL,
        }
    }

    /// So many bytes of the journal were read.
    pub(super) fn tell_read(&mut self, done_bytes: u64, journal_bytes: u64) {
        if self.is_due() {
            tracing::info!(done_bytes, journal_bytes, "recovering: reading the journal");
        }
    }

    /// So many of the segments that were written to are synced.
    pub(super) fn tell_synced(&mut self, done: usize, segment_count: usize) {
        if self.is_due() {
            tracing::info!(done, segment_count, "recovering: syncing segments");
        }
    }

    fn is_due(&mut self) -> bool {
        let now = self.environment.clock.boot();
        let is_due = now >= self.next_at;
        if is_due {
            self.next_at = now + INTERVAL;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::environment::{SimClock, SimEntropy};
    use crate::vfs::sim::{SimDisk, SimOptions};

    #[test]
    fn it_is_said_again_only_after_a_while() {
        let clock = Arc::new(SimClock::new(0));
        let environment = Environment {
            vfs: SimDisk::new(SimOptions::default()).vfs(),
            clock: Arc::clone(&clock) as Arc<_>,
            entropy: Arc::new(SimEntropy::new(0)),
        };
        let mut progress = Progress::new(&environment);
        assert!(!progress.is_due(), "a fast start says nothing");
        clock.advance(INTERVAL);
        assert!(progress.is_due(), "a slow one does");
        assert!(!progress.is_due(), "once");
        clock.advance(INTERVAL);
        assert!(progress.is_due(), "and again");
    }
}
