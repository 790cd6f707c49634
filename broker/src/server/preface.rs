//! A connection that must say that it speaks HTTP/2 before long.
//!
//! Keep-alive begins only after that, so a silent connection would hold its place for ever.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// How long a client may take.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);
/// Length of what every HTTP/2 client sends first.
const PREFACE_BYTES: usize = 24;

/// A TCP connection whose reads fail if it does not begin in time.
#[derive(Debug)]
pub(super) struct Preface {
    stream: TcpStream,
    /// Until it has begun: the time left, and bytes still to come.
    waiting: Option<(Pin<Box<Sleep>>, usize)>,
}

impl Preface {
    pub(super) fn new(stream: TcpStream) -> Self {
        let timeout = Box::pin(sleep(PREFACE_TIMEOUT));
        Self {
            stream,
            waiting: Some((timeout, PREFACE_BYTES)),
        }
    }
}

impl AsyncRead for Preface {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let Some((timeout, missing)) = &mut self.waiting else {
            return read;
        };
        if read.is_pending() {
            ready!(timeout.as_mut().poll(cx));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        *missing = missing.saturating_sub(buffer.filled().len() - filled);
        if *missing == 0 {
            self.waiting = None;
        }
        read
    }
}

impl AsyncWrite for Preface {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
