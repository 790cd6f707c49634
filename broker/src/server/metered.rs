//! A connection whose reads fail if its client does not begin in time, and once it sends too much that
//! is of no use.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::meter::{Flood, Meter};
use super::preface::Preface;

/// A connection and its meter.
#[derive(Debug)]
pub(super) struct Metered<S> {
    stream: S,
    /// Until it has begun.
    preface: Option<Preface>,
    meter: Meter,
    flooded: Arc<AtomicBool>,
}

impl<S> Metered<S> {
    /// A connection that begins. Must be called within a runtime.
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            preface: Some(Preface::new()),
            meter: Meter::new(),
            flooded: Arc::default(),
        }
    }

    /// Set once its client has sent too much.
    pub(super) fn flooded(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.flooded)
    }

    fn note_written(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &written {
            self.meter.note_written(*bytes);
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = buffer.filled().len();
        if Pin::new(&mut self.stream)
            .poll_read(cx, buffer)?
            .is_pending()
        {
            let Some(preface) = &mut self.preface else {
                return Poll::Pending;
            };
            ready!(preface.poll_over(cx));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let (_, read) = buffer.filled().split_at(filled);
        self.preface.take_if(|it| it.note_read(read.len()));
        Poll::Ready(self.meter.note_read(read).map_err(|Flood| {
            // ORDERING: looked at by the same task.
            self.flooded.store(true, Ordering::Relaxed);
            io::Error::other("too many frames that are of no use")
        }))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note_written(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.note_written(written)
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::super::meter::PREFACE_BYTES;
    use super::super::preface::PREFACE_TIMEOUT;
    use super::*;

    fn connect() -> (Metered<DuplexStream>, DuplexStream) {
        let (server, client) = duplex(1024);
        (Metered::new(server), client)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_begin_is_given_up() {
        let (mut server, mut client) = connect();
        client.write_all(b"PRI * HTTP/2.0").await.unwrap();
        let mut bytes = [0; PREFACE_BYTES];
        let read = server.read_exact(&mut bytes).await;
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_has_begun_may_be_silent() {
        let (mut server, mut client) = connect();
        client.write_all(&[1; PREFACE_BYTES]).await.unwrap();
        let mut bytes = [0; PREFACE_BYTES];
        server.read_exact(&mut bytes).await.unwrap();
        let mut byte = [0];
        let silence = tokio::time::timeout(2 * PREFACE_TIMEOUT, server.read_exact(&mut byte));
        assert!(silence.await.is_err(), "still waiting");
    }
}
