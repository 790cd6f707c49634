//! `Produce`, client side: the request stream, which sends as far as it is permitted.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;

use super::watermark::Watermark;
use super::wire::Parcel;
use crate::payload::Payloads;

/// Yields the parcels `0..end`, each one once the permit is above its sequence.
#[derive(Debug)]
pub(super) struct Outgoing {
    payloads: Payloads,
    permit: Arc<Watermark>,
    /// The permit when it was last looked at, so that it is locked once a window, not once a parcel.
    permitted: u64,
    next: u64,
    end: u64,
}

impl Outgoing {
    pub(super) fn new(payloads: Payloads, end: u64, permit: Arc<Watermark>) -> Self {
        Self {
            payloads,
            permit,
            permitted: 0,
            next: 0,
            end,
        }
    }
}

impl Stream for Outgoing {
    type Item = Parcel;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Parcel>> {
        if self.next == self.end {
            return Poll::Ready(None);
        }
        if self.permitted <= self.next {
            let Some(Ok(level)) = ready!(self.permit.poll_above(self.next, context)) else {
                return Poll::Ready(None);
            };
            self.permitted = level;
        }
        let sequence = self.next;
        self.next += 1;
        let payload = self.payloads.get(sequence);
        let (crc, payload) = (payload.crc, payload.bytes.clone());
        Poll::Ready(Some(Parcel {
            sequence,
            crc,
            payload,
        }))
    }
}
