//! The outside world of a broker whose steps are counted: a folder that goes with it, and a clock of the
//! standard library.
//!
//! The broker's own clock goes through the kernel's shared object (vDSO) without the C library, which ends
//! a program under valgrind 3.19: it has taken that object away.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;
use towpath_storage::vfs::RealVfs;
use towpath_storage::{Clock, Environment, SystemEntropy};

use crate::{Error, Result};

/// A folder that is empty, and gone when it is dropped.
pub(super) fn folder() -> Result<TempDir> {
    TempDir::new().map_err(Error::io("make a data folder"))
}

/// What a broker in that folder needs.
pub(super) fn environment(folder: &TempDir) -> Result<Environment> {
    let vfs = RealVfs::new(folder.path()).map_err(Error::io("open the data folder"))?;
    Ok(Environment {
        vfs: Arc::new(vfs),
        clock: Arc::new(LibraryClock {
            start: Instant::now(),
        }),
        entropy: Arc::new(SystemEntropy),
    })
}

#[derive(Debug)]
struct LibraryClock {
    start: Instant,
}

impl Clock for LibraryClock {
    fn wall_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.map_or(0, |it| i64::try_from(it.as_millis()).unwrap_or(i64::MAX))
    }

    fn boot(&self) -> Duration {
        self.start.elapsed()
    }
}
