//! Checking a whole run.

use std::sync::Arc;

use super::{Run, RunRows};
use crate::error::StorageError;
use crate::format::row::Row;

/// Reads the whole file: every block, and whether rows rise and are as many as the footer says.
pub(crate) fn check_rows(run: &Arc<Run>) -> Result<(), StorageError> {
    let mut rows = RunRows::new(run);
    let (mut count, mut last) = (0, None);
    while let Some(Row { key, .. }) = rows.next_row()? {
        if last.as_ref().is_some_and(|last| *last >= key) {
            return Err(run.corrupt(0, "rows are not in order"));
        }
        last = Some(key);
        count += 1;
    }
    match count == run.footer().row_count {
        true => Ok(()),
        false => Err(run.corrupt(0, "rows are missing")),
    }
}
