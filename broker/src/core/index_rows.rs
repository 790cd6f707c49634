//! Rows of indexes that grow with the data, as far as they changed of late.
//!
//! The rest of them is in runs on the disk, which decisions do not read: who asks for one looks up what
//! it may need there first, and carries what was found. Here is what changed since. What a checkpoint has
//! taken stays until nobody carries anything from the runs that were there before it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use bytes::Bytes;
use towpath_storage::{Offset, Row, RowKey, TopicId};

use super::commit::{CommitKey, TABLE_COMMIT_KEY};
use super::records::{IndexedTopic, TABLE_KEY_HEAD, TABLE_UNWRITTEN, is_row_needed};

/// Whether an index row may still be asked for, by what is durable: the number of the next commit that has a
/// key, broker time in milliseconds since the Unix epoch, and what `topic` finds of a topic with where one of
/// its partitions begins; nothing of a topic that was deleted.
pub fn is_index_row_needed(
    key: &RowKey,
    value: &[u8],
    next_commit: u64,
    now_ms: i64,
    topic: impl FnOnce(TopicId, u32) -> Option<(IndexedTopic, Offset)>,
) -> bool {
    match key.table {
        TABLE_COMMIT_KEY => CommitKey::is_needed(value, next_commit, now_ms),
        TABLE_KEY_HEAD..=TABLE_UNWRITTEN => is_row_needed(key, value, now_ms, topic),
        _ => true,
    }
}

/// Rows that changed of late, newest first.
#[derive(Debug, Default)]
pub(super) struct IndexRows {
    /// Since the last checkpoint was taken.
    current: BTreeMap<RowKey, Option<Bytes>>,
    /// Taken by checkpoints, the oldest first.
    taken: VecDeque<BTreeMap<RowKey, Option<Bytes>>>,
    /// Memory of the first, about.
    current_bytes: usize,
}

/// What a row takes in memory beside its key and value, about.
const ROW_OVERHEAD_BYTES: usize = 128;

impl IndexRows {
    pub(super) fn put(&mut self, row: Row) {
        self.current_bytes += bytes_of(&row.key, row.value.as_ref());
        if let Some(old) = self.current.insert(row.key.clone(), row.value) {
            self.current_bytes -= bytes_of(&row.key, old.as_ref());
        }
    }

    /// What became of a row of late: its value, or that it is gone; none if nothing did.
    #[expect(clippy::option_option, reason = "what is gone hides what is on disk")]
    pub(super) fn get(&self, key: &RowKey) -> Option<Option<&Bytes>> {
        let newest_first = [&self.current].into_iter().chain(self.taken.iter().rev());
        let mut found = newest_first.filter_map(|rows| rows.get(key));
        found.next().map(Option::as_ref)
    }

    /// Rows of a table from one key to below another that changed of late and are there, each with its
    /// newest value.
    pub(super) fn range(&self, keys: Range<RowKey>) -> BTreeMap<&RowKey, &Bytes> {
        let oldest_first = self.taken.iter().chain([&self.current]);
        let rows = oldest_first.flat_map(|rows| rows.range(keys.clone()));
        let newest: BTreeMap<_, _> = rows.collect();
        let present = newest.into_iter();
        let present = present.filter_map(|(key, value)| Some((key, value.as_ref()?)));
        present.collect()
    }

    /// Memory of the rows that no checkpoint has taken, about, bytes.
    pub(super) fn current_bytes(&self) -> usize {
        self.current_bytes
    }

    /// Takes what changed since the last time, for a checkpoint.
    pub(super) fn take(&mut self) -> Vec<Row> {
        if self.current.is_empty() {
            return Vec::new();
        }
        self.current_bytes = 0;
        let taken = std::mem::take(&mut self.current);
        let rows = taken.iter().map(|(key, value)| Row {
            key: key.clone(),
            value: value.clone(),
        });
        let rows = rows.collect();
        self.taken.push_back(taken);
        rows
    }

    /// The checkpoint that was taken last has failed: its rows are part of the next one.
    pub(super) fn give_back(&mut self) {
        for (key, value) in self.taken.pop_back().unwrap_or_default() {
            if let Entry::Vacant(free) = self.current.entry(key) {
                self.current_bytes += bytes_of(free.key(), value.as_ref());
                free.insert(value);
            }
        }
    }

    /// How many checkpoints' rows are kept.
    pub(super) fn taken_count(&self) -> usize {
        self.taken.len()
    }

    /// Lets go of what the oldest of those checkpoints has taken: it is in the runs of whoever asks now.
    pub(super) fn forget_oldest(&mut self) {
        self.taken.pop_front();
    }
}

fn bytes_of(key: &RowKey, value: Option<&Bytes>) -> usize {
    ROW_OVERHEAD_BYTES + key.key.len() + value.map_or(0, Bytes::len)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use towpath_storage::INDEX_TABLES;

    use super::*;

    fn key(number: u8) -> RowKey {
        RowKey {
            table: INDEX_TABLES,
            key: Bytes::from(vec![number]),
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Put(u8, Option<u8>),
        Take,
        Fail,
        Done,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..6_u8, proptest::option::of(any::<u8>())).prop_map(|(key, value)| Step::Put(key, value)),
            1 => Just(Step::Take),
            1 => Just(Step::Fail),
            1 => Just(Step::Done),
        ]
    }

    proptest! {
        /// Beside the runs of the checkpoints that are done, the newest value is always found.
        #[test]
        fn nothing_is_missed_between_here_and_the_runs(
            steps in proptest::collection::vec(step(), 1..80),
        ) {
            let mut rows = IndexRows::default();
            let mut model: BTreeMap<u8, Option<u8>> = BTreeMap::new();
            // What checkpoints have written that are done, and what the one under way writes.
            let mut runs: BTreeMap<RowKey, Option<Bytes>> = BTreeMap::new();
            let mut under_way: Option<Vec<Row>> = None;
            for step in steps {
                match step {
                    Step::Put(number, value) => {
                        model.insert(number, value);
                        let value = value.map(|value| Bytes::from(vec![value]));
                        rows.put(Row { key: key(number), value });
                    }
                    Step::Take if under_way.is_none() && !rows.current.is_empty() => {
                        under_way = Some(rows.take());
                    }
                    Step::Fail if under_way.take().is_some() => rows.give_back(),
                    Step::Done => {
                        if let Some(written) = under_way.take() {
                            runs.extend(written.into_iter().map(|row| (row.key, row.value)));
                            rows.forget_oldest();
                        }
                    }
                    Step::Take | Step::Fail => {}
                }
                for (number, value) in &model {
                    let expected = value.map(|value| Bytes::from(vec![value]));
                    let found = rows.get(&key(*number)).map(|found| found.cloned());
                    let found = found.or_else(|| runs.get(&key(*number)).cloned());
                    prop_assert_eq!(found, Some(expected));
                }
                let sizes = rows.current.iter().map(|(key, value)| bytes_of(key, value.as_ref()));
                prop_assert_eq!(rows.current_bytes(), sizes.sum::<usize>());
            }
        }
    }
}
