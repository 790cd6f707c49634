//! A life of the broker, in a process of its own, and processes that are its clients.

pub(crate) mod bench;

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use towpath_client::Client;

use crate::host::Meter;
use crate::recovery::Stop;
use crate::{Error, Result};

/// Longest time that a start or a stop may take; reached only when something hangs.
const PATIENCE: Duration = Duration::from_mins(10);

/// A running `towpath serve`; killed when it is dropped.
#[derive(Debug)]
pub(crate) struct BrokerProcess {
    child: Child,
    url: String,
    /// Where it tells its metrics, if it does.
    admin_listen: Option<String>,
    /// When it was started.
    pub(crate) start: Instant,
    /// From its start to the line that says that it is ready.
    pub(crate) ready_after: Duration,
    /// What it has cost since its start.
    pub(crate) meter: Meter,
}

/// What `towpath serve -o json` says once it is ready.
#[derive(Debug, Deserialize)]
struct Ready {
    url: String,
    admin_listen: Option<String>,
}

impl BrokerProcess {
    /// Starts `program serve` on a free port and waits until it is ready.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be started; [`Error::Void`] when it is not ready in time or ended
    /// before (it has then said why on stderr).
    pub(crate) async fn start(program: &Path, data_dir: &Path) -> Result<Self> {
        Self::start_with(program, data_dir, &[]).await
    }

    /// The same with further flags.
    ///
    /// # Errors
    /// As [`BrokerProcess::start`].
    pub(crate) async fn start_with(
        program: &Path,
        data_dir: &Path,
        flags: &[&str],
    ) -> Result<Self> {
        let mut command = serve(command(program), data_dir);
        command.args(flags);
        Self::spawn(command).await
    }

    /// Starts `program serve` under callgrind with these options, and waits until it is ready.
    ///
    /// # Errors
    /// As [`BrokerProcess::start`], also where valgrind is not installed.
    pub(crate) async fn start_counted(
        program: &Path,
        data_dir: &Path,
        options: &[&OsStr],
    ) -> Result<Self> {
        let mut counted = command(Path::new("valgrind"));
        counted.args(["--quiet", "--tool=callgrind"]);
        counted.args(options).arg(program);
        Self::spawn(serve(counted, data_dir)).await
    }

    async fn spawn(mut command: Command) -> Result<Self> {
        let start = Instant::now();
        let mut child = command.spawn().map_err(Error::io("start the broker"))?;
        let meter = Meter::start(child.id())?;
        let line = timeout(PATIENCE, first_line(&mut child)).await;
        let ready_after = start.elapsed();
        let line = line.map_err(|_elapsed| void("the broker is not ready in ten minutes"))??;
        if line.is_empty() {
            return Err(void("the broker did not start"));
        }
        let Ready { url, admin_listen } = serde_json::from_str(&line)?;
        Ok(Self {
            child,
            url,
            admin_listen,
            start,
            ready_after,
            meter,
        })
    }

    /// A client that knows nothing of earlier lives.
    ///
    /// # Errors
    /// [`Error::Client`] if the broker's URL is none.
    pub(crate) fn client(&self) -> Result<Client> {
        Ok(Client::connect(&self.url)?)
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Its process id, unless it has ended.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Measures what it costs from now on.
    ///
    /// # Errors
    /// Those of `/proc`: it may have ended.
    pub(crate) fn meter(&self) -> Result<Meter> {
        Meter::start(self.child.id())
    }

    /// Resident memory.
    ///
    /// # Errors
    /// Those of `/proc`: it may have ended.
    pub(crate) fn memory_bytes(&self) -> Result<u64> {
        let pid = self
            .child
            .id()
            .ok_or_else(|| void("a process has ended by itself"))?;
        let statm = std::fs::read_to_string(format!("/proc/{pid}/statm"));
        let statm = statm.map_err(Error::io("look at the broker"))?;
        let pages = statm.split_ascii_whitespace().nth(1);
        let pages = pages.and_then(|it| it.parse::<u64>().ok());
        let pages = pages.ok_or_else(|| void("the memory of the broker is not told"))?;
        Ok(pages * rustix::param::page_size() as u64)
    }

    /// Starts `program` with these arguments as a client in a process of its own, which says nothing and is
    /// killed when it is dropped.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be started.
    pub(crate) fn spawn_client(&self, program: &Path, arguments: &[&str]) -> Result<Child> {
        command(program)
            .args(arguments)
            .args(["--url", &self.url])
            .stdout(Stdio::null())
            .spawn()
            .map_err(Error::io("start a client"))
    }

    /// Ends it and waits until it is gone.
    ///
    /// # Errors
    /// [`Error::Void`] if it had ended by itself, or if it does not end as it should.
    pub(crate) async fn end(mut self, stop: Stop) -> Result<()> {
        let number = match stop {
            Stop::Kill => Signal::KILL,
            Stop::Terminate => Signal::TERM,
        };
        signal(&mut self.child, number)?;
        let status = timeout(PATIENCE, self.child.wait())
            .await
            .map_err(|_elapsed| void("the broker has not ended in ten minutes"))?
            .map_err(Error::io("wait for the broker"))?;
        match stop {
            Stop::Terminate if !status.success() => {
                Err(Error::Void(format!("the broker ended with {status}")))
            }
            Stop::Kill | Stop::Terminate => Ok(()),
        }
    }
}

/// Sends a signal to a process that runs.
///
/// # Errors
/// [`Error::Void`] if it had ended by itself.
pub(crate) fn signal(child: &mut Child, signal: Signal) -> Result<()> {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    let (Some(pid), Ok(None)) = (pid.and_then(Pid::from_raw), child.try_wait()) else {
        return Err(void("a process has ended by itself"));
    };
    kill_process(pid, signal).map_err(|error| Error::io("end a process")(error.into()))
}

fn serve(mut command: Command, data_dir: &Path) -> Command {
    command
        .args(["serve", "-o", "json", "--listen", "127.0.0.1:0"])
        .arg("--data-dir")
        .arg(data_dir)
        .stdout(Stdio::piped());
    command
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    // What is set for other brokers is not meant for this one.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TOWPATH_") {
            command.env_remove(name);
        }
    }
    command
        .env("TOWPATH_LOG", "warn")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// The first line that the process prints; empty if it ends before.
async fn first_line(child: &mut Child) -> Result<String> {
    let mut line = String::new();
    if let Some(stdout) = &mut child.stdout {
        let mut stdout = BufReader::new(stdout);
        let read = stdout.read_line(&mut line).await;
        read.map_err(Error::io("read from the broker"))?;
    }
    Ok(line)
}

fn void(text: &str) -> Error {
    Error::Void(text.to_owned())
}
