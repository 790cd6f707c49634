//! Connections that are made in the caller's own way: in memory, over a Unix socket, through a proxy.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::transport::Uri;
use tower::Service;
use tower::util::service_fn;

/// What a connection has to be able to do.
trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

type BoxConnection = Box<dyn Connection>;
type Dialing = Pin<Box<dyn Future<Output = io::Result<BoxConnection>> + Send>>;

/// Makes connections.
#[derive(Clone)]
pub(crate) struct Dial {
    dial: Arc<dyn Fn() -> Dialing + Send + Sync>,
}

impl Dial {
    pub(crate) fn new<F, Fut, C>(dial: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<C>> + Send + 'static,
        C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let dial = move || -> Dialing {
            let dialing = dial();
            Box::pin(async move { Ok(Box::new(dialing.await?) as BoxConnection) })
        };
        Self {
            dial: Arc::new(dial),
        }
    }

    /// The same as the transport wants it.
    pub(super) fn connector(
        &self,
    ) -> impl Service<
        Uri,
        Response = TokioIo<impl AsyncRead + AsyncWrite + Send + Unpin + use<>>,
        Error = io::Error,
        Future: Send,
    >
    + Send
    + 'static
    + use<> {
        let dial = Arc::clone(&self.dial);
        service_fn(move |_url: Uri| {
            let dialing = dial();
            async move { dialing.await.map(TokioIo::new) }
        })
    }
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dial").finish_non_exhaustive()
    }
}
