//! Connections in memory that can be cut.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::transport::server::Connected;

use super::Shared;

const BUFFER_BYTES: usize = 64 * 1024;

/// The broker's end of a connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: DuplexStream,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// Where connections are made.
#[derive(Debug, Clone)]
pub(crate) struct Listener {
    shared: Arc<Shared>,
    accepted: mpsc::UnboundedSender<io::Result<Connection>>,
    is_refusing: Arc<AtomicBool>,
    connection_count: Arc<AtomicUsize>,
}

impl Listener {
    pub(crate) fn new(
        shared: Arc<Shared>,
    ) -> (Self, UnboundedReceiverStream<io::Result<Connection>>) {
        let (accepted, incoming) = mpsc::unbounded_channel();
        let listener = Self {
            shared,
            accepted,
            is_refusing: Arc::default(),
            connection_count: Arc::default(),
        };
        (listener, UnboundedReceiverStream::new(incoming))
    }

    pub(crate) fn dial(&self) -> io::Result<DuplexStream> {
        if self.is_refusing.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (ours, theirs) = tokio::io::duplex(BUFFER_BYTES);
        let cut = self.shared.cut.lock().unwrap().clone();
        let connection = Connection {
            stream: ours,
            cut: Box::pin(cut.cancelled_owned()),
        };
        self.connection_count.fetch_add(1, Ordering::Relaxed);
        self.accepted
            .send(Ok(connection))
            .map_err(|_gone| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        Ok(theirs)
    }

    pub(crate) fn refuse(&self, is_refusing: bool) {
        self.is_refusing.store(is_refusing, Ordering::Relaxed);
    }

    pub(crate) fn connection_count(&self) -> usize {
        self.connection_count.load(Ordering::Relaxed)
    }
}

impl Connection {
    fn poll_cut(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionReset.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_cut(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_cut(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_cut(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}
