//! Partitions that are moved.

use super::known::{Known, State};
use super::{Facts, Ledger, Place, Unit};

impl Ledger {
    /// A partition may be put somewhere at any moment.
    pub(super) fn send_seek(&mut self, partition: u32, to: u64) {
        *self.seeks.entry(partition).or_default() += 1;
        self.excuse_partition(partition);
        self.last_buried.retain(|(it, _), _| *it != partition);
        for (unit, known) in self.units.range_mut(of(partition)) {
            known.held = None;
            known.forget_attempts();
            known.state = match known.state {
                State::Open if unit.offset >= to => State::Open,
                _ => State::Either,
            };
        }
        self.open_again(partition);
    }

    /// A partition was put somewhere.
    pub(super) fn seek(&mut self, facts: &Facts, partition: u32, to: u64) {
        let place = Place {
            topic: self.topic,
            partition,
        };
        // Nobody had to hold what was gone by then.
        let log_start = facts.log_starts.get(&place).copied().unwrap_or(0);
        self.begins.insert(partition, to);
        for (unit, known) in self.units.range_mut(of(partition)) {
            // It may have come before the move and after it was asked for.
            known.forget_attempts();
            known.state = match unit.offset >= to {
                true if unit.offset < log_start => State::Either,
                // Also of a key that has dead letters: when it is free.
                true => State::Open,
                false => State::Done,
            };
        }
        self.open_again(partition);
    }

    fn open_again(&mut self, partition: u32) {
        let units = self.units.range(of(partition));
        let open = units.filter(|(_, known)| known.is_open());
        let open = open.filter_map(|(unit, known)| Some((known.key?, unit.offset)));
        for (key, offset) in open.collect::<Vec<_>>() {
            let of_key = self.open.entry((false, partition, key)).or_default();
            of_key.insert(offset);
        }
    }
}

/// The records of a partition.
fn of(partition: u32) -> std::ops::RangeInclusive<Unit> {
    let first = Unit {
        partition,
        is_letter: false,
        offset: 0,
    };
    first..=Unit {
        offset: u64::MAX,
        ..first
    }
}

impl Known {
    /// Whether it may be dead for good: somebody has said so, or it failed often enough.
    pub(super) fn may_be_spent(&self, attempts_max: u32) -> bool {
        self.is_spent || self.charges >= attempts_max
    }
}
