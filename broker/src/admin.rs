//! The door for those who look after the broker: HTTP/1 with `/metrics`, `/livez` and `/readyz`.
//!
//! It changes nothing, and nothing that its clients do harms the broker: they are few at once, each
//! connection carries one request, and it is cut off after a deadline whatever it does. It opens before
//! the data folder is recovered and closes when everything has stopped, so that `/readyz` can say what
//! the broker is doing all the time.

mod answer;
mod state;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use state::{AdminState, Serving};

/// Most connections; further ones wait with the operating system.
pub(crate) const CONNECTION_COUNT_MAX: usize = 8;
/// Largest head of a request.
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Most headers of a request.
const HEADER_COUNT_MAX: usize = 64;
/// Pause after the operating system had no descriptor for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long clients may take.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// For the head of the request.
    header: Duration,
    /// For everything: a connection is not open longer.
    connection: Duration,
}

const PATIENCE: Patience = Patience {
    header: Duration::from_secs(5),
    connection: Duration::from_secs(10),
};

/// The open door; closed when dropped.
#[derive(Debug)]
pub(crate) struct Admin {
    local_addr: SocketAddr,
    closed: CancellationToken,
    tasks: TaskTracker,
}

impl Admin {
    /// Answers what comes to `listener`.
    pub(crate) fn open(
        listener: TcpListener,
        local_addr: SocketAddr,
        state: &Arc<AdminState>,
    ) -> Self {
        Self::open_with(listener, local_addr, state, PATIENCE)
    }

    fn open_with(
        listener: TcpListener,
        local_addr: SocketAddr,
        state: &Arc<AdminState>,
        patience: Patience,
    ) -> Self {
        let closed = CancellationToken::new();
        let tasks = TaskTracker::new();
        let door = Door {
            state: Arc::clone(state),
            patience,
            tasks: tasks.clone(),
            closed: closed.clone(),
        };
        let accepting = door.accept_all(listener);
        tasks.spawn(closed.clone().run_until_cancelled_owned(accepting));
        Self {
            local_addr,
            closed,
            tasks,
        }
    }

    /// Where it listens.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Breaks off every connection, and waits until nobody listens any more. Safe to drop and to call
    /// again.
    pub(crate) async fn close(&self) {
        self.closed.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

/// What the listener and its connections share.
struct Door {
    state: Arc<AdminState>,
    patience: Patience,
    tasks: TaskTracker,
    closed: CancellationToken,
}

impl Door {
    async fn accept_all(self, listener: TcpListener) {
        let slots = Arc::new(Semaphore::new(CONNECTION_COUNT_MAX));
        // The slots are never closed.
        while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a connection of the admin listener");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let serving = serve(stream, Arc::clone(&self.state), self.patience);
            let serving = self.closed.clone().run_until_cancelled_owned(serving);
            self.tasks.spawn(async move {
                serving.await;
                drop(slot);
            });
        }
    }
}

/// Answers one request, in time or not at all.
async fn serve(stream: TcpStream, state: Arc<AdminState>, patience: Patience) {
    let service = service_fn(|request: http::Request<_>| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(answer::answer(&request, &state).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.header)
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADER_COUNT_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(patience.connection, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "connection of the admin listener broke"),
        Err(_elapsed) => tracing::debug!("connection of the admin listener took too long"),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn open(patience: Patience) -> Admin {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let local_addr = listener.local_addr().unwrap();
        Admin::open_with(listener, local_addr, &Arc::default(), patience)
    }

    /// Sends bytes, and returns all that comes until the connection is closed.
    async fn exchange(admin: &Admin, request: &[u8]) -> String {
        let exchanged = async {
            let mut stream = TcpStream::connect(admin.local_addr()).await.unwrap();
            stream.write_all(request).await.unwrap();
            let mut answer = Vec::new();
            // A client that is cut off may be told by a reset.
            drop(stream.read_to_end(&mut answer).await);
            String::from_utf8(answer).unwrap()
        };
        let exchanged = tokio::time::timeout(Duration::from_secs(30), exchanged);
        exchanged.await.expect("the connection is closed in time")
    }

    #[tokio::test]
    async fn a_broker_that_recovers_is_alive_and_not_ready() {
        let admin = open(PATIENCE).await;
        let get = async |path: &str| {
            let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
            exchange(&admin, request.as_bytes()).await
        };
        let alive = get("/livez").await;
        assert!(alive.starts_with("HTTP/1.1 200 "), "{alive}");
        let ready = get("/readyz").await;
        assert!(ready.starts_with("HTTP/1.1 503 "), "{ready}");
        assert!(ready.contains("being recovered"), "{ready}");
        let metrics = get("/metrics").await;
        assert!(metrics.contains("\ntowpath_ready 0\n"), "{metrics}");
        admin.close().await;
        let gone = TcpStream::connect(admin.local_addr()).await;
        assert!(gone.is_err(), "nobody listens");
    }

    #[tokio::test]
    async fn clients_that_say_nothing_keep_nobody_out_for_long() {
        let admin = open(Patience {
            header: Duration::from_millis(50),
            connection: Duration::from_millis(100),
        })
        .await;
        let mut silent = Vec::new();
        for _ in 0..3 * CONNECTION_COUNT_MAX {
            let mut stream = TcpStream::connect(admin.local_addr()).await.unwrap();
            stream
                .write_all(b"GET /livez HTTP/1.1\r\nx: ")
                .await
                .unwrap();
            silent.push(stream);
        }
        let answer = exchange(&admin, b"GET /livez HTTP/1.1\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        for mut stream in silent {
            let mut rest = Vec::new();
            drop(stream.read_to_end(&mut rest).await);
            assert!(!rest.starts_with(b"HTTP/1.1 200 "), "it is cut off");
        }
    }

    #[tokio::test]
    async fn a_request_that_is_none_or_has_too_much_of_a_head_ends_its_connection() {
        let admin = open(PATIENCE).await;
        let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(100_000));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(1_000));
        let http2 = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        for request in [&long, &many, http2, "\0\0\0\0", "GET\r\n\r\n"] {
            let answer = exchange(&admin, request.as_bytes()).await;
            assert!(!answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
        let next = exchange(&admin, b"GET /livez HTTP/1.1\r\n\r\n").await;
        assert!(next.starts_with("HTTP/1.1 200 "), "{next}");
    }

    #[tokio::test]
    async fn only_what_there_is_can_be_read() {
        let admin = open(PATIENCE).await;
        let check = async |request: &str, expected: &str| {
            let answer = exchange(&admin, request.as_bytes()).await;
            assert!(answer.starts_with(expected), "{request}: {answer}");
            answer
        };
        let head = check("HEAD /livez HTTP/1.1\r\n\r\n", "HTTP/1.1 200 ").await;
        assert!(head.ends_with("\r\n\r\n"), "no body: {head}");
        check("GET /livez?verbose HTTP/1.1\r\n\r\n", "HTTP/1.1 200 ").await;
        let unknown = check("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 404 ").await;
        assert!(unknown.contains("/metrics"), "{unknown}");
        let post = "POST /metrics HTTP/1.1\r\ncontent-length: 0\r\n\r\n";
        let refused = check(post, "HTTP/1.1 405 ").await;
        assert!(refused.contains("allow: GET, HEAD"), "{refused}");
    }
}
