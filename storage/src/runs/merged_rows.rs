//! Several runs as one sequence of rows.

use super::cursor::RunCursor;
use super::range::Direction;
use crate::error::StorageError;
use crate::format::run_file::BlockRow;

/// The rows of several runs in order, each key once, as the newest run has it; also those that are gone.
#[derive(Debug)]
pub(super) struct MergedRows {
    direction: Direction,
    /// Newest first, each with the row that it is at.
    runs: Vec<(RunCursor, Option<BlockRow>)>,
    is_begun: bool,
}

impl MergedRows {
    /// The cursors stand newest first and go the same way.
    pub(super) fn new(direction: Direction, cursors: Vec<RunCursor>) -> Self {
        Self {
            direction,
            runs: cursors.into_iter().map(|cursor| (cursor, None)).collect(),
            is_begun: false,
        }
    }

    /// The next row; `None` behind the last.
    ///
    /// # Errors
    /// [`StorageError`] of any run; no row may be taken after it, since one could be missing.
    pub(super) fn next_row(&mut self) -> Result<Option<BlockRow>, StorageError> {
        if !self.is_begun {
            self.is_begun = true;
            for (cursor, head) in &mut self.runs {
                *head = cursor.next_row()?;
            }
        }
        let direction = self.direction;
        let heads = self.runs.iter().filter_map(|(_, head)| head.as_ref());
        // Of equal keys the first is taken, which is the newest.
        let first = heads.min_by(|left, right| direction.compare(&left.sort_key, &right.sort_key));
        let Some(row) = first.cloned() else {
            return Ok(None);
        };
        for (cursor, head) in &mut self.runs {
            if head.as_ref().is_some_and(|it| it.sort_key == row.sort_key) {
                *head = cursor.next_row()?;
            }
        }
        Ok(Some(row))
    }
}
