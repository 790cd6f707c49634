//! A lane as its three users share it: callers that push, the request stream, the driver.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;
use tokio::time::Instant;
use towpath_proto::ids::PartitionId;

use super::batch::Weighed;
use super::lane::{Lane, LaneRequest};
use super::receipt::Receipt;
use super::room::Room;
use crate::Error;

/// A lane behind its lock. The lock is held for one step of the state machine, never across an
/// await, and what a step sets free or wakes is dealt with after it.
#[derive(Debug)]
pub(super) struct SharedLane {
    state: Mutex<State>,
    /// What the records of this lane have taken, with those of others.
    room: Room,
    /// The driver is to look at the lane.
    call: Notify,
}

#[derive(Debug)]
struct State {
    lane: Lane,
    /// Which stream the lane has; an older one gets nothing more.
    epoch: u64,
    /// The request stream, while it waits for something to send.
    sender: Option<Waker>,
}

impl SharedLane {
    pub(super) fn new(lane: Lane, room: Room) -> Self {
        Self {
            state: Mutex::new(State {
                lane,
                epoch: 0,
                sender: None,
            }),
            room,
            call: Notify::new(),
        }
    }

    /// Adds a record to a partition; with `must_join` only if it joins a batch that is there, else
    /// none.
    pub(super) fn push(
        &self,
        partition: PartitionId,
        weighed: &Weighed<'_>,
        must_join: bool,
    ) -> Option<Result<Receipt, Error>> {
        let mut state = self.lock();
        let place = state.lane.place_of(partition)?;
        if must_join && !state.lane.would_join(place, weighed.batch_len) {
            return None;
        }
        let pushed = match state.lane.push(place, weighed, Instant::now) {
            Ok(pushed) => pushed,
            Err(end) => return Some(Err(end)),
        };
        // A record that joins a batch changes nothing for anybody else.
        if pushed.has_changed_batch {
            self.conclude(state);
        }
        Some(Ok(pushed.receipt))
    }

    /// Makes a step.
    pub(super) fn with<R>(&self, step: impl FnOnce(&mut Lane) -> R) -> R {
        self.with_state(|state| step(&mut state.lane))
    }

    /// Begins a new stream and returns its number; the one before gets nothing more.
    pub(super) fn open_stream(&self, now: Instant) -> u64 {
        self.with_state(|state| {
            state.epoch += 1;
            state.lane.open_stream(now);
            state.epoch
        })
    }

    /// Returns the next message of a stream; none at its end.
    pub(super) fn poll_request(&self, epoch: u64, cx: &Context<'_>) -> Poll<Option<LaneRequest>> {
        self.with_state(|state| {
            if state.epoch != epoch || state.lane.is_drained() {
                return Poll::Ready(None);
            }
            let request = state.lane.take_request(Instant::now());
            if request.is_some() {
                return Poll::Ready(request);
            }
            state.sender = Some(cx.waker().clone());
            Poll::Pending
        })
    }

    /// Returns when the driver is to look at the lane. Dropping the future loses no call.
    pub(super) async fn called(&self) {
        self.call.notified().await;
    }

    fn with_state<R>(&self, step: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let result = step(&mut state);
        self.conclude(state);
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Frees the lock and carries out what the step before wants.
    fn conclude(&self, mut state: MutexGuard<'_, State>) {
        let effects = state.lane.take_effects();
        let is_called = state.lane.take_call();
        let has_news = state.lane.has_request() || state.lane.is_drained();
        let sender = if has_news { state.sender.take() } else { None };
        drop(state);
        self.room.give_back(effects.freed_bytes());
        effects.wake();
        if is_called {
            self.call.notify_one();
        }
        if let Some(sender) = sender {
            sender.wake();
        }
    }
}
