//! All runs at one moment.

use std::sync::Arc;

use bytes::Bytes;

use super::cache::BlockCache;
use super::check::RunCheck;
use super::cursor::{KeyRange, RunCursor};
use super::merged_rows::MergedRows;
use super::range::{Direction, RowRange};
use super::run::{Answer, Query, Run, Source};
use super::scan::RunScan;
use crate::error::StorageError;
use crate::format::row::RowKey;

/// A value up to this size is copied out of its block, which would otherwise stay in memory with it.
const COPY_BYTES_MAX: usize = 8 * 1024;

/// What the runs know of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// No run has ever heard of it, as far as is remembered.
    Unknown,
    /// It was there and is gone.
    Gone,
    /// Its value.
    Value(Bytes),
}

impl Lookup {
    /// The value, if there is one.
    pub fn value(&self) -> Option<&Bytes> {
        match self {
            Self::Value(value) => Some(value),
            Self::Unknown | Self::Gone => None,
        }
    }
}

/// The index rows as the newest checkpoint has them. Never changes; what it holds stays readable for as
/// long as it is held, also when later checkpoints have let go of it. May be used by any number of
/// threads.
///
/// Between `Gone` and `Unknown` a merge may turn one into the other, and nothing else can.
#[derive(Debug)]
pub struct RunSet {
    /// Newest first.
    runs: Vec<Arc<Run>>,
    cache: Arc<BlockCache>,
}

impl RunSet {
    pub(super) fn new(runs: Vec<Arc<Run>>, cache: Arc<BlockCache>) -> Self {
        Self { runs, cache }
    }

    pub(super) fn runs(&self) -> &[Arc<Run>] {
        &self.runs
    }

    pub(super) fn cache(&self) -> &Arc<BlockCache> {
        &self.cache
    }

    /// Number of runs: so many files are open, and so many are asked for a row that is in none.
    pub fn run_count(&self) -> usize {
        self.runs.len()
    }

    /// Number of rows in all runs, those that are gone or superseded included.
    pub fn row_count(&self) -> u64 {
        self.runs.iter().map(|run| run.footer().row_count).sum()
    }

    /// Length of all runs' files, bytes.
    pub fn file_bytes(&self) -> u64 {
        self.runs.iter().map(|run| run.file_bytes()).sum()
    }

    /// Looks for a row. Reads blocks that are not in memory: one or two for a row that is there, of runs
    /// that do not have it mostly none but their index blocks.
    ///
    /// The answer is to be used as it is: that the block is in memory afterwards is likely and not sure.
    ///
    /// # Errors
    /// [`StorageError`]: a block that may have the row cannot be read or is damaged. Other rows can be
    /// looked for as before.
    pub fn get(&self, key: &RowKey) -> Result<Lookup, StorageError> {
        let found = self.look(key, Source::Through(&self.cache))?;
        Ok(found.unwrap_or(Lookup::Unknown))
    }

    /// As [`RunSet::get`] as far as that needs no disk, on any thread; `None` if it does.
    pub fn get_cached(&self, key: &RowKey) -> Option<Lookup> {
        // Trouble is left to whoever asks the disk.
        self.look(key, Source::Memory(&self.cache)).ok().flatten()
    }

    fn look(&self, key: &RowKey, source: Source<'_>) -> Result<Option<Lookup>, StorageError> {
        let mut query = Query::new(key);
        for run in &self.runs {
            match run.get(&mut query, source)? {
                Answer::Absent => {}
                Answer::NotInMemory => return Ok(None),
                Answer::Row(None) => return Ok(Some(Lookup::Gone)),
                Answer::Row(Some(value)) => return Ok(Some(Lookup::Value(own(value)))),
            }
        }
        Ok(Some(Lookup::Unknown))
    }

    /// For reading each run from its first row to its last.
    pub fn checks(&self) -> Vec<RunCheck> {
        self.runs.iter().map(RunCheck::new).collect()
    }

    /// Goes through the rows of a range that are there, from either end. Each step may read the disk.
    pub fn scan(&self, range: &RowRange, direction: Direction) -> RunScan {
        let keys = KeyRange {
            start: range.start_key(),
            end: range.end_key(),
            direction,
        };
        let cursors = self
            .runs
            .iter()
            .filter_map(|run| RunCursor::in_range(run, &self.cache, range, &keys));
        RunScan::new(MergedRows::new(direction, cursors.collect()))
    }
}

/// A value that does not keep a block in memory for a few bytes.
pub(super) fn own(value: Bytes) -> Bytes {
    if value.len() <= COPY_BYTES_MAX {
        Bytes::copy_from_slice(&value)
    } else {
        value
    }
}
