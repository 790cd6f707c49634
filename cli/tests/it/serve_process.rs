//! A broker in a process of its own.

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::time::Instant;

use crate::harness::{COMMAND_WAIT, json};
use crate::lines::Lines;

/// How often a process is looked at that is to end.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// A running `towpath serve`; killed when it is dropped.
pub(crate) struct ServeProcess {
    child: Child,
    /// What it said when it was ready.
    pub(crate) ready: Value,
}

impl ServeProcess {
    /// Starts a broker on this folder and any free port, and waits until it is ready.
    pub(crate) fn start(data_dir: &Path) -> Self {
        Self::start_on(data_dir, "127.0.0.1:0")
    }

    pub(crate) fn start_on(data_dir: &Path, listen: &str) -> Self {
        let mut child = Command::new(assert_cmd::cargo::cargo_bin!("towpath"))
            .args(["serve", "-o", "json", "--listen", listen, "--data-dir"])
            .arg(data_dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the broker runs");
        let line = Lines::of(child.stdout.take().expect("stdout")).next();
        Self {
            child,
            ready: json(&line),
        }
    }

    pub(crate) fn url(&self) -> &str {
        self.ready["url"].as_str().expect("a url")
    }

    pub(crate) fn listen(&self) -> &str {
        self.ready["listen"].as_str().expect("an address")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), signal).expect("sent");
    }

    /// Waits until it has ended; returns its exit code, none after a kill, and its log.
    pub(crate) fn wait(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + COMMAND_WAIT;
        let status = loop {
            match self.child.try_wait().expect("a status") {
                Some(status) => break status,
                None => assert!(Instant::now() < deadline, "the broker does not end"),
            }
            std::thread::park_timeout(LOOK_INTERVAL);
        };
        let mut log = String::new();
        let mut stderr = self.child.stderr.take().expect("stderr");
        stderr.read_to_string(&mut log).expect("a log");
        (status.code(), log)
    }
}

impl Drop for ServeProcess {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
