//! Takes connections from the operating system, also when it has no descriptors for them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::net::{TcpListener, TcpStream};

use super::spell::Spell;
use crate::metrics::{ConnectionMetrics, Refused};

/// Pause after the operating system had no descriptor for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How many are turned away before each pause.
const TURNED_AWAY_MAX: usize = 64;

/// A listener, and a descriptor that is kept for bad times.
#[derive(Debug)]
pub(super) struct Acceptor {
    listener: TcpListener,
    /// Given up for the moment that it takes to turn a connection away: a client that is told so can do
    /// something about it, one that waits with the operating system cannot.
    reserve: Option<OwnedFd>,
    trouble: Spell,
    metrics: Arc<ConnectionMetrics>,
}

impl Acceptor {
    /// Accepts what comes to `listener`.
    pub(super) fn new(listener: TcpListener, metrics: &Arc<ConnectionMetrics>) -> Self {
        Self {
            reserve: reserve(&listener),
            listener,
            trouble: Spell::default(),
            metrics: Arc::clone(metrics),
        }
    }

    /// Waits for the next connection. Safe to drop.
    pub(super) async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok(accepted) => return accepted,
                // The client has gone again.
                Err(error) if is_of_connection(&error) => {}
                Err(error) => {
                    if self.trouble.note() {
                        tracing::warn!(%error, "cannot accept connections, trying again");
                    }
                    self.turn_away();
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Accepts what waits with the descriptor of the reserve, and closes it.
    fn turn_away(&mut self) {
        drop(self.reserve.take());
        for _ in 0..TURNED_AWAY_MAX {
            // Does not wait: when nothing is there any more, nobody is to be turned away.
            let Some(Ok(accepted)) = self.listener.accept().now_or_never() else {
                break;
            };
            self.metrics.refuse(Refused::Descriptors);
            drop(accepted);
        }
        self.reserve = reserve(&self.listener);
    }
}

/// Any descriptor will do.
fn reserve(listener: &TcpListener) -> Option<OwnedFd> {
    listener.as_fd().try_clone_to_owned().ok()
}

fn is_of_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    /// Reached only when something hangs.
    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn who_cannot_be_taken_is_turned_away_and_others_are_taken_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Arc::default();
        let mut acceptor = Acceptor::new(listener, &metrics);
        let mut waiting = Vec::new();
        for _ in 0..3 {
            waiting.push(TcpStream::connect(address).await.unwrap());
        }
        // As when the operating system has no descriptor but that of the reserve.
        assert!(acceptor.reserve.is_some(), "there is one");
        acceptor.listener.accept().await.unwrap();
        acceptor.turn_away();
        for mut stream in waiting {
            let mut rest = Vec::new();
            let closed = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest));
            drop(closed.await.expect("it is closed"));
        }
        let refused: Vec<_> = metrics.refused().collect();
        assert!(refused.contains(&(Refused::Descriptors, 2)), "{refused:?}");
        assert!(acceptor.reserve.is_some(), "for the next time");
        let client = TcpStream::connect(address).await.unwrap();
        let (_, from) = acceptor.accept().await;
        assert_eq!(from, client.local_addr().unwrap());
    }
}
