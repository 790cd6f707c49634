//! The simulated disk as a [`Vfs`].

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use super::fault::{Fault, OperationKind};
use super::gate::{Call, Detail, Outcome, Verdict};
use super::names::NodeId;
use super::state::{Shared, State};
use crate::vfs::{DirEntry, EntryKind, LockError, LockGuard, OpenMode, Space, Vfs, VfsFile, path};

mod file;

use file::SimFile;

/// A handle on the file system of a simulated disk.
#[derive(Clone)]
pub(super) struct SimVfs {
    pub(super) shared: Arc<Shared>,
}

impl SimVfs {
    fn run<T: Outcome>(
        &self,
        kind: OperationKind,
        path: &Path,
        detail: Detail,
        act: impl FnOnce(&mut State, Option<Fault>) -> io::Result<T>,
    ) -> io::Result<T> {
        let call = Call {
            kind,
            path: path.to_string_lossy().into_owned(),
            detail,
        };
        self.shared
            .lock()
            .run(&call, |state, verdict| match verdict {
                Verdict::Fault(fault) => act(state, Some(fault)),
                Verdict::Pass | Verdict::Cut(_) => act(state, None),
            })
    }

    /// Runs an operation that a fault leaves undone.
    fn run_whole<T: Outcome>(
        &self,
        kind: OperationKind,
        path: &Path,
        detail: Detail,
        act: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        self.run(kind, path, detail, |state, fault| {
            match fault.and_then(Fault::error) {
                Some(error) => Err(error),
                None => act(state),
            }
        })
    }
}

impl Vfs for SimVfs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        let (folders, name) = path::split_name(path)?;
        let node = if mode == OpenMode::CreateNew {
            self.run_whole(OperationKind::Create, path, Detail::None, |state| {
                state.check_descriptors()?;
                let stamp = state.stamp();
                let node = state
                    .volume
                    .create(stamp, &folders, name, EntryKind::File)?;
                state.descriptors += 1;
                Ok(node)
            })?
        } else {
            self.run_whole(OperationKind::Open, path, Detail::None, |state| {
                state.check_descriptors()?;
                let node = state.volume.open(&folders, name)?;
                state.descriptors += 1;
                Ok(node)
            })?
        };
        Ok(Arc::new(SimFile {
            shared: Arc::clone(&self.shared),
            node,
            mode,
        }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let (folders, name) = path::split_name(path)?;
        self.run_whole(OperationKind::CreateDir, path, Detail::None, |state| {
            let stamp = state.stamp();
            state.volume.create(stamp, &folders, name, EntryKind::Dir)?;
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (source, target) = (path::split_name(from)?, path::split_name(to)?);
        let detail = Detail::To(to.to_string_lossy().into_owned());
        self.run_whole(OperationKind::Rename, from, detail, |state| {
            let stamp = state.stamp();
            state.volume.rename(stamp, source, target)
        })
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let (folders, name) = path::split_name(path)?;
        self.run_whole(OperationKind::Unlink, path, Detail::None, |state| {
            let stamp = state.stamp();
            state.volume.unlink(stamp, &folders, name)
        })
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let (folders, name) = path::split_name(path)?;
        self.run_whole(OperationKind::RemoveDir, path, Detail::None, |state| {
            let stamp = state.stamp();
            state.volume.remove_dir(stamp, &folders, name)
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let folders = path::split(dir)?;
        self.run_whole(OperationKind::List, dir, Detail::None, |state| {
            let folder = state.volume.folder(&folders)?;
            Ok(state.volume.list(folder))
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let folders = path::split(dir)?;
        self.run(OperationKind::SyncDir, dir, Detail::None, |state, fault| {
            let folder = state.volume.folder(&folders)?;
            match fault {
                Some(Fault::LyingSync) => Ok(()),
                // Refused before the folder was looked at.
                Some(Fault::NoDescriptor) => Err(Errno::MFILE.into()),
                Some(fault) => state.fail_sync_dir(folder, fault),
                None => {
                    state.volume.sync_folder(folder);
                    Ok(())
                }
            }
        })
    }

    fn space(&self) -> io::Result<Space> {
        self.run_whole(OperationKind::Space, Path::new(""), Detail::None, |state| {
            Ok(state.volume.space())
        })
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>, LockError> {
        let file = match self.open(path, OpenMode::Write) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.open(path, OpenMode::CreateNew)
            }
            result => result,
        };
        let file = file.map_err(LockError::Io)?;
        let node = self.node(path).map_err(LockError::Io)?;
        let pid = {
            let mut state = self.shared.lock();
            if !state.locks.insert(node) {
                return Err(LockError::Held {
                    pid: state.holder(node),
                });
            }
            state.pid
        };
        let lock = SimLock {
            shared: Arc::clone(&self.shared),
            node,
            _file: Arc::clone(&file),
        };
        let line = format!("{pid}\n");
        crate::vfs::write_all_at(&*file, line.as_bytes(), 0)
            .and_then(|()| file.set_len(line.len() as u64))
            .map_err(LockError::Io)?;
        Ok(Box::new(lock))
    }

    fn lock_holder(&self, path: &Path) -> io::Result<Option<u32>> {
        let node = match self.node(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            node => node?,
        };
        let state = self.shared.lock();
        Ok(state
            .locks
            .contains(&node)
            .then(|| state.holder(node).unwrap_or(0)))
    }

    fn describe(&self, path: &Path) -> PathBuf {
        Path::new("/simulated").join(path)
    }
}

impl SimVfs {
    fn node(&self, path: &Path) -> io::Result<NodeId> {
        let (folders, name) = path::split_name(path)?;
        self.shared.lock().volume.find(&folders, name)
    }
}

impl fmt::Debug for SimVfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimVfs")
    }
}

/// The lock on the root; gone with the process, so a crashed disk has none.
struct SimLock {
    shared: Arc<Shared>,
    node: NodeId,
    _file: Arc<dyn VfsFile>,
}

impl LockGuard for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.shared.lock().locks.remove(&self.node);
    }
}

impl fmt::Debug for SimLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimLock")
    }
}
