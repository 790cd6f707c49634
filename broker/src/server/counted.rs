//! The body of a response whose call is counted with the status at its end.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};

use super::calls::CallSlot;
use crate::metrics::Call;

/// A body and its call, which ends with it.
#[derive(Debug)]
pub(super) struct Counted<B> {
    body: B,
    call: Call,
    /// None of a call that was refused.
    _slot: Option<CallSlot>,
}

impl<B> Counted<B> {
    /// Has the call end with `body`, and its slot free then.
    pub(super) fn new(body: B, call: Call, slot: Option<CallSlot>) -> Self {
        Self {
            body,
            call,
            _slot: slot,
        }
    }
}

impl<B: Body + Unpin> Body for Counted<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(trailers) = frame.trailers_ref()
        {
            self.call.note_status(trailers);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
