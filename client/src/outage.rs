//! Tells in the log when the broker is lost and when it is back, once each.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use tracing::{info, warn};

use crate::Error;

/// Whether the broker is out of reach, as all parts of a client see it together.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    /// Held only for a few instructions.
    lost: Mutex<Option<Lost>>,
}

#[derive(Debug)]
struct Lost {
    since: Instant,
    cause: Error,
}

impl Outage {
    /// A connection could not be made or broke.
    pub(crate) fn begin(&self, url: &str, error: &Error) {
        let mut lost = self.lock();
        if lost.is_none() {
            *lost = Some(Lost {
                since: Instant::now(),
                cause: error.clone(),
            });
            drop(lost);
            warn!(url, %error, "broker out of reach, trying again until it is back");
        }
    }

    /// The broker has answered.
    pub(crate) fn end(&self, url: &str) {
        let lost = self.lock().take();
        if let Some(Lost { since, .. }) = lost {
            info!(url, outage = ?since.elapsed(), "broker back");
        }
    }

    /// What the outage began with, if there is one.
    pub(crate) fn cause(&self) -> Option<Error> {
        self.lock().as_ref().map(|lost| lost.cause.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Lost>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
