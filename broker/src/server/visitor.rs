//! What is known of a connection: whether it is used, and whether it has to go.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A connection without a stream for so long may have to make room for others.
pub(super) const IDLE_MIN: Duration = Duration::from_secs(10);

/// One connection, as the others see it.
#[derive(Debug)]
pub(super) struct Visitor {
    usage: Mutex<Usage>,
    leave: CancellationToken,
}

#[derive(Debug)]
struct Usage {
    stream_count: usize,
    /// Since when there is none.
    idle_since: Instant,
}

impl Default for Visitor {
    fn default() -> Self {
        Self {
            usage: Mutex::new(Usage {
                stream_count: 0,
                idle_since: Instant::now(),
            }),
            leave: CancellationToken::new(),
        }
    }
}

impl Visitor {
    /// One more stream is open.
    pub(super) fn note_stream_begun(&self) {
        self.lock().stream_count += 1;
    }

    /// One of the streams is over.
    pub(super) fn note_stream_ended(&self) {
        let mut usage = self.lock();
        usage.stream_count -= 1;
        if usage.stream_count == 0 {
            usage.idle_since = Instant::now();
        }
    }

    /// Since when it could make room; none while it is used, before it has been idle for long, and once
    /// it was told.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let Usage {
            stream_count,
            idle_since,
        } = *self.lock();
        let is_idle = stream_count == 0 && idle_since.elapsed() >= IDLE_MIN;
        (is_idle && !self.is_told_to_leave()).then_some(idle_since)
    }

    /// Has it end, once its streams have.
    pub(super) fn tell_to_leave(&self) {
        self.leave.cancel();
    }

    /// Whether it was told.
    pub(super) fn is_told_to_leave(&self) -> bool {
        self.leave.is_cancelled()
    }

    /// Waits until it is told. Safe to drop.
    pub(super) async fn told_to_leave(&self) {
        self.leave.cancelled().await;
    }

    fn lock(&self) -> MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
