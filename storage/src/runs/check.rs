//! Checking a whole run.

use std::sync::Arc;

use super::{Run, RunRows};
use crate::error::StorageError;
use crate::format::row::RowKey;

/// A run that is read from its first row to its last, a little at a time: every block, whether rows rise, and
/// whether they are as many as the footer says. Reads past the blocks that are in memory.
#[derive(Debug)]
pub struct RunCheck {
    run: Arc<Run>,
    rows: RunRows,
    row_count: u64,
    last: Option<RowKey>,
}

impl RunCheck {
    pub(crate) fn new(run: &Arc<Run>) -> Self {
        Self {
            run: Arc::clone(run),
            rows: RunRows::new(run),
            row_count: 0,
            last: None,
        }
    }

    /// Number of the run; later ones have higher numbers.
    pub fn number(&self) -> u64 {
        self.run.number()
    }

    /// Reads up to so many rows; returns their length in bytes, or none behind the last.
    ///
    /// # Errors
    /// [`StorageError`]: a block cannot be read or is damaged, and there is no going on.
    pub fn step(&mut self, row_count_max: usize) -> Result<Option<u64>, StorageError> {
        let mut bytes = 0;
        for _ in 0..row_count_max {
            let Some(row) = self.rows.next_row()? else {
                return match self.row_count == self.run.footer().row_count {
                    true if bytes == 0 => Ok(None),
                    true => Ok(Some(bytes)),
                    false => Err(self.run.corrupt(0, "rows are missing")),
                };
            };
            bytes += row.encoded_bytes() as u64;
            if self.last.as_ref().is_some_and(|last| *last >= row.key) {
                return Err(self.run.corrupt(0, "rows are not in order"));
            }
            self.last = Some(row.key);
            self.row_count += 1;
        }
        Ok(Some(bytes))
    }
}

/// Checks all of a run at once.
pub(crate) fn check_rows(run: &Arc<Run>) -> Result<(), StorageError> {
    let mut check = RunCheck::new(run);
    while check.step(usize::MAX)?.is_some() {}
    Ok(())
}
