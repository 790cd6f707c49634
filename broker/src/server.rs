//! The listener: accepts connections up to a number, serves HTTP/2 on each, and lets them end.
//!
//! This is tonic's own server loop with what it does not offer: a bound on connections, windows that
//! shrink as connections grow in number, tasks that can be waited for and broken off, and connections
//! from the same process.

mod connector;
mod counted;
mod lengths;
mod preface;
mod receive_memory;
mod receiving;
mod sending;
mod spell;
mod streams;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::service::Routes;

use crate::memory::{Budget, MessageMemory, Share, TURN_BYTES_MAX, Unread, UnreadShare};
use crate::metrics::{OpenConnection, RpcMetrics};
use crate::shutdown::Drain;
pub use connector::Connector;

use counted::Counted;
use preface::Preface;
use receive_memory::{ReceiveMemory, Window};
use receiving::{Receiving, RequestMemory};
use sending::Sending;
use spell::Spell;
use streams::Streams;

/// Largest HTTP/2 frame that is accepted: larger ones save system calls, smaller ones memory.
const FRAME_BYTES_MAX: u32 = 256 * 1024;
/// Part of its connection's window that one stream has: what is sent to one that waits for memory must
/// leave room for others.
const STREAM_WINDOW_DIVISOR: u32 = 4;
/// Largest set of request headers.
const HEADER_BYTES_MAX: u32 = 8 * 1024;
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
/// Pause after the operating system had no descriptor for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How much one listener takes.
#[derive(Debug, Clone)]
pub(crate) struct ServerLimits {
    /// Most connections.
    pub(crate) connection_count_max: usize,
    /// Most streams of one connection.
    pub(crate) stream_count_max: u32,
    /// Memory of requests that are being received.
    pub(crate) receiving: Budget,
    /// Memory of what readers have not taken.
    pub(crate) unread: Budget,
    /// Counts connections and calls.
    pub(crate) rpc: Arc<RpcMetrics>,
}

/// Serves connections, wherever they come from. They live on as tasks of the drain.
#[derive(Debug)]
pub(crate) struct Server {
    routes: Routes,
    limits: ServerLimits,
    drain: Drain,
    slots: Arc<Semaphore>,
    memory: ReceiveMemory,
    /// What serves them, whoever made them.
    runtime: Handle,
}

impl Server {
    /// A server without connections. Must be called within the runtime that is to serve them.
    pub(crate) fn new(routes: Routes, limits: ServerLimits, drain: Drain) -> Arc<Self> {
        Arc::new(Self {
            slots: Arc::new(Semaphore::new(limits.connection_count_max)),
            routes,
            limits,
            drain,
            memory: ReceiveMemory::default(),
            runtime: Handle::current(),
        })
    }

    /// Accepts and serves connections until the drain begins.
    pub(crate) async fn accept_all(self: Arc<Self>, listener: TcpListener) {
        let accept_all = async {
            let (mut full, mut refused) = (Spell::default(), Spell::default());
            loop {
                if self.slots.available_permits() == 0 && full.note() {
                    let connection_count_max = self.limits.connection_count_max;
                    tracing::warn!(connection_count_max, "all connections are in use");
                }
                // What is too much waits with the operating system.
                let Some(slot) = self.slot().await else {
                    return;
                };
                let stream = accept(&listener, &mut refused).await;
                match stream.set_nodelay(true) {
                    Ok(()) => self.take_in(stream, slot),
                    Err(error) => tracing::debug!(%error, "connection is gone before it began"),
                }
            }
        };
        tokio::select! {
            () = accept_all => {}
            () = self.drain.begun() => {}
        }
    }

    /// Waits for a place for one more connection. Safe to drop.
    async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).acquire_owned().await.ok()
    }

    fn take_in<S>(&self, stream: S, slot: OwnedSemaphorePermit)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let connection = Connection {
            routes: self.routes.clone(),
            drain: self.drain.clone(),
            stream_count_max: self.limits.stream_count_max,
            requests: RequestMemory::new(&self.limits.receiving),
            unread: unread_share(&self.limits.unread),
            patience: self.limits.unread.patience(),
            rpc: Arc::clone(&self.limits.rpc),
            _open: self.limits.rpc.connect(),
            _slot: slot,
        };
        let serving = connection.serve(stream, self.memory.take());
        self.drain.tasks().spawn_on(serving, &self.runtime);
    }
}

async fn accept(listener: &TcpListener, refused: &mut Spell) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // The client has gone again.
            Err(error) if is_of_connection(&error) => {}
            Err(error) => {
                if refused.note() {
                    tracing::warn!(%error, "cannot accept connections, trying again");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_of_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// One connection and what it holds.
struct Connection {
    routes: Routes,
    drain: Drain,
    stream_count_max: u32,
    requests: RequestMemory,
    unread: UnreadShare,
    patience: Duration,
    rpc: Arc<RpcMetrics>,
    _open: OpenConnection,
    _slot: OwnedSemaphorePermit,
}

impl Connection {
    async fn serve<S>(self, stream: S, window: Window)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let streams = Streams::new(&self.drain, self.patience);
        let io = TokioIo::new(Preface::new(stream));
        let http2 = self.http2(&window, streams.clone());
        let service = service_fn(|request| self.call(request));
        let mut connection = std::pin::pin!(http2.serve_connection(io, service));
        let mut drain = std::pin::pin!(self.drain.begun());
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = self.drain.aborted() => return,
            () = streams.stuck() => return,
            () = &mut drain => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    served = connection.as_mut() => served,
                    () = self.drain.aborted() => return,
                    () = streams.stuck() => return,
                    // Nothing is left but to tell a client that does not listen.
                    () = self.drain.silence_after(streams.ended()) => return,
                }
            }
        };
        if let Err(error) = served {
            tracing::debug!(%error, "connection broke");
        }
    }

    /// Answers one call, with the memory of its request and of its responses counted.
    fn call(
        &self,
        request: http::Request<Incoming>,
    ) -> impl Future<Output = Result<http::Response<Body>, Infallible>> + Send + use<> {
        let mut call = self.rpc.call(request.uri().path());
        let taken = MessageMemory::default();
        let memory = self.requests.clone();
        let mut request = request.map(|body| Body::new(Receiving::new(body, memory, &taken)));
        request.extensions_mut().insert(taken);
        request.extensions_mut().insert(self.unread.clone());
        let mut routes = self.routes.clone();
        async move {
            let mut response = routes.call(request).await?;
            call.note_status(response.headers());
            let Some(unread) = response.extensions_mut().remove::<Arc<Unread>>() else {
                return Ok(response.map(|body| Body::new(Counted::new(body, call))));
            };
            streams::end_with(unread.holder());
            Ok(response.map(|body| Body::new(Counted::new(Sending::new(body, unread), call))))
        }
    }

    fn http2(&self, window: &Window, streams: Streams) -> http2::Builder<Streams> {
        let mut builder = http2::Builder::new(streams);
        builder
            .timer(TokioTimer::new())
            .initial_connection_window_size(window.bytes())
            .initial_stream_window_size(window.bytes() / STREAM_WINDOW_DIVISOR)
            .max_frame_size(FRAME_BYTES_MAX)
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

/// What one connection may have of the memory of what readers have not taken: half of it, and in any
/// case what one turn needs.
fn unread_share(of_all: &Budget) -> UnreadShare {
    UnreadShare(Share::new(of_all, (of_all.bytes() / 2).max(TURN_BYTES_MAX)))
}
