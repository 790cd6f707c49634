//! A disk in memory that crashes and fails on demand, for tests.
//!
//! Each file has a *live* image, which readers see, and a *durable* one, which survives a power
//! loss; between them stands the list of *pending* changes.
//! [`VfsFile::sync_data`](super::VfsFile::sync_data) is a barrier for that file only,
//! [`Vfs::sync_dir`] for the names of that folder only. A power loss keeps some of what is pending;
//! the rules are in `sim/loss.rs` (bytes and lengths) and `sim/names.rs`
//! (names). They are meant to be stricter than any kernel: where file systems differ, the worst is
//! possible.
//!
//! The whole is deterministic: the same calls on the same seed give the same trace.
//!
//! ```
//! use std::path::Path;
//! use towpath_storage::vfs::sim::{CrashMode, LossMode, SimDisk, SimOptions, is_power_off};
//! use towpath_storage::vfs::{OpenMode, Vfs, write_all_at};
//!
//! fn script(vfs: &dyn Vfs) -> std::io::Result<()> {
//!     let file = vfs.open(Path::new("f"), OpenMode::CreateNew)?;
//!     write_all_at(&*file, b"kept", 0)?;
//!     file.sync_data()?;
//!     vfs.sync_dir(Path::new(""))
//! }
//!
//! let whole = SimDisk::new(SimOptions::default());
//! script(&*whole.vfs()).unwrap();
//! for k in 0..whole.operations() {
//!     let disk = SimDisk::new(SimOptions::default());
//!     disk.stop_before(k);
//!     assert!(is_power_off(&script(&*disk.vfs()).unwrap_err()));
//!     for state in disk.crash_states(100) {
//!         // Not acknowledged: there may be a file or none, of any content.
//!         assert!(state.disk.paths().len() <= 1, "{}", state.description);
//!     }
//! }
//! let after = whole.crash(&CrashMode::PowerLoss(LossMode::Everything));
//! assert_eq!(after.read(Path::new("f")).unwrap(), b"kept");
//! ```

#![expect(
    clippy::cast_possible_truncation,
    reason = "what a simulated disk holds is in memory, so its places and sizes fit in a usize"
)]

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Vfs, path};
use crate::environment::SimClock;

mod crash;
mod crash_states;
mod extents;
mod fault;
mod file;
mod gate;
mod handle;
mod image;
mod loss;
mod names;
mod pages;
mod state;
mod volume;

pub use crash::{CrashMode, LossMode};
pub use crash_states::{CrashState, CrashStates};
pub use fault::{Fault, Injection, OperationKind, SyncFailure};
pub use gate::is_power_off;
pub use loss::Filling;

use crash::Plan;
use gate::{Gate, Stop};
use state::{Shared, State};
use volume::Volume;

/// How a simulated disk is made.
#[derive(Debug, Clone)]
pub struct SimOptions {
    /// The unit that a power loss keeps or loses as a whole: 512 or 4096 bytes. Default 512.
    pub sector_bytes: u64,
    /// Size of the disk. A file or folder takes a block for itself and one for each block
    /// allocated. Default 1 GiB.
    pub total_bytes: u64,
    /// Number of files that may be open at once. Default 1024.
    pub descriptors_max: u64,
    /// What a failed sync does to the page cache. Default [`SyncFailure::CacheKept`].
    pub sync_failure: SyncFailure,
    /// The process id that a lock names. Default 1.
    pub pid: u32,
    /// What the trace holds. Default [`Trace::Mutations`].
    pub trace: Trace,
    /// Draws where faults and failed operations leave a choice. Default 0.
    pub seed: u64,
}

impl Default for SimOptions {
    fn default() -> Self {
        Self {
            sector_bytes: 512,
            total_bytes: 1 << 30,
            descriptors_max: 1024,
            sync_failure: SyncFailure::default(),
            pid: 1,
            trace: Trace::Mutations,
            seed: 0,
        }
    }
}

/// Which operations a disk writes into its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trace {
    /// None.
    Off,
    /// Those that [`SimDisk::operations`] counts.
    Mutations,
    /// All.
    All,
}

/// How much virtual time operations take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Latency {
    /// A read.
    pub read: Duration,
    /// A write.
    pub write: Duration,
    /// A sync of a file or folder.
    pub sync: Duration,
    /// Anything else.
    pub other: Duration,
}

impl Latency {
    fn of(&self, kind: OperationKind) -> Duration {
        match kind {
            OperationKind::Read => self.read,
            OperationKind::Write => self.write,
            OperationKind::SyncData | OperationKind::SyncDir => self.sync,
            _ => self.other,
        }
    }
}

/// A simulated disk. A clone is another handle on the same disk; a [`SimDisk::fork`] is another
/// disk.
#[derive(Debug, Clone)]
pub struct SimDisk {
    shared: Arc<Shared>,
}

impl SimDisk {
    /// Makes an empty disk.
    pub fn new(options: SimOptions) -> Self {
        assert!(
            [512, 4096].contains(&options.sector_bytes),
            "sectors have 512 or 4096 bytes, sector_bytes={}",
            options.sector_bytes
        );
        Self::from_state(State {
            volume: Volume::new(options.total_bytes),
            gate: Gate::new(options.seed, options.trace),
            stamps: 0,
            descriptors: 0,
            descriptors_max: options.descriptors_max,
            locks: BTreeSet::new(),
            pid: options.pid,
            sector_bytes: options.sector_bytes,
            sync_failure: options.sync_failure,
        })
    }

    fn from_state(state: State) -> Self {
        Self {
            shared: Arc::new(Shared::new(state)),
        }
    }

    /// The disk as storage sees it.
    pub fn vfs(&self) -> Arc<dyn Vfs> {
        Arc::new(handle::SimVfs {
            shared: Arc::clone(&self.shared),
        })
    }

    /// A disk of its own in the same state, counts, faults and trace included. Files that are open
    /// on this one are not open on it.
    #[must_use]
    pub fn fork(&self) -> Self {
        let mut state = self.shared.lock().clone();
        state.volume.close_all();
        state.descriptors = 0;
        state.locks.clear();
        Self::from_state(state)
    }

    /// The disk that a restart finds after a crash of this one, which stays as it is. Its counts
    /// start at zero, its trace is empty, it has no faults, and its power is on.
    #[must_use]
    pub fn crash(&self, mode: &CrashMode) -> Self {
        let state = self.shared.lock();
        Self::from_state(match mode {
            CrashMode::Kill => state.after_kill(),
            CrashMode::PowerLoss(mode) => Plan::of(*mode, &state).carry_out(&state),
        })
    }

    /// The disks that a restart may find after a crash of this one: first that of a kill, then
    /// those of a power loss, each different content once.
    ///
    /// If there are at most `limit` ways to lose power, all are tried. Otherwise `limit` of them
    /// are: the characteristic ones, then some drawn from the disk's seed.
    pub fn crash_states(&self, limit: usize) -> CrashStates {
        let state = self.shared.lock().clone();
        CrashStates::new(state, limit)
    }

    /// Number of mutating operations so far, as [`OperationKind::is_mutating`] says: those that a
    /// crash or a fault may come between.
    pub fn operations(&self) -> u64 {
        self.shared.lock().gate.operations
    }

    /// Number of operations of one kind so far.
    pub fn count(&self, kind: OperationKind) -> u64 {
        self.shared
            .lock()
            .gate
            .counts
            .get(&kind)
            .copied()
            .unwrap_or_default()
    }

    /// Switches the power off before mutating operation `k`, counted from 0: it and every call
    /// after it fail with an error that [`is_power_off`] knows.
    pub fn stop_before(&self, k: u64) {
        self.stop_within(k, 0);
    }

    /// As [`SimDisk::stop_before`]; if operation `k` is a write, its first `bytes` are still
    /// written, as by a process that is killed in the middle of it.
    pub fn stop_within(&self, k: u64, bytes: usize) {
        self.shared.lock().gate.stop = Some(Stop {
            operation: k,
            bytes,
        });
    }

    /// Whether the power went off.
    pub fn is_stopped(&self) -> bool {
        self.shared.lock().gate.is_off()
    }

    /// Lets something go wrong from now on. Of several faults that hit one operation the one that
    /// was injected first counts.
    pub fn inject(&self, injection: Injection) {
        self.shared.lock().gate.faults.push(injection);
    }

    /// Lets nothing go wrong any more. Power that is off stays off.
    pub fn heal(&self) {
        let gate = &mut self.shared.lock().gate;
        gate.faults.clear();
        if !gate.is_off() {
            gate.stop = None;
        }
    }

    /// Flips one bit of what a file holds, in the page cache and on the disk.
    ///
    /// # Errors
    /// Kind `NotFound` if there is no such file or byte.
    pub fn flip_bit(&self, path: &Path, position: u64, bit: u8) -> io::Result<()> {
        self.damage(path, position, |byte| byte ^ 1 << (bit % 8))
    }

    /// Drops every clean page from the cache: what a failed sync lost cannot be read any more.
    pub fn evict_cache(&self) {
        self.shared.lock().volume.evict_cache();
    }

    /// Changes the size of the disk; what is on it stays.
    pub fn set_total_bytes(&self, total_bytes: u64) {
        self.shared.lock().volume.resize(total_bytes);
    }

    /// Lets every operation move a clock.
    pub fn set_clock(&self, clock: Arc<SimClock>, latency: Latency) {
        let gate = &mut self.shared.lock().gate;
        gate.clock = Some(clock);
        gate.latency = latency;
    }

    /// The operations so far, one a line: kind, path, place, checksum of what was written, and the
    /// outcome where it is not the plain one.
    pub fn trace(&self) -> Vec<String> {
        self.shared
            .lock()
            .gate
            .lines
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    /// As [`SimDisk::trace`], and starts a new trace.
    pub fn take_trace(&self) -> Vec<String> {
        let trace = self.trace();
        self.shared.lock().gate.lines.clear();
        trace
    }

    /// What a reader sees of a file. Not an operation: it works without power and has no faults.
    ///
    /// # Errors
    /// Kind `NotFound` if there is no such file.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.shared.lock();
        let (folders, name) = path::split_name(path)?;
        let file = state.volume.file(state.volume.find(&folders, name)?)?;
        let mut bytes = vec![0; usize::try_from(file.live.length).map_err(io::Error::other)?];
        file.live.read(&mut bytes, 0);
        Ok(bytes)
    }

    /// The paths of all files and folders that a reader sees, sorted.
    pub fn paths(&self) -> Vec<String> {
        self.shared.lock().volume.walk().into_keys().collect()
    }

    /// A digest of all that a reader sees: paths, lengths, contents.
    pub fn content_hash(&self) -> u64 {
        self.shared.lock().content_hash()
    }

    fn damage(&self, path: &Path, position: u64, change: impl Fn(u8) -> u8) -> io::Result<()> {
        let (folders, name) = path::split_name(path)?;
        let mut state = self.shared.lock();
        let id = state.volume.find(&folders, name)?;
        state.volume.file_mut(id)?.damage(position, change)
    }
}

#[cfg(test)]
mod tests;
