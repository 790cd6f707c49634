//! Letters sorted by key, within bounds: as many of the lowest keys as there is room for. Those that did
//! not fit come with the next ones.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use towpath_storage::Offset;

use super::step::Known;
use crate::core::KeyHash;

/// What may be kept at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Keys.
    pub(super) keys: usize,
    /// Letters of them.
    pub(super) letters: usize,
}

/// The lowest keys behind another one, of those that were found.
#[derive(Debug)]
pub(super) struct LowestKeys {
    after: Bound<KeyHash>,
    keys: BTreeSet<KeyHash>,
    count_max: usize,
    /// Whether some had no room.
    is_cut: bool,
}

impl LowestKeys {
    pub(super) fn new(after: Bound<KeyHash>, bounds: Bounds) -> Self {
        Self {
            after,
            keys: BTreeSet::new(),
            count_max: bounds.keys,
            is_cut: false,
        }
    }

    /// Notes that a key was found.
    pub(super) fn note(&mut self, key: KeyHash) {
        let is_behind = match self.after {
            Bound::Unbounded => true,
            Bound::Included(first) => key >= first,
            Bound::Excluded(last) => key > last,
        };
        if is_behind {
            self.keys.insert(key);
        }
        if self.keys.len() > self.count_max {
            self.keys.pop_last();
            self.is_cut = true;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// Letters of some keys, each key's in their order.
#[derive(Debug)]
pub(super) struct Sorted {
    /// Those whose letters are kept, if they have any.
    keys: BTreeSet<KeyHash>,
    letters: BTreeMap<KeyHash, Vec<Known>>,
    count: usize,
    count_max: usize,
    /// Everything before it was looked at.
    pub(super) next: Offset,
    /// Whether some keys had no room: they are to be looked for again.
    pub(super) is_cut: bool,
}

impl Sorted {
    pub(super) fn new(found: LowestKeys, bounds: Bounds) -> Self {
        Self {
            keys: found.keys,
            letters: BTreeMap::new(),
            count: 0,
            count_max: bounds.letters,
            next: Offset::ZERO,
            is_cut: found.is_cut,
        }
    }

    /// Keeps a letter if it is of one of the keys. Returns whether there is room for more: if not, only the
    /// first key is left, and its later letters come once these are taken.
    pub(super) fn keep(&mut self, letter: Known) -> bool {
        self.next = letter.letter.offset.advance(1);
        let key = letter.letter.key;
        if !self.keys.contains(&key) {
            return true;
        }
        self.letters.entry(key).or_default().push(letter);
        self.count += 1;
        while self.count > self.count_max {
            let first = self.keys.first().copied();
            let last = self
                .letters
                .last_entry()
                .filter(|it| Some(*it.key()) != first);
            let Some(last) = last else { break };
            let later = self.keys.split_off(last.key());
            self.is_cut |= !later.is_empty();
            self.count -= last.remove().len();
        }
        if self.count < self.count_max {
            return true;
        }
        let is_of_first = self.letters.keys().next() == self.keys.first();
        if is_of_first && self.letters.len() == 1 {
            self.is_cut |= self.keys.len() > 1;
            self.keys.retain(|it| *it == key);
            return false;
        }
        true
    }

    /// The first key that may have letters.
    pub(super) fn first(&self) -> Option<KeyHash> {
        self.keys.first().copied()
    }

    /// Takes the letters that are kept of the first key.
    pub(super) fn take_letters(&mut self, key: KeyHash) -> Vec<Known> {
        let letters = self.letters.remove(&key).unwrap_or_default();
        self.count -= letters.len();
        letters
    }

    /// Forgets a key that is done with.
    pub(super) fn forget(&mut self, key: KeyHash) {
        self.keys.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::DeadLetter;

    fn known(offset: u64, key: u64) -> Known {
        Known {
            letter: DeadLetter {
                offset: Offset::new(offset),
                key: KeyHash(key),
                bytes: 1,
                append_time_ms: 0,
            },
            is_dead: true,
        }
    }

    /// Looks at letters until there is no room.
    fn look(sorted: &mut Sorted, log: &[u64], bounds: Bounds) {
        let next = sorted.next.get();
        let rest = (0..).zip(log).skip_while(|(offset, _)| *offset < next);
        for (offset, key) in rest {
            let has_room = sorted.keep(known(offset, *key));
            let kept: usize = sorted.letters.values().map(Vec::len).sum();
            assert_eq!(kept, sorted.count);
            assert!(kept <= bounds.letters, "{kept} letters are kept");
            if !has_room {
                return;
            }
        }
    }

    /// All letters of the wanted keys in the order in which they are taken, as a call takes them.
    fn take_all(log: &[u64], wanted: &BTreeSet<u64>, bounds: Bounds) -> Vec<(u64, u64)> {
        let mut taken = Vec::new();
        let mut after = Bound::Unbounded;
        loop {
            let mut found = LowestKeys::new(after, bounds);
            let keys = log.iter().filter(|key| wanted.contains(key));
            keys.for_each(|key| found.note(KeyHash(*key)));
            assert!(found.keys.len() <= bounds.keys, "too many keys");
            if found.is_empty() {
                return taken;
            }
            let mut sorted = Sorted::new(found, bounds);
            look(&mut sorted, log, bounds);
            while let Some(key) = sorted.first() {
                loop {
                    let letters = sorted.take_letters(key);
                    let is_last = letters.is_empty() && sorted.next.get() == log.len() as u64;
                    taken.extend(letters.iter().map(|it| (key.0, it.letter.offset.get())));
                    if is_last {
                        break;
                    }
                    look(&mut sorted, log, bounds);
                }
                sorted.forget(key);
                after = Bound::Excluded(key);
            }
            if !sorted.is_cut {
                return taken;
            }
        }
    }

    proptest! {
        #[test]
        fn every_letter_of_every_wanted_key_is_taken_once_key_by_key_in_order(
            log in prop::collection::vec(0_u64..12, 0..80),
            wanted in prop::collection::btree_set(0_u64..12, 0..12),
            keys in 1_usize..6,
            letters in 1_usize..12,
        ) {
            let bounds = Bounds { keys, letters };
            let of = |key: u64| (0_u64..).zip(&log).filter(move |it| *it.1 == key);
            let expected = wanted.iter().flat_map(|key| of(*key).map(|(offset, _)| (*key, offset)));
            let expected: Vec<_> = expected.collect();
            prop_assert_eq!(take_all(&log, &wanted, bounds), expected);
        }
    }
}
