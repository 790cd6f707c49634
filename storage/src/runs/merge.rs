//! Merging runs into one.

use std::sync::Arc;

use super::RunContext;
use super::cursor::RunCursor;
use super::merged_rows::MergedRows;
use super::range::Direction;
use super::run::Run;
use super::scan::no_row_key;
use super::writer::{RunWriter, WrittenRun};
use crate::error::StorageError;
use crate::format::row::RowKey;
use crate::format::run_file::{RunSpan, row_key};

/// Bytes of keys and values that are taken in one step, about.
const STEP_BYTES: usize = 128 * 1024;

/// A merge under way. Takes memory for one block of each run and the new run's buffers. May go on on any
/// thread while the runs are read; if it is dropped, what it has written is removed.
#[derive(Debug)]
pub struct MergeJob {
    context: RunContext,
    number: u64,
    /// Newest first.
    inputs: Vec<Arc<Run>>,
    /// Whether no older run is left, so that nothing is hidden by what is gone.
    has_oldest: bool,
    rows: MergedRows,
    writer: Option<RunWriter>,
    /// Held as long as the merge is under way.
    token: Arc<()>,
}

/// How far a merge has come.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "moved once for each 128 KiB of rows"
)]
pub enum MergeStep {
    /// There is more to do.
    Unfinished(MergeJob),
    /// The new run is durable, and nothing names it yet.
    Finished(MergedRun),
}

/// Runs that were merged, for [`Checkpointer::take_merged`](crate::Checkpointer::take_merged). If it is
/// dropped, the new run is removed.
#[derive(Debug)]
pub struct MergedRun {
    pub(super) inputs: Vec<Arc<Run>>,
    /// None if no row is left.
    pub(super) written: Option<WrittenRun>,
    pub(super) token: Arc<()>,
}

impl MergeJob {
    /// `inputs` are neighbours by age, newest first.
    pub(super) fn new(
        context: RunContext,
        number: u64,
        inputs: Vec<Arc<Run>>,
        has_oldest: bool,
        token: Arc<()>,
    ) -> Self {
        let cursors = inputs.iter().map(RunCursor::through_all).collect();
        Self {
            context,
            number,
            inputs,
            has_oldest,
            rows: MergedRows::new(Direction::Forward, cursors),
            writer: None,
            token,
        }
    }

    /// Bytes that it reads in all, and at most writes.
    pub fn input_bytes(&self) -> u64 {
        self.inputs.iter().map(|run| run.file_bytes()).sum()
    }

    /// Goes on by about 128 KiB of rows; the last step also syncs the new run.
    ///
    /// `keep` says of a row and its newest value in these runs whether anybody can still need it. What it
    /// says no to is as if it was gone, so it must rest on what is durable.
    ///
    /// # Errors
    /// [`StorageError`]: the merge has ended and left nothing. A damaged run is left out of later ones.
    pub fn step(
        mut self,
        keep: &mut dyn FnMut(&RowKey, &[u8]) -> bool,
    ) -> Result<MergeStep, StorageError> {
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => RunWriter::create(&self.context, self.number)?,
        };
        let mut done_bytes = 0;
        while done_bytes < STEP_BYTES {
            let Some(row) = self.rows.next_row()? else {
                return self.finish(writer).map(MergeStep::Finished);
            };
            done_bytes += row.sort_key.len() + row.value.as_ref().map_or(0, |value| value.len());
            let key = row_key(row.sort_key).ok_or_else(no_row_key)?;
            match row.value.filter(|value| keep(&key, value)) {
                Some(value) => writer.push(&key, Some(&value))?,
                // An older run may still have a value, which must not come back.
                None if !self.has_oldest => writer.push(&key, None)?,
                None => {}
            }
        }
        self.writer = Some(writer);
        Ok(MergeStep::Unfinished(self))
    }

    fn finish(self, writer: RunWriter) -> Result<MergedRun, StorageError> {
        let spans = || self.inputs.iter().map(|run| run.footer().span);
        let span = RunSpan {
            after: spans().map(|span| span.after).min().unwrap_or_default(),
            last: spans().map(|span| span.last).max().unwrap_or_default(),
        };
        let rank = self.inputs.iter().map(|run| run.rank()).max();
        let written = writer.finish(rank.unwrap_or(self.number), span)?;
        Ok(MergedRun {
            inputs: self.inputs,
            written,
            token: self.token,
        })
    }
}
