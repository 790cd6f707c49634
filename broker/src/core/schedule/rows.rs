//! How scheduled records are written down: a row in due order that holds the record, and one under its id
//! that says where that is. Both are index rows; what they add up to in a topic is a row of the state.

use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use towpath_storage::{INDEX_TABLES, PartitionRef, Row, RowKey, TopicId};

/// The table of scheduled records, in due order.
pub(super) const TABLE_SCHEDULED: u16 = INDEX_TABLES + 0x10;
/// The table that finds them by their ids.
const TABLE_SCHEDULE_ID: u16 = INDEX_TABLES + 0x11;

/// Where a scheduled record stands in the order in which they become due: by time, and among those of one
/// time by acceptance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScheduleKey {
    /// Broker time at which it is due, milliseconds since the Unix epoch, never negative.
    pub due_ms: i64,
    /// Number of its acceptance, which no other has.
    pub number: u64,
}

impl ScheduleKey {
    /// Before all others.
    pub const FIRST: Self = Self {
        due_ms: 0,
        number: 0,
    };

    /// The row of the record.
    pub fn row_key(self) -> RowKey {
        RowKey {
            table: TABLE_SCHEDULED,
            key: self.sort_bytes(),
        }
    }

    /// Bytes that sort as keys do.
    pub fn sort_bytes(self) -> Bytes {
        let mut key = Vec::with_capacity(16);
        key.put_u64(self.due_ms.unsigned_abs());
        key.put_u64(self.number);
        key.into()
    }

    /// The key of a row; none if it is not one of a scheduled record.
    pub fn of_row(key: &RowKey) -> Option<Self> {
        let mut bytes = &key.key[..];
        if key.table != TABLE_SCHEDULED || bytes.len() != 16 {
            return None;
        }
        Some(Self {
            due_ms: i64::try_from(bytes.get_u64()).ok()?,
            number: bytes.get_u64(),
        })
    }

    /// The lowest key above this one.
    #[must_use]
    pub fn next(self) -> Self {
        match self.number.checked_add(1) {
            Some(number) => Self { number, ..self },
            None => Self {
                due_ms: self.due_ms.saturating_add(1),
                number: 0,
            },
        }
    }
}

/// What names a scheduled record within its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ScheduleId {
    /// Hash of the topic and of the id that it was given: 128 bits, so that no two have the same.
    Named([u8; 16]),
    /// The number of its first acceptance, for one that was given no id.
    Numbered(u64),
}

impl ScheduleId {
    /// The row that finds the record.
    pub fn row_key(&self) -> RowKey {
        RowKey {
            table: TABLE_SCHEDULE_ID,
            key: self.to_bytes(),
        }
    }

    fn to_bytes(self) -> Bytes {
        match self {
            Self::Named(hash) => Bytes::copy_from_slice(&hash),
            Self::Numbered(number) => {
                let mut key = Vec::with_capacity(8);
                key.put_u64(number);
                key.into()
            }
        }
    }

    fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        match <[u8; 16]>::try_from(bytes) {
            Ok(hash) => Some(Self::Named(hash)),
            Err(_) if bytes.len() == 8 => Some(Self::Numbered(bytes.get_u64())),
            Err(_) => None,
        }
    }
}

/// A record that waits until it is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduledRecord {
    /// Where it goes.
    pub partition: PartitionRef,
    /// What names it.
    pub id: ScheduleId,
    /// The id that it was given, for people; empty if it was given none.
    pub name: String,
    /// Broker time at which it was accepted, milliseconds since the Unix epoch.
    pub accept_time_ms: i64,
    /// The encoded record.
    pub record: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct ScheduledRow {
    #[prost(uint64, tag = "1")]
    topic: u64,
    #[prost(uint32, tag = "2")]
    partition: u32,
    /// As the key of the row that finds it.
    #[prost(bytes = "bytes", tag = "3")]
    id: Bytes,
    #[prost(string, tag = "4")]
    name: String,
    #[prost(int64, tag = "5")]
    accept_time_ms: i64,
    #[prost(bytes = "bytes", tag = "6")]
    record: Bytes,
}

impl ScheduledRecord {
    /// The row under `key`.
    pub(super) fn to_row(&self, key: ScheduleKey) -> Row {
        let value = ScheduledRow {
            topic: self.partition.topic.get(),
            partition: self.partition.partition,
            id: self.id.to_bytes(),
            name: self.name.clone(),
            accept_time_ms: self.accept_time_ms,
            record: self.record.clone(),
        };
        Row {
            key: key.row_key(),
            value: Some(value.encode_to_vec().into()),
        }
    }

    /// Reads a row's value; none if no release wrote it.
    pub fn from_value(value: &Bytes) -> Option<Self> {
        let row = ScheduledRow::decode(value.clone()).ok()?;
        Some(Self {
            partition: PartitionRef {
                topic: TopicId::new(row.topic),
                partition: row.partition,
            },
            id: ScheduleId::from_bytes(&row.id)?,
            name: row.name,
            accept_time_ms: row.accept_time_ms,
            record: row.record,
        })
    }

    /// What it counts for in the limits, bytes.
    pub fn size_bytes(&self) -> u64 {
        (self.record.len() + self.name.len()) as u64
    }
}

/// Value of the row under an id.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ScheduleIdRow {
    #[prost(uint64, tag = "1")]
    pub(super) topic: u64,
    #[prost(int64, tag = "2")]
    pub(super) due_ms: i64,
    #[prost(uint64, tag = "3")]
    pub(super) number: u64,
    /// What the record counts for.
    #[prost(uint64, tag = "4")]
    pub(super) size_bytes: u64,
}

impl ScheduleIdRow {
    pub(super) fn key(&self) -> ScheduleKey {
        ScheduleKey {
            due_ms: self.due_ms,
            number: self.number,
        }
    }

    pub(super) fn to_row(&self, id: &ScheduleId) -> Row {
        Row {
            key: id.row_key(),
            value: Some(self.encode_to_vec().into()),
        }
    }
}

/// Where the record stands that a row under an id finds; none if no release wrote it.
pub fn schedule_of_id(value: &Bytes) -> Option<ScheduleKey> {
    let row = ScheduleIdRow::decode(value.clone()).ok()?;
    Some(row.key())
}

/// Whether an index row may still be asked for, by which topics there are. Those of a deleted topic are left
/// out when runs are merged.
pub fn is_schedule_row_needed(
    key: &RowKey,
    value: &[u8],
    is_there: impl Fn(TopicId) -> bool,
) -> bool {
    /// Both kinds of rows begin with it.
    #[derive(Clone, PartialEq, Message)]
    struct OfTopic {
        #[prost(uint64, tag = "1")]
        topic: u64,
    }
    if key.table != TABLE_SCHEDULED && key.table != TABLE_SCHEDULE_ID {
        return true;
    }
    // One that cannot be read is kept: who asks for it is told.
    OfTopic::decode(value).map_or(true, |row| is_there(TopicId::new(row.topic)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_their_bytes_do() {
        let keys = [(0, 0), (0, 1), (1, 0), (255, 7), (256, 3), (1 << 40, 0)];
        let keys = keys.map(|(due_ms, number)| ScheduleKey { due_ms, number });
        assert!(keys.is_sorted());
        let bytes = keys.map(ScheduleKey::sort_bytes);
        assert!(bytes.is_sorted());
        for key in keys {
            assert_eq!(ScheduleKey::of_row(&key.row_key()), Some(key));
            assert!(key.next() > key);
        }
        let id = ScheduleId::Numbered(3).row_key();
        assert_eq!(ScheduleKey::of_row(&id), None, "of another table");
    }

    #[test]
    fn rows_survive_the_round_trip_and_go_with_their_topic() {
        for id in [ScheduleId::Named([7; 16]), ScheduleId::Numbered(9)] {
            let record = ScheduledRecord {
                partition: PartitionRef {
                    topic: TopicId::new(4),
                    partition: 2,
                },
                id,
                name: "reminder-1".to_owned(),
                accept_time_ms: 5,
                record: Bytes::from_static(b"\x0a\x01k"),
            };
            let row = record.to_row(ScheduleKey::FIRST);
            let value = row.value.expect("a value");
            assert_eq!(ScheduledRecord::from_value(&value), Some(record));
            let found = ScheduleIdRow {
                topic: 4,
                due_ms: 77,
                number: 3,
                size_bytes: 10,
            };
            let found = found.to_row(&id);
            let key = found
                .value
                .as_ref()
                .and_then(schedule_of_id)
                .expect("a key");
            assert_eq!((key.due_ms, key.number), (77, 3));
            let rows = [(row.key, value), (found.key, found.value.expect("a value"))];
            for (key, value) in rows {
                let is_needed =
                    |there| is_schedule_row_needed(&key, &value, |topic| topic.get() == there);
                assert!(is_needed(4), "its topic is there");
                assert!(!is_needed(5), "its topic is gone");
            }
        }
    }
}
