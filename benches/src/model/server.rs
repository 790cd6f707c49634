//! The model's server: a listener, a file, and the end, all given from outside.

use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::mpsc;

use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use super::service::BareModel;
use super::wire::{FRAME_BYTES_MAX, SERVER_WINDOWS_BYTES};
use super::writer;
use crate::round_file::{RoundFile, WriteMode};
use crate::{Error, Result, payload};

/// What a server process prints, as one line of JSON, when it is ready.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Listening {
    /// Where it listens.
    pub address: SocketAddr,
    /// How it writes; buffered when the file system refused the direct form.
    pub write: WriteMode,
}

impl Listening {
    /// Prints the line.
    ///
    /// # Errors
    /// Those of `sink`.
    pub fn announce(&self, mut sink: impl Write) -> Result<()> {
        let line = serde_json::to_string(self)?;
        writeln!(sink, "{line}").map_err(Error::io("announce the address"))
    }
}

/// Serves until `shutdown` completes and the connections have ended.
///
/// # Errors
/// Those of the transport, and of the file if a round could not be written.
pub async fn serve(
    listener: TcpListener,
    file: RoundFile,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    // Made before the first request, which would otherwise be charged for it.
    drop(payload::region());
    let (queue, arrivals) = mpsc::channel();
    let writer = std::thread::Builder::new()
        .name("writer".to_owned())
        .spawn(move || writer::run(arrivals, file))
        .map_err(Error::io("start the writer thread"))?;
    let (stream_window_bytes, connection_window_bytes) = SERVER_WINDOWS_BYTES;
    Server::builder()
        .initial_stream_window_size(stream_window_bytes)
        .initial_connection_window_size(connection_window_bytes)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_concurrent_streams(STREAM_COUNT_MAX)
        .add_service(BareModel::new(queue))
        // `tcp_nodelay` of the builder does not reach connections from outside.
        .serve_with_incoming_shutdown(
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            shutdown,
        )
        .await?;
    let outcome = writer
        .join()
        .map_err(|_panic| Error::Void("the writer panicked".to_owned()))?;
    outcome.map_err(Error::io("write a round"))
}

const STREAM_COUNT_MAX: u32 = 256;
