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
    urgent: VecDeque<T>,
    work: VecDeque<T>,
    is_closed: bool,
}

impl<T> Waiting<T> {
    fn pop(&mut self) -> Option<T> {
        self.urgent.pop_front().or_else(|| self.work.pop_front())
    }
}

/// Work for a thread, first in, first out. Urgent work goes before all other, in order among itself.
#[derive(Debug)]
pub struct WorkQueue<T> {
    waiting: Mutex<Waiting<T>>,
    arrived: Condvar,
}

impl<T> Default for WorkQueue<T> {
    fn default() -> Self {
        let waiting = Waiting {
            urgent: VecDeque::new(),
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

    /// Adds work that goes before all other but what is urgent and was there before.
    pub fn push_urgent(&self, work: T) {
        let mut waiting = self.lock();
        if !waiting.is_closed {
            waiting.urgent.push_back(work);
            self.arrived.notify_one();
        }
    }

    /// Takes work that is there.
    pub fn try_pop(&self) -> Option<T> {
        self.lock().pop()
    }

    /// Takes urgent work for as long as it is such, and at most `count_max` pieces of it.
    pub fn take_urgent(&self, count_max: usize, is_such: impl Fn(&T) -> bool) -> Vec<T> {
        let mut waiting = self.lock();
        let such = waiting.urgent.iter().take_while(|work| is_such(work));
        let count = such.take(count_max).count();
        waiting.urgent.drain(..count).collect()
    }

    /// Takes work, waiting for it at most `timeout`.
    pub fn pop(&self, timeout: Option<Duration>) -> Popped<T> {
        let mut waiting = self.lock();
        loop {
            if let Some(work) = waiting.pop() {
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
                return waiting.pop().map_or(Popped::TimedOut, Popped::Work);
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
        queue.push(3);
        queue.push(4);
        (0..3).for_each(|work| queue.push_urgent(work));
        queue.close();
        queue.push(5);
        let taken: Vec<_> = std::iter::from_fn(|| queue.try_pop()).collect();
        assert_eq!(taken, [0, 1, 2, 3, 4], "urgent work in its own order");
        assert_eq!(queue.pop(None), Popped::Closed);
    }

    #[test]
    fn urgent_work_of_one_kind_is_taken_together() {
        let queue = WorkQueue::default();
        queue.push(1);
        [3, 5, 7, 8, 9]
            .into_iter()
            .for_each(|work| queue.push_urgent(work));
        let is_odd = |work: &i32| work % 2 == 1;
        assert_eq!(queue.take_urgent(2, is_odd), [3, 5], "no more than asked");
        assert_eq!(queue.take_urgent(9, is_odd), [7], "none behind another");
        assert!(queue.take_urgent(9, is_odd).is_empty(), "none of that kind");
        assert_eq!(queue.try_pop(), Some(8));
        assert_eq!(queue.take_urgent(9, is_odd), [9], "only what is urgent");
    }

    #[test]
    fn waiting_ends_with_the_time() {
        let queue: WorkQueue<u8> = WorkQueue::default();
        assert_eq!(queue.pop(Some(Duration::ZERO)), Popped::TimedOut);
    }
}
