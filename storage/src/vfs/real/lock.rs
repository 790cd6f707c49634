//! The lock on a data folder: an advisory lock of the whole lock file, which the kernel releases
//! when the process ends in whatever way.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "the real file system is what this room is for"
)]

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use crate::vfs::{LockError, LockGuard};

/// The lock file, locked as long as it is open.
#[derive(Debug)]
pub(super) struct RealLock {
    _file: File,
}

impl LockGuard for RealLock {}

/// Locks the open lock file, or says who holds it.
pub(super) fn acquire(fd: OwnedFd) -> Result<RealLock, LockError> {
    let file = File::from(fd);
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(LockError::Held { pid: holder(&file) }),
        Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
    }
    // Written before the rest is cut, so that a reader of the first line never finds it empty.
    let line = format!("{}\n", std::process::id());
    file.write_all_at(line.as_bytes(), 0)
        .and_then(|()| file.set_len(line.len() as u64))
        .map_err(LockError::Io)?;
    Ok(RealLock { _file: file })
}

/// Looks for the lock in the kernel's table: trying to take it, even shared, could turn away a process
/// that starts just now.
pub(super) fn find_holder(fd: &OwnedFd) -> io::Result<Option<u32>> {
    let inode = rustix::fs::fstat(fd)?.st_ino;
    // Without the table nothing can be told.
    let table = fs::read_to_string("/proc/locks").unwrap_or_default();
    Ok(table.lines().find_map(|line| parse_holder(line, inode)))
}

/// The process of a line like `7: FLOCK  ADVISORY  WRITE 5215 00:4f:3013 0 EOF`, if it is about the inode.
/// A process outside of this one's namespace has the number 0.
fn parse_holder(line: &str, inode: u64) -> Option<u32> {
    let mut words = line.split_whitespace().skip(1);
    let is_lock = words.next() == Some("FLOCK");
    let mut words = words.skip(2);
    let pid = words.next()?.parse().unwrap_or(0);
    let place = words.next()?;
    let (_, of) = place.rsplit_once(':')?;
    (is_lock && of.parse() == Ok(inode)).then_some(pid)
}

/// The process id in the first line, if it can be read.
fn holder(file: &File) -> Option<u32> {
    let mut bytes = [0; 16];
    let count = file.read_at(&mut bytes, 0).ok()?;
    let text = str::from_utf8(bytes.get(..count)?).ok()?;
    text.lines().next()?.parse().ok()
}
