//! Ending something from somewhere else.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Ends what it was taken from. Cheap to clone; dropping it ends nothing.
#[derive(Debug, Clone)]
pub struct ShutdownHandle {
    stop: CancellationToken,
}

impl ShutdownHandle {
    pub(crate) const fn new(stop: CancellationToken) -> Self {
        Self { stop }
    }

    /// Ends it: a [`Reader`](crate::Reader) after the items that it has at hand, a
    /// [`Producer`](crate::Producer) after every record that it has taken is on disk or has failed.
    /// Returns at once.
    pub fn shutdown(&self) {
        self.stop.cancel();
    }
}

/// What becomes of the work that a consumer has begun when it is shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Drain {
    /// It is finished and said to be done; what is not finished after this time is dropped.
    FinishWithin(Duration),
    /// It is dropped at once; what was finished before is said to be done.
    StopNow,
}
