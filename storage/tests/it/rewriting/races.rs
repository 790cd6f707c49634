//! A reader that has looked its segment up, and opens the file only after it was rewritten and removed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use towpath_storage::vfs::sim::{SimDisk, SimOptions};
use towpath_storage::vfs::{DirEntry, LockError, LockGuard, OpenMode, Space, Vfs, VfsFile};
use towpath_storage::{Environment, Keep, Offset, ReadLimit};

use super::{Records, batch, records_of};
use crate::driver::{Driver, P0, environment, options};

type Hook = Box<dyn FnOnce() + Send>;

/// A disk on which something happens just before a file is opened for the first time.
struct Hooked {
    disk: Arc<dyn Vfs>,
    hook: Arc<Mutex<Option<(PathBuf, Hook)>>>,
}

impl std::fmt::Debug for Hooked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.disk.fmt(f)
    }
}

impl Vfs for Hooked {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        let mut hook = self.hook.lock().unwrap_or_else(PoisonError::into_inner);
        let now = hook.take_if(|(of, _)| of == path);
        drop(hook);
        if let Some((_, act)) = now {
            act();
        }
        self.disk.open(path, mode)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.disk.unlink(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.disk.list(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn space(&self) -> io::Result<Space> {
        self.disk.space()
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>, LockError> {
        self.disk.lock(path)
    }

    fn describe(&self, path: &Path) -> PathBuf {
        self.disk.describe(path)
    }
}

#[test]
fn a_reader_that_comes_late_to_an_old_file_finds_the_new_one() {
    let disk = SimDisk::new(SimOptions::default());
    let hook = Arc::new(Mutex::new(None));
    let environment = Environment {
        vfs: Arc::new(Hooked {
            disk: disk.vfs(),
            hook: Arc::clone(&hook),
        }),
        ..environment(&disk, 1)
    };
    let mut broker = Driver::open_in(&disk, &environment, &options()).unwrap();
    broker.create(P0);
    broker.round([batch(&[7, 8]), batch(&[9])]);
    broker.roll(P0);
    broker.checkpoint();
    let (log, reader) = (Arc::clone(broker.log(P0)), broker.storage.reader.clone());
    // The descriptors that are kept would hide it.
    let old = broker.state.segments(P0)[0];
    let path = broker.storage.files.log_path(old);
    let rewritten = broker.rewrite(P0, 0..1, |_| Keep::All).unwrap();
    towpath_storage::remove_segment(&broker.storage.files, old).unwrap();
    let act: Hook = Box::new({
        let log = Arc::clone(&log);
        move || log.swap(&rewritten.plan.sources, rewritten.segment, 0)
    });
    *hook.lock().unwrap() = Some((path, act));
    let limit = ReadLimit {
        bytes_max: 1_000,
        lsn_max: broker.storage.journal.durable(),
    };
    let end = Offset::new(3);
    let read = reader.read(&log, None, Offset::ZERO, end, limit).unwrap();
    assert!(hook.lock().unwrap().is_none(), "it came late");
    assert_eq!(read.loss, None, "nothing is lost");
    let found: Records = read.frames.iter().flat_map(records_of).collect();
    assert_eq!(found, [(0, 7), (1, 8), (2, 9)].into());
}
