//! A connection that must say that it speaks HTTP/2 before long.
//!
//! Keep-alive begins only after that, so a silent connection would hold its place for ever.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::meter::PREFACE_BYTES;

/// How long a client may take.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection whose reads fail if it does not begin in time.
#[derive(Debug)]
pub(super) struct Preface<S> {
    stream: S,
    /// Until it has begun: the time left, and bytes still to come.
    waiting: Option<(Pin<Box<Sleep>>, usize)>,
}

impl<S> Preface<S> {
    pub(super) fn new(stream: S) -> Self {
        let timeout = Box::pin(sleep(PREFACE_TIMEOUT));
        Self {
            stream,
            waiting: Some((timeout, PREFACE_BYTES)),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Preface<S> {
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

impl<S: AsyncWrite + Unpin> AsyncWrite for Preface<S> {
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Both ends of a connection, the accepting one first.
    async fn connect() -> (Preface<TcpStream>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let client = client.await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        (Preface::new(server), client)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_begin_is_given_up() {
        let (mut server, mut client) = connect().await;
        client.write_all(b"PRI * HTTP/2.0").await.unwrap();
        let mut bytes = [0; PREFACE_BYTES];
        let read = server.read_exact(&mut bytes).await;
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_has_begun_may_be_silent() {
        let (mut server, mut client) = connect().await;
        client.write_all(&[1; PREFACE_BYTES]).await.unwrap();
        let mut bytes = [0; PREFACE_BYTES];
        server.read_exact(&mut bytes).await.unwrap();
        let mut byte = [0];
        let silence = tokio::time::timeout(2 * PREFACE_TIMEOUT, server.read_exact(&mut byte));
        assert!(silence.await.is_err(), "still waiting");
    }
}
