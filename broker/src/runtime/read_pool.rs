//! Two threads that read segments, so that no async worker ever waits for a disk.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::queue::{Popped, WorkQueue};

type Job = Box<dyn FnOnce() + Send>;

/// Runs blocking reads. Jobs are bounded by the streams that wait for them: one each.
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
    /// Runs `read` on the pool. `None` if the pool has stopped. Dropping the future lets the read
    /// finish and its result go.
    pub async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, result) = oneshot::channel();
        self.jobs.push(Box::new(move || drop(answer.send(read()))));
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
