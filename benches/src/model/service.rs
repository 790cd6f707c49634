//! The gRPC service: a path to its method, what `tonic-build` would generate.

use std::convert::Infallible;
use std::sync::mpsc::Sender;
use std::task::{Context, Poll};

use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService};

use super::fetch::Fetch;
use super::produce::Produce;
use super::wire::{FETCH_PATH, PRODUCE_PATH, ReservingCodec, SERVICE};
use super::writer::Arrival;

/// Serves both methods; clones share one writer.
#[derive(Debug, Clone)]
pub(super) struct BareModel {
    queue: Sender<Arrival>,
}

impl BareModel {
    pub(super) fn new(queue: Sender<Arrival>) -> Self {
        Self { queue }
    }
}

impl NamedService for BareModel {
    const NAME: &'static str = SERVICE;
}

impl Service<http::Request<Body>> for BareModel {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        match request.uri().path() {
            PRODUCE_PATH => {
                let method = Produce(self.queue.clone());
                Box::pin(async move {
                    Ok(Grpc::new(ReservingCodec::new())
                        .streaming(method, request)
                        .await)
                })
            }
            FETCH_PATH => Box::pin(async move {
                Ok(Grpc::new(ReservingCodec::new())
                    .server_streaming(Fetch, request)
                    .await)
            }),
            _ => Box::pin(async { Ok(Status::unimplemented("no such method").into_http()) }),
        }
    }
}
