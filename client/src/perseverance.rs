//! Going on after streams that break: how long, and with which pauses.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::outage::{PauseEnd, Recovery};
use crate::time::later;
use crate::{Error, ErrorKind, RetryAdvice};

/// What a consumer has met with since its last good stream.
#[derive(Debug)]
pub(crate) struct Perseverance {
    give_up_after: Option<Duration>,
    backoff: Backoff,
    /// Since when nothing good was heard.
    trouble: Option<Instant>,
}

impl Perseverance {
    /// Goes on for so long; none for ever.
    pub(crate) fn new(give_up_after: Option<Duration>) -> Self {
        Self {
            give_up_after,
            backoff: Backoff::new(),
            trouble: None,
        }
    }

    /// A stream has served its purpose before it broke.
    pub(crate) const fn reset(&mut self) {
        self.backoff.reset();
        self.trouble = None;
    }

    /// A stream has ended, with this error unless the broker stops. Returns what makes another one
    /// useless.
    pub(crate) fn give_up(&mut self, trouble: Option<&Error>) -> Option<Error> {
        let error = trouble?;
        let is_final = matches!(error.kind(), ErrorKind::Rejected | ErrorKind::Internal)
            || error.kind() == ErrorKind::Overloaded && error.retry_advice() == RetryAdvice::Never;
        if is_final && error.retry_advice() != RetryAdvice::Same {
            return Some(error.clone());
        }
        let now = Instant::now();
        let since = *self.trouble.get_or_insert(now);
        let deadline = self.give_up_after.map(|patience| later(since, patience));
        deadline
            .is_some_and(|deadline| deadline <= now)
            .then(|| error.clone())
    }

    /// Waits before the next try. Dropping the future is safe.
    pub(crate) async fn pause(&mut self, recovery: Recovery, trouble: Option<&Error>) {
        let asked = trouble.and_then(Error::retry_after);
        let wait = asked.unwrap_or_else(|| self.backoff.next_wait());
        if recovery.pause(trouble, wait).await == PauseEnd::BrokerBack {
            self.backoff.reset();
        }
    }
}
