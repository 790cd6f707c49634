//! The body of a stream of responses: encodes messages when the connection asks, has batches sent from where
//! they lie, and holds the memory of both until the connection has written them.
//!
//! tonic's own encodes into one buffer, which is a copy of every batch.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use futures_core::Stream;
use http::HeaderMap;
use http_body::{Body, Frame};
use tonic::Status;
use towpath_proto::wire::EndsWithBatch;

use super::pieces::Pieces;
use crate::memory::{Pinned, Unread};

/// Encoded messages take so much memory at a time.
const BUFFER_BYTES: usize = 64 * 1024;
/// Not compressed: the first byte before each message.
const PLAIN: u8 = 0;
/// That, and the length of the message.
const PREFIX_BYTES: usize = 5;

/// A message that is to be sent.
#[derive(Debug)]
pub(crate) struct Told<T> {
    /// The message.
    pub(crate) message: T,
    /// What its batch lies in, if it is to be sent from there.
    pub(crate) pinned: Option<Arc<Pinned>>,
}

/// The messages of one stream, and how it ends.
pub(crate) type Messages<T> = Pin<Box<dyn Stream<Item = Result<Told<T>, Status>> + Send>>;

/// The body that sends them.
pub(super) struct Sending<T> {
    messages: Messages<T>,
    unread: Arc<Unread>,
    chunk: Chunk,
    /// How the stream ends, once it has.
    end: Option<Status>,
    is_over: bool,
}

/// What goes to the connection at once.
struct Chunk {
    /// Heads of messages, and those that are copied.
    encoded: BytesMut,
    /// What stands before that.
    pieces: VecDeque<Bytes>,
    copied_bytes: usize,
    others_bytes: usize,
    pinned: Vec<Arc<Pinned>>,
}

impl<T> From<T> for Told<T> {
    /// It is sent as a copy.
    fn from(message: T) -> Self {
        Self {
            message,
            pinned: None,
        }
    }
}

impl<T> Sending<T> {
    pub(super) fn new(messages: Messages<T>, unread: Arc<Unread>) -> Self {
        Self {
            messages,
            unread,
            chunk: Chunk {
                encoded: BytesMut::with_capacity(BUFFER_BYTES),
                pieces: VecDeque::new(),
                copied_bytes: 0,
                others_bytes: 0,
                pinned: Vec::new(),
            },
            end: None,
            is_over: false,
        }
    }
}

impl<T: EndsWithBatch> Sending<T> {
    /// Encodes what there is without waiting. Returns whether there may be more later.
    fn poll_encode(&mut self, cx: &mut Context<'_>) -> bool {
        while self.end.is_none() {
            let told = match self.messages.as_mut().poll_next(cx) {
                Poll::Pending => return true,
                Poll::Ready(Some(Ok(told))) => self.chunk.push(told),
                Poll::Ready(Some(Err(status))) => Err(status),
                Poll::Ready(None) => Err(Status::ok("")),
            };
            self.end = told.err();
        }
        false
    }
}

impl<T: EndsWithBatch> Body for Sending<T> {
    type Data = Pieces;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Pieces>, Status>>> {
        let this = self.get_mut();
        if this.is_over {
            return Poll::Ready(None);
        }
        let has_more = this.poll_encode(cx);
        if !this.chunk.is_empty() {
            let pieces = this.chunk.take(&this.unread);
            return Poll::Ready(Some(Ok(Frame::data(pieces))));
        }
        if has_more {
            this.unread.pause();
            return Poll::Pending;
        }
        this.is_over = true;
        let status = this.end.take().unwrap_or_else(|| Status::ok(""));
        let mut trailers = HeaderMap::new();
        let added = status.add_header(&mut trailers);
        Poll::Ready(Some(added.map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }
}

impl Chunk {
    fn is_empty(&self) -> bool {
        self.encoded.is_empty() && self.pieces.is_empty()
    }

    /// Adds a message.
    ///
    /// # Errors
    /// It is too long to be said.
    fn push<T: EndsWithBatch>(&mut self, told: Told<T>) -> Result<(), Status> {
        let message_bytes = told.message.encoded_len();
        let Ok(prefix) = u32::try_from(message_bytes) else {
            let message = format!("a message of {message_bytes} bytes cannot be sent");
            return Err(Status::resource_exhausted(message));
        };
        let before_bytes = self.encoded.len();
        if told.pinned.is_none() {
            self.encoded.reserve(PREFIX_BYTES + message_bytes);
        }
        self.encoded.put_u8(PLAIN);
        self.encoded.put_u32(prefix);
        let batch = told.message.encode_head(&mut self.encoded);
        let Some(pinned) = told.pinned else {
            self.encoded.put_slice(&batch);
            self.copied_bytes += PREFIX_BYTES + message_bytes;
            return Ok(());
        };
        self.copied_bytes += self.encoded.len() - before_bytes;
        self.others_bytes += batch.len();
        self.pieces.push_back(self.encoded.split().freeze());
        self.pieces.push_back(batch);
        self.pinned.push(pinned);
        Ok(())
    }

    /// All of it, as pieces whose memory is counted.
    fn take(&mut self, unread: &Arc<Unread>) -> Pieces {
        let mut pieces = std::mem::take(&mut self.pieces);
        if !self.encoded.is_empty() {
            pieces.push_back(self.encoded.split().freeze());
        }
        let pinned = std::mem::take(&mut self.pinned);
        let copied_bytes = std::mem::take(&mut self.copied_bytes);
        let others_bytes = std::mem::take(&mut self.others_bytes);
        Pieces::new(pieces, unread.hand_out(copied_bytes, others_bytes, pinned))
    }
}

#[cfg(test)]
mod tests;
