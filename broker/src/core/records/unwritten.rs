//! What is remembered of a batch of which not all records were written, for when it is sent again.

use bytes::{BufMut, Bytes};
use prost::Message;
use towpath_storage::{Offset, PartitionRef, ProducerStamp, Row, RowKey};

use super::rows::{EventRow, TABLE_UNWRITTEN};
use crate::core::State;
use crate::core::row::decode;

/// For how long it is remembered, milliseconds: as long as producers without a name are that are silent. One
/// that sends a batch again after more than a day is told its place, and nothing of single records.
const REMEMBERED_MS: i64 = 24 * 60 * 60 * 1000;

/// A record that is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnwrittenRecord {
    /// Its number in the batch as it was sent.
    pub index: u32,
    /// Why.
    pub cause: UnwrittenCause,
}

/// Why a record is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnwrittenCause {
    /// The event is there already.
    RepeatedEvent(EventRow),
    /// Its entity has a version that is not smaller.
    StaleEntityVersion {
        /// Which.
        current: u64,
    },
}

#[derive(Clone, PartialEq, Message)]
struct BatchRow {
    #[prost(int64, tag = "1")]
    time_ms: i64,
    #[prost(message, repeated, tag = "2")]
    records: Vec<UnwrittenRecordRow>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(in crate::core) struct UnwrittenRecordRow {
    #[prost(uint32, tag = "1")]
    index: u32,
    #[prost(uint64, optional, tag = "2")]
    stale_entity_version: Option<u64>,
    #[prost(uint32, tag = "3")]
    partition: u32,
    #[prost(uint64, tag = "4")]
    offset: u64,
    #[prost(int64, tag = "5")]
    time_ms: i64,
}

impl From<&UnwrittenRecord> for UnwrittenRecordRow {
    fn from(record: &UnwrittenRecord) -> Self {
        let index = record.index;
        match record.cause {
            UnwrittenCause::RepeatedEvent(event) => Self {
                index,
                stale_entity_version: None,
                partition: event.partition,
                offset: event.offset.get(),
                time_ms: event.time_ms,
            },
            UnwrittenCause::StaleEntityVersion { current } => Self {
                index,
                stale_entity_version: Some(current),
                ..Self::default()
            },
        }
    }
}

impl From<&UnwrittenRecordRow> for UnwrittenRecord {
    fn from(row: &UnwrittenRecordRow) -> Self {
        let cause = match row.stale_entity_version {
            Some(current) => UnwrittenCause::StaleEntityVersion { current },
            None => UnwrittenCause::RepeatedEvent(EventRow {
                partition: row.partition,
                offset: Offset::new(row.offset),
                time_ms: row.time_ms,
            }),
        };
        Self {
            index: row.index,
            cause,
        }
    }
}

impl UnwrittenRecord {
    /// Where it is remembered of a batch.
    pub fn row_key(partition: PartitionRef, stamp: ProducerStamp) -> RowKey {
        let mut key = Vec::with_capacity(40);
        key.put_u64(partition.topic.get());
        key.put_u32(partition.partition);
        key.put_slice(stamp.id.as_bytes());
        key.put_u32(stamp.epoch);
        key.put_u64(stamp.sequence);
        RowKey {
            table: TABLE_UNWRITTEN,
            key: key.into(),
        }
    }

    /// The row that remembers which records of a batch were not written.
    pub fn row(
        partition: PartitionRef,
        stamp: ProducerStamp,
        records: &[Self],
        now_ms: i64,
    ) -> Row {
        let row = BatchRow {
            time_ms: now_ms,
            records: records.iter().map(UnwrittenRecordRow::from).collect(),
        };
        Row {
            key: Self::row_key(partition, stamp),
            value: Some(row.encode_to_vec().into()),
        }
    }
}

impl State {
    /// Which records of a batch were not written, as far as that is remembered.
    pub fn unwritten(
        &self,
        partition: PartitionRef,
        stamp: ProducerStamp,
        on_disk: Option<&Bytes>,
    ) -> Vec<UnwrittenRecord> {
        let key = UnwrittenRecord::row_key(partition, stamp);
        let row = match self.index.get(&key) {
            Some(changed) => changed,
            None => on_disk,
        };
        let records = row.map(|row| decode::<BatchRow>(row).records);
        let records = records.unwrap_or_default();
        records.iter().map(UnwrittenRecord::from).collect()
    }
}

/// Whether the row may still be asked for.
pub(super) fn is_needed(value: &[u8], now_ms: i64) -> bool {
    let row = BatchRow::decode(value);
    row.map_or(true, |row| {
        row.time_ms.saturating_add(REMEMBERED_MS) > now_ms
    })
}
