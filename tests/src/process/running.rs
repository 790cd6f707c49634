//! A process that runs while the test does something else.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tokio::time::Instant;

use super::pipe::is_ready;
use super::{Ended, Pipe};

/// A child process; killed and waited for when it is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// Becomes readable when the process has ended.
    end: OwnedFd,
    /// What it writes to standard output.
    pub stdout: Pipe,
    /// A file without a name: unlike a pipe it never makes the process wait.
    stderr: File,
}

impl Running {
    /// Starts a command. Its standard input is what the command says.
    ///
    /// # Panics
    ///
    /// It cannot be started.
    pub fn spawn(command: &mut Command) -> Self {
        let stderr = tempfile::tempfile().expect("a file");
        let own_stderr = stderr.try_clone().expect("a second descriptor");
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(own_stderr)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let stdout = child.stdout.take().expect("stdout is a pipe");
        let end = end_of(pid_of(&child)).expect("a child that exists");
        Self {
            child,
            end,
            stdout: Pipe::new(stdout),
            stderr,
        }
    }

    /// The process id.
    pub fn pid(&self) -> Pid {
        pid_of(&self.child)
    }

    /// Takes the writing end of its standard input; none if that is no pipe or was taken.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        is_ready(&self.end, Instant::now())
    }

    /// Waits until it has ended and tells how.
    ///
    /// # Errors
    ///
    /// It still runs when `patience` has run out, and is returned.
    pub fn wait(mut self, patience: Duration) -> Result<Ended, Self> {
        let start = Instant::now();
        if !is_ready(&self.end, start + patience) {
            return Err(self);
        }
        let waited = start.elapsed();
        let status = self.child.wait().expect("a child that was not waited for");
        Ok(Ended::new(status, self.stderr_so_far(), waited))
    }

    /// What it has said on standard error up to now.
    pub fn stderr_so_far(&mut self) -> String {
        let mut bytes = Vec::new();
        self.stderr.rewind().expect("a file can be rewound");
        self.stderr.read_to_end(&mut bytes).expect("a file is read");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both do nothing after `wait`.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Sends a signal to a process; nothing happens if it has ended by itself just now.
pub(super) fn send(pid: Pid, signal: Signal) {
    match kill_process(pid, signal) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(error) => panic!("cannot signal process {pid}: {error}"),
    }
}

/// What becomes readable when a process has ended; none if that is so long ago that it is forgotten.
pub(super) fn end_of(pid: Pid) -> Option<OwnedFd> {
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(end) => Some(end),
        Err(Errno::SRCH) => None,
        Err(error) => panic!("cannot watch process {pid}: {error}"),
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_child(child)
}
