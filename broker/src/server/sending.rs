//! The body of a response whose memory is counted until the connection has written it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tonic::body::Body;

use crate::memory::Unread;

/// The body of a stream of responses.
#[derive(Debug)]
pub(super) struct Sending {
    body: Body,
    unread: Arc<Unread>,
}

impl Sending {
    /// Counts what `body` gives.
    pub(super) fn new(body: Body, unread: Arc<Unread>) -> Self {
        Self { body, unread }
    }
}

impl http_body::Body for Sending {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let unread = &self.unread;
        match polled {
            Poll::Pending => {
                unread.pause();
                Poll::Pending
            }
            Poll::Ready(Some(Ok(frame))) => {
                let frame = frame.map_data(|bytes| unread.hand_out(bytes));
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(end) => Poll::Ready(end),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
