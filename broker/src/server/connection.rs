//! One connection, from its first byte to its end.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::service::Routes;

use super::answer::Answer;
use super::calls::ConnectionCalls;
use super::counted::Counted;
use super::gate::Pass;
use super::metered::Metered;
use super::outgoing::Outgoing;
use super::receive_memory::Window;
use super::receiving::{Receiving, RequestMemory};
use super::streams::{self, Streams};
use super::{FRAME_BYTES_MAX, HEADER_BYTES_MAX, ServerLimits};
use crate::memory::{Budget, MessageMemory, Share, TURN_BYTES_MAX, UnreadShare};
use crate::metrics::{Closed, OpenConnection, RpcMetrics};
use crate::shutdown::Drain;

/// Smallest HTTP/2 frame that may be the largest.
const FRAME_BYTES_MIN: u32 = 16 * 1024;
/// Part of its connection's window that one stream has: what is sent to one that waits for memory must
/// leave room for others.
const STREAM_WINDOW_DIVISOR: u32 = 4;
/// A connection is asked whether it lives after this silence...
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// ... and closed when it does not answer for so long.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// What a stream may leave to the connection before it is asked for no more. What readers leave is
/// counted besides.
const SEND_BUFFER_BYTES_MAX: usize = 400 * 1024;
/// Streams that a client resets before they were taken, beyond which the connection is closed.
const PENDING_RESETS_MAX: usize = 20;
/// Streams that the broker resets for errors of the client, beyond which the connection is closed.
const ERROR_RESETS_MAX: usize = 256;

/// One connection and what it holds.
pub(super) struct Connection {
    routes: Routes,
    drain: Drain,
    stream_count_max: u32,
    requests: RequestMemory,
    unread: UnreadShare,
    patience: Duration,
    rpc: Arc<RpcMetrics>,
    open: OpenConnection,
    calls: ConnectionCalls,
    pass: Pass,
}

impl Connection {
    /// A connection that was let in.
    pub(super) fn new(
        routes: Routes,
        limits: &ServerLimits,
        drain: &Drain,
        calls: ConnectionCalls,
        pass: Pass,
    ) -> Self {
        Self {
            routes,
            drain: drain.clone(),
            stream_count_max: limits.stream_count_max,
            requests: RequestMemory::new(&limits.receiving),
            unread: unread_share(&limits.unread),
            patience: limits.unread.patience(),
            rpc: Arc::clone(&limits.rpc),
            open: limits.connections.open(),
            calls,
            pass,
        }
    }

    /// Serves it until it ends.
    pub(super) async fn serve<S>(mut self, stream: S, window: Window)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let why = self.serve_until_over(stream, &window).await;
        self.open.note_closed(why);
    }

    async fn serve_until_over<S>(&self, stream: S, window: &Window) -> Closed
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let visitor = self.pass.visitor();
        let streams = Streams::new(&self.drain, visitor, self.patience);
        let stream = Metered::new(stream);
        let flooded = stream.flooded();
        let http2 = self.http2(window, streams.clone());
        let service = service_fn(|request| self.call(request));
        let mut connection = std::pin::pin!(http2.serve_connection(TokioIo::new(stream), service));
        let why = tokio::select! {
            served = connection.as_mut() => return closed_by(served, &flooded),
            () = self.drain.aborted() => return Closed::Shutdown,
            () = streams.stuck() => return Closed::Stuck,
            () = self.drain.begun() => Closed::Shutdown,
            () = visitor.told_to_leave() => Closed::Idle,
        };
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            _served = connection.as_mut() => why,
            () = self.drain.aborted() => why,
            () = streams.stuck() => why,
            // Nothing is left but to tell a client that does not listen.
            () = self.drain.silence_after(streams.ended()) => why,
        }
    }

    /// Answers one call, with the memory of its request and of its responses counted; or says that too
    /// many are open.
    fn call(
        &self,
        request: http::Request<Incoming>,
    ) -> impl Future<Output = Result<http::Response<Counted<Answer>>, Infallible>> + Send + use<>
    {
        let mut call = self.rpc.call(request.uri().path());
        let slot = self.calls.open();
        let taken = MessageMemory::default();
        let memory = self.requests.clone();
        let mut request = request.map(|body| Body::new(Receiving::new(body, memory, &taken)));
        request.extensions_mut().insert(taken);
        request.extensions_mut().insert(self.unread.clone());
        let mut routes = self.routes.clone();
        async move {
            let slot = match slot {
                Ok(slot) => slot,
                Err(problem) => {
                    let response = tonic::Status::from(problem).into_http();
                    call.note_status(response.headers());
                    let refused = |body| Counted::new(Answer::Encoded(body), call, None);
                    return Ok(response.map(refused));
                }
            };
            let mut response = routes.call(request).await?;
            call.note_status(response.headers());
            let outgoing = response.extensions_mut().remove::<Outgoing>();
            Ok(response.map(|body| {
                let answer = match outgoing {
                    Some(outgoing) => {
                        streams::end_with(outgoing.holder());
                        Answer::Streamed(outgoing.into_body())
                    }
                    None => Answer::Encoded(body),
                };
                Counted::new(answer, call, Some(slot))
            }))
        }
    }

    fn http2(&self, window: &Window, streams: Streams) -> http2::Builder<Streams> {
        let mut builder = http2::Builder::new(streams);
        builder
            .timer(TokioTimer::new())
            .initial_connection_window_size(window.bytes())
            .initial_stream_window_size(window.bytes() / STREAM_WINDOW_DIVISOR)
            .max_frame_size(frame_bytes_max(window))
            .max_concurrent_streams(self.stream_count_max)
            .max_header_list_size(HEADER_BYTES_MAX)
            .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
            .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
            .max_local_error_reset_streams(ERROR_RESETS_MAX)
            .keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT);
        builder
    }
}

/// Why a connection is over that nobody here has ended.
fn closed_by(served: hyper::Result<()>, flooded: &AtomicBool) -> Closed {
    let Err(error) = served else {
        return Closed::Client;
    };
    // ORDERING: set by the same task.
    let is_flood = flooded.load(Ordering::Relaxed);
    let causes = || std::iter::successors(error.source(), |&error| error.source());
    let http2 = causes().find_map(|cause| cause.downcast_ref::<h2::Error>());
    let mut io = causes().filter_map(|cause| cause.downcast_ref::<io::Error>());
    let why = match http2 {
        _ if is_flood => Closed::Flood,
        _ if error.is_timeout() => Closed::Silent,
        _ if io.any(|cause| cause.kind() == io::ErrorKind::TimedOut) => Closed::Silent,
        Some(http2) if http2.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM) => Closed::Flood,
        Some(http2) if http2.is_remote() => Closed::Client,
        Some(_) => Closed::Protocol,
        None => Closed::Client,
    };
    tracing::debug!(%error, reason = why.as_str(), "connection broke");
    why
}

/// A frame is held whole before it is looked at, beside what the window lets come; one that is larger
/// than a stream's window cannot be of use.
fn frame_bytes_max(window: &Window) -> u32 {
    (window.bytes() / STREAM_WINDOW_DIVISOR).clamp(FRAME_BYTES_MIN, FRAME_BYTES_MAX)
}

/// What one connection may have of the memory of what readers have not taken: half of it, and in any
/// case what one turn needs.
fn unread_share(of_all: &Budget) -> UnreadShare {
    UnreadShare(Share::new(of_all, (of_all.bytes() / 2).max(TURN_BYTES_MAX)))
}
