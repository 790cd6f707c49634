//! The body of a response: tonic's, or a stream of messages that is sent past it.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use tonic::Status;
use tonic::body::Body;

use super::pieces::Pieces;

/// What answers a call.
#[derive(Debug)]
pub(super) enum Answer {
    /// As tonic encodes it.
    Encoded(Body),
    /// A stream of messages.
    Streamed(UnsyncBoxBody<Pieces, Status>),
}

impl http_body::Body for Answer {
    type Data = Pieces;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Pieces>, Status>>> {
        match self.get_mut() {
            Self::Encoded(body) => {
                let polled = Pin::new(body).poll_frame(cx);
                polled.map_ok(|frame| frame.map_data(Pieces::from))
            }
            Self::Streamed(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Encoded(body) => body.is_end_stream(),
            Self::Streamed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Encoded(body) => body.size_hint(),
            Self::Streamed(body) => body.size_hint(),
        }
    }
}
