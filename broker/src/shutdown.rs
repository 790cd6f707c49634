//! The stages of a stop, which every connection, stream and call of the broker watches.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Longest time that a client is given after it was told: a producer to close its stream, a reader to
/// read the news. Readers lose nothing, so one that does not is ended.
const NOTICE_MAX: Duration = Duration::from_secs(1);

/// The stages of a stop: serving, draining, aborted. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Drain {
    deadline: Duration,
    begun: CancellationToken,
    aborted: CancellationToken,
    tasks: TaskTracker,
}

impl Drain {
    /// Stages whose draining lasts at most `deadline`.
    pub(crate) fn new(deadline: Duration) -> Self {
        Self {
            deadline,
            begun: CancellationToken::new(),
            aborted: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// Everything that must have ended before the broker's threads stop.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Whether new work is refused.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Waits until new work is refused. Safe to drop.
    pub(crate) fn begun(&self) -> impl Future<Output = ()> + Send + use<> {
        self.begun.clone().cancelled_owned()
    }

    /// Waits until everything is to be broken off. Safe to drop.
    pub(crate) fn aborted(&self) -> impl Future<Output = ()> + Send + use<> {
        self.aborted.clone().cancelled_owned()
    }

    /// How long a Produce stream goes on answering, and a reader may take to read that it ends, once
    /// the stop has begun.
    pub(crate) fn notice(&self) -> Duration {
        NOTICE_MAX.min(self.deadline / 2)
    }

    /// Waits until `ended`, and then for as long as a client is given to hear of it. Safe to drop.
    pub(crate) async fn silence_after(&self, ended: impl Future<Output = ()>) {
        ended.await;
        tokio::time::sleep(self.notice()).await;
    }

    /// Stops accepting, tells every stream, and waits until all have ended; after the deadline they
    /// are broken off. Safe to drop and to call again.
    pub(crate) async fn run(&self) {
        self.begun.cancel();
        self.tasks.close();
        let ended = tokio::time::timeout(self.deadline, self.tasks.wait()).await;
        if ended.is_err() {
            let count = self.tasks.len();
            tracing::warn!(
                count,
                "drain deadline has passed, breaking off what is open"
            );
        }
        self.abort();
        self.tasks.wait().await;
    }

    /// Breaks off everything.
    pub(crate) fn abort(&self) {
        self.begun.cancel();
        self.aborted.cancel();
        self.tasks.close();
    }
}
