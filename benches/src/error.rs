//! What can end a measurement early. Every variant makes the run void; none is retried.

use std::io;

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a measurement gave no figure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file, a socket, a process or the terminal failed.
    #[error("{operation}")]
    Io {
        /// What was being done, for example `write the round file`.
        operation: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The HTTP/2 connection could not be made or broke.
    #[error("the connection failed")]
    Transport(#[from] tonic::transport::Error),
    /// The other side ended a stream with an error.
    #[error("the stream ended: {0}")]
    Status(Box<tonic::Status>),
    /// Something was lost, doubled, reordered or damaged on the way.
    #[error("the run is void: {0}")]
    Void(String),
    /// A producer or a call to the broker failed.
    #[error("the broker was not reached or refused")]
    Client(#[from] towpath_client::Error),
    /// The measurement cannot be made here; nothing was begun.
    #[error("{0}")]
    Refused(String),
    /// Somebody pressed ctrl-c.
    #[error("interrupted")]
    Interrupted,
    /// A histogram or a JSON row could not be made.
    #[error("the figures cannot be reported: {0}")]
    Report(String),
}

impl Error {
    /// Names the operation that an I/O error belongs to, for `map_err`.
    pub fn io(operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { operation, source }
    }
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        Self::Status(Box::new(status))
    }
}

impl From<towpath_client::SendError> for Error {
    fn from(error: towpath_client::SendError) -> Self {
        let (_record, error) = error.into_parts();
        Self::Client(error)
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Report(error.to_string())
    }
}

impl From<hdrhistogram::RecordError> for Error {
    fn from(error: hdrhistogram::RecordError) -> Self {
        Self::Report(error.to_string())
    }
}

impl From<hdrhistogram::CreationError> for Error {
    fn from(error: hdrhistogram::CreationError) -> Self {
        Self::Report(error.to_string())
    }
}
