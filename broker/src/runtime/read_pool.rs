//! Two threads that read segments, so that no async worker ever waits for a disk.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::queue::{Popped, WorkQueue};

type Job = Box<dyn FnOnce() + Send>;

/// Runs blocking reads. Jobs that are carried out are bounded by the streams that wait for them: one
/// each. Those that nobody waits for any more are passed over when their turn comes.
#[derive(Clone, Default)]
pub struct ReadPool {
    jobs: Arc<WorkQueue<Job>>,
}

impl std::fmt::Debug for ReadPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadPool").finish_non_exhaustive()
    }
}

impl ReadPool {
    /// Runs `read` on the pool. `None` if the pool has stopped. If the future is dropped, a read that has
    /// begun is finished for nobody, and one that has not is not begun.
    pub async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, result) = oneshot::channel();
        self.jobs.push(Box::new(move || {
            if !answer.is_closed() {
                drop(answer.send(read()));
            }
        }));
        result.await.ok()
    }

    /// Runs jobs until the pool is closed. The body of each of its threads.
    pub(super) fn work(&self) {
        while let Popped::Work(job) = self.jobs.pop(None) {
            job();
        }
    }

    /// Lets the threads end when the jobs that wait are done.
    pub(super) fn close(&self) {
        self.jobs.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_read_that_nobody_waits_for_is_not_begun() {
        let pool = ReadPool::default();
        let (told, mut reads) = tokio::sync::mpsc::unbounded_channel();
        for number in [1, 2] {
            let told = told.clone();
            let mut read = Box::pin(pool.run(move || told.send(number).unwrap()));
            // The first poll puts it into the queue.
            assert!(poll_once(&mut read).await.is_none(), "nobody works yet");
            if number == 2 {
                pool.close();
                pool.work();
                assert!(read.await.is_some(), "one that is waited for");
            }
        }
        assert_eq!(reads.try_recv(), Ok(2));
        assert!(reads.try_recv().is_err(), "the other was not begun");
    }

    /// Polls a future once.
    async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(context) {
                std::task::Poll::Ready(output) => Some(output),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }
}
