//! How many checkpoints a broker has written, as its metrics tell.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::exit::Exit;
use crate::failure::Failure;

/// The counter among the metrics.
const COUNTER: &str = "towpath_checkpoints_total";
/// Longest time that a broker takes to tell its metrics.
const PATIENCE: Duration = Duration::from_secs(5);
/// More than the metrics of any broker.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Asks the admin listener at `address` how many checkpoints there were since the broker started.
///
/// # Errors
///
/// It is not reached in time, or is no admin listener.
pub(super) async fn checkpoint_count(address: &str) -> Result<u64, Failure> {
    let answer = match timeout(PATIENCE, metrics(address)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(unreachable(address).because(&error)),
        Err(_elapsed) => return Err(unreachable(address)),
    };
    counted(&answer).ok_or_else(|| {
        let message = format!("what listens on {address} does not tell a broker's metrics");
        Failure::new(Exit::Unreachable, message)
            .hint("the address is that of towpath serve --admin-listen")
    })
}

fn unreachable(address: &str) -> Failure {
    let message = format!("cannot ask the admin listener on {address} for metrics");
    Failure::new(Exit::Unreachable, message)
        .hint("a broker has one when it is started with --admin-listen")
}

/// Everything that is answered to a request for metrics.
async fn metrics(address: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_end(&mut answer)
        .await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The value of the counter, which has no labels.
fn counted(answer: &str) -> Option<u64> {
    let mut lines = answer.lines();
    let value = lines.find_map(|line| line.strip_prefix(COUNTER)?.strip_prefix(' '))?;
    value.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_found_among_the_metrics() {
        let answer = "HTTP/1.1 200 OK\r\n\r\n# TYPE towpath_checkpoints_total counter\n\
                      towpath_checkpoints_total 7\ntowpath_checkpoint_failures_total 1\n";
        assert_eq!(counted(answer), Some(7), "there");
        assert_eq!(counted("HTTP/1.1 404 Not Found\r\n\r\n"), None, "not there");
    }
}
