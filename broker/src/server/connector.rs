//! Connections from the same process, which never leave its memory.

use std::io;
use std::sync::Arc;

use tokio::io::DuplexStream;

use super::Server;

/// What one side may write before the other reads, bytes: several of the largest frames.
const PIPE_BYTES: usize = 1024 * 1024;

/// Connects clients of the same process to a broker, without a port. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Connector {
    server: Arc<Server>,
}

impl Connector {
    pub(crate) fn new(server: &Arc<Server>) -> Self {
        Self {
            server: Arc::clone(server),
        }
    }

    /// Opens a connection that is served like one over TCP. Waits while the broker has as many as it
    /// takes. The broker's runtime serves it; the client's end may be used in another one. Safe to
    /// drop.
    ///
    /// # Errors
    /// [`io::ErrorKind::ConnectionRefused`] once the broker stops.
    pub async fn connect(&self) -> io::Result<DuplexStream> {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let pass = tokio::select! {
            biased;
            () = self.server.drain.begun() => return Err(refused()),
            pass = self.server.gate.wait() => pass.ok_or_else(refused)?,
        };
        let (client, stream) = tokio::io::duplex(PIPE_BYTES);
        self.server.take_in(stream, pass);
        Ok(client)
    }
}
