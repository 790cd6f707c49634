//! The rows of indexes that are on disk, as those see them who prepare commands.
//!
//! A decision reads no disk. Who prepares a command looks up what it may need, and the command carries that
//! together with the [`IndexSnapshot`] that it comes from. What has changed since stays in the state for as
//! long as anybody has an older snapshot.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use towpath_storage::{IndexStore, RunSet};

/// Gives out snapshots. Shared by all threads.
#[derive(Debug)]
pub struct IndexView {
    store: Arc<IndexStore>,
    /// Held by the snapshots that were made since the last checkpoint was done.
    token: Mutex<Arc<()>>,
    /// Number of the next commit that has a key, as of what is durable.
    next_commit: AtomicU64,
}

/// The rows as a checkpoint has them. Holds rows in memory: to be let go of soon.
#[derive(Debug, Clone)]
pub struct IndexSnapshot {
    /// The rows.
    pub runs: Arc<RunSet>,
    _token: Arc<()>,
}

impl IndexView {
    /// Gives out snapshots of these rows.
    pub fn new(store: Arc<IndexStore>) -> Self {
        Self {
            store,
            token: Mutex::default(),
            next_commit: AtomicU64::new(0),
        }
    }

    /// Notes how many commits with a key are durable.
    pub(super) fn set_next_commit(&self, number: u64) {
        // ORDERING: a merge that sees an older number keeps more.
        self.next_commit.store(number, Ordering::Relaxed);
    }

    /// How many commits with a key are durable, at least.
    pub(super) fn next_commit(&self) -> u64 {
        self.next_commit.load(Ordering::Relaxed)
    }

    /// The rows as the newest checkpoint has them, or a newer one.
    pub fn snapshot(&self) -> IndexSnapshot {
        // The token comes first: what it stands for is in the runs then, or in the state.
        let token = Arc::clone(&self.lock());
        IndexSnapshot {
            runs: self.store.current(),
            _token: token,
        }
    }

    /// Notes that a checkpoint is done. Returns what stands for the snapshots that were made before.
    pub(super) fn renew(&self) -> Weak<()> {
        let mut token = self.lock();
        let before = Arc::downgrade(&token);
        *token = Arc::new(());
        before
    }

    fn lock(&self) -> MutexGuard<'_, Arc<()>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
