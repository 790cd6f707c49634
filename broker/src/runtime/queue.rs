//! Queues between threads. None is unbounded in effect: what may wait in them is admitted by bytes
//! before it is pushed.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What [`WorkQueue::pop`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Popped<T> {
    /// A piece of work.
    Work(T),
    /// Nothing came in time.
    TimedOut,
    /// The queue is closed and empty.
    Closed,
}

#[derive(Debug)]
struct Waiting<T> {
    work: VecDeque<T>,
    is_closed: bool,
}

/// Work for a thread, first in, first out; urgent work overtakes.
#[derive(Debug)]
pub struct WorkQueue<T> {
    waiting: Mutex<Waiting<T>>,
    arrived: Condvar,
}

impl<T> Default for WorkQueue<T> {
    fn default() -> Self {
        let waiting = Waiting {
            work: VecDeque::new(),
            is_closed: false,
        };
        Self {
            waiting: Mutex::new(waiting),
            arrived: Condvar::new(),
        }
    }
}

impl<T> WorkQueue<T> {
    /// Adds work. After the queue was closed it is dropped.
    pub fn push(&self, work: T) {
        let mut waiting = self.lock();
        if !waiting.is_closed {
            waiting.work.push_back(work);
            self.arrived.notify_one();
        }
    }

    /// Adds work in front of all other.
    pub fn push_urgent(&self, work: T) {
        let mut waiting = self.lock();
        if !waiting.is_closed {
            waiting.work.push_front(work);
            self.arrived.notify_one();
        }
    }

    /// Takes work that is there.
    pub fn try_pop(&self) -> Option<T> {
        self.lock().work.pop_front()
    }

    /// Takes work, waiting for it at most `timeout`.
    pub fn pop(&self, timeout: Option<Duration>) -> Popped<T> {
        let mut waiting = self.lock();
        loop {
            if let Some(work) = waiting.work.pop_front() {
                return Popped::Work(work);
            }
            if waiting.is_closed {
                return Popped::Closed;
            }
            let Some(timeout) = timeout else {
                waiting = self
                    .arrived
                    .wait(waiting)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let (again, result) = self
                .arrived
                .wait_timeout(waiting, timeout)
                .unwrap_or_else(PoisonError::into_inner);
            waiting = again;
            if result.timed_out() {
                return waiting
                    .work
                    .pop_front()
                    .map_or(Popped::TimedOut, Popped::Work);
            }
        }
    }

    /// Takes no more work; what is there can still be taken.
    pub fn close(&self) {
        self.lock().is_closed = true;
        self.arrived.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_comes_in_order_and_urgent_work_first() {
        let queue = WorkQueue::default();
        queue.push(1);
        queue.push(2);
        queue.push_urgent(0);
        queue.close();
        queue.push(3);
        let taken: Vec<_> = std::iter::from_fn(|| queue.try_pop()).collect();
        assert_eq!(taken, [0, 1, 2]);
        assert_eq!(queue.pop(None), Popped::Closed);
    }

    #[test]
    fn waiting_ends_with_the_time() {
        let queue: WorkQueue<u8> = WorkQueue::default();
        assert_eq!(queue.pop(Some(Duration::ZERO)), Popped::TimedOut);
    }
}
