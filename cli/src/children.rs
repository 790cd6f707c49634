//! Programs that this one runs and that must not outlive it.

use std::collections::HashSet;
use std::io;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, ChildStderr, Command};
use tracing::debug;

/// Running programs, each the leader of a process group of its own: what a terminal sends to this one
/// does not reach them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Children {
    /// Held while a program is started, so that none is overlooked at the end.
    groups: Arc<Mutex<Groups>>,
}

#[derive(Debug, Default)]
struct Groups {
    leaders: HashSet<Pid>,
    is_closed: bool,
}

/// A running program; killed with all of its group when it is dropped before it has ended.
#[derive(Debug)]
pub(crate) struct ChildGroup {
    child: Child,
    leader: Option<Pid>,
    children: Children,
}

impl Children {
    /// Starts a program.
    ///
    /// # Errors
    ///
    /// The operating system cannot start it, or everything has been killed.
    pub(crate) fn start(&self, command: &mut Command) -> io::Result<ChildGroup> {
        let mut groups = self.lock();
        if groups.is_closed {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let child = command.process_group(0).kill_on_drop(true).spawn()?;
        let leader = child.id().and_then(|id| i32::try_from(id).ok());
        let leader = leader.and_then(Pid::from_raw);
        groups.leaders.extend(leader);
        drop(groups);
        Ok(ChildGroup {
            child,
            leader,
            children: self.clone(),
        })
    }

    /// Kills all of them, and lets no other begin.
    pub(crate) fn kill_all(&self) {
        let mut groups = self.lock();
        groups.is_closed = true;
        for leader in std::mem::take(&mut groups.leaders) {
            send(leader, Signal::KILL);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Groups> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ChildGroup {
    /// Its standard error, if that is a pipe that nobody has taken.
    pub(crate) fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// Waits until the program has ended. Others of its group may be left. Safe to drop.
    ///
    /// # Errors
    ///
    /// The operating system does not tell.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        if let Some(leader) = self.leader {
            self.children.lock().leaders.remove(&leader);
        }
        Ok(status)
    }

    /// Sends a signal to all of its group.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(leader) = self.leader {
            send(leader, signal);
        }
    }
}

impl Drop for ChildGroup {
    fn drop(&mut self) {
        let Some(leader) = self.leader else { return };
        // Gone from the list means that it has ended, or was killed.
        if self.children.lock().leaders.remove(&leader) {
            send(leader, Signal::KILL);
        }
    }
}

fn send(leader: Pid, signal: Signal) {
    if let Err(error) = kill_process_group(leader, signal) {
        // Most likely it has just ended.
        debug!(%error, "a process group got no signal");
    }
}
