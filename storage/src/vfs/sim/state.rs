//! The state behind all handles on one simulated disk.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::fault::{Fault, SyncFailure};
use super::gate::{Call, Gate, Outcome, Verdict};
use super::loss::Loss;
use super::names::{NodeId, ROOT};
use super::volume::Volume;

/// What the handles on a disk share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
}

impl Shared {
    pub(super) fn new(state: State) -> Self {
        Self {
            state: Mutex::new(state),
        }
    }

    /// A test that panicked with the disk in hand leaves a disk that can still be looked at.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) volume: Volume,
    pub(super) gate: Gate,
    /// Number of changes ever stamped; rises through crashes, so that pending changes stay in
    /// order.
    pub(super) stamps: u64,
    pub(super) descriptors: u64,
    pub(super) descriptors_max: u64,
    pub(super) locks: BTreeSet<NodeId>,
    pub(super) pid: u32,
    pub(super) sector_bytes: u64,
    pub(super) sync_failure: SyncFailure,
}

impl State {
    /// Passes one operation through the gate.
    pub(super) fn run<T: Outcome>(
        &mut self,
        call: &Call,
        act: impl FnOnce(&mut Self, Verdict) -> io::Result<T>,
    ) -> io::Result<T> {
        let result = self.gate.enter(call).and_then(|verdict| act(self, verdict));
        self.gate.leave(call, &result);
        result
    }

    /// The same disk for another process: no descriptor, no lock, power on.
    pub(super) fn restarted(&self, volume: Volume) -> Self {
        Self {
            volume,
            gate: self.gate.restarted(),
            descriptors: 0,
            locks: BTreeSet::new(),
            ..*self
        }
    }

    /// The same disk after its process was killed.
    pub(super) fn after_kill(&self) -> Self {
        let mut volume = self.volume.clone();
        volume.close_all();
        self.restarted(volume)
    }

    /// A number above that of every earlier change.
    pub(super) fn stamp(&mut self) -> u64 {
        self.stamps += 1;
        self.stamps
    }

    pub(super) fn check_descriptors(&self) -> io::Result<()> {
        if self.descriptors < self.descriptors_max {
            Ok(())
        } else {
            Err(Errno::MFILE.into())
        }
    }

    /// The process id in the first line of a lock file.
    pub(super) fn holder(&self, node: NodeId) -> Option<u32> {
        let mut bytes = [0; 16];
        let count = self.volume.file(node).ok()?.live.read(&mut bytes, 0);
        str::from_utf8(&bytes[..count])
            .ok()?
            .lines()
            .next()?
            .parse()
            .ok()
    }

    /// Fails a sync of a file; some of the bytes reached the disk, drawn from the seed.
    pub(super) fn fail_sync_data(&mut self, node: NodeId, fault: Fault) -> io::Result<()> {
        let file = self.volume.file_mut(node)?;
        let loss = match self.gate.random.below(2) {
            0 => Loss::everything(),
            _ => Loss::random(file, &mut self.gate.random, self.sector_bytes),
        };
        match self.sync_failure {
            SyncFailure::CacheKept => file.fail_sync_keeping_cache(&loss),
            SyncFailure::CacheReverted => file.fail_sync_reverting_cache(&loss),
        }
        self.volume.count_used();
        fault.error().map_or(Ok(()), Err)
    }

    /// Fails a sync of a folder; some of the names are durable, drawn from the seed.
    pub(super) fn fail_sync_dir(&mut self, folder: NodeId, fault: Fault) -> io::Result<()> {
        let names = &mut self.volume.names;
        let mut kept = names.pending_in(folder);
        kept.retain(|_| self.gate.random.one_in(2));
        names.fail_sync(folder, &kept);
        fault.error().map_or(Ok(()), Err)
    }

    /// A digest of what a reader sees: paths, kinds, lengths and contents.
    pub(super) fn content_hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.volume.hash_folder(ROOT, &mut hasher);
        hasher.finish()
    }
}
