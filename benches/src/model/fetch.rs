//! `Fetch`, server side: parcels from memory, as fast as the connection takes them.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use tonic::codegen::BoxFuture;
use tonic::server::ServerStreamingService;
use tonic::{Request, Response, Status};

use super::wire::{FetchRequest, MESSAGE_BYTES_MAX, Parcel};
use crate::payload::Payloads;

/// The method; it has no state.
#[derive(Debug, Clone)]
pub(super) struct Fetch;

impl ServerStreamingService<FetchRequest> for Fetch {
    type Response = Parcel;
    type ResponseStream = Parcels;
    type Future = BoxFuture<Response<Parcels>, Status>;

    fn call(&mut self, request: Request<FetchRequest>) -> Self::Future {
        let FetchRequest {
            parcel_count,
            payload_bytes,
        } = request.into_inner();
        Box::pin(async move {
            let payload_bytes = usize::try_from(payload_bytes)
                .ok()
                .filter(|bytes| (1..=MESSAGE_BYTES_MAX).contains(bytes))
                .ok_or_else(|| Status::invalid_argument("payload_bytes is out of range"))?;
            let payloads = Payloads::of(payload_bytes);
            Ok(Response::new(Parcels {
                payloads,
                next: 0,
                end: parcel_count,
            }))
        })
    }
}

/// The response stream: always ready, paced by HTTP/2 alone.
#[derive(Debug)]
pub(super) struct Parcels {
    payloads: Payloads,
    next: u64,
    end: u64,
}

impl Stream for Parcels {
    type Item = Result<Parcel, Status>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.next == self.end {
            return Poll::Ready(None);
        }
        let sequence = self.next;
        self.next += 1;
        let payload = self.payloads.get(sequence);
        let (crc, payload) = (payload.crc, payload.bytes.clone());
        Poll::Ready(Some(Ok(Parcel {
            sequence,
            crc,
            payload,
        })))
    }
}
