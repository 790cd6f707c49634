//! Requests that cannot be taken apart: too large, or not what the call takes.
//!
//! tonic ends their calls before any code of ours sees them, with a status of its own that has
//! neither reason nor hint, and with the code INTERNAL for what is the client's fault. Here such a
//! status is known by what it lacks, and told in our words. [`Explained`] does so for calls that end
//! before they begin; it looks at the head of a response, never at the messages of a stream.

use std::convert::Infallible;
use std::error::Error as _;
use std::task::{Context, Poll};

use futures_util::TryFutureExt;
use futures_util::future::MapOk;
use http::{Request, Response};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::NamedService;
use tonic::{Code, Status};
use towpath_proto::limits::{BATCH_BYTES_MAX, COMMIT_BYTES_MAX, MESSAGE_BYTES_MAX};
use towpath_proto::problem::{FIELD, Problem};
use towpath_proto::reason::ErrorReason;

/// What a compressed message has to say about itself by the rules of gRPC, which also name the
/// status of one that does not: INTERNAL. tonic's texts about that begin so.
const RULE_OF_GRPC: &str = "protocol error";

/// The field that makes the requests of a call large, since records are in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordsField {
    name: &'static str,
    /// What is limited.
    whole: &'static str,
    /// Most bytes of it.
    size_bytes_max: usize,
}

impl RecordsField {
    /// One whose records make up a batch.
    pub(super) const fn of_batch(name: &'static str) -> Self {
        Self {
            name,
            whole: "a batch",
            size_bytes_max: BATCH_BYTES_MAX,
        }
    }

    /// That of a commit.
    const fn of_commit() -> Self {
        Self {
            name: "operations",
            whole: "a commit",
            size_bytes_max: COMMIT_BYTES_MAX,
        }
    }
}

/// The same status, explained where the message could not be read.
pub(super) fn described(status: Status) -> Status {
    match explain(&status, None) {
        Some(problem) => problem.into(),
        None => status,
    }
}

/// Why tonic could not read a request; none if the status is about something else.
///
/// `records_field` is that of the requests of the call, if they have one.
pub(super) fn explain(status: &Status, records_field: Option<RecordsField>) -> Option<Problem> {
    // Every status of ours has details, and one about a broken connection a source.
    if !status.details().is_empty() || status.source().is_some() {
        return None;
    }
    if status.code() == Code::OutOfRange {
        return Some(too_large(size_bytes(status.message()), records_field));
    }
    let is_malformed =
        status.code() == Code::Internal && !status.message().starts_with(RULE_OF_GRPC);
    is_malformed.then(|| malformed(status.message()))
}

/// A request, or a part of it, that cannot be taken apart.
pub(super) fn malformed(what: &str) -> Problem {
    Problem::new(
        ErrorReason::InvalidArgument,
        format!("the request cannot be read: {what}"),
    )
    .with_hint("encode requests with stubs generated from proto/towpath/v1")
}

fn too_large(size_bytes: Option<u64>, records_field: Option<RecordsField>) -> Problem {
    let problem = match records_field {
        Some(RecordsField {
            name,
            whole,
            size_bytes_max,
        }) => Problem::new(
            ErrorReason::BatchTooLarge,
            format!("the request is too large: {whole} has at most {size_bytes_max} bytes"),
        )
        .with(FIELD, name)
        .with("size_bytes_max", size_bytes_max)
        .with_hint("send fewer records at once"),
        None => Problem::new(
            ErrorReason::InvalidArgument,
            format!("the request is too large: it may have {MESSAGE_BYTES_MAX} bytes"),
        )
        .with("size_bytes_max", MESSAGE_BYTES_MAX)
        .with_hint("ask for less at once"),
    };
    match size_bytes {
        Some(size_bytes) => problem.with("size_bytes", size_bytes),
        None => problem,
    }
}

/// The size of the request, which tonic tells in its text only: "... found N bytes, ...".
fn size_bytes(text: &str) -> Option<u64> {
    let (_, found) = text.split_once("found ")?;
    let (number, _) = found.split_once(' ')?;
    number.parse().ok()
}

/// A service whose callers are told in our words that their request cannot be read.
#[derive(Debug, Clone)]
pub(super) struct Explained<S> {
    service: S,
    explain: fn(Response<Body>) -> Response<Body>,
}

impl<S> Explained<S> {
    /// For a service that takes small requests only.
    pub(super) fn new(service: S) -> Self {
        Self {
            service,
            explain: |response| explain_response(response, None),
        }
    }

    /// For a service whose requests that come alone carry records in the field `records`.
    pub(super) fn with_records(service: S) -> Self {
        let explain = |response| {
            let field = RecordsField::of_batch("records");
            explain_response(response, Some(field))
        };
        Self { service, explain }
    }

    /// For the service of commits.
    pub(super) fn with_operations(service: S) -> Self {
        let explain = |response| explain_response(response, Some(RecordsField::of_commit()));
        Self { service, explain }
    }
}

/// tonic leaves the status of a call that ends before it begins with the head of the response.
fn explain_response(
    response: Response<Body>,
    records_field: Option<RecordsField>,
) -> Response<Body> {
    let status = response.extensions().get::<Status>();
    match status.and_then(|status| explain(status, records_field)) {
        Some(problem) => Status::from(problem).into_http(),
        None => response,
    }
}

impl<S> Service<Request<Body>> for Explained<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = MapOk<S::Future, fn(Response<Body>) -> Response<Body>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.service.call(request).map_ok(self.explain)
    }
}

impl<S: NamedService> NamedService for Explained<S> {
    const NAME: &'static str = S::NAME;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn only_what_tonic_says_about_a_request_is_explained() {
        let of_ours = Status::from(Problem::new(ErrorReason::Internal, "a fault"));
        assert_eq!(explain(&of_ours, None), None, "ours");
        let mut broken = Status::internal("h2 protocol error: broken");
        broken.set_source(Arc::new(std::fmt::Error));
        assert_eq!(explain(&broken, None), None, "of the connection");
        let compressed = Status::internal("protocol error: received message with ...");
        assert_eq!(explain(&compressed, None), None, "by the rules of gRPC");
        let unknown = Status::unimplemented("");
        assert_eq!(explain(&unknown, None), None, "an unknown call");
        let garbage = explain(&Status::internal("invalid varint"), None).unwrap();
        assert_eq!(garbage.reason(), ErrorReason::InvalidArgument, "{garbage}");
    }

    #[test]
    fn a_size_that_is_not_told_is_left_out() {
        let problem = explain(
            &Status::out_of_range("too large"),
            Some(RecordsField::of_batch("records")),
        )
        .unwrap();
        assert_eq!(problem.reason(), ErrorReason::BatchTooLarge, "{problem}");
        assert_eq!(problem.metadata().get("size_bytes"), None, "{problem:?}");
        assert_eq!(problem.metadata()[FIELD], "records", "{problem:?}");
    }
}
