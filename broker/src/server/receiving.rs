//! The body of a request whose memory is taken before it is read.
//!
//! What a connection has received and nobody has read is bounded by its window. What is read goes to
//! a decoder that collects whole messages; so a message takes its memory, of its connection's and of
//! the broker's, when its length is known, and keeps it until the call has taken it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::WaitForCancellationFutureOwned;
use towpath_proto::limits::REQUEST_BYTES_MAX;
use towpath_proto::problem::Problem;
use towpath_proto::reason::ErrorReason;

use super::FRAME_BYTES_MAX;
use super::lengths::Lengths;
use crate::memory::{
    Budget, HeldShare, Holder, MessageMemory, MessageMemorySink, Registered, Share,
};

/// Messages up to this length take no memory of the budgets, and so never wait behind large ones: a stream
/// costs more than that in any case.
const FREE_MESSAGE_BYTES: usize = 4 * 1024;
/// One connection may have this part of all memory for requests...
const CONNECTION_DIVISOR: usize = 2;
/// ... and in any case what one message needs, and a frame with others.
const CONNECTION_BYTES_MIN: usize = REQUEST_BYTES_MAX + FRAME_BYTES_MAX as usize;

/// Memory for the requests of one connection. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct RequestMemory {
    share: Share,
    /// The right of a stream to wait for memory, with the frame that it has read.
    ///
    /// What the client sends to a stream that waits takes the window of its connection, and then a
    /// message that has its memory could not come whole. So there is one, and others are refused.
    waiting: Arc<Semaphore>,
}

/// The body of a request.
pub(super) struct Receiving<B> {
    body: B,
    lengths: Lengths,
    memory: RequestMemory,
    /// Memory of the messages that were given to the decoder and not taken, and of the one that is
    /// being received.
    parts: HeldShare,
    held_bytes: usize,
    /// Memory of the message that the call has got and keeps.
    given_bytes: usize,
    /// What was read and waits for memory.
    waiting: Option<Waiting>,
    /// While it waits for its client inside a message.
    stalled: Option<Stalled>,
    call: MessageMemorySink,
}

struct Waiting {
    data: Bytes,
    parts: Pin<Box<dyn Future<Output = HeldShare> + Send>>,
}

/// A holder that its budgets may end.
struct Stalled {
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    _registered: [Registered; 2],
}

impl RequestMemory {
    /// The memory of a connection, as part of all.
    pub(super) fn new(of_all: &Budget) -> Self {
        let bytes = (of_all.bytes() / CONNECTION_DIVISOR).max(CONNECTION_BYTES_MIN);
        Self {
            share: Share::new(of_all, bytes),
            waiting: Arc::new(Semaphore::new(1)),
        }
    }

    async fn take(self, bytes: usize, _waiting: OwnedSemaphorePermit) -> HeldShare {
        self.share.take(bytes).await
    }
}

impl<B> Receiving<B> {
    /// Reads `body` as there is memory. `call` holds the memory of a message that was taken.
    pub(super) fn new(body: B, memory: RequestMemory, call: &MessageMemory) -> Self {
        Self {
            body,
            lengths: Lengths::beyond(FREE_MESSAGE_BYTES),
            memory,
            parts: HeldShare::default(),
            held_bytes: 0,
            given_bytes: 0,
            waiting: None,
            stalled: None,
            call: call.sink(),
        }
    }

    /// Whoever asks for more, or for nothing any more, has taken the messages that are whole.
    fn let_go(&mut self) {
        let open_bytes = self.lengths.open_bytes();
        let given_bytes = self.held_bytes - open_bytes;
        let done = self.parts.split_beyond(open_bytes);
        let is_kept = self.call.give(done);
        self.held_bytes = open_bytes;
        self.given_bytes = match is_kept {
            true => self.given_bytes.max(given_bytes),
            false => 0,
        };
    }

    /// Takes memory for the messages that begin in what was read; returns it if there is enough, else
    /// it waits.
    ///
    /// # Errors
    /// Another stream of the connection waits already.
    fn admit(&mut self, data: Bytes) -> Result<Option<Bytes>, Problem> {
        let was_open = self.lengths.open_bytes() > 0;
        let begun_bytes = self.lengths.advance(&data);
        if was_open && begun_bytes == 0 && self.lengths.open_bytes() > 0 {
            return Ok(Some(data));
        }
        // A message is over, or another has begun. None comes after the one that a call keeps.
        if self.given_bytes == 0 {
            self.stalled = None;
        }
        self.held_bytes += begun_bytes;
        if let Some(parts) = self.memory.share.try_take(begun_bytes) {
            self.parts.merge(parts);
            return Ok(Some(data));
        }
        let waiting = Arc::clone(&self.memory.waiting).try_acquire_owned();
        let Ok(waiting) = waiting else {
            return Err(too_much());
        };
        let parts = Box::pin(self.memory.clone().take(begun_bytes, waiting));
        self.waiting = Some(Waiting { data, parts });
        Ok(None)
    }

    /// The client has sent a part of a message, or a message that the call does not take before the
    /// request has ended, and does not go on. Ready if it must let go.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let waiting_bytes = self.lengths.open_bytes() + self.given_bytes;
        if waiting_bytes == 0 {
            return Poll::Pending;
        }
        let memory = &self.memory;
        let stalled = self.stalled.get_or_insert_with(|| {
            let holder = Arc::new(Holder::default());
            holder.note_held(waiting_bytes);
            holder.note_stalled();
            Stalled {
                ended: Box::pin(holder.ended().clone().cancelled_owned()),
                _registered: memory.share.register(&holder),
            }
        });
        stalled.ended.as_mut().poll(cx)
    }
}

impl<B> Body for Receiving<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<tonic::codegen::StdError>,
{
    type Data = Bytes;
    type Error = tonic::codegen::StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if this.waiting.is_none() {
            this.let_go();
            let frame = match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(end) => return Poll::Ready(end.map(|end| end.map_err(Into::into))),
                Poll::Pending => {
                    ready!(this.poll_stalled(cx));
                    let ended = tonic::Status::from(too_slow());
                    return Poll::Ready(Some(Err(ended.into())));
                }
            };
            let data = match frame.into_data() {
                Ok(data) => data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            };
            match this.admit(data) {
                Ok(Some(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(None) => {}
                Err(problem) => {
                    return Poll::Ready(Some(Err(tonic::Status::from(problem).into())));
                }
            }
        }
        let Some(waiting) = &mut this.waiting else {
            return Poll::Pending;
        };
        let parts = ready!(waiting.parts.as_mut().poll(cx));
        this.parts.merge(parts);
        let data = this.waiting.take().map(|waiting| waiting.data);
        Poll::Ready(data.map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.waiting.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.waiting {
            None => self.body.size_hint(),
            Some(_) => SizeHint::default(),
        }
    }
}

impl<B> Drop for Receiving<B> {
    fn drop(&mut self) {
        self.let_go();
    }
}

impl<B> fmt::Debug for Receiving<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiving")
            .field("lengths", &self.lengths)
            .field("is_waiting", &self.waiting.is_some())
            .finish_non_exhaustive()
    }
}

/// The client has begun a message, and others wait for the memory of it.
fn too_slow() -> Problem {
    Problem::new(
        ErrorReason::Overloaded,
        "the request did not come whole while others waited for its memory",
    )
    .with("limit", "receiving_bytes_max")
    .with_retry_after(RETRY_WAIT)
}

/// The client sends more at once than its connection may.
fn too_much() -> Problem {
    Problem::new(
        ErrorReason::Overloaded,
        "more is being sent on this connection than there is memory for",
    )
    .with("limit", "receiving_bytes_max")
    .with_retry_after(RETRY_WAIT)
    .with_hint("send less at once")
}

/// When a client should send its request again.
const RETRY_WAIT: Duration = Duration::from_secs(1);
