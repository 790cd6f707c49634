//! Index rows about keys and events.
//!
//! Numbers in row keys are big endian, so that rows of a topic, and versions of a key, stand together.

use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use towpath_storage::{INDEX_TABLES, Offset, RowKey, TopicId};

use super::unwritten;
use crate::core::row::decode;

/// Where the last record of each key is: topic, hash of the key.
pub(in crate::core) const TABLE_KEY_HEAD: u16 = INDEX_TABLES + 1;
/// Where each version of a key is: topic, hash of the key, version.
const TABLE_KEY_VERSION: u16 = INDEX_TABLES + 2;
/// Where each event is: topic, hash of its source and id.
const TABLE_EVENT: u16 = INDEX_TABLES + 3;
/// Which records of a batch were not written: topic, partition, producer, epoch, sequence.
pub(in crate::core) const TABLE_UNWRITTEN: u16 = INDEX_TABLES + 4;

/// Length of the topic and the hash, by which all versions of a key are found.
const KEY_BYTES: usize = 24;

/// How many bytes of the rows of a table are looked up together.
pub fn index_filter_key_bytes(table: u16) -> usize {
    match table {
        TABLE_KEY_VERSION => KEY_BYTES,
        _ => usize::MAX,
    }
}

/// What decides whether index rows of a topic are still needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexedTopic {
    /// As in its settings.
    pub dedupe_window_ms: Option<u64>,
}

/// The newest record of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyHead {
    /// How many records were accepted for the key.
    pub version: u64,
    /// Version of the key of the record that is its newest: the last one; of an entity that has versions, the
    /// one with the greatest.
    pub newest_version: u64,
    /// Where that is.
    pub partition: u32,
    /// Its offset there.
    pub offset: Offset,
    /// The greatest version of the entity, if any record had one.
    pub entity_version: Option<u64>,
}

/// Where a version of a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyVersion {
    /// Number of the partition.
    pub partition: u32,
    /// Offset there.
    pub offset: Offset,
}

/// Where an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventRow {
    /// Number of the partition.
    pub partition: u32,
    /// Offset there.
    pub offset: Offset,
    /// Broker time at which it was written, milliseconds since the Unix epoch.
    pub time_ms: i64,
}

/// Values of all these rows.
#[derive(Clone, Copy, PartialEq, Message)]
struct PlaceRow {
    #[prost(uint32, tag = "1")]
    partition: u32,
    #[prost(uint64, tag = "2")]
    offset: u64,
    /// Of an event.
    #[prost(int64, tag = "3")]
    time_ms: i64,
    /// Of the last record of a key.
    #[prost(uint64, tag = "4")]
    version: u64,
    /// Of the last record of a key.
    #[prost(uint64, optional, tag = "5")]
    entity_version: Option<u64>,
    /// How many records of the key came after its newest one.
    #[prost(uint64, tag = "6")]
    behind: u64,
}

fn row_key(table: u16, topic: TopicId, hash: &[u8; 16], version: Option<u64>) -> RowKey {
    let mut key = Vec::with_capacity(KEY_BYTES + 8);
    key.put_u64(topic.get());
    key.put_slice(hash);
    if let Some(version) = version {
        key.put_u64(version);
    }
    RowKey {
        table,
        key: key.into(),
    }
}

/// Where an event is remembered.
pub(super) fn event_key(topic: TopicId, hash: &[u8; 16]) -> RowKey {
    row_key(TABLE_EVENT, topic, hash, None)
}

/// Where a version of a key is remembered.
pub(super) fn key_version_key(topic: TopicId, hash: &[u8; 16], version: u64) -> RowKey {
    row_key(TABLE_KEY_VERSION, topic, hash, Some(version))
}

impl KeyHead {
    /// Where it is remembered.
    pub fn row_key(topic: TopicId, hash: &[u8; 16]) -> RowKey {
        row_key(TABLE_KEY_HEAD, topic, hash, None)
    }

    /// Reads what [`KeyHead::to_bytes`] wrote.
    pub fn from_bytes(bytes: &Bytes) -> Self {
        let row = decode::<PlaceRow>(bytes);
        Self {
            version: row.version,
            newest_version: row.version - row.behind,
            partition: row.partition,
            offset: Offset::new(row.offset),
            entity_version: row.entity_version,
        }
    }

    /// As it is remembered.
    pub fn to_bytes(self) -> Bytes {
        let row = PlaceRow {
            partition: self.partition,
            offset: self.offset.get(),
            version: self.version,
            behind: self.version - self.newest_version,
            entity_version: self.entity_version,
            ..PlaceRow::default()
        };
        row.encode_to_vec().into()
    }
}

impl KeyVersion {
    /// Where all versions of a key are remembered: how their rows' keys begin.
    pub fn prefix(topic: TopicId, hash: &[u8; 16]) -> RowKey {
        row_key(TABLE_KEY_VERSION, topic, hash, None)
    }

    /// Where one is remembered.
    pub fn row_key(topic: TopicId, hash: &[u8; 16], version: u64) -> RowKey {
        key_version_key(topic, hash, version)
    }

    /// Reads the row of a version, which is the last part of its key.
    pub fn from_row(key: &RowKey, value: &Bytes) -> Option<(u64, Self)> {
        let version = key.key.get(KEY_BYTES..)?.try_get_u64().ok()?;
        let row = decode::<PlaceRow>(value);
        let place = Self {
            partition: row.partition,
            offset: Offset::new(row.offset),
        };
        Some((version, place))
    }

    pub(super) fn to_bytes(self) -> Bytes {
        let row = PlaceRow {
            partition: self.partition,
            offset: self.offset.get(),
            ..PlaceRow::default()
        };
        row.encode_to_vec().into()
    }
}

impl EventRow {
    /// Where it is remembered.
    pub fn row_key(topic: TopicId, hash: &[u8; 16]) -> RowKey {
        event_key(topic, hash)
    }

    pub(super) fn from_bytes(bytes: &Bytes) -> Self {
        let row = decode::<PlaceRow>(bytes);
        Self {
            partition: row.partition,
            offset: Offset::new(row.offset),
            time_ms: row.time_ms,
        }
    }

    pub(super) fn to_bytes(self) -> Bytes {
        let row = PlaceRow {
            partition: self.partition,
            offset: self.offset.get(),
            time_ms: self.time_ms,
            ..PlaceRow::default()
        };
        row.encode_to_vec().into()
    }

    /// Whether an event that comes again at `now_ms` is taken for this one.
    pub(super) fn is_remembered(&self, window_ms: u64, now_ms: i64) -> bool {
        let window_ms = i64::try_from(window_ms).unwrap_or(i64::MAX);
        self.time_ms.saturating_add(window_ms) > now_ms
    }
}

/// Whether a row about keys or events may still be asked for, at broker time `now_ms`. `topic` finds what is
/// known of a topic and where one of its partitions begins; nothing of a topic that was deleted.
pub(in crate::core) fn is_row_needed(
    key: &RowKey,
    value: &[u8],
    now_ms: i64,
    topic: impl FnOnce(TopicId, u32) -> Option<(IndexedTopic, Offset)>,
) -> bool {
    // What cannot be read is kept: who asks for it is told.
    let Ok(id) = (&key.key[..]).try_get_u64() else {
        return true;
    };
    if key.table == TABLE_UNWRITTEN {
        return topic(TopicId::new(id), 0).is_some() && unwritten::is_needed(value, now_ms);
    }
    let Ok(row) = PlaceRow::decode(value) else {
        return true;
    };
    let Some((topic, log_start)) = topic(TopicId::new(id), row.partition) else {
        return false;
    };
    match key.table {
        TABLE_KEY_VERSION => Offset::new(row.offset) >= log_start,
        TABLE_EVENT => topic.dedupe_window_ms.is_some_and(|window_ms| {
            let event = EventRow {
                partition: row.partition,
                offset: Offset::new(row.offset),
                time_ms: row.time_ms,
            };
            event.is_remembered(window_ms, now_ms)
        }),
        // The version of a key outlives its records.
        _ => true,
    }
}
