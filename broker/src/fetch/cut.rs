//! The ends of partitions at one moment.

use std::sync::Arc;

use towpath_storage::{Lsn, Offset, PartitionLog};

use crate::runtime::published::PublishedState;

/// Where partitions end at one durable LSN: no commit is half inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cut {
    /// The durable LSN.
    pub(crate) lsn: Lsn,
    /// One past the last record of each partition, in the order asked for.
    pub(crate) ends: Vec<Offset>,
}

impl Cut {
    /// Takes the cut through these partitions now.
    pub(crate) fn take<'a, I>(published: &PublishedState, logs: impl Fn() -> I) -> Self
    where
        I: Iterator<Item = &'a Arc<PartitionLog>>,
    {
        loop {
            let lsn = published.durable();
            // None only if a round was published, settled and evicted meanwhile: then the durable LSN
            // has moved, and the next attempt sees it.
            if let Some(ends) = logs().map(|log| log.end_at(lsn)).collect() {
                return Self { lsn, ends };
            }
        }
    }
}
