//! The sending half of a Produce stream.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tonic::Status;
use towpath_proto::v1::produce_response::Response;
use towpath_proto::v1::{Accepted, ProduceResponse};

use super::outbox::{Outbox, Outgoing, Taken};

/// Most batches that one message accepts.
const ACCEPTED_PER_MESSAGE_MAX: usize = 1_000;

/// The answers on one Produce stream: those of a round usually go out as one message.
#[derive(Debug)]
pub(in crate::api) struct Responses {
    outbox: Arc<Outbox>,
    outgoing: VecDeque<Outgoing>,
    is_over: bool,
}

impl Responses {
    pub(super) fn new(outbox: Arc<Outbox>) -> Self {
        Self {
            outbox,
            outgoing: VecDeque::new(),
            is_over: false,
        }
    }

    /// The next message of what was taken; batches that were accepted one after the other share one.
    fn next_response(&mut self) -> Option<Response> {
        let mut batches = Vec::new();
        while let Some(next) = self.outgoing.pop_front() {
            match next {
                Outgoing::Accepted(batch) if batches.len() < ACCEPTED_PER_MESSAGE_MAX => {
                    batches.push(batch);
                }
                Outgoing::Message(message) if batches.is_empty() => return Some(*message),
                later => {
                    self.outgoing.push_front(later);
                    break;
                }
            }
        }
        (!batches.is_empty()).then_some(Response::Accepted(Accepted { batches }))
    }
}

impl Stream for Responses {
    type Item = Result<ProduceResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.is_over {
            return Poll::Ready(None);
        }
        loop {
            if let Some(response) = this.next_response() {
                let response = Some(response);
                return Poll::Ready(Some(Ok(ProduceResponse { response })));
            }
            match ready!(this.outbox.poll_take(&mut this.outgoing, cx)) {
                Taken::Some => {}
                Taken::End(end) => {
                    this.is_over = true;
                    return Poll::Ready(end.err().map(|status| Err(*status)));
                }
            }
        }
    }
}

impl Drop for Responses {
    fn drop(&mut self) {
        self.outbox.close();
    }
}
