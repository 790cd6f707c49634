//! One open file of a simulated disk.

use std::fmt;
use std::io;
use std::io::IoSlice;
use std::sync::Arc;

use rustix::io::Errno;

use crate::vfs::sim::fault::{Fault, OperationKind};
use crate::vfs::sim::gate::{Call, Detail, Outcome, Verdict, power_off};
use crate::vfs::sim::names::NodeId;
use crate::vfs::sim::state::{Shared, State};
use crate::vfs::{BLOCK_BYTES, OpenMode, VfsFile};

/// An open file of a simulated disk.
pub(super) struct SimFile {
    pub(super) shared: Arc<Shared>,
    pub(super) node: NodeId,
    pub(super) mode: OpenMode,
}

impl SimFile {
    fn run<T: Outcome>(
        &self,
        kind: OperationKind,
        detail: Detail,
        act: impl FnOnce(&mut State, Verdict) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.shared.lock();
        let path = if state.gate.needs_paths() {
            state.volume.path_of(self.node)
        } else {
            String::new()
        };
        state.run(&Call { kind, path, detail }, act)
    }

    fn check_writable(&self, error: Errno) -> io::Result<()> {
        if self.mode == OpenMode::Read {
            Err(error.into())
        } else {
            Ok(())
        }
    }

    /// A direct transfer that real hardware would refuse is a bug of the caller.
    fn check_aligned(&self, address: *const u8, length: usize, position: u64) {
        if self.mode == OpenMode::WriteDirect {
            assert!(
                address.addr().is_multiple_of(BLOCK_BYTES)
                    && length.is_multiple_of(BLOCK_BYTES)
                    && position.is_multiple_of(BLOCK_BYTES as u64),
                "unaligned direct transfer, address={address:p} length={length} position={position}"
            );
        }
    }

    /// How far a short transfer gets: at least one byte, or block where the transfer is direct.
    fn shorten(&self, state: &mut State, length: usize) -> usize {
        let unit = if self.mode == OpenMode::WriteDirect {
            BLOCK_BYTES
        } else {
            1
        };
        let units = (length / unit) as u64;
        if units < 2 {
            return length;
        }
        unit * (1 + state.gate.random.below(units - 1) as usize)
    }
}

impl VfsFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.check_aligned(buffer.as_ptr(), buffer.len(), position);
        let detail = Detail::Range {
            position,
            length: buffer.len() as u64,
            crc: None,
        };
        self.run(OperationKind::Read, detail, |state, verdict| {
            let mut length = buffer.len();
            match verdict {
                Verdict::Fault(Fault::Short) => length = self.shorten(state, length),
                Verdict::Fault(fault) => {
                    if let Some(error) = fault.error() {
                        return Err(error);
                    }
                }
                Verdict::Pass | Verdict::Cut(_) => {}
            }
            let file = state.volume.file(self.node)?;
            let buffer = &mut buffer[..length];
            if self.mode == OpenMode::WriteDirect && file.has_lost_pages {
                return Ok(file.behind_cache().read(buffer, position));
            }
            Ok(file.live.read(buffer, position))
        })
    }

    fn write_vectored_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        for slice in slices {
            self.check_aligned(slice.as_ptr(), slice.len(), position);
        }
        let slices = slices.get(..SLICES_MAX).unwrap_or(slices);
        let mut bytes = Vec::with_capacity(slices.iter().map(|slice| slice.len()).sum());
        for slice in slices {
            bytes.extend_from_slice(slice);
        }
        let crc = self
            .shared
            .lock()
            .gate
            .needs_paths()
            .then(|| crc32fast::hash(&bytes));
        let detail = Detail::Range {
            position,
            length: bytes.len() as u64,
            crc,
        };
        self.run(OperationKind::Write, detail, |state, verdict| {
            self.check_writable(Errno::BADF)?;
            let mut is_lost = false;
            let mut error = None;
            match verdict {
                Verdict::Pass => {}
                Verdict::Cut(length) => {
                    bytes.truncate(length);
                    error = Some(power_off());
                }
                Verdict::Fault(Fault::Short) => bytes.truncate(self.shorten(state, bytes.len())),
                Verdict::Fault(Fault::LostWrite) => is_lost = true,
                Verdict::Fault(Fault::Io) => {
                    // What a failed write has written is unknown to its caller.
                    let count = state.gate.random.below(bytes.len() as u64 + 1);
                    bytes.truncate(count as usize);
                    error = Fault::Io.error();
                }
                Verdict::Fault(fault) => {
                    if let Some(error) = fault.error() {
                        return Err(error);
                    }
                }
            }
            let stamp = state.stamp();
            let count = state
                .volume
                .write(self.node, stamp, position, bytes, is_lost);
            match error {
                Some(error) => Err(error),
                None => count,
            }
        })
    }

    fn allocate(&self, position: u64, length: u64) -> io::Result<()> {
        let detail = Detail::Range {
            position,
            length,
            crc: None,
        };
        self.run_whole(OperationKind::Allocate, detail, |state| {
            if length == 0 {
                return Err(Errno::INVAL.into());
            }
            self.check_writable(Errno::BADF)?;
            let stamp = state.stamp();
            state.volume.allocate(self.node, stamp, position, length)
        })
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.run_whole(OperationKind::SetLen, Detail::Length(length), |state| {
            self.check_writable(Errno::INVAL)?;
            let stamp = state.stamp();
            state.volume.set_length(self.node, stamp, length)
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.run(
            OperationKind::SyncData,
            Detail::None,
            |state, verdict| match verdict {
                Verdict::Fault(Fault::LyingSync) => Ok(()),
                Verdict::Fault(fault) => state.fail_sync_data(self.node, fault),
                Verdict::Pass | Verdict::Cut(_) => {
                    state.volume.file_mut(self.node)?.sync();
                    Ok(())
                }
            },
        )
    }

    fn drop_cache(&self, position: u64, length: u64) {
        let detail = Detail::Range {
            position,
            length,
            crc: None,
        };
        let result = self.run_whole(OperationKind::DropCache, detail, |state| {
            let end = position.saturating_add(length);
            state.volume.file_mut(self.node)?.drop_cache(position, end);
            Ok(())
        });
        // A hint: without power nothing is cached either.
        drop(result);
    }

    fn start_write_back(&self, position: u64, length: u64) {
        let detail = Detail::Range {
            position,
            length,
            crc: None,
        };
        // A crash chooses among all writes that are not synced which of them have reached the disk.
        let result = self.run_whole(OperationKind::StartWriteBack, detail, |_| Ok(()));
        drop(result);
    }

    fn len(&self) -> io::Result<u64> {
        self.run_whole(OperationKind::Len, Detail::None, |state| {
            Ok(state.volume.file(self.node)?.live.length)
        })
    }
}

impl SimFile {
    /// Runs an operation that a fault leaves undone.
    fn run_whole<T: Outcome>(
        &self,
        kind: OperationKind,
        detail: Detail,
        act: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        self.run(kind, detail, |state, verdict| match verdict {
            Verdict::Fault(fault) => match fault.error() {
                Some(error) => Err(error),
                None => act(state),
            },
            Verdict::Pass | Verdict::Cut(_) => act(state),
        })
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.descriptors -= 1;
        state.volume.close(self.node);
    }
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SimFile({} {:?})",
            self.shared.lock().volume.path_of(self.node),
            self.mode
        )
    }
}

/// As the kernel (`UIO_MAXIOV`).
const SLICES_MAX: usize = 1024;
