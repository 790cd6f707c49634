//! Records that could not be read on their way to the dead letters: each keeps its key from there for a
//! while, and nothing else.

use std::collections::{BTreeMap, VecDeque};

use towpath_storage::Offset;

use super::keys::KeyHash;

/// How long such a record is left alone, milliseconds.
const UNREADABLE_MS: i64 = 60_000;

/// Those of a partition. Volatile.
#[derive(Debug, Default)]
pub(super) struct UnreadableRecords {
    keys: BTreeMap<Offset, KeyHash>,
    /// When each is tried again, broker time in milliseconds since the Unix epoch; ascending.
    line: VecDeque<(i64, Offset)>,
}

impl UnreadableRecords {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether a record is one of them.
    pub(super) fn contains(&self, offset: Offset) -> bool {
        self.keys.contains_key(&offset)
    }

    /// A record could not be read.
    pub(super) fn note(&mut self, offset: Offset, key: KeyHash, now_ms: i64) {
        if self.keys.insert(offset, key).is_none() {
            self.line.push_back((now_ms + UNREADABLE_MS, offset));
        }
    }

    /// When the next one is tried again, broker time in milliseconds since the Unix epoch.
    pub(super) fn next_due_ms(&self) -> Option<i64> {
        self.line.front().map(|(due_ms, _)| *due_ms)
    }

    /// Takes one that is to be tried again.
    pub(super) fn take_due(&mut self, now_ms: i64) -> Option<(Offset, KeyHash)> {
        let (_, offset) = self.line.pop_front_if(|(due_ms, _)| *due_ms <= now_ms)?;
        let key = self.keys.remove(&offset)?;
        Some((offset, key))
    }
}
