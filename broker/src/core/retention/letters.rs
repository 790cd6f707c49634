//! What goes of a topic of dead letters: those that are settled, so that there is room for others.
//!
//! Its retention bytes are a bound: at it nothing more is moved there. So settled ones go before, the
//! oldest segments first, and the last segment of a partition too once the topic is full.

use towpath_storage::Offset;

use crate::core::State;
use crate::core::partition::Partition;
use crate::core::topic::Topic;

/// What is kept free of settled dead letters: one part of so many of the bound.
const FREE_PARTS: u64 = 4;

impl State {
    /// How many segments of each partition of a topic of dead letters go, from the oldest on. None if it
    /// is no such topic.
    pub(super) fn letters_surplus(&self, topic: &Topic) -> Option<Vec<usize>> {
        let mut owners = self.subscriptions.of_dead_letters(topic.id).peekable();
        owners.peek()?;
        let mut settled_ends = vec![Offset::new(u64::MAX); topic.partitions.len()];
        for owner in owners {
            for (number, end) in (0..).zip(&mut settled_ends) {
                *end = owner.settled_letters_end(number).min(*end);
            }
        }
        Some(topic.settled_surplus(&settled_ends))
    }
}

impl Topic {
    /// How many segments of each partition go, of those below offsets, to keep its size below the bound.
    fn settled_surplus(&self, settled_ends: &[Offset]) -> Vec<usize> {
        let mut counts = vec![0; self.partitions.len()];
        let Some(bytes_max) = self.config.retention_bytes else {
            return counts;
        };
        let mut kept_bytes: u64 = self.partitions.iter().map(|it| it.size_bytes).sum();
        let is_full = kept_bytes >= bytes_max;
        let limits = self.partitions.iter().zip(settled_ends);
        let limits: Vec<_> = limits
            .map(|(it, end)| match is_full {
                true => it.count_below(*end),
                false => it.count_below(*end).min(it.sealed_count()),
            })
            .collect();
        let bytes_wanted = bytes_max - bytes_max / FREE_PARTS;
        self.add_oldest(&limits, &mut counts, |segment_bytes| {
            let is_surplus = kept_bytes >= bytes_wanted;
            if is_surplus {
                kept_bytes -= segment_bytes;
            }
            is_surplus
        });
        counts
    }
}

impl Partition {
    /// How many of its segments are not appended to any more.
    fn sealed_count(&self) -> usize {
        self.segments.len() - usize::from(self.active.is_some())
    }
}
