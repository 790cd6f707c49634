//! Where a subscriber, its deliveries and its connection meet.

use std::convert::Infallible;
use std::future::pending;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::receiving::{Receiving, Taken, Ticket};
use crate::Error;
use crate::subscriber::caught_up::SubscriptionCaughtUp;
use crate::subscriber::delivery::DeliveredRecord;

/// The state of the consumer, and who is told when it changes.
#[derive(Debug)]
pub(super) struct Seat {
    /// Held only for a few instructions.
    state: Mutex<State>,
    /// Told when there is something to be sent.
    requested: Notify,
    /// Told when nothing can be handed out now, and when nothing will be any more.
    caught_up: Notify,
    /// Set when the consumer goes.
    left: CancellationToken,
    /// Told when the consumer is to go by a time, or by an earlier one.
    drained: Notify,
}

/// A record, with the right to settle it; none after the last.
type Taking = Option<Result<(DeliveredRecord, Ticket), Error>>;

/// What came first.
pub(super) enum Polled {
    /// A record, or the end.
    Record(Taking),
    /// Nothing can be handed out now: its number, and what was told of it.
    CaughtUp(u64, SubscriptionCaughtUp),
}

#[derive(Debug)]
struct State {
    receiving: Receiving,
    waker: Option<Waker>,
    /// Who is to be woken also wants to know when nothing can be handed out, if that has a higher number.
    seen: Option<u64>,
    /// Number of the last one that those who wait for it were told of.
    told: u64,
}

impl Seat {
    pub(super) fn new(receiving: Receiving) -> Self {
        Self {
            state: Mutex::new(State {
                receiving,
                waker: None,
                seen: None,
                told: 0,
            }),
            requested: Notify::new(),
            caught_up: Notify::new(),
            left: CancellationToken::new(),
            drained: Notify::new(),
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
    pub(super) fn poll_record(&self, cx: &Context<'_>) -> Poll<Taking> {
        let mut state = self.lock();
        let polled = state.poll_record();
        if polled.is_pending() {
            (state.waker, state.seen) = (Some(cx.waker().clone()), None);
        }
        self.tell(state);
        polled
    }

    /// Waits for the next record, or for what is told after number `seen` when none can be handed out.
    pub(super) fn poll_item(&self, cx: &Context<'_>, seen: u64) -> Poll<Polled> {
        let mut state = self.lock();
        let polled = match state.poll_record() {
            Poll::Ready(taking) => Poll::Ready(Polled::Record(taking)),
            Poll::Pending => match state.receiving.caught_up_since(seen) {
                Some((number, caught_up)) => {
                    Poll::Ready(Polled::CaughtUp(number, caught_up.clone()))
                }
                None => {
                    (state.waker, state.seen) = (Some(cx.waker().clone()), Some(seen));
                    Poll::Pending
                }
            },
        };
        self.tell(state);
        polled
    }

    /// Waits for what is told after number `seen` when no record can be handed out; none after the end.
    pub(super) async fn caught_up_since(&self, seen: u64) -> Option<(u64, SubscriptionCaughtUp)> {
        loop {
            let mut told = std::pin::pin!(self.caught_up.notified());
            told.as_mut().enable();
            {
                let state = self.lock();
                if let Some((number, caught_up)) = state.receiving.caught_up_since(seen) {
                    return Some((number, caught_up.clone()));
                }
                if state.receiving.is_over() {
                    return None;
                }
            }
            told.await;
        }
    }

    /// Takes no more, and goes when the rest is settled, or at this time.
    pub(super) fn drain(&self, until: Instant) {
        self.with(|it| it.drain(until));
        self.drained.notify_waiters();
    }

    /// Ends the time of a drain, however the connection is. For ever, and any number of times side by side:
    /// handlers may outlive the connection.
    pub(super) async fn end_drains(&self) -> Infallible {
        loop {
            let mut drained = std::pin::pin!(self.drained.notified());
            drained.as_mut().enable();
            let until = self.look(Receiving::drained_at);
            let over = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = over => self.with(|it| it.pass_drain(Instant::now())),
                () = drained => {}
            }
        }
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
        let number = state.receiving.caught_up_since(0).map(|(number, _)| number);
        let is_caught_up = state.seen.is_some_and(|seen| number > Some(seen));
        let need_not_wait = state.waker.is_some() && (is_caught_up || state.receiving.is_ready());
        let waker = state.waker.take_if(|_| need_not_wait);
        let has_news = number > Some(state.told) || state.receiving.is_over();
        state.told = number.unwrap_or(state.told).max(state.told);
        drop(state);
        if has_news {
            self.caught_up.notify_waiters();
        }
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

impl State {
    fn poll_record(&mut self) -> Poll<Taking> {
        match self.receiving.take(Instant::now()) {
            Taken::Record(record, ticket) => Poll::Ready(Some(Ok((record, ticket)))),
            Taken::Failed(error) => Poll::Ready(Some(Err(error))),
            Taken::End => Poll::Ready(None),
            Taken::Nothing => Poll::Pending,
        }
    }
}
