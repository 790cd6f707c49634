//! The file system of the machine.
//!
//! Every call goes relative to a descriptor of the root, follows no link in the last name, and
//! creates files as 0600 and folders as 0700. It decides nothing: errors come back as they are,
//! only an interrupted call is repeated.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{self, AtFlags, CWD, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::{
    DirEntry, LockError, LockGuard, OpenMode, Space, SyncPace, SyncTarget, Vfs, VfsFile, path,
};

mod file;
mod folder;
mod lock;
mod sync_all;

use file::RealFile;

/// The file system of the machine, rooted at one folder.
#[derive(Debug)]
pub struct RealVfs {
    root: OwnedFd,
    root_path: PathBuf,
}

impl RealVfs {
    /// Opens an existing root folder. Creates nothing.
    ///
    /// # Errors
    /// What the operating system says; kind `NotFound` if there is no such folder.
    pub fn new(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root_path = root.into();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = retry_on_intr(|| fs::openat(CWD, &root_path, flags, Mode::empty()))?;
        Ok(Self { root, root_path })
    }

    /// Opens a root folder, creating it with mode 0700 if it is missing. Its parent must exist. The
    /// root's own name is durable on return.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn create(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root_path = root.into();
        match retry_on_intr(|| fs::mkdirat(CWD, &root_path, DIR_MODE)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        let vfs = Self::new(root_path)?;
        vfs.sync_parent()?;
        Ok(vfs)
    }

    /// Makes the root's own name durable.
    fn sync_parent(&self) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // DURABILITY: also for a root that was there already, because the process that created it
        // may have been killed before its sync.
        match retry_on_intr(|| fs::openat(&self.root, "..", flags, Mode::empty())) {
            Ok(parent) => Ok(retry_on_intr(|| fs::fsync(&parent))?),
            // A parent that this process may not read is one that it did not create the root in.
            Err(Errno::ACCESS) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn open_at(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        retry_on_intr(|| fs::openat(&self.root, path, flags | OPEN_FLAGS, FILE_MODE))
    }
}

impl Vfs for RealVfs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        path::split_name(path)?;
        let file = match mode {
            OpenMode::Read => RealFile::buffered(self.open_at(path, OFlags::RDONLY)?),
            OpenMode::Write => RealFile::buffered(self.open_at(path, OFlags::RDWR)?),
            OpenMode::CreateNew => RealFile::buffered(
                self.open_at(path, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)?,
            ),
            OpenMode::WriteDirect => {
                match self.open_at(path, OFlags::RDWR | OFlags::DIRECT) {
                    Ok(fd) => RealFile::direct(fd),
                    // How file systems without direct transfers refuse them.
                    Err(Errno::INVAL) => RealFile::refused(self.open_at(path, OFlags::RDWR)?),
                    Err(errno) => return Err(errno.into()),
                }
            }
        };
        file.check_regular()?;
        Ok(Arc::new(file))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        path::split_name(path)?;
        Ok(retry_on_intr(|| fs::mkdirat(&self.root, path, DIR_MODE))?)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        path::split_name(from)?;
        path::split_name(to)?;
        Ok(retry_on_intr(|| {
            fs::renameat(&self.root, from, &self.root, to)
        })?)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        path::split_name(path)?;
        Ok(retry_on_intr(|| {
            fs::unlinkat(&self.root, path, AtFlags::empty())
        })?)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        path::split_name(path)?;
        Ok(retry_on_intr(|| {
            fs::unlinkat(&self.root, path, AtFlags::REMOVEDIR)
        })?)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        path::split(dir)?;
        folder::list(folder::open(&self.root, dir)?)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        path::split(dir)?;
        let fd = folder::open(&self.root, dir)?;
        Ok(retry_on_intr(|| fs::fsync(&fd))?)
    }

    fn sync_all(
        &self,
        targets: &[SyncTarget<'_>],
        pace: SyncPace,
    ) -> Result<(), (usize, io::Error)> {
        sync_all::sync_all(targets, pace, |target| match target {
            SyncTarget::File(file) => file.sync_data(),
            SyncTarget::Dir(dir) => self.sync_dir(dir),
        })
    }

    fn space(&self) -> io::Result<Space> {
        let stat = retry_on_intr(|| fs::fstatvfs(&self.root))?;
        Ok(Space {
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
            available_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>, LockError> {
        path::split_name(path).map_err(LockError::Io)?;
        let fd = self
            .open_at(path, OFlags::RDWR | OFlags::CREATE)
            .map_err(|errno| LockError::Io(errno.into()))?;
        Ok(Box::new(lock::acquire(fd)?))
    }

    fn lock_holder(&self, path: &Path) -> io::Result<Option<u32>> {
        path::split_name(path)?;
        match self.open_at(path, OFlags::RDONLY) {
            Ok(fd) => lock::find_holder(&fd),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    fn describe(&self, path: &Path) -> PathBuf {
        self.root_path.join(path)
    }
}

const FILE_MODE: Mode = Mode::from_raw_mode(0o600);
const DIR_MODE: Mode = Mode::from_raw_mode(0o700);

/// `NONBLOCK` changes nothing for a regular file and keeps the open of a stray pipe from waiting.
const OPEN_FLAGS: OFlags = OFlags::NOFOLLOW
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOCTTY)
    .union(OFlags::NONBLOCK);

#[cfg(test)]
mod tests;
