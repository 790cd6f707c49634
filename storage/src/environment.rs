//! What storage takes from outside besides files: time and randomness.
//!
//! Both come in through traits, so that a simulation repeats from its seed.

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Operation, StorageError, io_error};
use crate::vfs::{OpenMode, Vfs, VfsFile};

#[cfg(feature = "test-util")]
pub(crate) mod random;
#[cfg(feature = "test-util")]
mod sim;
mod system;
#[cfg(test)]
pub(crate) mod testing;

#[cfg(feature = "test-util")]
pub use sim::{SimClock, SimEntropy};
pub use system::{SystemClock, SystemEntropy};

/// A source of time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Wall-clock time in milliseconds since the Unix epoch. May jump in either direction.
    fn wall_ms(&self) -> i64;

    /// Time since an arbitrary start, counted while the machine sleeps too; never steps back.
    fn boot(&self) -> Duration;
}

/// A source of unpredictable bits: journal salts and the broker's id.
pub trait Entropy: Send + Sync + fmt::Debug {
    /// Returns 64 bits.
    fn next_u64(&self) -> u64;
}

/// The outside world of one data folder.
#[derive(Debug, Clone)]
pub struct Environment {
    /// The file system, rooted at the data folder.
    pub vfs: Arc<dyn Vfs>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

impl Environment {
    /// Creates a file, or opens the one that an earlier attempt has left with what is in it.
    ///
    /// # Errors
    /// [`StorageError::Io`] of the disk.
    pub(crate) fn open_or_create(&self, path: &Path) -> Result<Arc<dyn VfsFile>, StorageError> {
        match self.vfs.open(path, OpenMode::CreateNew) {
            Err(source) if source.kind() == ErrorKind::AlreadyExists => self
                .vfs
                .open(path, OpenMode::Write)
                .map_err(io_error(Operation::Open, path)),
            opened => opened.map_err(io_error(Operation::Create, path)),
        }
    }
}
