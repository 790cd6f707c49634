//! Tells when the broker is lost and when it is back: in the log, once each, and to every part of the
//! client that waits to try again.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::{Error, ErrorKind};

/// What has just failed is not tried again sooner than this, whatever others hear of the broker.
const PAUSE_MIN: Duration = Duration::from_millis(20);

/// Whether the broker is out of reach, as all parts of a client see it together.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    /// Held only for a few instructions.
    lost: Mutex<Option<Lost>>,
    /// Number of outages that are over.
    over: watch::Sender<u64>,
}

/// The end of the next outage, as one part of a client waits for it between its tries.
#[derive(Debug)]
pub(crate) struct Recovery {
    over: watch::Receiver<u64>,
}

/// Why a pause between two tries ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PauseEnd {
    /// It was over.
    Elapsed,
    /// Another part of the client has heard the broker: the next waits are to be short again.
    BrokerBack,
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
            let error = error.with_causes();
            warn!(url, %error, "broker out of reach, trying again");
        }
    }

    /// The broker has answered.
    pub(crate) fn end(&self, url: &str) {
        let lost = self.lock().take();
        if let Some(Lost { since, .. }) = lost {
            info!(url, outage = ?since.elapsed(), "broker back");
            self.over.send_modify(|count| *count += 1);
        }
    }

    /// Looks out for the end of an outage from now on: to be called before a try, so that an end
    /// between its failure and the pause behind it is not missed.
    pub(crate) fn recovery(&self) -> Recovery {
        Recovery {
            over: self.over.subscribe(),
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

impl Recovery {
    /// Waits before the next try after one that ended so: for `wait`, or less if another part of the
    /// client hears a broker meanwhile that was out of reach. Dropping the future is safe.
    pub(crate) fn pause(
        mut self,
        trouble: Option<&Error>,
        wait: Duration,
    ) -> impl Future<Output = PauseEnd> + Send + use<> {
        let shortest = match trouble.map(Error::kind) {
            None | Some(ErrorKind::Connect | ErrorKind::Unavailable | ErrorKind::Timeout) => {
                wait.min(PAUSE_MIN)
            }
            Some(_) => wait,
        };
        async move {
            sleep(shortest).await;
            if shortest == wait {
                return PauseEnd::Elapsed;
            }
            match timeout(wait.saturating_sub(shortest), self.over.changed()).await {
                Ok(Ok(())) => PauseEnd::BrokerBack,
                // The client is gone, and with it whoever waits here.
                Ok(Err(_)) | Err(_) => PauseEnd::Elapsed,
            }
        }
    }
}
