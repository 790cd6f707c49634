//! Which records of a partition are settled: all below a floor, and some beyond it.

use std::collections::BTreeMap;

use towpath_storage::{Offset, OffsetRange};

/// Records of one word.
pub(super) const WORD_RECORDS: u64 = 64;
const WORDS: usize = 8;
const BLOCK_WORDS: u64 = WORDS as u64;
/// Records of one block, which is one row.
pub(super) const BLOCK_RECORDS: u64 = WORD_RECORDS * BLOCK_WORDS;

/// One bit for each of [`BLOCK_RECORDS`] records.
pub(super) type Block = [u64; WORDS];

/// Number of the word that holds the bit of a record.
pub(super) fn word_of(offset: Offset) -> u64 {
    offset.get() / WORD_RECORDS
}

/// The bit of a record in its word.
pub(super) fn bit_of(offset: Offset) -> u64 {
    1 << (offset.get() % WORD_RECORDS)
}

/// The record of a bit, which is given by its place in a word.
pub(super) fn offset_of(word: u64, place: u32) -> Offset {
    Offset::new(word * WORD_RECORDS + u64::from(place))
}

/// Bits of a word that are set, as offsets, ascending.
pub(super) fn offsets_in(word: u64, bits: u64) -> impl Iterator<Item = Offset> {
    let mut left = bits;
    std::iter::from_fn(move || {
        let place = (left != 0).then(|| left.trailing_zeros())?;
        left &= left - 1;
        Some(offset_of(word, place))
    })
}

/// Words that a range touches, each with the bits of the range in it.
pub(super) fn words_in(range: OffsetRange) -> impl Iterator<Item = (u64, u64)> {
    let words = match range.start < range.end {
        true => word_of(range.start)..range.end.get().div_ceil(WORD_RECORDS),
        false => 0..0,
    };
    words.map(move |word| {
        let first = range.start.get().saturating_sub(word * WORD_RECORDS);
        let end = range.end.get() - word * WORD_RECORDS;
        let upper = match end < WORD_RECORDS {
            true => (1 << end) - 1,
            false => u64::MAX,
        };
        (word, upper & (u64::MAX << first))
    })
}

/// The settled records of a partition.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Settled {
    floor: Offset,
    /// By number; those that hold a settled record at or beyond the floor.
    blocks: BTreeMap<u64, Block>,
}

impl Settled {
    /// All below `floor` are settled.
    pub(super) fn below(floor: Offset) -> Self {
        Self {
            floor,
            blocks: BTreeMap::new(),
        }
    }

    /// All below it are settled.
    pub(super) fn floor(&self) -> Offset {
        self.floor
    }

    /// Whether a record is settled.
    pub(super) fn contains(&self, offset: Offset) -> bool {
        offset < self.floor || self.word(word_of(offset)) & bit_of(offset) != 0
    }

    /// The bits of one word; those below the floor may be missing.
    pub(super) fn word(&self, word: u64) -> u64 {
        let block = self.blocks.get(&(word / BLOCK_WORDS));
        block.map_or(0, |block| block[place_in_block(word)])
    }

    /// A block, if it is kept.
    pub(super) fn block(&self, number: u64) -> Option<&Block> {
        self.blocks.get(&number)
    }

    /// Numbers of the blocks that are kept.
    pub(super) fn block_numbers(&self) -> impl Iterator<Item = u64> {
        self.blocks.keys().copied()
    }

    /// Replaces a block.
    pub(super) fn put_block(&mut self, number: u64, block: Option<Block>) {
        match block {
            Some(block) => drop(self.blocks.insert(number, block)),
            None => drop(self.blocks.remove(&number)),
        }
    }

    /// Moves the floor, and returns the numbers of the blocks that are wholly below it and gone.
    pub(super) fn set_floor(&mut self, floor: Offset) -> Vec<u64> {
        self.floor = floor;
        let kept = self.blocks.split_off(&(floor.get() / BLOCK_RECORDS));
        let gone = std::mem::replace(&mut self.blocks, kept);
        gone.into_keys().collect()
    }

    /// One past the last record that is settled.
    pub(super) fn end(&self) -> Offset {
        let last = self.blocks.iter().next_back();
        let last = last.and_then(|(number, block)| {
            let words = (number * BLOCK_WORDS..).zip(block);
            let last = words.filter(|(_, bits)| **bits != 0).last()?;
            Some(offset_of(last.0, 64 - last.1.leading_zeros()))
        });
        last.map_or(self.floor, |end| end.max(self.floor))
    }

    /// Settled records at or beyond the floor.
    pub(super) fn beyond_floor(&self) -> u64 {
        self.settled_beyond_floor()
            .map(|(_, bits)| u64::from(bits.count_ones()))
            .sum()
    }

    /// Settled records at or beyond the floor and below `end`.
    pub(super) fn beyond_floor_below(&self, end: Offset) -> u64 {
        let words = self.settled_beyond_floor();
        let words = words.take_while(|(word, _)| offset_of(*word, 0) < end);
        let below = words.map(|(word, bits)| match end.since(offset_of(word, 0)) {
            count @ 0..WORD_RECORDS => bits & ((1 << count) - 1),
            _ => bits,
        });
        below.map(|bits| u64::from(bits.count_ones())).sum()
    }

    /// Words with their bits that are settled at or beyond the floor.
    fn settled_beyond_floor(&self) -> impl Iterator<Item = (u64, u64)> {
        self.blocks.iter().flat_map(|(number, block)| {
            (number * BLOCK_WORDS..).zip(block).map(|(word, bits)| {
                let below = self.floor.get().saturating_sub(word * WORD_RECORDS);
                match below {
                    0..WORD_RECORDS => (word, bits & (u64::MAX << below)),
                    _ => (word, 0),
                }
            })
        })
    }
}

fn place_in_block(word: u64) -> usize {
    // Below 8.
    (word % BLOCK_WORDS) as usize
}

/// Records that are about to be settled, on top of those that are.
#[derive(Debug)]
pub(super) struct SettledDraft<'a> {
    before: &'a Settled,
    changed: BTreeMap<u64, Block>,
}

impl<'a> SettledDraft<'a> {
    pub(super) fn new(before: &'a Settled) -> Self {
        Self {
            before,
            changed: BTreeMap::new(),
        }
    }

    /// Settles some records of a word.
    pub(super) fn settle(&mut self, word: u64, bits: u64) {
        let number = word / BLOCK_WORDS;
        let before = || self.before.block(number).copied().unwrap_or_default();
        let block = self.changed.entry(number).or_insert_with(before);
        block[place_in_block(word)] |= bits;
    }

    fn word(&self, word: u64) -> u64 {
        match self.changed.get(&(word / BLOCK_WORDS)) {
            Some(block) => block[place_in_block(word)],
            None => self.before.word(word),
        }
    }

    /// The first record below `end` that is neither settled nor, as `passed` tells of each word, one that
    /// nobody is to get; `end` if there is none.
    pub(super) fn floor(&self, end: Offset, passed: impl Fn(u64) -> u64) -> Offset {
        let mut floor = self.before.floor;
        while floor < end {
            let word = word_of(floor);
            let below = bit_of(floor) - 1;
            let done = self.word(word) | passed(word) | below;
            floor = offset_of(word, done.trailing_ones());
            if done != u64::MAX {
                break;
            }
        }
        floor.min(end).max(self.before.floor)
    }

    /// The blocks that changed and do not lie wholly below the floor.
    pub(super) fn blocks(self, floor: Offset) -> impl Iterator<Item = (u64, Block)> {
        let first = floor.get() / BLOCK_RECORDS;
        self.changed.into_iter().filter(move |(it, _)| *it >= first)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn offset(number: u64) -> Offset {
        Offset::new(number)
    }

    #[test]
    fn the_words_of_a_range_hold_exactly_its_records() {
        for (start, end) in [
            (0, 0),
            (0, 1),
            (0, 64),
            (63, 65),
            (70, 70),
            (5, 200),
            (9, 3),
        ] {
            let range = OffsetRange {
                start: offset(start),
                end: offset(end),
            };
            let found: Vec<_> = words_in(range)
                .flat_map(|(word, bits)| offsets_in(word, bits))
                .map(Offset::get)
                .collect();
            assert_eq!(found, (start..end).collect::<Vec<_>>(), "{start} to {end}");
        }
    }

    /// Settles records one set after the other, as rows would, and returns what is kept.
    fn settled(steps: &[BTreeSet<u64>], end: u64, passed: &BTreeSet<u64>) -> Settled {
        let mut settled = Settled::default();
        for step in steps {
            let mut draft = SettledDraft::new(&settled);
            for number in step {
                draft.settle(word_of(offset(*number)), bit_of(offset(*number)));
            }
            let floor = draft.floor(offset(end), |word| {
                let of_word = passed.iter().filter(|it| **it / WORD_RECORDS == word);
                of_word.fold(0, |bits, it| bits | bit_of(offset(*it)))
            });
            let blocks: Vec<_> = draft.blocks(floor).collect();
            for (number, block) in blocks {
                settled.put_block(number, Some(block));
            }
            settled.set_floor(floor);
        }
        settled
    }

    proptest! {
        #[test]
        fn what_is_settled_is_what_was_settled_or_lies_below_the_floor(
            steps in prop::collection::vec(prop::collection::btree_set(0_u64..1_500, 0..400), 1..6),
            passed in prop::collection::btree_set(0_u64..1_500, 0..900),
        ) {
            let end = 1_500;
            let kept = settled(&steps, end, &passed);
            let all: BTreeSet<u64> = steps.iter().flatten().copied().collect();
            let is_open = |it: &u64| !all.contains(it) && !passed.contains(it);
            let floor = (0..end).find(is_open).unwrap_or(end);
            prop_assert_eq!(kept.floor().get(), floor);
            for number in 0..end {
                let expected = number < floor || all.contains(&number);
                prop_assert_eq!(kept.contains(offset(number)), expected, "offset {}", number);
            }
            let end = all.last().map_or(0, |last| last + 1).max(floor);
            prop_assert_eq!(kept.end().get(), end);
            let beyond = all.iter().filter(|it| **it >= floor).count() as u64;
            prop_assert_eq!(kept.beyond_floor(), beyond);
            for limit in [0, floor, floor + 1, 700, 1_024, end] {
                let below = all.iter().filter(|it| (floor..limit).contains(*it)).count() as u64;
                prop_assert_eq!(kept.beyond_floor_below(offset(limit)), below, "below {}", limit);
            }
        }
    }
}
