//! Where a consumer and its connection meet.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::item::GroupItem;
use super::membership::Membership;
use crate::Error;

/// The membership, and who is told when it changes.
#[derive(Debug)]
pub(super) struct Seat {
    /// Held only for a few instructions.
    state: Mutex<State>,
    /// Told when there is something to be sent, now or soon.
    requested: Notify,
    /// Set when the consumer goes.
    left: CancellationToken,
}

#[derive(Debug)]
struct State {
    membership: Membership,
    waker: Option<Waker>,
}

/// What a consumer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Whatever comes.
    Everything,
    /// Only what it owns: it has no room for more records.
    News,
}

impl Seat {
    pub(super) fn new(membership: Membership) -> Self {
        Self {
            state: Mutex::new(State {
                membership,
                waker: None,
            }),
            requested: Notify::new(),
            left: CancellationToken::new(),
        }
    }

    /// Changes the membership and tells whoever has something to do now.
    pub(super) fn with<T>(&self, change: impl FnOnce(&mut Membership) -> T) -> T {
        let mut state = self.lock();
        let had_idle = state.membership.has_idle_commit();
        let outcome = change(&mut state.membership);
        let has_idle = !had_idle && state.membership.has_idle_commit();
        let has_request = has_idle || state.membership.has_request();
        let is_ready = state.membership.is_ready();
        let waker = if is_ready { state.waker.take() } else { None };
        drop(state);
        if has_request {
            self.requested.notify_one();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
        outcome
    }

    /// Looks at the membership.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Membership) -> T) -> T {
        look(&self.lock().membership)
    }

    /// Waits for the next item; none after the last.
    pub(super) fn poll_item(
        &self,
        cx: &Context<'_>,
        wanted: Wanted,
    ) -> Poll<Option<Result<GroupItem, Error>>> {
        let taken = self.with(|it| match wanted {
            Wanted::Everything => it.take_item(),
            Wanted::News if it.is_ended() => it.take_item(),
            Wanted::News => it.take_news().map(Ok),
        });
        if taken.is_some() {
            return Poll::Ready(taken);
        }
        let mut state = self.lock();
        let is_missed = match wanted {
            Wanted::Everything => state.membership.is_ready(),
            Wanted::News => state.membership.has_news() || state.membership.is_ended(),
        };
        if is_missed && state.membership.is_finished() {
            return Poll::Ready(None);
        }
        state.waker = Some(cx.waker().clone());
        drop(state);
        if is_missed {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Waits until something is to be sent, now or soon.
    pub(super) async fn requested(&self) {
        self.requested.notified().await;
    }

    /// Goes: nothing more is handed out, and what was said before is still sent.
    pub(super) fn leave(&self) {
        self.with(Membership::leave);
        self.left.cancel();
    }

    /// Waits until the consumer goes.
    pub(super) async fn left(&self) {
        self.left.cancelled().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
