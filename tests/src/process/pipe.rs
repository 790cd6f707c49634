//! What a process writes, as it comes.

use std::io::Read as _;
use std::process::ChildStdout;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tokio::time::Instant;

const READ_BYTES: usize = 64 * 1024;

/// The reading end of a process's standard output.
#[derive(Debug)]
pub struct Pipe {
    stdout: ChildStdout,
    /// Read and not taken.
    buffer: Vec<u8>,
    has_ended: bool,
}

impl Pipe {
    pub(super) const fn new(stdout: ChildStdout) -> Self {
        Self {
            stdout,
            buffer: Vec::new(),
            has_ended: false,
        }
    }

    /// Waits for the next line and returns it without its end; none at the end of the output or when
    /// `patience` has run out.
    pub fn line(&mut self, patience: Duration) -> Option<String> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if !self.read_more(deadline) {
                return None;
            }
        }
    }

    /// Reads to the end and returns what was not taken; none when `patience` has run out before.
    pub fn rest(&mut self, patience: Duration) -> Option<String> {
        let deadline = Instant::now() + patience;
        while self.read_more(deadline) {}
        let rest = std::mem::take(&mut self.buffer);
        self.has_ended
            .then(|| String::from_utf8_lossy(&rest).into_owned())
    }

    /// Whether the process will write nothing more.
    pub const fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Waits for more; false at the end and after the deadline.
    fn read_more(&mut self, deadline: Instant) -> bool {
        if self.has_ended || !is_ready(&self.stdout, deadline) {
            return false;
        }
        let length = self.buffer.len();
        self.buffer.resize(length + READ_BYTES, 0);
        let count = self.stdout.read(&mut self.buffer[length..]).unwrap_or(0);
        self.buffer.truncate(length + count);
        self.has_ended = count == 0;
        count > 0
    }
}

/// Waits until a descriptor can be read, or until the deadline; tells which.
pub(super) fn is_ready(descriptor: &impl std::os::fd::AsFd, deadline: Instant) -> bool {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).expect("a wait is short");
        match poll(&mut [PollFd::new(descriptor, PollFlags::IN)], Some(&left)) {
            Ok(count) => return count > 0,
            Err(Errno::INTR) => {}
            Err(error) => panic!("cannot wait: {error}"),
        }
    }
}
