//! Ending a consumer from somewhere else.

use std::future::pending;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
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
    deadline: Arc<watch::Sender<Option<Instant>>>,
}

impl GroupShutdownHandle {
    /// Ends it: its stream ends, which gives its owner the time that it takes, and
    /// [`GroupConsumer::for_each`](crate::GroupConsumer::for_each) does with the handlers that run
    /// what `drain` says. Returns at once. May be called again, to lose patience.
    pub fn shutdown(&self, drain: Drain) {
        match drain {
            Drain::FinishWithin(time) => {
                let deadline = later(Instant::now(), time);
                self.deadline.send_modify(|known| {
                    *known = Some(known.map_or(deadline, |known| known.min(deadline)));
                });
            }
            Drain::StopNow => self.now.cancel(),
        }
        self.stop.cancel();
    }

    /// Waits until what was begun is to be dropped, also if that is said or moved meanwhile.
    pub(super) async fn given_up(&self) {
        let mut deadline = self.deadline.subscribe();
        loop {
            let until = *deadline.borrow_and_update();
            let over = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = self.now.cancelled() => return,
                () = over => return,
                // Never an error: this holds the sender.
                _ = deadline.changed() => {}
            }
        }
    }
}
