//! The failure of a single record, with the record.

use std::fmt;

use crate::{Error, Record};

/// A record that was not acknowledged, and why.
///
/// The record comes back so that its owner can decide what becomes of it. Whether it may
/// nevertheless have been written is told by [`Error::may_have_happened`]: then sending it again
/// may write it twice.
#[derive(Clone)]
pub struct SendError {
    /// Boxed, so that what a send returns is small when all is well.
    inner: Box<(Record, Error)>,
}

impl SendError {
    pub(crate) fn new(record: Record, error: Error) -> Self {
        Self {
            inner: Box::new((record, error)),
        }
    }

    /// The record.
    pub const fn record(&self) -> &Record {
        &self.inner.0
    }

    /// Why it was not acknowledged.
    pub const fn error(&self) -> &Error {
        &self.inner.1
    }

    /// Returns the record, to be sent again or kept elsewhere.
    pub fn into_record(self) -> Record {
        self.inner.0
    }

    /// Returns the record and why it was not acknowledged.
    pub fn into_parts(self) -> (Record, Error) {
        *self.inner
    }
}

impl std::error::Error for SendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error().source()
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error().fmt(f)
    }
}

impl fmt::Debug for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError")
            .field("record", self.record())
            .field("error", self.error())
            .finish()
    }
}

/// Keeps the error and lets go of the record.
impl From<SendError> for Error {
    fn from(error: SendError) -> Self {
        error.inner.1
    }
}
