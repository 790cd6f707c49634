//! A connection that says what it is told to, whether that makes sense or not.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::PATIENCE;

/// More than lies in the buffers of both ends when a connection is closed in the middle of a flood.
const SENT_BYTES_MAX: usize = 64 * 1024 * 1024;
const READ_BYTES: usize = 64 * 1024;

/// Whether a peer reads what it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    Yes,
    No,
}

/// One connection, and what it does.
#[derive(Debug)]
pub(crate) struct Peer {
    name: &'static str,
    stream: TcpStream,
}

impl Peer {
    pub(crate) async fn connect(name: &'static str, address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        Self { name, stream }
    }

    /// Says something; nothing happens if nobody listens any more.
    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes).await);
    }

    /// Waits until the broker has closed the connection, and returns what it has said before.
    ///
    /// # Panics
    ///
    /// It does not in time.
    pub(crate) async fn closed(mut self) -> Vec<u8> {
        let mut said = Vec::new();
        let read = self.stream.read_to_end(&mut said);
        drop(in_time(self.name, read).await);
        said
    }

    /// Says what it is given for as long as the broker takes it; returns how many bytes that was.
    ///
    /// # Panics
    ///
    /// The broker takes all of it.
    pub(crate) async fn flood(self, mut burst: impl FnMut() -> Vec<u8>, reading: Reading) -> usize {
        let name = self.name;
        let (mut read, mut write) = self.stream.into_split();
        let saying = async {
            let mut sent_bytes = 0;
            loop {
                let bytes = burst();
                if write.write_all(&bytes).await.is_err() {
                    return sent_bytes;
                }
                sent_bytes += bytes.len();
                assert!(sent_bytes < SENT_BYTES_MAX, "{name}: all of it is taken");
            }
        };
        let hearing = async {
            let mut bytes = vec![0; READ_BYTES];
            while reading == Reading::Yes && read.read(&mut bytes).await.is_ok_and(|len| len > 0) {}
            if reading == Reading::No {
                std::future::pending::<()>().await;
            }
        };
        let flooding = async {
            tokio::select! {
                sent_bytes = saying => sent_bytes,
                // Closed by the broker; what was sent is not known then, and no matter.
                () = hearing => 0,
            }
        };
        in_time(name, flooding).await
    }

    /// Says these bytes again and again, one each time, until the broker has closed the connection.
    ///
    /// # Panics
    ///
    /// It does not in time.
    pub(crate) async fn trickle(self, bytes: &[u8], pause: Duration) {
        let name = self.name;
        let (mut read, mut write) = self.stream.into_split();
        let saying = async {
            for byte in bytes.iter().cycle() {
                if write.write_all(&[*byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(pause).await;
            }
        };
        let mut said = Vec::new();
        let closed = async {
            tokio::select! {
                () = saying => {}
                _read = read.read_to_end(&mut said) => {}
            }
        };
        in_time(name, closed).await;
    }
}

async fn in_time<T>(name: &str, closed: impl Future<Output = T>) -> T {
    let Ok(closed) = tokio::time::timeout(PATIENCE, closed).await else {
        panic!("{name}: the broker does not close it in time");
    };
    closed
}
