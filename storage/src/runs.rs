//! The index store: rows of index tables, which are too many for memory and for the checkpoint.
//!
//! They lie in *runs*, immutable sorted files that the checkpoint names. A checkpoint writes those that
//! changed since the last one as a new run, and runs of similar size are merged. A lookup asks the runs
//! from the newest to the oldest; the first that knows the row is right, also if it says that it is gone.

mod cache;
mod check;
mod cursor;
mod keeper;
mod merge;
mod merged_rows;
mod plan;
mod range;
mod run;
mod scan;
mod set;
mod store;
mod unfinished;
mod writer;

pub use check::RunCheck;
pub(crate) use check::check_rows;
pub(crate) use cursor::RunRows;
pub(crate) use keeper::{RunKeeper, Staged};
pub use merge::{MergeJob, MergeStep, MergedRun};
pub use range::{Direction, RowRange};
pub(crate) use run::{Run, list};
pub use scan::RunScan;
pub use set::{Lookup, RunSet};
pub use store::IndexStore;

use crate::environment::Environment;
use crate::ids::BrokerId;

/// How indexes are kept.
#[derive(Debug, Clone)]
pub struct IndexOptions {
    /// Memory for blocks of runs, bytes. Default 32 MiB. Less makes more lookups read the disk.
    pub cache_bytes: u64,
    /// How many leading bytes of a table's keys are their *filter key*: what lookups by prefix have in
    /// common. By it a run is passed over that has no such key. Default: the whole key, which serves
    /// lookups of single rows only. A run remembers with which number it was written.
    pub filter_key_bytes: fn(table: u16) -> usize,
}

impl Default for IndexOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 32 * 1024 * 1024,
            filter_key_bytes: |_| usize::MAX,
        }
    }
}

/// What everything that makes runs needs to know.
#[derive(Debug, Clone)]
pub(crate) struct RunContext {
    pub(crate) environment: Environment,
    pub(crate) broker_id: BrokerId,
    pub(crate) filter_key_bytes: fn(table: u16) -> usize,
}

#[cfg(test)]
mod tests;
