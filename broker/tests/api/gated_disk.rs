//! A disk on which the syncs of rounds, or the reads of readers, wait until a test lets them through, and
//! which can make a thread of the broker panic.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use towpath_broker::Config;
use towpath_storage::Environment;
use towpath_storage::vfs::sim::SimDisk;
use towpath_storage::vfs::{DirEntry, LockError, LockGuard, OpenMode, Space, Vfs, VfsFile};

use crate::harness::{PATIENCE, TestBroker, simulated};

/// Holds syncs of the journal back while it is closed.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    is_closed: bool,
    /// Syncs that are let through although it is closed.
    pass_count: usize,
    waiting_count: usize,
    /// The thread whose next use of the disk panics.
    panicking: Option<&'static str>,
    is_reading_closed: bool,
    reading_count: usize,
}

impl Gate {
    /// Lets a thread of the broker panic when it uses the disk next.
    pub(crate) fn panic_in(&self, thread: &'static str) {
        self.state.lock().unwrap().panicking = Some(thread);
    }

    fn panic_if_told(&self) {
        let mut state = self.state.lock().unwrap();
        if state.panicking.is_some() && std::thread::current().name() == state.panicking {
            state.panicking = None;
            drop(state);
            panic!("planted by a test");
        }
    }

    pub(crate) fn close(&self) {
        self.state.lock().unwrap().is_closed = true;
    }

    pub(crate) fn open(&self) {
        self.state.lock().unwrap().is_closed = false;
        self.changed.notify_all();
    }

    /// Lets one sync through and stays closed.
    pub(crate) fn let_one_pass(&self) {
        self.state.lock().unwrap().pass_count += 1;
        self.changed.notify_all();
    }

    /// Waits until a sync is held back.
    pub(crate) async fn held(self: &Arc<Self>) {
        let gate = Arc::clone(self);
        let held = tokio::task::spawn_blocking(move || {
            let state = gate.state.lock().unwrap();
            let waited = gate
                .changed
                .wait_timeout_while(state, PATIENCE, |it| it.waiting_count == 0);
            assert!(
                !waited.unwrap().1.timed_out(),
                "a sync is held back in time"
            );
        });
        held.await.unwrap();
    }

    /// Holds reads of the read pool back from now on.
    pub(crate) fn close_reading(&self) {
        self.state.lock().unwrap().is_reading_closed = true;
    }

    pub(crate) fn open_reading(&self) {
        self.state.lock().unwrap().is_reading_closed = false;
        self.changed.notify_all();
    }

    /// Waits until so many threads of the read pool are held back.
    pub(crate) async fn held_reading(self: &Arc<Self>, thread_count: usize) {
        let gate = Arc::clone(self);
        let held = tokio::task::spawn_blocking(move || {
            let state = gate.state.lock().unwrap();
            let is_early = |it: &mut GateState| it.reading_count < thread_count;
            let waited = gate.changed.wait_timeout_while(state, PATIENCE, is_early);
            assert!(
                !waited.unwrap().1.timed_out(),
                "reads are held back in time"
            );
        });
        held.await.unwrap();
    }

    fn pass_reading(&self) {
        if std::thread::current().name() != Some("towpath-read") {
            return;
        }
        let mut state = self.state.lock().unwrap();
        state.reading_count += 1;
        self.changed.notify_all();
        let is_held = |it: &mut GateState| it.is_reading_closed;
        let mut state = self.changed.wait_while(state, is_held).unwrap();
        state.reading_count -= 1;
    }

    /// Holds back what the sequencer syncs; others make files ready ahead, which no round waits for.
    fn pass(&self) {
        if std::thread::current().name() != Some("towpath-sequencer") {
            return;
        }
        let mut state = self.state.lock().unwrap();
        state.waiting_count += 1;
        self.changed.notify_all();
        let is_held = |it: &mut GateState| it.is_closed && it.pass_count == 0;
        let mut state = self.changed.wait_while(state, is_held).unwrap();
        state.pass_count = state.pass_count.saturating_sub(1);
        state.waiting_count -= 1;
    }
}

/// A file system behind a gate.
#[derive(Debug)]
struct GatedDisk {
    inner: Arc<dyn Vfs>,
    gate: Arc<Gate>,
}

/// Opens the gate when a test ends, so that a broker that it holds up can end as well.
#[derive(Debug)]
pub(crate) struct GateKeeper(Arc<Gate>);

impl std::ops::Deref for GateKeeper {
    type Target = Arc<Gate>;

    fn deref(&self) -> &Arc<Gate> {
        &self.0
    }
}

impl Drop for GateKeeper {
    fn drop(&mut self) {
        self.open();
        self.open_reading();
    }
}

/// A broker on a simulated disk behind a gate, which is open.
pub(crate) async fn gated_broker(config: Config) -> (TestBroker, SimDisk, GateKeeper) {
    let (disk, environment) = simulated(1 << 30);
    let gate = Arc::new(Gate::default());
    let vfs = GatedDisk {
        inner: Arc::clone(&environment.vfs),
        gate: Arc::clone(&gate),
    };
    let environment = Environment {
        vfs: Arc::new(vfs),
        ..environment
    };
    let broker = TestBroker::start_in(config, environment).await;
    (broker, disk, GateKeeper(gate))
}

#[derive(Debug)]
struct GatedFile {
    inner: Arc<dyn VfsFile>,
    gate: Arc<Gate>,
    is_journal: bool,
}

impl Vfs for GatedDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        let inner = self.inner.open(path, mode)?;
        Ok(Arc::new(GatedFile {
            inner,
            gate: Arc::clone(&self.gate),
            is_journal: path.starts_with("journal"),
        }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.inner.unlink(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.inner.list(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }

    fn space(&self) -> io::Result<Space> {
        self.gate.panic_if_told();
        self.inner.space()
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>, LockError> {
        self.inner.lock(path)
    }

    fn describe(&self, path: &Path) -> PathBuf {
        self.inner.describe(path)
    }
}

impl VfsFile for GatedFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.gate.panic_if_told();
        self.gate.pass_reading();
        self.inner.read_at(buffer, position)
    }

    fn write_vectored_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        self.gate.panic_if_told();
        self.inner.write_vectored_at(slices, position)
    }

    fn allocate(&self, position: u64, length: u64) -> io::Result<()> {
        self.inner.allocate(position, length)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.inner.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.gate.panic_if_told();
        if self.is_journal {
            self.gate.pass();
        }
        self.inner.sync_data()
    }

    fn drop_cache(&self, position: u64, length: u64) {
        self.inner.drop_cache(position, length);
    }

    fn start_write_back(&self, position: u64, length: u64) {
        self.inner.start_write_back(position, length);
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
}
