//! A number that only rises, set on one side and awaited on the other.
//!
//! Carries acknowledgements from the writer thread to a response stream, and permission to send
//! from acknowledgements back to a request stream.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tonic::Status;

/// One writer side, one waiting stream.
#[derive(Debug, Default)]
pub(super) struct Watermark {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    level: u64,
    /// The level after which nothing follows, once that is known.
    end: Option<u64>,
    failure: Option<Status>,
    waker: Option<Waker>,
}

impl Watermark {
    /// Raises the level to `level`; a lower one is ignored.
    pub(super) fn raise(&self, level: u64) {
        self.update(|state| state.level = state.level.max(level));
    }

    /// Says that the waiting stream is complete once the level reaches `end`.
    pub(super) fn end_at(&self, end: u64) {
        self.update(|state| state.end = Some(end));
    }

    /// Ends the waiting stream with `status`.
    pub(super) fn fail(&self, status: Status) {
        self.update(|state| state.failure = Some(status));
    }

    /// Waits until the level is above `floor` and returns it, or `None` at the end. Only the last
    /// caller is woken.
    pub(super) fn poll_above(
        &self,
        floor: u64,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<u64, Status>>> {
        let mut state = self.lock();
        if let Some(status) = state.failure.take() {
            state.end = Some(0);
            return Poll::Ready(Some(Err(status)));
        }
        if state.level > floor {
            return Poll::Ready(Some(Ok(state.level)));
        }
        if state.end.is_some_and(|end| end <= floor) {
            return Poll::Ready(None);
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    type Seen = Poll<Option<Result<u64, tonic::Code>>>;

    fn poll(watermark: &Watermark, floor: u64, wakes: &Arc<Wakes>) -> Seen {
        let waker = Arc::clone(wakes).into();
        let seen = watermark.poll_above(floor, &mut Context::from_waker(&waker));
        seen.map(|item| item.map(|level| level.map_err(|status| status.code())))
    }

    #[test]
    fn a_rise_wakes_the_waiting_stream_and_several_rises_are_seen_as_one() {
        let (watermark, wakes) = (Watermark::default(), Arc::default());
        assert_eq!(poll(&watermark, 0, &wakes), Poll::Pending);
        watermark.raise(2);
        watermark.raise(5);
        watermark.raise(4);
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        assert_eq!(poll(&watermark, 0, &wakes), Poll::Ready(Some(Ok(5))));
        assert_eq!(poll(&watermark, 5, &wakes), Poll::Pending);
    }

    #[test]
    fn the_end_comes_only_after_the_last_level() {
        let (watermark, wakes) = (Watermark::default(), Arc::default());
        watermark.end_at(3);
        assert_eq!(poll(&watermark, 0, &wakes), Poll::Pending);
        watermark.raise(3);
        assert_eq!(poll(&watermark, 0, &wakes), Poll::Ready(Some(Ok(3))));
        assert_eq!(poll(&watermark, 3, &wakes), Poll::Ready(None));
    }

    #[test]
    fn a_failure_is_told_once_and_ends_the_stream() {
        let (watermark, wakes) = (Watermark::default(), Arc::default());
        assert_eq!(poll(&watermark, 0, &wakes), Poll::Pending);
        watermark.fail(Status::data_loss("gone"));
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        let failed = Poll::Ready(Some(Err(tonic::Code::DataLoss)));
        assert_eq!(poll(&watermark, 0, &wakes), failed);
        assert_eq!(poll(&watermark, 0, &wakes), Poll::Ready(None));
    }
}
