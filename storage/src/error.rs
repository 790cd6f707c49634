//! What can go wrong below the broker, each fact in one type.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::ids::{Lsn, OffsetRange, PartitionRef};

/// What was being done to a file when the operating system refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Opening a file that should exist.
    Open,
    /// Creating a file or folder.
    Create,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Reserving space.
    Allocate,
    /// Making a file durable.
    Sync,
    /// Making the names in a folder durable.
    SyncDir,
    /// Renaming.
    Rename,
    /// Removing a name.
    Unlink,
    /// Listing a folder.
    List,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Create => "create",
            Self::Read => "read",
            Self::Write => "write",
            Self::Allocate => "allocate",
            Self::Sync => "sync",
            Self::SyncDir => "sync the folder of",
            Self::Rename => "rename",
            Self::Unlink => "unlink",
            Self::List => "list",
        })
    }
}

/// Trouble shared by every operation on storage.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The operating system refused. Out of space has source kind `StorageFull`.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was being done.
        operation: Operation,
        /// To which file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Durable bytes do not match their checksum, or are missing. Never skipped, never repaired
    /// silently.
    #[error(transparent)]
    Corrupt(#[from] Corruption),
    /// An earlier write or sync failed, so that nothing is known about what it wrote. Nothing more is
    /// written until the folder is opened anew.
    #[error("an earlier write or sync failed; the data folder must be opened anew")]
    Poisoned,
}

impl StorageError {
    /// Whether a file or folder could not be synced: nothing is known about it then, and a second sync
    /// may lie.
    pub fn is_failed_sync(&self) -> bool {
        matches!(
            self,
            Self::Io {
                operation: Operation::Sync | Operation::SyncDir,
                ..
            }
        )
    }

    /// Whether it was refused for a full disk or an exhausted quota, so that it may be tried again. A
    /// sync that fails for want of room is not: what it was to make durable may be lost for good.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Io { .. } if self.is_failed_sync() => false,
            Self::Io { source, .. } => {
                matches!(
                    source.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                )
            }
            Self::Corrupt(_) | Self::Poisoned => false,
        }
    }

    /// Whether the cause is that something does not exist.
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::Corrupt(_) | Self::Poisoned => false,
        }
    }
}

/// Shows an error with the causes behind it, as a log needs it: an error's own text stops where its
/// [`std::error::Error::source`] begins, and that is what an operator looks for.
pub fn with_causes(error: &dyn std::error::Error) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        write!(f, "{error}")?;
        let mut causes = std::iter::successors(error.source(), |cause| cause.source());
        causes.try_for_each(|cause| write!(f, ": {cause}"))
    })
}

/// Names the operation and the file of an I/O error.
pub(crate) fn io_error(
    operation: Operation,
    path: impl Into<PathBuf>,
) -> impl FnOnce(io::Error) -> StorageError {
    io_error_of(operation, move || path.into())
}

/// The same for each round and each read, of which nearly all go well: the path is put together only
/// when one does not.
pub(crate) fn io_error_of(
    operation: Operation,
    path: impl FnOnce() -> PathBuf,
) -> impl FnOnce(io::Error) -> StorageError {
    move |source| StorageError::Io {
        operation,
        path: path(),
        source,
    }
}

/// Durable bytes that are not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is damaged at position {position}: {what}", path.display())]
pub struct Corruption {
    /// The damaged file.
    pub path: PathBuf,
    /// Where the damage was noticed, bytes from the start of the file.
    pub position: u64,
    /// What was found instead of what was expected.
    pub what: String,
}

/// Records that are lost to damage: they were acknowledged and cannot be read any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("records {range} of partition {partition} are damaged on disk")]
pub struct DataLoss {
    /// Where.
    pub partition: PartitionRef,
    /// Which offsets.
    pub range: OffsetRange,
}

/// Why a data folder could not be opened. Nothing was changed unless a variant says so.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the folder.
    #[error("data folder {} is in use by another process{}", path.display(),
            pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    Locked {
        /// The folder.
        path: PathBuf,
        /// The holder, if its lock file names it.
        pid: Option<u32>,
    },
    /// The folder was written by a newer release.
    #[error("data folder has format {found}, this release reads up to {supported}")]
    NewerFormat {
        /// The version in the format file.
        found: u32,
        /// The newest version that this release reads.
        supported: u32,
    },
    /// The folder holds broker data but its format file is missing or damaged.
    #[error("data folder {} is not usable: {what}", path.display())]
    NotUsable {
        /// The folder.
        path: PathBuf,
        /// What is missing or wrong.
        what: String,
    },
    /// The journal, or what it continues from, is damaged in a place where guessing could lose or invent
    /// acknowledged changes.
    #[error("the journal is damaged after lsn {after_lsn}: {what}")]
    JournalDamaged {
        /// The last entry that is intact.
        after_lsn: Lsn,
        /// What was found, with file and position.
        what: String,
    },
    /// The operating system refused, or a file is damaged; recovery may have stopped half-way and
    /// will start over at the next open.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_shows_what_the_operating_system_said() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = OpenError::from(io_error(Operation::Write, "journal/1.journal")(full));
        let shown = with_causes(&error).to_string();
        assert_eq!(shown, "cannot write journal/1.journal: no storage space");
    }

    #[test]
    fn damage_is_told_once() {
        let corruption = Corruption {
            path: PathBuf::from("a.log"),
            position: 0,
            what: "the file is missing".to_owned(),
        };
        let text = corruption.to_string();
        let error = StorageError::from(corruption);
        assert_eq!(with_causes(&error).to_string(), text);
    }
}
