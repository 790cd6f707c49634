//! How a process ended.

use std::fmt;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal;

/// How a process ended.
#[derive(Debug, Clone)]
pub struct Ended {
    status: ExitStatus,
    /// What it said on standard error.
    pub stderr: String,
    /// How long it was waited for.
    pub waited: Duration,
}

impl Ended {
    pub(super) const fn new(status: ExitStatus, stderr: String, waited: Duration) -> Self {
        Self {
            status,
            stderr,
            waited,
        }
    }

    /// Its exit code; none if a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Whether `kill -9` ended it, also where a shell that it ran under tells so in its own way.
    pub fn is_killed(&self) -> bool {
        let signal = Signal::KILL.as_raw();
        self.status.signal() == Some(signal) || self.code() == Some(128 + signal)
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            status,
            stderr,
            waited,
        } = self;
        write!(f, "{status} after {waited:?}\n{stderr}")
    }
}
