//! Where a subscriber, its deliveries and its connection meet.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::receiving::{Receiving, Taken, Ticket};
use crate::Error;
use crate::subscriber::delivery::DeliveredRecord;

/// The state of the consumer, and who is told when it changes.
#[derive(Debug)]
pub(super) struct Seat {
    /// Held only for a few instructions.
    state: Mutex<State>,
    /// Told when there is something to be sent.
    requested: Notify,
    /// Set when the consumer goes.
    left: CancellationToken,
}

#[derive(Debug)]
struct State {
    receiving: Receiving,
    waker: Option<Waker>,
}

impl Seat {
    pub(super) fn new(receiving: Receiving) -> Self {
        Self {
            state: Mutex::new(State {
                receiving,
                waker: None,
            }),
            requested: Notify::new(),
            left: CancellationToken::new(),
        }
    }

    /// Changes the state and tells whoever has something to do now.
    pub(super) fn with<T>(&self, change: impl FnOnce(&mut Receiving) -> T) -> T {
        let mut state = self.lock();
        let outcome = change(&mut state.receiving);
        self.tell(state);
        outcome
    }

    /// Looks at the state.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Receiving) -> T) -> T {
        look(&self.lock().receiving)
    }

    /// Waits for the next record, which is begun with; none after the last.
    pub(super) fn poll_record(
        &self,
        cx: &Context<'_>,
    ) -> Poll<Option<Result<(DeliveredRecord, Ticket), Error>>> {
        let mut state = self.lock();
        let polled = match state.receiving.take(Instant::now()) {
            Taken::Record(record, ticket) => Poll::Ready(Some(Ok((record, ticket)))),
            Taken::Failed(error) => Poll::Ready(Some(Err(error))),
            Taken::End => Poll::Ready(None),
            Taken::Nothing => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        };
        self.tell(state);
        polled
    }

    /// Waits until something is to be sent.
    pub(super) async fn requested(&self) {
        self.requested.notified().await;
    }

    /// Waits until the consumer goes and gives up what was begun.
    pub(super) async fn left(&self) {
        self.left.cancelled().await;
    }

    fn tell(&self, mut state: MutexGuard<'_, State>) {
        let has_request = state.receiving.has_request();
        let is_leaving = state.receiving.is_leaving();
        let need_not_wait = state.waker.is_some() && state.receiving.is_ready();
        let waker = state.waker.take_if(|_| need_not_wait);
        drop(state);
        if has_request {
            self.requested.notify_one();
        }
        if is_leaving {
            self.left.cancel();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
