//! One life of a broker.

use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde::Deserialize;
use tokio::time::Instant;

use super::family::descendants;
use super::pipe::is_ready;
use super::running::{end_of, send};
use super::{Ended, Running};

/// Longest time until a process is gone that was killed; the operating system is that fast even when
/// the disk is slow.
const KILL_PATIENCE: Duration = Duration::from_secs(60);

/// What a broker says when it is ready.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Ready {
    /// Whether it found no data and began anew.
    pub is_new: bool,
    /// Number of this life of the data.
    pub incarnation: u64,
    /// Its process id, also under another program.
    pub pid: i32,
}

/// A running `towpath serve`; it and the program it runs under are killed when it is dropped.
#[derive(Debug)]
pub struct BrokerProcess {
    /// Taken only by what ends it.
    running: Option<Running>,
    is_wrapped: bool,
    /// When it was started.
    start: Instant,
    ready: Option<Ready>,
}

impl BrokerProcess {
    pub(super) fn new(running: Running, is_wrapped: bool) -> Self {
        Self {
            running: Some(running),
            is_wrapped,
            start: Instant::now(),
            ready: None,
        }
    }

    /// Waits until it is ready and returns what it says then; none if it ends before.
    ///
    /// # Panics
    ///
    /// It neither ends nor is ready in time.
    pub fn await_ready(&mut self, patience: Duration) -> Option<&Ready> {
        if self.ready.is_none() {
            let line = self.running().stdout.line(patience);
            let has_ended = self.running().stdout.has_ended();
            assert!(line.is_some() || has_ended, "not ready in {patience:?}");
            self.ready = line.map(|line| {
                serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line}"))
            });
        }
        self.ready.as_ref()
    }

    /// What it said when it was ready.
    ///
    /// # Panics
    ///
    /// It was not waited for.
    pub const fn ready(&self) -> &Ready {
        self.ready
            .as_ref()
            .expect("a broker that was waited for is ready")
    }

    /// When it was started.
    pub const fn started_at(&self) -> Instant {
        self.start
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&self) -> bool {
        self.running.as_ref().is_none_or(Running::has_ended)
    }

    /// What it has said on standard error up to now.
    pub fn stderr_so_far(&mut self) -> String {
        self.running().stderr_so_far()
    }

    /// Sends a signal to the broker itself, not to the program it runs under.
    pub fn signal(&mut self, signal: Signal) {
        match self.broker_pid() {
            Some(pid) if self.is_wrapped => send(pid, signal),
            _ => self.running().signal(signal),
        }
    }

    /// Ends it at once, as `kill -9` does, and waits until it is gone.
    ///
    /// # Panics
    ///
    /// It had ended by itself, or is not gone in time.
    #[track_caller]
    pub fn kill(mut self) -> Ended {
        self.kill_family();
        let ended = self.wait(KILL_PATIENCE);
        assert!(ended.is_killed(), "it ended before it was killed: {ended}");
        ended
    }

    /// Sends SIGTERM and waits until it has ended.
    ///
    /// # Panics
    ///
    /// It has not ended when `patience` has run out.
    #[track_caller]
    pub fn terminate(mut self, patience: Duration) -> Ended {
        self.signal(Signal::TERM);
        self.wait(patience)
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    ///
    /// It has not ended when `patience` has run out.
    #[track_caller]
    pub fn wait(mut self, patience: Duration) -> Ended {
        let running = self.running.take().expect("it was not waited for");
        running.wait(patience).unwrap_or_else(|mut running| {
            // Its end comes with the panic, in the order that leaves nothing behind.
            let stderr = running.stderr_so_far();
            self.running = Some(running);
            panic!("still running after {patience:?}: {stderr}")
        })
    }

    fn running(&mut self) -> &mut Running {
        self.running.as_mut().expect("it was not waited for")
    }

    /// The broker itself; none as long as it is not known below the program it runs under.
    fn broker_pid(&mut self) -> Option<Pid> {
        match &self.ready {
            Some(ready) => Pid::from_raw(ready.pid),
            None => descendants(self.running().pid()).last().copied(),
        }
    }

    /// Kills the broker and whatever else was started for it, and waits until they are gone. A program that it runs under ends by
    /// itself then, in the same way; one that has not started it yet is killed as well.
    fn kill_family(&mut self) {
        let pid = self.running().pid();
        if !self.is_wrapped {
            return send(pid, Signal::KILL);
        }
        // It starts nothing while it is looked at.
        send(pid, Signal::STOP);
        let below = descendants(pid);
        let ends: Vec<_> = below.iter().filter_map(|pid| end_of(*pid)).collect();
        for pid in &below {
            send(*pid, Signal::KILL);
        }
        match below.is_empty() {
            true => send(pid, Signal::KILL),
            false => send(pid, Signal::CONT),
        }
        let deadline = Instant::now() + KILL_PATIENCE;
        let are_gone = ends.iter().all(|end| is_ready(end, deadline));
        assert!(are_gone, "still there after {KILL_PATIENCE:?}: {below:?}");
    }
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        if self.running.is_some() {
            self.kill_family();
        }
        // What it ran under goes when `running` is dropped.
    }
}
