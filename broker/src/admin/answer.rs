//! What each path answers.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;

use super::state::{AdminState, NotReady};
use crate::metrics;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const EXPOSITION: HeaderValue = HeaderValue::from_static(metrics::CONTENT_TYPE);
/// What there is, for who asks for something else.
const PATHS: &str = "there is /metrics, /livez and /readyz\n";

/// Answers one request. Its body is not read.
pub(super) async fn answer<B>(request: &Request<B>, state: &AdminState) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = text(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET and HEAD\n".to_owned(),
        );
        let allowed = HeaderValue::from_static("GET, HEAD");
        refused.headers_mut().insert(ALLOW, allowed);
        return refused;
    }
    match request.uri().path() {
        "/metrics" => {
            let mut scraped = text(StatusCode::OK, state.scrape().await);
            scraped.headers_mut().insert(CONTENT_TYPE, EXPOSITION);
            scraped
        }
        "/livez" => told("alive", state.alive()),
        "/readyz" => told("ready", state.ready()),
        _ => text(StatusCode::NOT_FOUND, PATHS.to_owned()),
    }
}

fn told(what: &str, state: Result<(), NotReady<'_>>) -> Response<Full<Bytes>> {
    match state {
        Ok(()) => text(StatusCode::OK, format!("{what}\n")),
        Err(why) => text(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not {what}: {why}\n"),
        ),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}
