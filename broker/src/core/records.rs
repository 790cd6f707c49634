//! Looking at records one by one, for topics that ask for it: events that are there already, versions of
//! keys, versions of entities.
//!
//! What is remembered of events and keys are index rows. Who prepares a batch looks up what it may need on
//! the disk and carries it as [`BatchFacts`]; what changed since is in the state. Rows of one entry build on
//! each other, so a batch may hold several records of a key, or an event twice.

mod facts;
mod hash;
mod rows;
#[cfg(test)]
mod tests;
mod unwritten;

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use towpath_storage::{Offset, PartitionRef, Row, RowKey, TopicId};

use super::State;
use super::topic_config::{StaleRecords, TopicConfig};
pub use facts::{BatchFacts, RECORD_ROW_BYTES, RecordFacts, Remembered, STALE_HEADER};
pub use hash::record_hash;
pub use rows::{EventRow, IndexedTopic, KeyHead, KeyVersion, index_filter_key_bytes};
pub(super) use rows::{TABLE_KEY_HEAD, TABLE_UNWRITTEN, is_row_needed};
use rows::{event_key, key_version_key};
pub(super) use unwritten::UnwrittenRecordRow;
pub use unwritten::{UnwrittenCause, UnwrittenRecord};

/// A key of which is asked what changed of late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindKey {
    /// A topic that looks at keys.
    pub topic: TopicId,
    /// Hash of the key.
    pub hash: [u8; 16],
    /// Which versions are asked for.
    pub versions: Range<u64>,
}

/// What changed of a key of late.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangedKey {
    /// Its newest record, if that changed.
    pub head: Option<KeyHead>,
    /// Versions, of those asked for.
    pub versions: Vec<(u64, KeyVersion)>,
}

impl State {
    /// What changed of late of a key.
    pub fn changed_key(&self, wish: &FindKey) -> ChangedKey {
        let FindKey {
            topic,
            hash,
            versions,
        } = wish;
        let head = self.index.get(&KeyHead::row_key(*topic, hash)).flatten();
        let key = |version: u64| KeyVersion::row_key(*topic, hash, version);
        let rows = match versions.is_empty() {
            true => BTreeMap::new(),
            false => self.index.range(key(versions.start)..key(versions.end)),
        };
        let versions = rows
            .into_iter()
            .filter_map(|(key, value)| KeyVersion::from_row(key, value));
        ChangedKey {
            head: head.map(KeyHead::from_bytes),
            versions: versions.collect(),
        }
    }
}

/// What becomes of a batch's records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Admission {
    /// Records that are not written, in their order.
    pub unwritten: Vec<UnwrittenRecord>,
    /// Records that are written with a mark, in their order: number in the batch, and the greater version
    /// that their entity has.
    pub marked: Vec<(u32, u64)>,
    /// How many are written.
    pub written_count: u32,
    /// What the first record rests on that is there already, if it does not hold any more.
    pub not_held: Option<ExpectedVersionMismatch>,
}

/// A record rests on a version that its key does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key has version {current}, expected {expected}")]
pub struct ExpectedVersionMismatch {
    /// As [`RecordFacts::origin`] of the record.
    pub origin: u32,
    /// The version that was expected.
    pub expected: u64,
    /// The one that the key has.
    pub current: u64,
}

/// Rows that an entry adds while its batches are decided on.
#[derive(Debug)]
pub struct EntryRows<'a> {
    state: &'a State,
    changed: BTreeMap<RowKey, Bytes>,
}

impl<'a> EntryRows<'a> {
    /// None yet.
    pub fn new(state: &'a State) -> Self {
        Self {
            state,
            changed: BTreeMap::new(),
        }
    }

    /// Decides on the records of a batch at the end of a partition, at broker time `now_ms`. At most one
    /// batch for each partition.
    ///
    /// # Errors
    /// [`ExpectedVersionMismatch`], with which nothing of the entry may be written.
    pub fn admit(
        &mut self,
        partition: PartitionRef,
        facts: &BatchFacts,
        now_ms: i64,
    ) -> Result<Admission, ExpectedVersionMismatch> {
        let topic = self.state.topic(partition.topic);
        let found = topic.and_then(|it| Some((it.config(), it.partition(partition.partition)?)));
        let Some((config, known)) = found else {
            // The append itself is refused.
            return Ok(Admission::default());
        };
        let mut batch = Batch {
            rows: self,
            config,
            partition,
            next_offset: known.end,
            now_ms,
            admission: Admission::default(),
        };
        for (number, record) in (0..).zip(&facts.records) {
            batch.take(number, record, facts.is_redriven)?;
        }
        Ok(batch.admission)
    }

    /// The rows.
    pub fn into_rows(self) -> Vec<Row> {
        let rows = self.changed.into_iter().map(|(key, value)| Row {
            key,
            value: Some(value),
        });
        rows.collect()
    }

    /// A row as the entry finds it.
    fn get<'s>(&'s self, key: &RowKey, known: &'s Remembered) -> Option<&'s Bytes> {
        if let Some(changed) = self.changed.get(key) {
            return Some(changed);
        }
        match self.state.index.get(key) {
            Some(changed) => changed,
            None => known.on_disk.as_ref(),
        }
    }
}

/// A batch while its records are decided on.
struct Batch<'rows, 'state> {
    rows: &'rows mut EntryRows<'state>,
    config: TopicConfig,
    partition: PartitionRef,
    /// The offset of the next record that is written.
    next_offset: Offset,
    now_ms: i64,
    admission: Admission,
}

impl Batch<'_, '_> {
    fn take(
        &mut self,
        number: u32,
        record: &RecordFacts,
        is_redriven: bool,
    ) -> Result<(), ExpectedVersionMismatch> {
        let event = record.event.as_ref().filter(|_| !is_redriven);
        if let Some(first) = event.and_then(|event| self.repeated(event)) {
            self.leave_out(number, UnwrittenCause::RepeatedEvent(first));
            let not_held = self.check_version(record).err();
            self.admission.not_held = self.admission.not_held.or(not_held);
            return Ok(());
        }
        self.check_version(record)?;
        if let Some(key) = &record.key {
            let before = self.head(key);
            let greater = greater_version(before, record.entity_version);
            match (greater, self.config.stale_records) {
                (Some(current), Some(StaleRecords::Refuse)) => {
                    let cause = UnwrittenCause::StaleEntityVersion { current };
                    self.leave_out(number, cause);
                    return Ok(());
                }
                (Some(current), Some(StaleRecords::Mark)) => {
                    self.admission.marked.push((number, current));
                    self.put_head(key, before, None, false);
                }
                _ => self.put_head(key, before, record.entity_version, true),
            }
        }
        if let Some(event) = event {
            let row = EventRow {
                partition: self.partition.partition,
                offset: self.next_offset,
                time_ms: self.now_ms,
            };
            let key = event_key(self.partition.topic, &event.hash);
            self.rows.changed.insert(key, row.to_bytes());
        }
        self.admission.written_count += 1;
        self.next_offset = self.next_offset.advance(1);
        Ok(())
    }

    /// Whether the key of a record has the version that the record rests on.
    fn check_version(&self, record: &RecordFacts) -> Result<(), ExpectedVersionMismatch> {
        let (Some(expected), Some(key)) = (record.expected_version, &record.key) else {
            return Ok(());
        };
        let current = self.head(key).map_or(0, |head| head.version);
        if expected == current {
            return Ok(());
        }
        Err(ExpectedVersionMismatch {
            origin: record.origin,
            expected,
            current,
        })
    }

    fn leave_out(&mut self, index: u32, cause: UnwrittenCause) {
        let record = UnwrittenRecord { index, cause };
        self.admission.unwritten.push(record);
    }

    /// Where an event is, if it came within the window.
    fn repeated(&self, event: &Remembered) -> Option<EventRow> {
        let window_ms = self.config.dedupe_window_ms?;
        let key = event_key(self.partition.topic, &event.hash);
        let row = EventRow::from_bytes(self.rows.get(&key, event)?);
        row.is_remembered(window_ms, self.now_ms).then_some(row)
    }

    fn head(&self, key: &Remembered) -> Option<KeyHead> {
        let row_key = KeyHead::row_key(self.partition.topic, &key.hash);
        Some(KeyHead::from_bytes(self.rows.get(&row_key, key)?))
    }

    /// Notes one more record of a key, which brings a version of its entity; it is where the key's newest
    /// record is unless it is an old one.
    fn put_head(
        &mut self,
        key: &Remembered,
        before: Option<KeyHead>,
        entity_version: Option<u64>,
        is_newest: bool,
    ) {
        let topic = self.partition.topic;
        let version = before.map_or(0, |head| head.version) + 1;
        let head = match before {
            Some(before) if !is_newest => KeyHead { version, ..before },
            before => KeyHead {
                version,
                newest_version: version,
                partition: self.partition.partition,
                offset: self.next_offset,
                entity_version: entity_version.or(before.and_then(|head| head.entity_version)),
            },
        };
        let head_key = KeyHead::row_key(topic, &key.hash);
        self.rows.changed.insert(head_key, head.to_bytes());
        if self.config.has_key_versions {
            let row = KeyVersion {
                partition: self.partition.partition,
                offset: self.next_offset,
            };
            let row_key = key_version_key(topic, &key.hash, version);
            self.rows.changed.insert(row_key, row.to_bytes());
        }
    }
}

/// The version of its entity that is not smaller than what a record brings, if there is one.
fn greater_version(before: Option<KeyHead>, brought: Option<u64>) -> Option<u64> {
    let known = before?.entity_version?;
    (brought? <= known).then_some(known)
}
