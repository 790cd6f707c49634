//! Tells in the log when the broker is lost and when it is back, once each.

use std::sync::Mutex;
use std::sync::PoisonError;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::Error;

/// Whether the broker is out of reach, as all parts of a client see it together.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    /// Since when; held only for a few instructions.
    since: Mutex<Option<Instant>>,
}

impl Outage {
    /// A connection could not be made or broke.
    pub(crate) fn begin(&self, url: &str, error: &Error) {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        if since.is_none() {
            *since = Some(Instant::now());
            drop(since);
            warn!(url, %error, "broker out of reach, trying again until it is back");
        }
    }

    /// The broker has answered.
    pub(crate) fn end(&self, url: &str) {
        let since = self
            .since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(since) = since {
            info!(url, outage = ?since.elapsed(), "broker back");
        }
    }
}
