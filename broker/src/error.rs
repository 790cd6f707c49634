//! Why a broker did not start, each fact in one variant with what to do about it.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use towpath_storage::{Lsn, OpenError, StorageError};

use crate::config::{ConfigProblem, Listener};

/// Why a broker did not start. Nothing is left running, and nothing was changed in the data folder
/// unless a variant says so.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Settings have values that are not allowed.
    #[error("{}", list(problems))]
    InvalidConfig {
        /// All of them.
        problems: Vec<ConfigProblem>,
    },
    /// The listener would be reachable from other machines.
    #[error(
        "listening on {listen} is refused: anyone who reaches it could {}, since there is no encryption and no authentication yet",
        danger(*listener)
    )]
    RemoteRefused {
        /// Which one.
        listener: Listener,
        /// Where it was to listen.
        listen: SocketAddr,
    },
    /// Another process listens on the address.
    #[error("address {listen} is in use by another process")]
    PortInUse {
        /// For whom.
        listener: Listener,
        /// The address.
        listen: SocketAddr,
    },
    /// The operating system refuses the address.
    #[error("cannot listen on {listen}")]
    CannotListen {
        /// For whom.
        listener: Listener,
        /// The address.
        listen: SocketAddr,
        /// What it says.
        source: io::Error,
    },
    /// Another process has the data folder open.
    #[error("data folder {} is in use by another process{}", path.display(),
            pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    FolderInUse {
        /// The folder.
        path: PathBuf,
        /// The process, if its lock names it.
        pid: Option<u32>,
    },
    /// The data folder was written by a newer release.
    #[error("data folder {} has format {found}, this release reads up to {supported}", path.display())]
    NewerFormat {
        /// The folder.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that this release reads.
        supported: u32,
    },
    /// The data folder does not hold what a data folder holds.
    #[error("data folder {} is not usable: {what}", path.display())]
    FolderNotUsable {
        /// The folder.
        path: PathBuf,
        /// What is missing or wrong.
        what: String,
    },
    /// The operating system refuses the data folder itself.
    #[error("cannot open data folder {}", path.display())]
    FolderNotOpened {
        /// The folder.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
    /// The journal is damaged where guessing could lose or invent acknowledged changes.
    #[error("the journal in {} is damaged after lsn {after_lsn}: {what}", path.display())]
    JournalDamaged {
        /// The data folder.
        path: PathBuf,
        /// The last entry that is intact.
        after_lsn: Lsn,
        /// What was found.
        what: String,
    },
    /// A file of the data folder could not be read or written. Recovery may have stopped half-way and
    /// starts over the next time.
    #[error("cannot recover data folder {}", path.display())]
    Storage {
        /// The folder.
        path: PathBuf,
        /// What happened.
        source: StorageError,
    },
    /// The operating system has no thread to spare.
    #[error("cannot start a thread")]
    NoThread {
        /// What it says.
        source: io::Error,
    },
}

impl StartError {
    /// What a person may do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::InvalidConfig { .. } => "change these settings",
            Self::RemoteRefused { .. } => {
                "listen on 127.0.0.1, or give --insecure-allow-remote on a network that you trust"
            }
            Self::PortInUse { listener, .. } => match listener {
                Listener::Clients => {
                    "stop the other process, or choose another address with --listen"
                }
                Listener::Admin => {
                    "stop the other process, or choose another address with --admin-listen"
                }
            },
            Self::CannotListen { listener, .. } => match listener {
                Listener::Clients => "choose an address of this machine with --listen",
                Listener::Admin => "choose an address of this machine with --admin-listen",
            },
            Self::FolderInUse { .. } => {
                "stop that process, or choose another folder with --data-dir"
            }
            Self::NewerFormat { .. } => "use the newer release; nothing in the folder was touched",
            Self::FolderNotUsable { .. } => {
                "choose another folder with --data-dir, or restore this one from a copy"
            }
            Self::FolderNotOpened { source, .. } => io_hint(source),
            Self::JournalDamaged { .. } => {
                "restore the folder from a copy, or see with `towpath storage repair` what would be lost without one; nothing was deleted"
            }
            Self::Storage { source, .. } => match source {
                // The folder itself is there: something in it is not.
                StorageError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                    "something was taken out of the folder: restore it from a copy"
                }
                StorageError::Io { source, .. } => io_hint(source),
                StorageError::Corrupt(_) => {
                    "restore the folder from a copy; `towpath storage verify` names all that is damaged"
                }
                StorageError::Poisoned => "look at the disk, then start again",
            },
            Self::NoThread { .. } => "raise the limit of processes and threads",
        }
    }

    /// Names the folder in what storage said when it was opened.
    pub fn from_open(path: &Path, error: OpenError) -> Self {
        let path = path.to_owned();
        match error {
            OpenError::Locked { pid, .. } => Self::FolderInUse { path, pid },
            OpenError::NewerFormat { found, supported } => Self::NewerFormat {
                path,
                found,
                supported,
            },
            OpenError::NotUsable { what, .. } => Self::FolderNotUsable { path, what },
            OpenError::JournalDamaged { after_lsn, what } => Self::JournalDamaged {
                path,
                after_lsn,
                what,
            },
            OpenError::Storage(source) => Self::Storage { path, source },
        }
    }
}

/// What whoever reaches a listener could do.
fn danger(listener: Listener) -> &'static str {
    match listener {
        Listener::Clients => "read and delete everything",
        Listener::Admin => "read the names of topics and groups and what they do",
    }
}

fn io_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "give this user the folder, or choose another one with --data-dir"
        }
        io::ErrorKind::NotFound => {
            "make the folder's parent, or choose another one with --data-dir"
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "something else has this name: choose a folder with --data-dir"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on the disk",
        io::ErrorKind::ReadOnlyFilesystem => {
            "mount the file system for writing, or choose another folder with --data-dir"
        }
        _ => "look at the disk and at the log of the operating system",
    }
}

fn list(problems: &[ConfigProblem]) -> String {
    let texts: Vec<_> = problems.iter().map(ToString::to_string).collect();
    texts.join("; ")
}
