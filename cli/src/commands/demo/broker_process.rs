//! A broker in a process of its own, so that it can be killed.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

use crate::exit::Exit;
use crate::failure::Failure;

/// Longest time that a start may take.
const START_WAIT: Duration = Duration::from_secs(30);

/// A running `towpath serve`; killed when it is dropped.
#[derive(Debug)]
pub(super) struct BrokerProcess {
    child: Child,
    /// Where it listens.
    pub(super) listen: String,
    /// From starting the process until it was ready.
    pub(super) start_time: Duration,
}

/// What `towpath serve -o json` says once it is ready.
#[derive(Debug, Deserialize)]
struct Ready {
    listen: String,
}

impl BrokerProcess {
    /// Starts this program as a broker and waits until it is ready.
    ///
    /// # Errors
    ///
    /// It does not start or is not ready in time.
    pub(super) async fn start(data_dir: &Path, listen: &str) -> Result<Self, Failure> {
        let start = Instant::now();
        let program = std::env::current_exe()
            .map_err(|error| Failure::io("cannot find this program", &error))?;
        let mut command = Command::new(program);
        // What is set for other brokers is not meant for this one.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TOWPATH_") {
                command.env_remove(name);
            }
        }
        let mut child = command
            .args(["serve", "-o", "json", "--listen", listen, "--data-dir"])
            .arg(data_dir)
            .env("TOWPATH_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Failure::io("cannot start the broker", &error))?;
        let ready = timeout(START_WAIT, first_line(&mut child)).await;
        let line = ready.unwrap_or_default();
        let Ready { listen } = serde_json::from_str(&line)
            .map_err(|_line| Failure::new(Exit::Failed, "the broker did not start"))?;
        Ok(Self {
            child,
            listen,
            start_time: start.elapsed(),
        })
    }

    /// URL for clients.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// Process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Asks the process to end and waits until it has.
    ///
    /// # Errors
    ///
    /// It ends in another way than it should.
    pub(super) async fn stop(mut self) -> Result<(), Failure> {
        let pid = self
            .child
            .id()
            .and_then(|pid| i32::try_from(pid).ok())
            .and_then(Pid::from_raw);
        if let Some(pid) = pid {
            kill_process(pid, Signal::TERM)
                .map_err(|error| Failure::io("cannot stop the broker", &error.into()))?;
        }
        let status = self
            .child
            .wait()
            .await
            .map_err(|error| Failure::io("cannot wait for the broker", &error))?;
        if !status.success() {
            let message = format!("the broker ended with {status}");
            return Err(Failure::new(Exit::Failed, message));
        }
        Ok(())
    }

    /// Ends the process at once, as `kill -9` does, and waits until it is gone.
    ///
    /// # Errors
    ///
    /// The operating system refuses.
    pub(super) async fn kill(mut self) -> Result<(), Failure> {
        self.child
            .kill()
            .await
            .map_err(|error| Failure::io("cannot kill the broker", &error))
    }
}

/// The first line that the process prints; empty if it prints none.
async fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    if let Some(stdout) = &mut child.stdout {
        // What cannot be read is an empty line, which is no answer.
        drop(BufReader::new(stdout).read_line(&mut line).await);
    }
    line
}
