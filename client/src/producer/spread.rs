//! Where records without a key go: all to one partition until its batch is closed, then to the next.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use towpath_proto::ids::PartitionId;

/// The partition that takes records without a key at present.
#[derive(Debug)]
pub(super) struct Spread {
    current: AtomicU32,
    partition_count: NonZeroU32,
}

impl Spread {
    /// Starts at a partition that is picked by `seed`, so that producers do not all start alike.
    pub(super) fn new(partition_count: NonZeroU32, seed: u32) -> Self {
        Self {
            current: AtomicU32::new(seed % partition_count),
            partition_count,
        }
    }

    /// The partition at present.
    pub(super) fn current(&self) -> PartitionId {
        PartitionId::new(self.current.load(Ordering::Relaxed))
    }

    /// Goes on from a partition to the next, unless another caller has; returns the one at present.
    pub(super) fn advance(&self, from: PartitionId) -> PartitionId {
        let from = from.get();
        let next = (from + 1) % self.partition_count;
        let exchange =
            self.current
                .compare_exchange(from, next, Ordering::Relaxed, Ordering::Relaxed);
        PartitionId::new(match exchange {
            Ok(_) => next,
            Err(current) => current,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_take_turns_and_a_late_caller_does_not_skip_one() {
        let spread = Spread::new(NonZeroU32::new(3).unwrap(), 4);
        let start = spread.current();
        assert_eq!(start.get(), 1, "start");
        assert_eq!(spread.advance(start).get(), 2, "next");
        assert_eq!(spread.advance(start).get(), 2, "late caller");
        assert_eq!(spread.advance(PartitionId::new(2)).get(), 0, "around");
    }
}
