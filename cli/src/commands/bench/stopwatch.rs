//! Time, processor time and memory of one measurement.

use std::time::Duration;

use tokio::time::Instant;

use super::usage::{Usage, usage_of};

/// Runs while something is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stopwatch {
    start: Instant,
    server_pid: Option<u32>,
    server: Option<Usage>,
    own: Option<Usage>,
}

/// What a measurement took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Elapsed {
    /// Time on the clock.
    pub(super) time: Duration,
    /// Processor time of this process, where it is known.
    pub(super) client_cpu: Option<Duration>,
    /// Processor time and memory of the broker, where its process is known.
    pub(super) server: Option<Usage>,
}

impl Stopwatch {
    pub(super) fn start(server_pid: Option<u32>) -> Self {
        Self {
            server_pid,
            server: server_pid.and_then(usage_of),
            own: usage_of(std::process::id()),
            start: Instant::now(),
        }
    }

    /// When it was started.
    pub(super) const fn started_at(&self) -> Instant {
        self.start
    }

    pub(super) fn stop(&self) -> Elapsed {
        let time = self.start.elapsed();
        let own = usage_of(std::process::id());
        let cpu_between = |before: Usage, after: Usage| after.cpu.saturating_sub(before.cpu);
        let server = self.server_pid.and_then(usage_of);
        Elapsed {
            time,
            client_cpu: self
                .own
                .zip(own)
                .map(|(before, after)| cpu_between(before, after)),
            server: self.server.zip(server).map(|(before, after)| Usage {
                cpu: cpu_between(before, after),
                ..after
            }),
        }
    }
}
