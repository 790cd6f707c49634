//! A call whose body is made by somebody else.

use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::body::Body;
use tonic::transport::{Channel, Error};
use tower::Service;

/// Sends the requests of a stub with another body, once.
///
/// Everything but the body is left to the stub: the path, the headers, reading the response.
#[derive(Debug)]
pub(super) struct Substitute {
    pub(super) channel: Channel,
    pub(super) body: Option<Body>,
}

impl Service<Request<Body>> for Substitute {
    type Response = Response<Body>;
    type Error = Error;
    type Future = <Channel as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.channel.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let body = self.body.take().unwrap_or_default();
        self.channel.call(request.map(|_unused| body))
    }
}
