//! What the broker is doing, as those are told who look after it.

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::metrics::{Scraper, recovering};
use crate::runtime::threads::Failure;
use crate::shutdown::Drain;

/// What the door shows.
#[derive(Debug, Default)]
pub(crate) struct AdminState {
    /// Set when the data folder is recovered and clients are served.
    serving: OnceLock<Serving>,
}

/// A broker that serves, or did.
#[derive(Debug)]
pub(crate) struct Serving {
    /// Answers scrapes.
    pub(crate) scraper: Scraper,
    /// The stages of a stop.
    pub(crate) drain: Drain,
    /// Why it cannot go on.
    pub(crate) failure: Arc<Failure>,
}

/// Why the broker should be sent nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotReady<'a> {
    /// It does not serve yet.
    Recovering,
    /// It stops.
    Draining,
    /// It cannot go on.
    Failed(&'a str),
}

impl fmt::Display for NotReady<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recovering => f.write_str("the data folder is being recovered"),
            Self::Draining => f.write_str("the broker is stopping"),
            Self::Failed(cause) => write!(f, "the broker cannot go on: {cause}"),
        }
    }
}

impl AdminState {
    /// Clients are served from now on.
    pub(crate) fn serve(&self, serving: Serving) {
        // INVARIANT: a broker starts once.
        drop(self.serving.set(serving));
    }

    /// Whether clients may come.
    pub(super) fn ready(&self) -> Result<(), NotReady<'_>> {
        let serving = self.serving.get().ok_or(NotReady::Recovering)?;
        self.alive()?;
        match serving.drain.has_begun() {
            true => Err(NotReady::Draining),
            false => Ok(()),
        }
    }

    /// Whether the process is of any use: one that cannot go on has to be started again.
    pub(super) fn alive(&self) -> Result<(), NotReady<'_>> {
        let failure = self.serving.get().and_then(|it| it.failure.cause());
        failure.map_or(Ok(()), |cause| Err(NotReady::Failed(cause)))
    }

    /// The text of a scrape.
    pub(super) async fn scrape(&self) -> String {
        match self.serving.get() {
            Some(serving) => serving.scraper.scrape(self.ready().is_ok()).await,
            None => recovering(),
        }
    }
}
