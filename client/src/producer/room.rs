//! How many bytes of records a producer may hold: what makes fast callers wait.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::error::Effects;

/// The room of a producer. Whoever takes some gives it back when its batch is gone.
#[derive(Debug, Clone)]
pub(super) struct Room {
    bytes: Arc<Semaphore>,
    closing: CancellationToken,
}

impl Room {
    /// Room for so many bytes, until `closing` is cancelled.
    pub(super) fn new(bytes: usize, closing: CancellationToken) -> Self {
        Self {
            bytes: Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))),
            closing,
        }
    }

    /// Takes room if there is any at once.
    pub(super) fn try_take(&self, bytes: usize) -> bool {
        let permit = self.bytes.try_acquire_many(narrow(bytes));
        permit.map(SemaphorePermit::forget).is_ok()
    }

    /// Waits for room, first come, first served. Dropping the future takes none.
    ///
    /// # Errors
    ///
    /// There was none before `deadline`, or the producer was closed.
    pub(super) async fn take(&self, bytes: usize, deadline: Instant) -> Result<(), Error> {
        let permit = tokio::select! {
            biased;
            () = self.closing.cancelled() => return Err(closed()),
            permit = timeout_at(deadline, self.bytes.acquire_many(narrow(bytes))) => permit,
        };
        match permit {
            Ok(Ok(permit)) => {
                permit.forget();
                Ok(())
            }
            Ok(Err(_closed)) => Err(closed()),
            Err(_elapsed) => Err(no_room()),
        }
    }

    /// Gives room back.
    pub(super) fn give_back(&self, bytes: usize) {
        self.bytes.add_permits(bytes);
    }
}

/// There is no room now.
pub(super) fn no_room() -> Error {
    Error::timeout(
        Effects::None,
        "no room for the record: too much is in flight",
    )
}

/// The producer was closed.
pub(super) fn closed() -> Error {
    Error::closed(Effects::None, "the producer is closed")
}

fn narrow(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
