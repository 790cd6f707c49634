//! Ending a consumer from somewhere else.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::shutdown::Drain;
use crate::time::later;

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
