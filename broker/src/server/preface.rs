//! That a connection must say that it speaks HTTP/2 before long.
//!
//! Keep-alive begins only after that, so a silent connection would hold its place for ever.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use super::meter::PREFACE_BYTES;

/// How long a client may take.
pub(super) const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);

/// A beginning that is waited for.
#[derive(Debug)]
pub(super) struct Preface {
    timeout: Pin<Box<Sleep>>,
    missing_bytes: usize,
}

impl Preface {
    /// Nothing has come yet. Must be called within a runtime.
    pub(super) fn new() -> Self {
        Self {
            timeout: Box::pin(sleep(PREFACE_TIMEOUT)),
            missing_bytes: PREFACE_BYTES,
        }
    }

    /// Notes that so much more has come; returns whether it has begun.
    pub(super) fn note_read(&mut self, bytes: usize) -> bool {
        self.missing_bytes = self.missing_bytes.saturating_sub(bytes);
        self.missing_bytes == 0
    }

    /// Ready once the time is over.
    pub(super) fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.timeout.as_mut().poll(cx)
    }
}
