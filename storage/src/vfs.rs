//! The seam between storage and the file system.
//!
//! Everything that storage does to files goes through [`Vfs`] and [`VfsFile`], so that the code that
//! ships is the code that the simulated disk (`sim`, behind feature `test-util`) crashes at every
//! step. A `Vfs` is rooted at one data folder: every path is relative to it, and `..` is refused.
//!
//! Implementations decide nothing and retry nothing but an interrupted call. Methods block; they are
//! called from storage's own threads, never from an async worker.

use std::fmt;
use std::io;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

mod path;
mod real;
#[cfg(feature = "test-util")]
pub mod sim;

pub use real::RealVfs;

/// The unit of direct transfers and the largest write that a disk is trusted to tear.
pub const BLOCK_BYTES: usize = 4096;

/// How [`Vfs::open`] opens a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    Write,
    /// An existing file, for reading and writing past the page cache where the file system allows it.
    ///
    /// Buffer addresses, lengths and positions of every transfer must be multiples of
    /// [`BLOCK_BYTES`]. Where the file system refuses direct transfers, the file is opened as by
    /// [`OpenMode::Write`]; the alignment rule stays.
    WriteDirect,
    /// A new file, for reading and writing; an error of kind `AlreadyExists` if there is one.
    ///
    /// The new name is durable only after [`Vfs::sync_dir`] of its folder.
    CreateNew,
}

/// What a folder entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// Anything else: storage never follows or touches it.
    Other,
}

/// One name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The name, without the folder.
    pub name: String,
    /// What the name stands for.
    pub kind: EntryKind,
}

/// Space on the file system that holds the data folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Size of the file system, bytes.
    pub total_bytes: u64,
    /// What this process may still allocate, bytes.
    pub available_bytes: u64,
}

/// Why the data folder could not be locked.
#[derive(Debug)]
pub enum LockError {
    /// Another process holds it; its process id if it could be read from the lock file.
    Held {
        /// The holder's process id, if the file names one.
        pid: Option<u32>,
    },
    /// The lock file could not be opened, locked or written.
    Io(io::Error),
}

/// How much of the disk [`Vfs::sync_all`] takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncPace {
    /// As much as there is: somebody waits for these files.
    Fast,
    /// So much that the syncs of the journal, for which somebody waits, keep getting through.
    Gentle,
}

/// Something that [`Vfs::sync_all`] makes durable.
#[derive(Debug, Clone, Copy)]
pub enum SyncTarget<'a> {
    /// What [`VfsFile::sync_data`] does for this file.
    File(&'a dyn VfsFile),
    /// What [`Vfs::sync_dir`] does for this folder.
    Dir(&'a Path),
}

/// Holds the lock on a data folder until dropped. A killed process releases it at once.
pub trait LockGuard: Send + Sync + fmt::Debug {}

/// A file system rooted at one data folder.
///
/// All methods may be called from several threads at once. A name that was created, renamed or
/// unlinked is durable only after [`Vfs::sync_dir`] of its folder.
pub trait Vfs: Send + Sync + fmt::Debug {
    /// Opens a file.
    ///
    /// # Errors
    /// What the operating system says; kind `NotFound` and `AlreadyExists` are relied upon.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>>;

    /// Creates a folder whose parent exists; an error of kind `AlreadyExists` if there is one.
    ///
    /// # Errors
    /// What the operating system says.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Renames a file within the root, replacing a file of the new name.
    ///
    /// # Errors
    /// What the operating system says; after an error either name may stand for the file.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name. Descriptors that are open keep reading it.
    ///
    /// # Errors
    /// What the operating system says; kind `NotFound` is relied upon.
    fn unlink(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty folder.
    ///
    /// # Errors
    /// What the operating system says; kind `NotFound` and `DirectoryNotEmpty` are relied upon.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Lists a folder, sorted by name. Names that are not UTF-8 are replaced lossily and have kind
    /// [`EntryKind::Other`].
    ///
    /// # Errors
    /// What the operating system says; kind `NotFound` is relied upon.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;

    /// Makes every earlier create, rename and unlink in `dir` durable.
    ///
    /// # Errors
    /// After an error nothing is known about those names until the next start.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Syncs several files and folders, none of which may rest on another: in any order, and several
    /// at once where that is faster, as `pace` says.
    ///
    /// # Errors
    /// One that failed, as its place in `targets`, with what the operating system says. As after an
    /// error of a single sync nothing is known about it; the others may be synced or not.
    fn sync_all(
        &self,
        targets: &[SyncTarget<'_>],
        pace: SyncPace,
    ) -> Result<(), (usize, io::Error)> {
        // One after the other is right at any pace.
        let _ = pace;
        for (place, target) in targets.iter().enumerate() {
            match target {
                SyncTarget::File(file) => file.sync_data(),
                SyncTarget::Dir(dir) => self.sync_dir(dir),
            }
            .map_err(|error| (place, error))?;
        }
        Ok(())
    }

    /// Space on the file system.
    ///
    /// # Errors
    /// What the operating system says.
    fn space(&self) -> io::Result<Space>;

    /// Locks the root against other processes, using the file `path`, into which it writes this
    /// process's id. The file itself stays when the guard is dropped.
    ///
    /// # Errors
    /// [`LockError::Held`] at once, without waiting, if another holds it.
    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>, LockError>;

    /// The process that holds the lock of [`Vfs::lock`], for who only wants to look: changes nothing and
    /// is in nobody's way. `None` if no process does, or if that cannot be told; 0 if its id cannot.
    ///
    /// # Errors
    /// What the operating system says.
    fn lock_holder(&self, path: &Path) -> io::Result<Option<u32>> {
        let _: &Path = path;
        Ok(None)
    }

    /// The place of the root as a person would name it, for messages.
    fn describe(&self, path: &Path) -> PathBuf;
}

/// An open file. All transfers name their position; there is no current position.
pub trait VfsFile: Send + Sync + fmt::Debug {
    /// Reads up to `buffer.len()` bytes at `position`; fewer only at the end of the file (0 there)
    /// or when the operating system returns less.
    ///
    /// # Errors
    /// What the operating system says. An interrupted call is repeated inside.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;

    /// Writes the slices one after the other at `position`; may write less than asked.
    ///
    /// The bytes are visible to every reader on return and durable only after
    /// [`VfsFile::sync_data`].
    ///
    /// # Errors
    /// What the operating system says; what was written is then unknown.
    fn write_vectored_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<usize>;

    /// Reserves `[position, position + length)` on the disk and extends the file to cover it. New
    /// bytes read as zero. A later write inside it cannot fail for want of space.
    ///
    /// # Errors
    /// Kind `StorageFull` (or `QuotaExceeded`) when there is no room; the file is then unchanged or
    /// partly extended with zeros.
    fn allocate(&self, position: u64, length: u64) -> io::Result<()>;

    /// Cuts or extends (with zeros, unallocated) the file.
    ///
    /// # Errors
    /// What the operating system says.
    fn set_len(&self, length: u64) -> io::Result<()>;

    /// Makes every earlier write, allocation and length of this file durable, its name excepted.
    ///
    /// # Errors
    /// After an error the earlier writes are lost or kept, unknowably, and a second call may lie: the
    /// caller must not trust this file again in this process.
    fn sync_data(&self) -> io::Result<()>;

    /// Tells the operating system that the cached pages of the range are not needed any more. Only a
    /// hint: never fails, changes no content.
    fn drop_cache(&self, position: u64, length: u64);

    /// Has the operating system begin to write the range to the disk, and waits for nothing. Only a hint:
    /// never fails, and makes nothing durable.
    fn start_write_back(&self, position: u64, length: u64) {
        let _ = (position, length);
    }

    /// Length of the file, bytes.
    ///
    /// # Errors
    /// What the operating system says.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file is empty.
    ///
    /// # Errors
    /// What the operating system says.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// Reads until `buffer` is full or the file ends; returns the number of bytes read.
///
/// # Errors
/// The first error of [`VfsFile::read_at`].
pub fn read_full_at(file: &dyn VfsFile, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..)
        && !rest.is_empty()
    {
        let count = file.read_at(rest, position + done as u64)?;
        if count == 0 {
            break;
        }
        done += count;
    }
    Ok(done)
}

/// Writes all of `bytes` at `position`, repeating short writes.
///
/// # Errors
/// The first error of [`VfsFile::write_vectored_at`], or `WriteZero` if nothing can be written.
pub fn write_all_at(file: &dyn VfsFile, mut bytes: &[u8], mut position: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = file.write_vectored_at(&[IoSlice::new(bytes)], position)?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = bytes.get(count..).unwrap_or_default();
        position += count as u64;
    }
    Ok(())
}

/// Writes all the slices one after the other at `position`, repeating short writes.
///
/// # Errors
/// As [`write_all_at`].
pub fn write_all_vectored_at(
    file: &dyn VfsFile,
    slices: &mut [IoSlice<'_>],
    mut position: u64,
) -> io::Result<()> {
    let mut rest = slices;
    while !rest.is_empty() {
        let count = file.write_vectored_at(rest, position)?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut rest, count);
        position += count as u64;
    }
    Ok(())
}
