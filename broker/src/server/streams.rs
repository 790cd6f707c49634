//! The streams of one connection, as tasks that a stop waits for and that can be broken off.

use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::visitor::Visitor;
use crate::memory::Holder;
use crate::shutdown::Drain;

tokio::task_local! {
    /// Who has the stream that is running broken off; set once it is known.
    static HOLDER: Arc<OnceLock<Arc<Holder>>>;
}

/// Runs the streams of one connection. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    drain: Drain,
    of_connection: TaskTracker,
    visitor: Arc<Visitor>,
    /// How long the connection may take to let go of a stream that was broken off.
    patience: Duration,
    stuck: CancellationToken,
}

impl Streams {
    /// No stream yet.
    pub(super) fn new(drain: &Drain, visitor: &Arc<Visitor>, patience: Duration) -> Self {
        let of_connection = TaskTracker::new();
        of_connection.close();
        Self {
            drain: drain.clone(),
            of_connection,
            visitor: Arc::clone(visitor),
            patience,
            stuck: CancellationToken::new(),
        }
    }

    /// Waits until none is left. Safe to drop.
    pub(super) async fn ended(&self) {
        self.of_connection.wait().await;
    }

    /// Waits until the connection must be closed, since it does not let go of a stream's memory: its
    /// client has not read from it for long. Safe to drop.
    pub(super) async fn stuck(&self) {
        self.stuck.cancelled().await;
    }

    async fn run(self, stream: impl Future<Output = ()>) {
        let known = Arc::new(OnceLock::new());
        let broken = async {
            // The stream's own wakes let this look again until the holder is known.
            let holder = std::future::poll_fn(|_| match known.get() {
                Some(holder) => Poll::Ready(Arc::clone(holder)),
                None => Poll::Pending,
            });
            let holder: Arc<Holder> = holder.await;
            holder.ended().cancelled().await;
            holder
        };
        let holder = tokio::select! {
            biased;
            () = HOLDER.scope(Arc::clone(&known), stream) => return,
            holder = broken => holder,
        };
        // The stream is dropped, and with it all but what is on its way into the socket.
        let patience = match self.drain.has_begun() {
            true => self.drain.notice().min(self.patience),
            false => self.patience,
        };
        if tokio::time::timeout(patience, holder.gone().cancelled())
            .await
            .is_err()
        {
            self.stuck.cancel();
        }
    }
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let used = StreamGuard::new(&self.visitor);
        let running = self.clone().run(stream);
        let stream = self.of_connection.track_future(async move {
            running.await;
            drop(used);
        });
        self.drain.tasks().spawn(stream);
    }
}

/// Its connection is used as long as this lives.
struct StreamGuard(Arc<Visitor>);

impl StreamGuard {
    fn new(visitor: &Arc<Visitor>) -> Self {
        visitor.note_stream_begun();
        Self(Arc::clone(visitor))
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.0.note_stream_ended();
    }
}

/// Has the stream that is running broken off when `holder` must let go, even while its client takes
/// nothing. What the connection was given of it goes too, and the client is told by a reset.
pub(super) fn end_with(holder: &Arc<Holder>) {
    // Each stream answers once. Outside of a stream nobody is there to be broken off.
    drop(HOLDER.try_with(|known| known.set(Arc::clone(holder))));
}
