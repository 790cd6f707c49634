//! What one connection may have of a budget, so that many streams of one do not stand in the way of
//! others.

use std::sync::Arc;

use super::{Budget, Held, Holder, Registered};

/// One connection's share of a budget. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Share {
    of_connection: Budget,
    of_all: Budget,
}

/// A part of a share, given back when dropped.
#[derive(Debug, Default)]
pub(crate) struct HeldShare {
    of_connection: Held,
    of_all: Held,
}

impl Share {
    /// At most `bytes` of a budget.
    pub(crate) fn new(of_all: &Budget, bytes: usize) -> Self {
        Self {
            of_connection: Budget::new(bytes, of_all.patience()),
            of_all: of_all.clone(),
        }
    }

    /// Whether more than half of the share and of the budget is there.
    pub(crate) fn has_plenty(&self) -> bool {
        let has_plenty = |budget: &Budget| budget.free_bytes() > budget.bytes() / 2;
        has_plenty(&self.of_connection) && has_plenty(&self.of_all)
    }

    /// Takes memory if there is some and nobody waits for it.
    pub(crate) fn try_take(&self, bytes: usize) -> Option<HeldShare> {
        Some(HeldShare {
            of_connection: self.of_connection.try_take(bytes)?,
            of_all: self.of_all.try_take(bytes)?,
        })
    }

    /// Waits for memory, and ends whoever stands in the way for too long. Safe to drop.
    pub(crate) async fn take(&self, bytes: usize) -> HeldShare {
        HeldShare {
            of_connection: self.of_connection.take(bytes).await,
            of_all: self.of_all.take(bytes).await,
        }
    }

    /// Makes a holder known, so that it can be ended.
    pub(crate) fn register(&self, holder: &Arc<Holder>) -> [Registered; 2] {
        [&self.of_connection, &self.of_all].map(|budget| budget.register(holder))
    }
}

impl HeldShare {
    /// Whether it is nothing.
    pub(crate) fn is_none(&self) -> bool {
        self.of_all.is_none()
    }

    /// Adds another part of the same share.
    pub(crate) fn merge(&mut self, other: Self) {
        self.of_connection.merge(other.of_connection);
        self.of_all.merge(other.of_all);
    }

    /// Splits off so many bytes, or what there is.
    pub(crate) fn split(&mut self, bytes: usize) -> Self {
        Self {
            of_connection: self.of_connection.split(bytes),
            of_all: self.of_all.split(bytes),
        }
    }

    /// Splits off what is beyond so many bytes.
    pub(crate) fn split_beyond(&mut self, bytes: usize) -> Self {
        let mut beyond = std::mem::take(self);
        if bytes > 0 {
            *self = beyond.split(bytes);
        }
        beyond
    }
}
