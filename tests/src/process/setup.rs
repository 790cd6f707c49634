//! How a broker is started.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use super::port::ReservedAddress;
use super::{BrokerProcess, Ended, Running, command};

/// Longest time that a start may take, also under `strace`; reached only when something hangs.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// Exit code of a start whose port or folder is in use.
const CONFLICT: i32 = 6;
const PORT_IN_USE_ATTEMPTS: u32 = 100;

/// How a broker is started, again and again: folder, port, flags, and the program it runs under.
#[derive(Debug, Clone)]
pub struct BrokerSetup {
    data_dir: PathBuf,
    listen: ReservedAddress,
    wrapper: Vec<OsString>,
    args: Vec<OsString>,
}

impl BrokerSetup {
    /// A broker on this folder, which it makes unless it is there, and on a free port that it keeps.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            listen: ReservedAddress::take(),
            wrapper: Vec::new(),
            args: Vec::new(),
        }
    }

    /// Runs it from now on under another program, such as `["strace", "-f", "-o", "trace"]`; under
    /// none if there is nothing in it.
    #[must_use]
    pub fn under<S: Into<OsString>>(mut self, wrapper: impl IntoIterator<Item = S>) -> Self {
        self.wrapper = wrapper.into_iter().map(Into::into).collect();
        self
    }

    /// Adds flags of `towpath serve`.
    #[must_use]
    pub fn args<S: Into<OsString>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// The data folder.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        format!("http://{}", self.listen.address)
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    ///
    /// It does not start; says why.
    #[track_caller]
    pub fn start(&self) -> BrokerProcess {
        self.try_start()
            .unwrap_or_else(|ended| panic!("the broker did not start: {ended}"))
    }

    /// Starts it and waits until it is ready.
    ///
    /// Somebody else may have been given the port while nobody listened on it; then it is tried again
    /// for a while.
    ///
    /// # Errors
    ///
    /// It ended instead.
    ///
    /// # Panics
    ///
    /// It neither ends nor is ready in time.
    pub fn try_start(&self) -> Result<BrokerProcess, Ended> {
        let mut attempts_left = PORT_IN_USE_ATTEMPTS;
        loop {
            let mut broker = self.spawn();
            if broker.await_ready(START_PATIENCE).is_some() {
                return Ok(broker);
            }
            let ended = broker.wait(START_PATIENCE);
            let is_port_in_use = ended.code() == Some(CONFLICT) && ended.stderr.contains("port");
            if !is_port_in_use || attempts_left == 0 {
                return Err(ended);
            }
            attempts_left -= 1;
        }
    }

    /// Starts it without waiting for anything.
    pub fn spawn(&self) -> BrokerProcess {
        let mut command = command(&self.wrapper);
        command
            .args(["serve", "-o", "json", "--listen"])
            .arg(self.listen.address.to_string())
            .arg("--data-dir")
            .arg(&self.data_dir)
            .args(&self.args)
            .stdin(Stdio::null());
        BrokerProcess::new(Running::spawn(&mut command), !self.wrapper.is_empty())
    }
}
