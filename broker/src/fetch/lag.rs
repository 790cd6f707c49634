//! How far a reader that commits offsets is behind.

use std::sync::Arc;

use towpath_storage::{Offset, PartitionLog};

use super::Reading;

/// How far a reader is behind in one partition. Counted from where the log starts: what is gone cannot
/// be read any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lag {
    /// Lowest offset that may be read.
    pub(crate) log_start: Offset,
    /// What it reads next.
    pub(crate) next: Offset,
    /// One past the last record.
    pub(crate) end: Offset,
}

impl Lag {
    /// The lag of a reader that has committed up to here.
    pub(crate) fn of(log: &PartitionLog, committed: Offset) -> Self {
        // The end first: it never falls, and what is committed was below it.
        let end = log.end().max(committed);
        let log_start = log.log_start();
        Self {
            log_start,
            next: committed.max(log_start),
            end,
        }
    }

    /// Records that wait for it.
    pub(crate) fn records(&self) -> u64 {
        self.end.since(self.next)
    }

    /// Whether there is nothing to read.
    pub(crate) fn is_none(&self) -> bool {
        self.next >= self.end
    }

    /// How long the next record has been there at a broker time, milliseconds: 0 without lag.
    pub(crate) fn age_ms(append_time_ms: Option<i64>, now_ms: i64) -> u64 {
        let age_ms = append_time_ms.map(|at_ms| now_ms.saturating_sub(at_ms));
        age_ms.and_then(|it| u64::try_from(it).ok()).unwrap_or(0)
    }
}

impl Reading {
    /// When the next record of a reader that lags was appended, milliseconds since the Unix epoch; none
    /// without lag. If it cannot be read, the first one behind it that can, or else the last of all,
    /// stands in: the reader lags at least since then.
    pub(crate) async fn lagging_since_ms(&self, log: &Arc<PartitionLog>, lag: Lag) -> Option<i64> {
        if lag.is_none() {
            return None;
        }
        let append_time_ms = self.append_time_ms(log, lag.next).await;
        append_time_ms.or_else(|| log.last_append_time_ms())
    }
}
