//! A row of the checkpoint that names a run. Kept in a table that only storage uses.

use bytes::{Buf, BufMut, Bytes};

use super::row::{Row, RowKey};
use super::run_file::RunSpan;
use crate::ids::Lsn;

/// The table of the rows that name runs. No row of it is ever part of an entry.
pub const RUN_TABLE: u16 = 0x7fff;
/// The first index table: rows of it and of those above it are kept in runs and not in the checkpoint.
pub const INDEX_TABLES: u16 = 0x8000;

/// Bytes of the row's value.
pub const RUN_ROW_BYTES: usize = 48;

/// What a checkpoint says of a run.
///
/// ```text
/// key:    number u64
/// value:  0 salt u64   8 file bytes u64   16 rank u64   24 row count u64
///        32 after lsn u64   40 last lsn u64
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunRow {
    /// Number of the file.
    pub number: u64,
    /// Salt of the file.
    pub salt: u64,
    /// Length of the file.
    pub file_bytes: u64,
    /// Its place by age among the others, the newest has the highest: its own number, or if it was merged
    /// the rank of the newest run that went into it.
    pub rank: u64,
    /// Number of its rows, those that are gone included.
    pub row_count: u64,
    /// The entries whose changes it holds.
    pub span: RunSpan,
}

impl RunRow {
    /// The row of the checkpoint.
    pub fn to_row(self) -> Row {
        let mut value = Vec::with_capacity(RUN_ROW_BYTES);
        value.put_u64_le(self.salt);
        value.put_u64_le(self.file_bytes);
        value.put_u64_le(self.rank);
        value.put_u64_le(self.row_count);
        value.put_u64_le(self.span.after.get());
        value.put_u64_le(self.span.last.get());
        Row {
            key: RowKey {
                table: RUN_TABLE,
                key: Bytes::copy_from_slice(&self.number.to_le_bytes()),
            },
            value: Some(value.into()),
        }
    }

    /// Reads a row; `None` if it is not one that names a run.
    pub fn from_row(row: &Row) -> Option<Self> {
        let number = u64::from_le_bytes((*row.key.key).try_into().ok()?);
        let mut value = row.value.as_deref()?;
        let is_whole = row.key.table == RUN_TABLE && value.len() == RUN_ROW_BYTES;
        is_whole.then_some(())?;
        Some(Self {
            number,
            salt: value.try_get_u64_le().ok()?,
            file_bytes: value.try_get_u64_le().ok()?,
            rank: value.try_get_u64_le().ok()?,
            row_count: value.try_get_u64_le().ok()?,
            span: RunSpan {
                after: Lsn::new(value.try_get_u64_le().ok()?),
                last: Lsn::new(value.try_get_u64_le().ok()?),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_row_survives_the_round_trip() {
        let run = RunRow {
            number: 1,
            salt: 2,
            file_bytes: 3,
            rank: 4,
            row_count: 5,
            span: RunSpan {
                after: Lsn::new(6),
                last: Lsn::new(7),
            },
        };
        let row = run.to_row();
        assert_eq!(RunRow::from_row(&row), Some(run));
        let gone = Row {
            value: None,
            ..row.clone()
        };
        assert_eq!(RunRow::from_row(&gone), None);
        let short = row.value.map(|value| value.slice(1..));
        assert_eq!(
            RunRow::from_row(&Row {
                value: short,
                ..row
            }),
            None
        );
    }
}
