//! When to stop reading, and waiting until then.

use tokio::time::Instant;

use crate::exit::Exit;
use crate::interrupt::Interrupt;

/// When enough was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Until<'a> {
    /// After so many records.
    pub(super) count: Option<u64>,
    /// At this time.
    pub(super) deadline: Option<Instant>,
    /// When the user says so.
    pub(super) interrupt: &'a Interrupt,
}

/// What happened next.
pub(super) enum Next<T> {
    Item(T),
    Deadline,
    Interrupt,
}

impl Until<'_> {
    /// Why nothing more is to be read by now, however much is there.
    pub(super) fn over<T>(&self) -> Option<Next<T>> {
        if self.interrupt.has_come() {
            return Some(Next::Interrupt);
        }
        let deadline = self.deadline?;
        (Instant::now() >= deadline).then_some(Next::Deadline)
    }

    /// Waits for what is read next, as long as there is time. Safe to drop if `item` is.
    pub(super) async fn wait<T>(&self, item: impl Future<Output = T>) -> Next<T> {
        tokio::select! {
            item = item => Next::Item(item),
            () = at(self.deadline) => Next::Deadline,
            () = self.interrupt.wait() => Next::Interrupt,
        }
    }

    /// How the command ends at the deadline.
    pub(super) const fn exit_at_deadline(&self) -> Exit {
        match self.count {
            Some(_) => Exit::Fewer,
            None => Exit::Done,
        }
    }
}

/// Waits until this time; for ever without one.
pub(super) async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
