//! Where the present set of runs is found.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::cache::BlockCache;
use super::run::Run;
use super::set::RunSet;

/// Gives out the set of runs of the newest checkpoint. Shared by all threads.
#[derive(Debug)]
pub struct IndexStore {
    /// Replaced by the maintenance thread alone, when both copies of a checkpoint that names the runs are
    /// durable.
    current: Mutex<Arc<RunSet>>,
}

impl IndexStore {
    /// A store without runs.
    pub(super) fn new(cache_bytes: u64) -> Self {
        let cache = Arc::new(BlockCache::new(cache_bytes));
        Self {
            current: Mutex::new(Arc::new(RunSet::new(Vec::new(), cache))),
        }
    }

    /// The rows as the newest checkpoint has them: those that changed since are not in it.
    pub fn current(&self) -> Arc<RunSet> {
        Arc::clone(&self.lock())
    }

    /// Bytes of blocks in memory.
    pub fn cached_bytes(&self) -> u64 {
        self.lock().cache().bytes()
    }

    pub(super) fn replace(&self, runs: Vec<Arc<Run>>) {
        let mut current = self.lock();
        let cache = Arc::clone(current.cache());
        *current = Arc::new(RunSet::new(runs, cache));
    }

    fn lock(&self) -> MutexGuard<'_, Arc<RunSet>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
