//! Going through a range of rows in all runs.

use std::iter::FusedIterator;

use bytes::Bytes;

use super::merged_rows::MergedRows;
use crate::error::{Corruption, StorageError};
use crate::format::row::RowKey;
use crate::format::run_file::row_key;

/// The rows of a range that are there, in order, each with its newest value. Blocks are read as they are
/// needed, on the thread that asks for the next row.
///
/// After an error it ends: a row that is missing must not look like one that was never there.
#[derive(Debug)]
pub struct RunScan {
    rows: Option<MergedRows>,
}

impl RunScan {
    pub(super) fn new(rows: MergedRows) -> Self {
        Self { rows: Some(rows) }
    }

    fn next_present(&mut self) -> Result<Option<(RowKey, Bytes)>, StorageError> {
        let Some(rows) = &mut self.rows else {
            return Ok(None);
        };
        while let Some(row) = rows.next_row()? {
            if let Some(value) = row.value {
                let key = row_key(row.sort_key).ok_or_else(no_row_key)?;
                return Ok(Some((key, super::set::own(value))));
            }
        }
        Ok(None)
    }
}

impl Iterator for RunScan {
    type Item = Result<(RowKey, Bytes), StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_present();
        if !matches!(next, Ok(Some(_))) {
            self.rows = None;
        }
        next.transpose()
    }
}

impl FusedIterator for RunScan {}

/// The writer makes none.
pub(super) fn no_row_key() -> StorageError {
    Corruption {
        path: crate::folder::INDEX.into(),
        position: 0,
        what: "a sort key is shorter than a table number".to_owned(),
    }
    .into()
}
