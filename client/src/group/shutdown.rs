//! Ending a consumer from somewhere else.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::time::later;

/// What becomes of the work that a consumer has begun when it is shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Drain {
    /// It is finished and committed; what is not finished after this time is dropped.
    FinishWithin(Duration),
    /// It is dropped at once; what was finished before is committed.
    StopNow,
}

/// Ends the consumer that it was taken from. Cheap to clone; dropping it ends nothing.
#[derive(Debug, Clone, Default)]
pub struct GroupShutdownHandle {
    /// No more is begun.
    pub(super) stop: CancellationToken,
    /// What was begun is dropped.
    pub(super) now: CancellationToken,
    deadline: Arc<Mutex<Option<Instant>>>,
}

impl GroupShutdownHandle {
    /// Ends it: its stream ends, which gives its owner the time that it takes, and
    /// [`GroupConsumer::for_each`](crate::GroupConsumer::for_each) does with the handlers that run
    /// what `drain` says. Returns at once. May be called again, to lose patience.
    pub fn shutdown(&self, drain: Drain) {
        match drain {
            Drain::FinishWithin(time) => {
                let deadline = later(Instant::now(), time);
                let mut known = self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
                *known = Some(known.map_or(deadline, |known| known.min(deadline)));
            }
            Drain::StopNow => self.now.cancel(),
        }
        self.stop.cancel();
    }

    /// When what was begun is to be dropped; none if it is given all the time.
    pub(super) fn deadline(&self) -> Option<Instant> {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
