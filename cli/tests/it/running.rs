//! A command that runs while the test does something else: its lines, signals and end, each waited for
//! with a bound.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use crate::harness::{COMMAND_WAIT, without_settings};

/// How often a process is looked at that is to end.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// A running command; killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    pub(crate) stdout: Lines,
    pub(crate) stderr: Lines,
}

impl Running {
    /// Runs the command line with these arguments and nothing on standard input.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_with(args, Stdio::null())
    }

    pub(crate) fn start_with(args: &[&str], stdin: impl Into<Stdio>) -> Self {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("towpath"));
        without_settings(|name| {
            command.env_remove(name);
        });
        let mut child = command
            .args(args)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command runs");
        let stdout = Lines::of(child.stdout.take().expect("stdout"));
        let stderr = Lines::of(child.stderr.take().expect("stderr"));
        Self {
            child,
            stdout,
            stderr,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), signal).expect("sent");
    }

    /// Whether it has not ended yet.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a status").is_none()
    }

    /// Waits until it has ended; returns its exit code, none after a kill, and what was not taken of
    /// its standard error.
    pub(crate) fn wait(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + COMMAND_WAIT;
        let status = loop {
            match self.child.try_wait().expect("a status") {
                Some(status) => break status,
                None => assert!(Instant::now() < deadline, "the command does not end"),
            }
            std::thread::park_timeout(LOOK_INTERVAL);
        };
        (status.code(), self.stderr.rest())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Lines as they come; a thread reads them until the process ends.
pub(crate) struct Lines {
    lines: Receiver<String>,
}

impl Lines {
    fn of(stream: impl Read + Send + 'static) -> Self {
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(stream).lines().map_while(Result::ok);
            // Whoever listened has gone: nothing is to be read any more.
            lines.map(|line| sender.send(line)).find(Result::is_err)
        });
        Self { lines }
    }

    /// Waits for the next line.
    #[track_caller]
    pub(crate) fn next(&self) -> String {
        self.lines
            .recv_timeout(COMMAND_WAIT)
            .expect("a line in time")
    }

    /// Waits for a line that holds this text.
    #[track_caller]
    pub(crate) fn until(&self, text: &str) {
        while !self.next().contains(text) {}
    }

    /// Everything that was not taken, up to the end.
    pub(crate) fn rest(&self) -> String {
        self.lines.iter().map(|line| line + "\n").collect()
    }
}
