//! The content of a run's contents block: its tables, then first key and place of each index block.
//!
//! ```text
//! table count u32
//! table u16 | reserved u16 | filter key bytes u32 | row count u64       (for each table)
//! first key bytes u32 | first key | position u64 | bytes u32            (for each partition)
//! ```
//!
//! That a run says itself which part of its keys the filters know means that a later release may choose
//! another part without misreading older runs.

use bytes::{Buf, BufMut, Bytes};

use super::block::BlockPlace;
use super::partition_index::{decode_place, encode_place};

/// The rows of one table in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableSummary {
    /// Number of the table.
    pub table: u16,
    /// How many leading bytes of a key the filters know.
    pub filter_key_bytes: u32,
    /// Number of rows, those that are gone included.
    pub row_count: u64,
}

/// A partition: its first sort key and where its index block is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionPlace {
    /// Sort key of its first row.
    pub first_key: Bytes,
    /// Where its index block is.
    pub place: BlockPlace,
}

/// What the contents block says of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunContents {
    /// The tables that have rows, in order.
    pub tables: Vec<TableSummary>,
    /// The partitions, in order.
    pub partitions: Vec<PartitionPlace>,
}

impl RunContents {
    /// The block's content.
    pub fn encode(&self) -> Vec<u8> {
        let mut content = Vec::new();
        content.put_u32_le(u32::try_from(self.tables.len()).unwrap_or(u32::MAX));
        for table in &self.tables {
            content.put_u16_le(table.table);
            content.put_u16_le(0);
            content.put_u32_le(table.filter_key_bytes);
            content.put_u64_le(table.row_count);
        }
        for partition in &self.partitions {
            encode_place(&mut content, &partition.first_key, &partition.place);
        }
        content
    }

    /// Reads a contents block's content; `None` if it is not one of so many partitions.
    pub fn decode(mut content: Bytes, partition_count: u32) -> Option<Self> {
        let mut contents = Self::default();
        for _ in 0..content.try_get_u32_le().ok()? {
            contents.tables.push(Self::decode_table(&mut content)?);
        }
        while !content.is_empty() {
            let (first_key, place) = decode_place(&mut content)?;
            contents
                .partitions
                .push(PartitionPlace { first_key, place });
        }
        let is_whole = contents.partitions.len() == partition_count as usize;
        is_whole.then_some(contents)
    }

    fn decode_table(content: &mut Bytes) -> Option<TableSummary> {
        let table = content.try_get_u16_le().ok()?;
        let reserved = content.try_get_u16_le().ok()?;
        let summary = TableSummary {
            table,
            filter_key_bytes: content.try_get_u32_le().ok()?,
            row_count: content.try_get_u64_le().ok()?,
        };
        (reserved == 0).then_some(summary)
    }

    /// What it says of a table; `None` if the run has no row of it.
    pub fn table(&self, table: u16) -> Option<&TableSummary> {
        self.tables.iter().find(|summary| summary.table == table)
    }
}
