//! Processes of others: servers that stay, and programs that end by themselves.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use crate::{Error, Result};

/// Longest time until a server listens, or has ended.
const PATIENCE: Duration = Duration::from_mins(1);
/// Longest time that a program may take; reached only when something hangs.
const LONGEST: Duration = Duration::from_mins(10);
/// How often a server is asked whether it listens.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// A server in a process of its own; killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Server {
    /// Starts a server that is to listen at `address`, with its words in `log`, and waits until it does.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be started; [`Error::Void`] when it ended or does not listen in time.
    pub(crate) async fn start(
        mut command: std::process::Command,
        address: SocketAddr,
        log: PathBuf,
    ) -> Result<Self> {
        let words = File::create(&log).map_err(Error::io("make a log"))?;
        let errors = words.try_clone().map_err(Error::io("make a log"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(words)
            .stderr(errors)
            .spawn()
            .map_err(Error::io("start a server"))?;
        let mut server = Self {
            child,
            address,
            log,
        };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).await.is_err() {
            let ended = server
                .child
                .try_wait()
                .map_err(Error::io("look at a server"))?;
            if ended.is_some() || Instant::now() > deadline {
                let reason = if ended.is_some() {
                    "it ended"
                } else {
                    "it does not listen"
                };
                return Err(Error::Void(format!("{reason}: {}", server.last_words())));
            }
            sleep(LOOK_INTERVAL).await;
        }
        Ok(server)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The last line of its log.
    fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        last_line(&log).to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its data goes as well, so there is nothing to end in order; and if it is gone, all is well.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs a program to its end and returns what it printed. It is killed when this is dropped.
///
/// # Errors
/// [`Error::Io`] when it cannot be started; [`Error::Void`] with its last words when it fails or hangs.
pub(crate) async fn output(command: &mut Command) -> Result<String> {
    let running = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let name = |program: &OsStr| Path::new(program).display().to_string();
    let ended = timeout(LONGEST, running).await;
    let program = name(command.as_std().get_program());
    let ended = ended.map_err(|_elapsed| Error::Void(format!("{program} hangs")))?;
    let Output {
        status,
        stdout,
        stderr,
    } = ended.map_err(|error| Error::Void(format!("{program} cannot be started: {error}")))?;
    let printed = String::from_utf8_lossy(&stdout).into_owned();
    if status.success() {
        return Ok(printed);
    }
    let errors = String::from_utf8_lossy(&stderr);
    let words = match errors.trim() {
        "" => last_line(&printed).to_owned(),
        // What Java throws stands before its stack.
        errors => errors
            .lines()
            .find(|line| line.contains("Exception") || line.contains("rror"))
            .unwrap_or_else(|| last_line(errors))
            .to_owned(),
    };
    Err(Error::Void(format!(
        "{program} failed with {status}: {words}"
    )))
}

/// The first line that a program prints that tells its version.
///
/// # Errors
/// Those of [`output`].
pub(crate) async fn version(program: &Path) -> Result<String> {
    let printed = output(Command::new(program).arg("--version")).await?;
    Ok(printed.lines().next().unwrap_or_default().trim().to_owned())
}

/// Ports of the loopback interface at which nobody listens.
///
/// # Errors
/// [`Error::Io`] when there are none.
pub(crate) async fn free_addresses<const COUNT: usize>() -> Result<[SocketAddr; COUNT]> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut addresses = [any; COUNT];
    // Held until all are known, so that they differ.
    let mut listeners = Vec::new();
    for _ in 0..COUNT {
        let listener = TcpListener::bind(any).await;
        listeners.push(listener.map_err(Error::io("find a port"))?);
    }
    for (address, listener) in addresses.iter_mut().zip(&listeners) {
        *address = listener.local_addr().map_err(Error::io("find a port"))?;
    }
    Ok(addresses)
}

fn last_line(text: &str) -> &str {
    text.lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("it said nothing")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn a_program_that_fails_is_told_with_its_last_words() {
        let printed = output(&mut shell("echo fine")).await.unwrap();
        assert_eq!(printed, "fine\n");
        let error = output(&mut shell("echo first >&2; echo last >&2; exit 3")).await;
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("exit status: 3") && error.ends_with("last"),
            "{error}"
        );
        let java =
            "echo 'Exception in thread: void: a record is missing' >&2; echo ' at x' >&2; exit 1";
        let error = output(&mut shell(java)).await.unwrap_err().to_string();
        assert!(error.ends_with("void: a record is missing"), "{error}");
    }

    #[tokio::test]
    async fn a_server_that_ends_before_it_listens_is_told_with_its_last_words() {
        let dir = tempfile::tempdir().unwrap();
        let [address] = free_addresses().await.unwrap();
        let mut server = std::process::Command::new("sh");
        server.args(["-c", "echo no room >&2; exit 1"]);
        let error = Server::start(server, address, dir.path().join("log")).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains("it ended: no room"), "{error}");
    }

    #[tokio::test]
    async fn free_addresses_differ() {
        let [one, other] = free_addresses().await.unwrap();
        assert_ne!(one, other);
    }
}
