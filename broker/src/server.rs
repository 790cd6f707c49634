//! The listener: accepts connections up to a number, serves HTTP/2 on each, and lets them end.
//!
//! This is tonic's own server loop with what it does not offer: bounds on connections, in all and of one
//! address, of which those beyond are told; windows that shrink as connections grow in number; an end
//! of those that only make work; tasks that can be waited for and broken off; and connections from the
//! same process.

mod acceptor;
mod answer;
mod calls;
mod connection;
mod connector;
mod counted;
mod gate;
mod lengths;
mod meter;
mod metered;
mod outgoing;
mod pieces;
mod preface;
mod receive_memory;
mod receiving;
mod refusal;
mod sending;
mod spell;
mod streams;
mod visitor;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tonic::service::Routes;

use crate::memory::Budget;
use crate::metrics::{ConnectionMetrics, Refused, RpcMetrics};
use crate::shutdown::Drain;
pub use connector::Connector;
pub(crate) use outgoing::{Elsewhere, streamed};
pub(crate) use refusal::refused_count_max;
pub(crate) use sending::{Messages, Told};

use acceptor::Acceptor;
use calls::Calls;
use connection::Connection;
use gate::{Gate, Origin, Pass};
use receive_memory::ReceiveMemory;
use refusal::{Refusals, refuse};
use spell::Spell;

/// Largest HTTP/2 frame that is accepted: larger ones save system calls, smaller ones memory.
const FRAME_BYTES_MAX: u32 = 256 * 1024;
/// Largest set of request headers.
const HEADER_BYTES_MAX: u32 = 8 * 1024;

/// How much one listener takes.
#[derive(Debug, Clone)]
pub(crate) struct ServerLimits {
    /// Most connections.
    pub(crate) connection_count_max: usize,
    /// Most connections of one address; none stands for what the gate thinks fit.
    pub(crate) connection_count_per_address_max: Option<usize>,
    /// Most streams of one connection.
    pub(crate) stream_count_max: u32,
    /// Most calls over all connections, beyond a few of each.
    pub(crate) call_count_max: usize,
    /// Memory of requests that are being received.
    pub(crate) receiving: Budget,
    /// Memory of what readers have not taken.
    pub(crate) unread: Budget,
    /// Memory of what connections send ahead, beyond the smallest window of each.
    pub(crate) window_bytes_max: usize,
    /// Counts connections.
    pub(crate) connections: Arc<ConnectionMetrics>,
    /// Counts calls.
    pub(crate) rpc: Arc<RpcMetrics>,
}

/// Serves connections, wherever they come from. They live on as tasks of the drain.
#[derive(Debug)]
pub(crate) struct Server {
    routes: Routes,
    limits: ServerLimits,
    drain: Drain,
    gate: Gate,
    calls: Calls,
    refusals: Refusals,
    memory: ReceiveMemory,
    /// Connections that are refused.
    trouble: Mutex<Spell>,
    /// What serves them, whoever made them.
    runtime: Handle,
}

impl Server {
    /// A server without connections. Must be called within the runtime that is to serve them.
    pub(crate) fn new(routes: Routes, limits: ServerLimits, drain: Drain) -> Arc<Self> {
        let count_max = limits.connection_count_max;
        Arc::new(Self {
            gate: Gate::new(count_max, limits.connection_count_per_address_max),
            calls: Calls::new(limits.call_count_max, &limits.rpc),
            refusals: Refusals::new(count_max),
            memory: ReceiveMemory::new(limits.window_bytes_max),
            routes,
            limits,
            drain,
            trouble: Mutex::default(),
            runtime: Handle::current(),
        })
    }

    /// Accepts and serves connections until the drain begins.
    pub(crate) async fn accept_all(self: Arc<Self>, listener: TcpListener) {
        let mut acceptor = Acceptor::new(listener, &self.limits.connections);
        let accept_all = async {
            loop {
                let (stream, address) = acceptor.accept().await;
                match stream.set_nodelay(true) {
                    Ok(()) => self.receive(stream, address),
                    Err(error) => tracing::debug!(%error, "connection is gone before it began"),
                }
            }
        };
        tokio::select! {
            () = accept_all => {}
            () = self.drain.begun() => {}
        }
    }

    /// Serves a connection, or tells it that there are too many.
    fn receive(&self, stream: TcpStream, address: SocketAddr) {
        let why = match self.gate.enter(Origin::of(address.ip())) {
            Ok(pass) => return self.take_in(stream, pass),
            Err(why) => why,
        };
        self.limits.connections.refuse(why);
        self.note_refused(why, address);
        if let Some(place) = self.refusals.place() {
            let drain = self.drain.clone();
            self.drain.tasks().spawn(async move {
                tokio::select! {
                    () = refuse(stream, why, place) => {}
                    () = drain.begun() => {}
                }
            });
        }
    }

    fn note_refused(&self, why: Refused, address: SocketAddr) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.note() {
            let reason = why.as_str();
            tracing::warn!(reason, %address, "connections are refused");
        }
    }

    fn take_in<S>(&self, stream: S, pass: Pass)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let calls = self.calls.of_connection();
        let routes = self.routes.clone();
        let connection = Connection::new(routes, &self.limits, &self.drain, calls, pass);
        let serving = connection.serve(stream, self.memory.take());
        self.drain.tasks().spawn_on(serving, &self.runtime);
    }
}
