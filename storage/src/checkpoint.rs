//! Checkpoints: all rows of the broker's state at one LSN, in a sorted file, written twice.
//!
//! A checkpoint is a streaming merge of the one before with the rows that changed since. What it
//! covers is in the segments and synced before it is written, so the journal behind it is free.
//!
//! Rows of index tables are too many for that: those that changed go into a run of their own, which is
//! durable before the checkpoint that names it.

mod reader;
mod writer;

use std::path::Path;

pub(crate) use reader::CheckpointReader;

use crate::environment::Environment;
use crate::error::{Operation, StorageError, io_error, with_causes};
use crate::folder::{self, CheckpointName};
use crate::format::checkpoint_file::CheckpointFooter;
use crate::format::row::Row;
use crate::format::run_row::{INDEX_TABLES, RUN_TABLE, RunRow};
use crate::ids::{BrokerId, Lsn};
use crate::journal::JournalPosition;
use crate::runs::{MergeJob, MergedRun, RunKeeper, Staged};
use writer::CheckpointWriter;

/// Extension of a copy that is being written.
const TEMPORARY: &str = "checkpoint.tmp";

/// Number of equal files of each checkpoint.
pub(crate) const COPIES: [u8; 2] = [1, 2];

/// What a checkpoint is made of.
#[derive(Debug)]
pub struct CheckpointInput {
    /// The last entry whose effects it holds.
    pub lsn: Lsn,
    /// Where the journal goes on behind that entry.
    pub continuation: JournalPosition,
    /// Broker time at that entry, milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// Every row that changed since the previous checkpoint, as it is at `lsn`; each once. Those of
    /// [`INDEX_TABLES`] and above go into a run.
    pub changed: Vec<Row>,
}

/// Writes checkpoints. Lives on the maintenance thread.
#[derive(Debug)]
pub struct Checkpointer {
    environment: Environment,
    broker_id: BrokerId,
    incarnation: u64,
    /// The newest checkpoint of which at least one copy is durable.
    newest: Option<CheckpointName>,
    runs: RunKeeper,
}

impl Checkpointer {
    pub(crate) fn new(
        environment: Environment,
        broker_id: BrokerId,
        incarnation: u64,
        newest: Option<CheckpointName>,
        runs: RunKeeper,
    ) -> Self {
        Self {
            environment,
            broker_id,
            incarnation,
            newest,
            runs,
        }
    }

    /// The life of the data that this process began.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// A merge of runs that is due; `None` if there is none, or the last one is under way or waits for a
    /// checkpoint. It may be carried out on any thread.
    pub fn merge_job(&mut self) -> Option<MergeJob> {
        self.runs.merge_job()
    }

    /// Takes a finished merge, which the next checkpoint installs.
    pub fn take_merged(&mut self, merged: MergedRun) {
        self.runs.take_merged(merged);
    }

    /// Writes a checkpoint, both copies, and removes older ones. The caller has synced the segments.
    ///
    /// On success the journal before `continuation` is not needed any more, what was dropped at or below
    /// the LSN may be unlinked, and the index rows are in [`IndexStore::current`](crate::IndexStore).
    ///
    /// # Errors
    /// [`StorageError`]: the previous checkpoint still stands, no journal may be freed, and the
    /// changed rows must be part of the next attempt.
    pub fn write(&mut self, input: &mut CheckpointInput) -> Result<(), StorageError> {
        input
            .changed
            .sort_by(|left, right| left.key.cmp(&right.key));
        let split = input
            .changed
            .partition_point(|row| row.key.table < INDEX_TABLES);
        let (state_rows, index_rows) = input.changed.split_at(split);
        // INVARIANT: the table that names runs is storage's own.
        assert!(
            state_rows
                .last()
                .is_none_or(|row| row.key.table < RUN_TABLE),
            "no row of the state is in storage's table"
        );
        let mut staged = self.runs.stage(index_rows, input.lsn)?;
        let run_rows = staged.rows();
        let rows = [state_rows, &run_rows[..]];
        if let Err(error) = self.write_copies(input, rows, &mut staged) {
            self.runs.give_up(staged);
            return Err(error);
        }
        self.runs.install(staged);
        self.remove_older(input.lsn)?;
        // DURABILITY: both copies of a checkpoint stand that does not name what goes.
        self.runs.remove_unneeded();
        Ok(())
    }

    /// Writes both copies, of the base with newer rows: those of the state, then those that name runs.
    fn write_copies(
        &mut self,
        input: &CheckpointInput,
        rows: [&[Row]; 2],
        staged: &mut Staged,
    ) -> Result<(), StorageError> {
        let base = self.newest;
        for copy in COPIES {
            let name = CheckpointName {
                lsn: input.lsn,
                incarnation: self.incarnation,
                copy,
            };
            self.write_copy_over(base, name, input, rows)?;
            self.runs.note_named(staged);
            self.publish_copy(name)?;
            // A checkpoint of which one copy is durable may already be the newest at the next start;
            // it never is the base of the second copy, which must be equal to the first.
            self.newest = Some(name);
        }
        Ok(())
    }

    /// Writes a copy from whichever file of the base is intact.
    fn write_copy_over(
        &self,
        base: Option<CheckpointName>,
        name: CheckpointName,
        input: &CheckpointInput,
        rows: [&[Row]; 2],
    ) -> Result<(), StorageError> {
        let result = self.write_copy(base, name, input, rows);
        match (result, base) {
            (Err(error), Some(base)) if is_damage(&error) => {
                let copy = COPIES.into_iter().find(|copy| *copy != base.copy);
                let Some(copy) = copy else {
                    return Err(error);
                };
                let error = with_causes(&error);
                tracing::error!(%error, "checkpoint is damaged, going on from its other copy");
                self.write_copy(Some(CheckpointName { copy, ..base }), name, input, rows)
            }
            (result, _) => result,
        }
    }

    fn write_copy(
        &self,
        base: Option<CheckpointName>,
        name: CheckpointName,
        input: &CheckpointInput,
        rows: [&[Row]; 2],
    ) -> Result<(), StorageError> {
        let temporary = folder::checkpoint_file(name).with_extension(TEMPORARY);
        let mut writer = CheckpointWriter::create(&self.environment, &temporary, input.lsn)?;
        let mut base_rows = base
            .map(|base| CheckpointReader::open(&self.environment, base))
            .transpose()?;
        merge(base_rows.as_mut(), rows, |row| writer.push(row))?;
        writer.finish(|row_count, blocks_end| CheckpointFooter {
            lsn: input.lsn,
            row_count,
            blocks_end,
            journal_file: input.continuation.file,
            journal_position: input.continuation.position,
            incarnation: self.incarnation,
            time_ms: input.time_ms,
            broker_id: self.broker_id,
        })
    }

    /// Gives a copy that is whole and synced its name.
    fn publish_copy(&self, name: CheckpointName) -> Result<(), StorageError> {
        let vfs = &self.environment.vfs;
        let path = folder::checkpoint_file(name);
        let temporary = path.with_extension(TEMPORARY);
        // DURABILITY: content before name; a checkpoint under its own name is always whole.
        vfs.rename(&temporary, &path)
            .map_err(io_error(Operation::Rename, &temporary))?;
        vfs.sync_dir(Path::new(folder::CHECKPOINT))
            .map_err(io_error(Operation::SyncDir, &path))
    }

    fn remove_older(&self, lsn: Lsn) -> Result<(), StorageError> {
        let oldest_kept = CheckpointName {
            lsn,
            incarnation: self.incarnation,
            copy: 0,
        };
        for name in list(&self.environment)?
            .into_iter()
            .filter(|name| *name < oldest_kept)
        {
            let path = folder::checkpoint_file(name);
            let unlinked = self.environment.vfs.unlink(&path);
            unlinked.map_err(io_error(Operation::Unlink, path))?;
        }
        Ok(())
    }
}

/// Whether an error may be that of one file rather than of the disk.
fn is_damage(error: &StorageError) -> bool {
    matches!(error, StorageError::Corrupt(_)) || error.is_not_found()
}

/// Merges the rows of `base` with newer ones, both sorted; rows that are gone are left out, and the runs
/// that the base names, since all that are to be named are among the newer rows.
fn merge(
    base: Option<&mut CheckpointReader>,
    changed: [&[Row]; 2],
    mut push: impl FnMut(&Row) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    let mut changed = changed.into_iter().flatten().peekable();
    if let Some(base) = base {
        while let Some(old) = base.next_row()? {
            if old.key.table == RUN_TABLE {
                continue;
            }
            while let Some(newer) = changed.next_if(|newer| newer.key < old.key) {
                push_present(newer, &mut push)?;
            }
            match changed.next_if(|newer| newer.key == old.key) {
                Some(newer) => push_present(newer, &mut push)?,
                None => push(&old)?,
            }
        }
    }
    changed.try_for_each(|newer| push_present(newer, &mut push))
}

fn push_present(
    row: &Row,
    push: &mut impl FnMut(&Row) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    if row.value.is_some() {
        push(row)
    } else {
        Ok(())
    }
}

/// Names of the checkpoint files in the folder, oldest first.
pub(crate) fn list(environment: &Environment) -> Result<Vec<CheckpointName>, StorageError> {
    let entries = environment
        .vfs
        .list(Path::new(folder::CHECKPOINT))
        .map_err(io_error(Operation::List, folder::CHECKPOINT))?;
    let mut names: Vec<_> = entries
        .iter()
        .filter_map(|entry| folder::parse_checkpoint_file(&entry.name))
        .collect();
    names.sort_unstable();
    Ok(names)
}

/// The highest LSN in the name of a checkpoint, which had been durable, damaged or not.
pub(crate) fn named_durable(environment: &Environment) -> Result<Lsn, StorageError> {
    let names = list(environment)?;
    Ok(names.last().map_or(Lsn::ZERO, |name| name.lsn))
}

/// The runs that a checkpoint names.
///
/// # Errors
/// [`StorageError::Corrupt`] if the checkpoint is damaged.
pub(crate) fn named_runs(
    environment: &Environment,
    name: CheckpointName,
) -> Result<Vec<RunRow>, StorageError> {
    let mut reader = CheckpointReader::open(environment, name)?;
    let mut runs = Vec::new();
    while let Some(row) = reader.next_row()? {
        if row.key.table == RUN_TABLE {
            let run = RunRow::from_row(&row);
            runs.push(run.ok_or_else(|| reader.corrupt("a row that names a run is malformed"))?);
        }
    }
    Ok(runs)
}

#[cfg(test)]
mod tests;
