//! What may go wrong besides a crash, where, and when.

use std::io;
use std::time::Duration;

use rustix::io::Errno;

/// A kind of call that reaches the simulated disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OperationKind {
    /// Opening an existing file.
    Open,
    /// Opening a new file.
    Create,
    /// Creating a folder.
    CreateDir,
    /// Renaming.
    Rename,
    /// Removing a file's name.
    Unlink,
    /// Removing a folder.
    RemoveDir,
    /// Listing a folder.
    List,
    /// Syncing a folder.
    SyncDir,
    /// Asking for the space.
    Space,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Allocating.
    Allocate,
    /// Cutting or extending.
    SetLen,
    /// Syncing a file.
    SyncData,
    /// Dropping cached pages.
    DropCache,
    /// Beginning to write dirty pages.
    StartWriteBack,
    /// Asking for the length.
    Len,
}

impl OperationKind {
    /// Whether it is one of the operations that [`SimDisk::operations`](super::SimDisk::operations)
    /// counts.
    pub fn is_mutating(self) -> bool {
        match self {
            Self::Create
            | Self::CreateDir
            | Self::Rename
            | Self::Unlink
            | Self::RemoveDir
            | Self::SyncDir
            | Self::Write
            | Self::Allocate
            | Self::SetLen
            | Self::SyncData => true,
            Self::Open
            | Self::List
            | Self::Space
            | Self::Read
            | Self::DropCache
            | Self::StartWriteBack
            | Self::Len => false,
        }
    }

    /// The word for it in the trace.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Create => "create",
            Self::CreateDir => "create_dir",
            Self::Rename => "rename",
            Self::Unlink => "unlink",
            Self::RemoveDir => "remove_dir",
            Self::List => "list",
            Self::SyncDir => "sync_dir",
            Self::Space => "space",
            Self::Read => "read",
            Self::Write => "write",
            Self::Allocate => "allocate",
            Self::SetLen => "set_len",
            Self::SyncData => "sync",
            Self::DropCache => "drop_cache",
            Self::StartWriteBack => "start_write_back",
            Self::Len => "len",
        }
    }

    /// Whether it has no result that could be an error.
    fn is_hint(self) -> bool {
        matches!(self, Self::DropCache | Self::StartWriteBack)
    }

    fn is_sync(self) -> bool {
        matches!(self, Self::SyncData | Self::SyncDir)
    }

    fn needs_room(self) -> bool {
        match self {
            Self::Create | Self::CreateDir | Self::Rename | Self::Write | Self::Allocate => true,
            // Room that was promised to the page cache is looked for when it is written back.
            _ => self.is_sync(),
        }
    }

    fn opens_a_descriptor(self) -> bool {
        matches!(self, Self::Open | Self::Create | Self::List | Self::SyncDir)
    }
}

/// What goes wrong with an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// EIO. A write has then written some of its bytes; a sync has failed as
    /// [`SyncFailure`] says.
    Io,
    /// ENOSPC, for what needs room; a sync fails as with [`Fault::Io`].
    NoSpace,
    /// EDQUOT, where [`Fault::NoSpace`] applies.
    NoQuota,
    /// EROFS, for what changes something.
    ReadOnly,
    /// EMFILE, for what opens a descriptor.
    NoDescriptor,
    /// A read or write transfers less than asked.
    Short,
    /// A sync says that it succeeded and makes nothing durable.
    LyingSync,
    /// A write says that it succeeded, and its bytes never reach the disk.
    LostWrite,
    /// The operation takes this much longer, in virtual time.
    Slow(Duration),
}

impl Fault {
    pub(super) fn applies_to(self, kind: OperationKind) -> bool {
        match self {
            Self::Io => !kind.is_hint(),
            Self::NoSpace | Self::NoQuota => kind.needs_room(),
            Self::ReadOnly => kind.is_mutating() && !kind.is_sync(),
            Self::NoDescriptor => kind.opens_a_descriptor(),
            Self::Short => matches!(kind, OperationKind::Read | OperationKind::Write),
            Self::LyingSync => kind.is_sync(),
            Self::LostWrite => kind == OperationKind::Write,
            Self::Slow(_) => true,
        }
    }

    /// The error of an operation that fails with it.
    pub(super) fn error(self) -> Option<io::Error> {
        match self {
            Self::Io => Some(Errno::IO.into()),
            Self::NoSpace => Some(Errno::NOSPC.into()),
            Self::NoQuota => Some(Errno::DQUOT.into()),
            Self::ReadOnly => Some(Errno::ROFS.into()),
            Self::NoDescriptor => Some(Errno::MFILE.into()),
            Self::Short | Self::LyingSync | Self::LostWrite | Self::Slow(_) => None,
        }
    }
}

/// What a failed [`sync_data`](crate::vfs::VfsFile::sync_data) does to the page cache. In both
/// cases some of the bytes may have reached the disk, the next sync succeeds, and the lost bytes
/// stay lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SyncFailure {
    /// The lost bytes go on being read, until the cache drops them (ext4, XFS).
    #[default]
    CacheKept,
    /// What the disk holds is read again (Btrfs).
    CacheReverted,
}

/// A fault and the operations that it hits.
///
/// As built by [`Injection::new`] it hits every operation that the fault applies to.
#[derive(Debug, Clone)]
pub struct Injection {
    pub(super) fault: Fault,
    kind: Option<OperationKind>,
    path: String,
    when: When,
    seen: u64,
}

#[derive(Debug, Clone, Copy)]
enum When {
    Always,
    Nth(u64),
    Operation(u64),
    Rate(u32),
}

impl Injection {
    /// A fault at every operation that it applies to.
    pub fn new(fault: Fault) -> Self {
        Self {
            fault,
            kind: None,
            path: String::new(),
            when: When::Always,
            seen: 0,
        }
    }

    /// Only at operations of one kind.
    #[must_use]
    pub fn on(self, kind: OperationKind) -> Self {
        Self {
            kind: Some(kind),
            ..self
        }
    }

    /// Only at paths that start with `path`.
    #[must_use]
    pub fn under(self, path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            ..self
        }
    }

    /// Only at the n-th operation, from 0, that matches the rest, counted from the injection on.
    #[must_use]
    pub fn nth(self, n: u64) -> Self {
        Self {
            when: When::Nth(n),
            ..self
        }
    }

    /// Only at the mutating operation of this number, from 0, in the life of the disk; see
    /// [`SimDisk::operations`](super::SimDisk::operations).
    #[must_use]
    pub fn at_operation(self, number: u64) -> Self {
        Self {
            when: When::Operation(number),
            ..self
        }
    }

    /// Only at so many of a million operations, drawn from the disk's seed.
    #[must_use]
    pub fn per_million(self, rate: u32) -> Self {
        Self {
            when: When::Rate(rate),
            ..self
        }
    }

    /// Whether it hits this operation; `number` is that of a mutating one.
    pub(super) fn hits(
        &mut self,
        kind: OperationKind,
        path: &str,
        number: Option<u64>,
        draw: &mut impl FnMut(u64) -> u64,
    ) -> bool {
        let matches = self.fault.applies_to(kind)
            && self.kind.is_none_or(|wanted| wanted == kind)
            && path.starts_with(&self.path);
        if !matches {
            return false;
        }
        self.seen += 1;
        match self.when {
            When::Always => true,
            When::Nth(n) => self.seen - 1 == n,
            When::Operation(wanted) => number == Some(wanted),
            When::Rate(rate) => draw(1_000_000) < u64::from(rate),
        }
    }
}
