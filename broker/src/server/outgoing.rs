//! How a service hands its messages to the connection, past tonic's encoder.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::stream::{self, Empty};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use tonic::{Response, Status};
use towpath_proto::wire::EndsWithBatch;

use super::pieces::Pieces;
use super::sending::{Messages, Sending};
use crate::memory::{Holder, Unread};

/// What tonic is given in the place of messages.
pub(crate) type Elsewhere<T> = Empty<Result<T, Status>>;

/// The body of a stream of responses, which travels with a response as an extension.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    holder: Arc<Holder>,
    /// Extensions can be cloned and shared; the body is taken once.
    body: Arc<Mutex<Option<UnsyncBoxBody<Pieces, Status>>>>,
}

impl Outgoing {
    /// Who has the stream broken off.
    pub(super) fn holder(&self) -> &Arc<Holder> {
        &self.holder
    }

    /// The body; an empty one for who asks again.
    pub(super) fn into_body(self) -> UnsyncBoxBody<Pieces, Status> {
        let mut body = self.body.lock().unwrap_or_else(PoisonError::into_inner);
        body.take().unwrap_or_default()
    }
}

/// A response whose messages the connection sends, with their memory counted until it has written them.
pub(crate) fn streamed<T>(messages: Messages<T>, unread: Arc<Unread>) -> Response<Elsewhere<T>>
where
    T: EndsWithBatch + 'static,
{
    let outgoing = Outgoing {
        holder: Arc::clone(unread.holder()),
        body: Arc::new(Mutex::new(Some(
            Sending::new(messages, unread).boxed_unsync(),
        ))),
    };
    let mut response = Response::new(stream::empty());
    response.extensions_mut().insert(outgoing);
    response
}
