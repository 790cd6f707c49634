//! Ending something from somewhere else.

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
