//! Connections that are not taken: their clients are told why, if they ask soon.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tonic::body::Body;
use towpath_proto::problem::Problem;
use towpath_proto::reason::ErrorReason;

use super::HEADER_BYTES_MAX;
use super::metered::Metered;
use crate::metrics::Refused;

/// How long a client may take to ask and to be told.
const PATIENCE: Duration = Duration::from_secs(2);
/// When a client should come again: by then whoever was told to leave has left.
const RETRY_WAIT: Duration = Duration::from_secs(2);
/// Smallest window that HTTP/2 knows of for a connection.
const WINDOW_BYTES: u32 = 65_535;
/// Most clients that are told at once; further ones are only closed.
const COUNT_MAX: usize = 16;
/// For so many connections that are taken one may be refused at once.
const COUNT_DIVISOR: usize = 8;

/// How many connections are being refused at most, besides so many that are taken.
pub(crate) fn refused_count_max(connection_count_max: usize) -> usize {
    (connection_count_max / COUNT_DIVISOR).clamp(1, COUNT_MAX)
}

/// Where connections are refused.
#[derive(Debug)]
pub(super) struct Refusals {
    places: Arc<Semaphore>,
}

/// A connection's place there.
#[derive(Debug)]
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Refusals {
    /// Refuses beside so many that are taken.
    pub(super) fn new(connection_count_max: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(refused_count_max(connection_count_max))),
        }
    }

    /// A place to tell one more client; none while there are many.
    pub(super) fn place(&self) -> Option<Place> {
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Place { _permit: permit })
    }
}

/// Answers the first calls of a connection with why it is refused, and closes it.
pub(super) async fn refuse<S>(stream: S, why: Refused, place: Place)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let told = Arc::new(Notify::new());
    let tell = service_fn(|_request| {
        told.notify_one();
        let response = tonic::Status::from(problem(why)).into_http::<Body>();
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let serving = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_connection_window_size(WINDOW_BYTES)
        .initial_stream_window_size(WINDOW_BYTES)
        .max_concurrent_streams(1)
        .max_header_list_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(Metered::new(stream)), tell);
    let refusing = async {
        let mut serving = std::pin::pin!(serving);
        let told = told.notified();
        tokio::select! {
            served = serving.as_mut() => return served,
            () = told => serving.as_mut().graceful_shutdown(),
        }
        serving.await
    };
    match tokio::time::timeout(PATIENCE, refusing).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "connection broke while it was refused"),
        Err(_elapsed) => tracing::debug!("connection was refused and did not ask why"),
    }
    drop(place);
}

fn problem(why: Refused) -> Problem {
    let (message, limit, hint) = match why {
        Refused::Count => (
            "the broker has as many connections as it takes",
            "connection_count_max",
            "try again later, share one client, or raise --connection-count-max",
        ),
        Refused::Address => (
            "the broker has as many connections from this address as it takes",
            "connection_count_per_address_max",
            "share one client, or raise --connection-count-per-address-max",
        ),
        // They are closed at once: there is no descriptor to tell it by.
        Refused::Descriptors => (
            "the broker has no descriptor for the connection",
            "descriptors",
            "raise the limit of open files of the broker",
        ),
    };
    Problem::new(ErrorReason::Overloaded, message)
        .with("limit", limit)
        .with_retry_after(RETRY_WAIT)
        .with_hint(hint)
}
