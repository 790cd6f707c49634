//! Looking for dead letters that are not settled.

use towpath_storage::{Offset, OffsetRange};

use super::keys::{HashKey, KeyHash};
use super::partition::SubscriptionPartition;
use super::settled::{bit_of, offset_of, offsets_in, word_of, words_in};
use super::waiting::Failure;
use super::{DeadLetterState, Subscription};

/// Words of settled bits that one look at the dead letters goes through.
const WORDS_LOOKED_AT_MAX: u64 = 4 * 1024;

/// A dead letter that is not settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenDeadLetter {
    /// Its offset among the dead letters.
    pub offset: Offset,
    /// Where it stands: not settled.
    pub state: DeadLetterState,
    /// Attempts that failed since it was redriven, oldest first.
    pub failures: Vec<Failure>,
    /// It was redriven, and waits for this dead letter of its key, which is dead again: nothing becomes of
    /// it until that one is redriven or discarded.
    pub behind: Option<Offset>,
}

/// The dead letters of a part of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenDeadLetters {
    /// What the keys of the subscription are hashed with.
    pub hash_key: HashKey,
    /// Those that are not settled, ascending.
    pub letters: Vec<OpenDeadLetter>,
    /// Everything before it was looked at.
    pub next: Offset,
}

impl Subscription {
    /// Looks for dead letters of a partition that are not settled, within `range`, in its order, until there
    /// are `count_max`. Every record of `range` exists.
    pub fn open_dead_letters(
        &self,
        partition: u32,
        range: OffsetRange,
        count_max: usize,
    ) -> OpenDeadLetters {
        let mut letters = Vec::new();
        let Some(lane) = self.partitions.get(self.dead_lane(partition) as usize) else {
            return OpenDeadLetters {
                hash_key: self.hash_key,
                letters,
                next: range.end,
            };
        };
        let floor = lane.settled.floor();
        let below_floor = OffsetRange {
            start: range.start,
            end: range.end.min(floor),
        };
        let beyond_floor = OffsetRange {
            start: range.start.max(floor),
            end: range.end,
        };
        let rows = lane.waiting.offsets_in(below_floor);
        let words_end = word_of(beyond_floor.start) + WORDS_LOOKED_AT_MAX;
        let words = words_in(beyond_floor).take_while(|(word, _)| *word < words_end);
        let open = words.flat_map(|(word, bits)| {
            let settled = lane.settled.word(word);
            offsets_in(word, bits)
                .filter(move |it| settled & bit_of(*it) == 0 || lane.waiting.get(*it).is_some())
        });
        for offset in rows.chain(open).take(count_max) {
            let row = lane.waiting.get(offset);
            letters.push(OpenDeadLetter {
                offset,
                state: self.dead_letter_state(partition, offset),
                failures: row.map(|row| row.failures.clone()).unwrap_or_default(),
                behind: row.and_then(|row| lane.dead_before(row.key, offset)),
            });
        }
        let next = match letters.last() {
            Some(last) if letters.len() >= count_max => last.offset.advance(1),
            _ => range.end.min(offset_of(words_end, 0)).max(range.start),
        };
        OpenDeadLetters {
            hash_key: self.hash_key,
            letters,
            next,
        }
    }
}

impl SubscriptionPartition {
    /// The dead letter that is dead again and keeps a later one of its key from being delivered.
    fn dead_before(&self, key: KeyHash, offset: Offset) -> Option<Offset> {
        let first = self.first_of_key_before(key, offset)?;
        let is_dead = self.waiting.get(first)?.death.is_some();
        is_dead.then_some(first)
    }
}
