//! Connections: how many came in, were refused and ended, and why.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why a connection was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There are as many as there may be.
    Count,
    /// There are as many of its address as there may be.
    Address,
    /// The operating system has no descriptor for it.
    Descriptors,
}

/// Why a connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    /// Its client has closed it, or is gone.
    Client,
    /// Nothing was heard of its client: it did not begin, or did not answer a ping.
    Silent,
    /// Its client sent what is not HTTP/2, or not allowed there.
    Protocol,
    /// Its client sent too many frames that are of no use.
    Flood,
    /// It did not let go of memory that others waited for.
    Stuck,
    /// It was not used, and made room for others.
    Idle,
    /// The broker stopped.
    Shutdown,
}

/// Counts connections of clients.
#[derive(Debug, Default)]
pub(crate) struct ConnectionMetrics {
    accepted: AtomicU64,
    refused: [AtomicU64; Refused::ALL.len()],
    closed: [AtomicU64; Closed::ALL.len()],
}

/// A connection, counted as closed when dropped.
#[derive(Debug)]
pub(crate) struct OpenConnection {
    metrics: Arc<ConnectionMetrics>,
    closed: Closed,
}

impl Refused {
    /// All of them, in their order.
    pub(super) const ALL: [Self; 3] = [Self::Count, Self::Address, Self::Descriptors];

    /// The value of the label.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Count => "connection_count",
            Self::Address => "address",
            Self::Descriptors => "descriptors",
        }
    }
}

impl Closed {
    /// All of them, in their order.
    pub(super) const ALL: [Self; 7] = [
        Self::Client,
        Self::Silent,
        Self::Protocol,
        Self::Flood,
        Self::Stuck,
        Self::Idle,
        Self::Shutdown,
    ];

    /// The value of the label.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Silent => "silent",
            Self::Protocol => "protocol",
            Self::Flood => "flood",
            Self::Stuck => "stuck",
            Self::Idle => "idle",
            Self::Shutdown => "shutdown",
        }
    }
}

impl ConnectionMetrics {
    /// Counts a connection that was taken.
    pub(crate) fn open(self: &Arc<Self>) -> OpenConnection {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        OpenConnection {
            metrics: Arc::clone(self),
            closed: Closed::Shutdown,
        }
    }

    /// Counts a connection that was not.
    pub(crate) fn refuse(&self, why: Refused) {
        if let Some(count) = self.refused.get(why as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many were taken, and how many of them are open.
    pub(super) fn counts(&self) -> (u64, u64) {
        // The closed ones first: they are never more than the accepted ones then.
        let closed: u64 = self.closed().map(|(_, count)| count).sum();
        let accepted = self.accepted.load(Ordering::Relaxed);
        (accepted, accepted.saturating_sub(closed))
    }

    /// How many were refused, by why.
    pub(crate) fn refused(&self) -> impl Iterator<Item = (Refused, u64)> {
        let counts = self.refused.iter().map(|it| it.load(Ordering::Relaxed));
        Refused::ALL.into_iter().zip(counts)
    }

    /// How many are over, by why.
    pub(super) fn closed(&self) -> impl Iterator<Item = (Closed, u64)> {
        let counts = self.closed.iter().map(|it| it.load(Ordering::Relaxed));
        Closed::ALL.into_iter().zip(counts)
    }
}

impl OpenConnection {
    /// Tells why it ends.
    pub(crate) fn note_closed(&mut self, why: Closed) {
        self.closed = why;
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        if let Some(count) = self.metrics.closed.get(self.closed as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_and_each_refusal_is_counted_by_its_reason() {
        let metrics = Arc::new(ConnectionMetrics::default());
        let still_open = metrics.open();
        for (number, why) in Closed::ALL.into_iter().enumerate() {
            for _ in 0..=number {
                metrics.open().note_closed(why);
            }
        }
        for (number, why) in Refused::ALL.into_iter().enumerate() {
            (0..=number).for_each(|_| metrics.refuse(why));
        }
        let closed: Vec<_> = metrics.closed().collect();
        let expected: Vec<_> = Closed::ALL.into_iter().zip(1..).collect();
        assert_eq!(closed, expected);
        let refused: Vec<_> = metrics.refused().collect();
        let expected: Vec<_> = Refused::ALL.into_iter().zip(1..).collect();
        assert_eq!(refused, expected);
        assert_eq!(metrics.counts(), (29, 1), "accepted and open");
        drop(still_open);
    }
}
