//! The lock on a data folder: an advisory lock of the whole lock file, which the kernel releases
//! when the process ends in whatever way.

#![expect(
    clippy::disallowed_types,
    reason = "the real file system is what this room is for"
)]

use std::fs::{File, TryLockError};
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

/// The process id in the first line, if it can be read.
fn holder(file: &File) -> Option<u32> {
    let mut bytes = [0; 16];
    let count = file.read_at(&mut bytes, 0).ok()?;
    let text = str::from_utf8(bytes.get(..count)?).ok()?;
    text.lines().next()?.parse().ok()
}
