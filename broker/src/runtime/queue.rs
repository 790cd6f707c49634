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
    /// `work` waits for more.
    is_lingering: bool,
    is_closed: bool,
}

impl<T> Waiting<T> {
    fn pop(&mut self) -> Option<T> {
        self.urgent.pop_front().or_else(|| self.work.pop_front())
    }

    fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.work.is_empty()
    }
}

/// Work for a thread, first in, first out. Urgent work goes before all other, in order among itself.
#[derive(Debug)]
pub struct WorkQueue<T> {
    waiting: Mutex<Waiting<T>>,
    arrived: Condvar,
    /// So long work that lingers waits for more.
    linger: Duration,
}

impl<T> Default for WorkQueue<T> {
    fn default() -> Self {
        Self::new(Duration::ZERO)
    }
}

impl<T> WorkQueue<T> {
    /// A queue in which work that is pushed lingering waits so long for more.
    pub fn new(linger: Duration) -> Self {
        let waiting = Waiting {
            urgent: VecDeque::new(),
            work: VecDeque::new(),
            is_lingering: false,
            is_closed: false,
        };
        Self {
            waiting: Mutex::new(waiting),
            arrived: Condvar::new(),
            linger,
        }
    }

    /// Adds work. After the queue was closed it is dropped.
    pub fn push(&self, work: T) {
        let mut waiting = self.lock();
        if !waiting.is_closed {
            waiting.work.push_back(work);
            waiting.is_lingering = false;
            self.arrived.notify_one();
        }
    }

    /// Adds work that waits a little for more to come, unless there is enough of it.
    pub fn push_lingering(&self, work: T, is_enough: bool) {
        let mut waiting = self.lock();
        if waiting.is_closed {
            return;
        }
        let is_first = waiting.work.is_empty();
        waiting.work.push_back(work);
        waiting.is_lingering = !is_enough && (is_first || waiting.is_lingering);
        if is_first || is_enough {
            self.arrived.notify_one();
        }
    }

    /// Adds work that goes before all other but what is urgent and was there before.
    pub fn push_urgent(&self, work: T) {
        let mut waiting = self.lock();
        if !waiting.is_closed {
            waiting.urgent.push_back(work);
            waiting.is_lingering = false;
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

    /// Takes what comes next for as long as it is such, and at most `count_max` pieces of it.
    pub fn take_next(&self, count_max: usize, is_such: impl Fn(&T) -> bool) -> Vec<T> {
        let mut waiting = self.lock();
        if !waiting.urgent.is_empty() {
            return Vec::new();
        }
        let such = waiting.work.iter().take_while(|work| is_such(work));
        let count = such.take(count_max).count();
        waiting.work.drain(..count).collect()
    }

    /// Takes work, waiting for it at most `timeout`, or twice that if some lingers.
    pub fn pop(&self, timeout: Option<Duration>) -> Popped<T> {
        let mut waiting = self.lock();
        loop {
            let is_lingering = waiting.is_lingering && !waiting.work.is_empty();
            if !is_lingering && let Some(work) = waiting.pop() {
                return Popped::Work(work);
            }
            if waiting.is_closed {
                return Popped::Closed;
            }
            let linger = Some(self.linger).filter(|_| is_lingering);
            let Some(time) = linger.into_iter().chain(timeout).min() else {
                let waited = self.arrived.wait(waiting);
                waiting = waited.unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let waited = self.arrived.wait_timeout(waiting, time);
            let (again, result) = waited.unwrap_or_else(PoisonError::into_inner);
            waiting = again;
            if !result.timed_out() {
                continue;
            }
            if linger == Some(time) {
                waiting.is_lingering = false;
            } else if waiting.is_lingering || waiting.is_empty() {
                return Popped::TimedOut;
            }
        }
    }

    /// Takes no more work; what is there can still be taken.
    pub fn close(&self) {
        let mut waiting = self.lock();
        waiting.is_closed = true;
        waiting.is_lingering = false;
        drop(waiting);
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
    fn work_lingers_until_there_is_enough() {
        const LONG: Duration = Duration::from_secs(3600);
        let lingering = || {
            let queue = WorkQueue::new(LONG);
            queue.push_lingering(1, false);
            queue.push_lingering(2, false);
            assert_eq!(queue.pop(Some(Duration::ZERO)), Popped::TimedOut);
            queue
        };
        let queue = lingering();
        queue.push_lingering(3, true);
        assert_eq!(queue.pop(None), Popped::Work(1), "enough");
        queue.push_lingering(4, false);
        assert_eq!(
            queue.take_next(9, |it| *it < 4),
            [2, 3],
            "none behind another"
        );
        assert_eq!(queue.pop(None), Popped::Work(4), "what came to the rest");
        let queue = lingering();
        queue.push_urgent(0);
        assert_eq!(queue.pop(None), Popped::Work(0), "urgent work came");
        assert_eq!(queue.pop(None), Popped::Work(1));
        let queue = lingering();
        queue.push(3);
        assert_eq!(queue.pop(None), Popped::Work(1), "other work came");
        let queue = lingering();
        assert_eq!(queue.take_next(1, |_| true), [1], "no more than asked");
        queue.push_urgent(0);
        assert!(queue.take_next(1, |_| true).is_empty(), "urgent work first");
        queue.close();
        assert_eq!(queue.pop(None), Popped::Work(0));
        assert_eq!(queue.pop(None), Popped::Work(2), "closed");
        let queue = lingering();
        assert_eq!(queue.take_next(9, |_| true), [1, 2]);
        queue.close();
        assert_eq!(queue.pop(None), Popped::Closed, "all were taken");
        let queue = WorkQueue::new(Duration::ZERO);
        queue.push_lingering(1, false);
        assert_eq!(queue.pop(None), Popped::Work(1), "its time has passed");
    }

    #[test]
    fn waiting_ends_with_the_time() {
        let queue: WorkQueue<u8> = WorkQueue::default();
        assert_eq!(queue.pop(Some(Duration::ZERO)), Popped::TimedOut);
    }
}
