//! Records that died lately, and to whom their consumers may still say something.

use std::collections::{BTreeMap, VecDeque};

use towpath_storage::{Offset, OffsetRange};

use super::repeat::FailedDeliveries;

/// So many are remembered of a partition.
const REMEMBERED_MAX: usize = 1_024;

/// The last records of a partition that went to the dead letters. Volatile.
///
/// They are settled, as what was acked is: whoever acks one of them late must not hear that it was in time.
#[derive(Debug, Default)]
pub(super) struct RecentlyDead {
    known: BTreeMap<Offset, FailedDeliveries>,
    /// Oldest first.
    line: VecDeque<Offset>,
}

impl RecentlyDead {
    pub(super) fn note(&mut self, offset: Offset, failed: FailedDeliveries) {
        if self.known.insert(offset, failed).is_some() {
            return;
        }
        self.line.push_back(offset);
        if self.line.len() > REMEMBERED_MAX
            && let Some(oldest) = self.line.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// Deliveries of a record that is one of them.
    pub(super) fn failed(&self, offset: Offset) -> Option<&FailedDeliveries> {
        self.known.get(&offset)
    }

    /// Those of a range.
    pub(super) fn in_range(&self, range: OffsetRange) -> impl Iterator<Item = Offset> {
        let range = range.start..range.end.max(range.start);
        self.known.range(range).map(|(offset, _)| *offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_remembered() {
        let mut dead = RecentlyDead::default();
        for offset in [0, 0].into_iter().chain(0..1_030) {
            dead.note(Offset::new(offset), FailedDeliveries::default());
        }
        let (start, end) = (Offset::ZERO, Offset::new(10));
        let first: Vec<_> = dead.in_range(OffsetRange { start, end }).collect();
        assert_eq!(first, (6..10).map(Offset::new).collect::<Vec<_>>());
        assert_eq!(dead.line.len(), dead.known.len());
        let reversed = OffsetRange {
            start: end,
            end: start,
        };
        assert_eq!(dead.in_range(reversed).count(), 0);
    }
}
