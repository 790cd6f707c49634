//! Block-aligned buffers for rounds, given back to a pool when the last slice of them is dropped.
//!
//! A round is encoded into one buffer; the disk, the tail cache and the settle thread then share it.
//! Reuse matters: on a virtual machine the first touch of a fresh page costs microseconds.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::vfs::BLOCK_BYTES;

/// Lengths of allocations are multiples of this, so that they fit again.
const STEP_BYTES: usize = 16 * 1024;

/// Keeps a bounded number of free buffers.
pub(crate) struct BufferPool {
    free: Mutex<FreeBuffers>,
    free_bytes_max: usize,
}

#[derive(Default)]
struct FreeBuffers {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

impl BufferPool {
    pub(crate) fn new(free_bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            free: Mutex::default(),
            free_bytes_max,
        })
    }

    /// A buffer of `len` bytes with arbitrary content, its address a multiple of [`BLOCK_BYTES`].
    pub(crate) fn take(self: &Arc<Self>, len: usize) -> RoundBuffer {
        let memory_bytes = (len + BLOCK_BYTES).next_multiple_of(STEP_BYTES);
        let memory = self
            .take_free(memory_bytes)
            .unwrap_or_else(|| vec![0; memory_bytes]);
        let start = memory.as_ptr().addr().wrapping_neg() % BLOCK_BYTES;
        RoundBuffer {
            memory,
            start,
            len,
            pool: Arc::clone(self),
        }
    }

    /// The smallest free buffer that is long enough and wastes at most half of itself.
    fn take_free(&self, memory_bytes: usize) -> Option<Vec<u8>> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = memory_bytes..=2 * memory_bytes;
        let buffers = free.buffers.iter().enumerate();
        let candidates = buffers.filter(|(_, memory)| fits.contains(&memory.len()));
        let (place, _) = candidates.min_by_key(|(_, memory)| memory.len())?;
        let memory = free.buffers.swap_remove(place);
        free.bytes -= memory.len();
        Some(memory)
    }

    fn put_back(&self, memory: Vec<u8>) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.bytes + memory.len() <= self.free_bytes_max {
            free.bytes += memory.len();
            free.buffers.push(memory);
        }
    }
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferPool")
            .field("free_bytes_max", &self.free_bytes_max)
            .finish_non_exhaustive()
    }
}

/// One aligned buffer.
pub(crate) struct RoundBuffer {
    memory: Vec<u8>,
    start: usize,
    len: usize,
    pool: Arc<BufferPool>,
}

impl RoundBuffer {
    /// Memory that the buffer pins as long as any slice of it lives.
    pub(crate) fn pinned_bytes(&self) -> usize {
        self.memory.len()
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        self.memory
            .get_mut(self.start..self.start + self.len)
            .unwrap_or_default()
    }

    /// Makes the buffer shareable; it goes back to its pool with the last slice.
    pub(crate) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for RoundBuffer {
    fn as_ref(&self) -> &[u8] {
        self.memory
            .get(self.start..self.start + self.len)
            .unwrap_or_default()
    }
}

impl Drop for RoundBuffer {
    fn drop(&mut self) {
        self.pool.put_back(std::mem::take(&mut self.memory));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_come_back_with_the_last_slice() {
        let pool = BufferPool::new(64 * 1024);
        let mut buffer = pool.take(5000);
        buffer.as_mut_slice().fill(7);
        let address = buffer.as_ref().as_ptr().addr();
        assert_eq!(address % BLOCK_BYTES, 0, "aligned");
        let frozen = buffer.freeze();
        let slice = frozen.slice(100..200);
        drop(frozen);
        assert_ne!(
            pool.take(5000).as_ref().as_ptr().addr(),
            address,
            "still in use"
        );
        drop(slice);
        let again = [pool.take(5000), pool.take(5000)];
        let reused = again
            .iter()
            .any(|buffer| buffer.as_ref().as_ptr().addr() == address);
        assert!(reused, "came back to the pool");
    }

    #[test]
    fn the_pool_keeps_no_more_than_its_bound() {
        let pool = BufferPool::new(16 * 1024);
        drop([pool.take(1), pool.take(1), pool.take(1)]);
        assert_eq!(
            pool.free.lock().unwrap().buffers.len(),
            1,
            "one of 16 KiB fits"
        );
    }
}
