//! The listener: accepts connections up to a number, serves HTTP/2 on each, and lets them end.
//!
//! This is tonic's own server loop with three things that it does not offer: a bound on connections,
//! windows that shrink as connections grow in number, and tasks that can be waited for and broken
//! off.

mod preface;
mod receive_memory;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::service::Routes;

use crate::shutdown::Drain;
use preface::Preface;
use receive_memory::{ReceiveMemory, Window};

/// Largest HTTP/2 frame that is accepted: larger ones save system calls, smaller ones memory.
const FRAME_BYTES_MAX: u32 = 256 * 1024;
/// Largest window of one stream.
const STREAM_WINDOW_BYTES_MAX: u32 = 2 * 1024 * 1024;
/// Largest set of request headers.
const HEADER_BYTES_MAX: u32 = 8 * 1024;
/// A connection is asked whether it lives after this silence...
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// ... and closed when it does not answer for so long.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams that a client resets before they were taken, beyond which the connection is closed.
const PENDING_RESETS_MAX: usize = 20;
/// Streams that the broker resets for errors of the client, beyond which the connection is closed.
const ERROR_RESETS_MAX: usize = 256;
/// Pause after the operating system had no descriptor for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How much one listener takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServerLimits {
    /// Most connections.
    pub(crate) connection_count_max: usize,
    /// Most streams of one connection.
    pub(crate) stream_count_max: u32,
}

/// Accepts and serves connections until the drain begins. Connections live on as tasks of the drain.
pub(crate) async fn serve(
    listener: TcpListener,
    routes: Routes,
    limits: ServerLimits,
    drain: Drain,
) {
    let slots = Arc::new(Semaphore::new(limits.connection_count_max));
    let memory = ReceiveMemory::default();
    let mut is_full = false;
    let accept_all = async {
        loop {
            let was_full = std::mem::replace(&mut is_full, slots.available_permits() == 0);
            if is_full && !was_full {
                let connection_count_max = limits.connection_count_max;
                tracing::warn!(connection_count_max, "all connections are in use");
            }
            // What is too much waits with the operating system.
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                return;
            };
            let stream = accept(&listener).await;
            let connection = Connection {
                routes: routes.clone(),
                drain: drain.clone(),
                stream_count_max: limits.stream_count_max,
                _slot: slot,
            };
            let window = memory.take();
            drain.tasks().spawn(connection.serve(stream, window));
        }
    };
    tokio::select! {
        () = accept_all => {}
        () = drain.begun() => {}
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // The client has gone again.
            Err(error) if is_of_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection, trying again");
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
    _slot: OwnedSemaphorePermit,
}

impl Connection {
    async fn serve(self, stream: TcpStream, window: Window) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "connection is gone before it began");
            return;
        }
        let routes = self.routes.clone();
        let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let mut routes = routes.clone();
            async move { routes.call(request.map(Body::new)).await }
        });
        let io = TokioIo::new(Preface::new(stream));
        let mut connection = std::pin::pin!(self.http2(&window).serve_connection(io, service));
        let mut drain = std::pin::pin!(self.drain.begun());
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = self.drain.aborted() => return,
            () = &mut drain => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    served = connection.as_mut() => served,
                    () = self.drain.aborted() => return,
                }
            }
        };
        if let Err(error) = served {
            tracing::debug!(%error, "connection broke");
        }
    }

    fn http2(&self, window: &Window) -> http2::Builder<TrackedExecutor> {
        let executor = TrackedExecutor {
            drain: self.drain.clone(),
        };
        let mut builder = http2::Builder::new(executor);
        builder
            .timer(TokioTimer::new())
            .initial_connection_window_size(window.bytes())
            .initial_stream_window_size(window.bytes().min(STREAM_WINDOW_BYTES_MAX))
            .max_frame_size(FRAME_BYTES_MAX)
            .max_concurrent_streams(self.stream_count_max)
            .max_header_list_size(HEADER_BYTES_MAX)
            .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
            .max_local_error_reset_streams(ERROR_RESETS_MAX)
            .keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT);
        builder
    }
}

/// Runs the streams of connections as tasks that a stop waits for.
#[derive(Debug, Clone)]
struct TrackedExecutor {
    drain: Drain,
}

impl<F> hyper::rt::Executor<F> for TrackedExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.drain.tasks().spawn(stream);
    }
}
