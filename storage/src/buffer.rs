//! Block-aligned buffers for rounds, given back to a pool when the last slice of them is dropped.
//!
//! A round is encoded into one buffer; the disk, the tail cache and the settle thread then share it.
//! Reuse matters: on a virtual machine the first touch of a fresh page costs microseconds.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::vfs::BLOCK_BYTES;

/// Smallest allocation. Most rounds of an idle broker are one block.
const CLASS_BYTES_MIN: usize = 16 * 1024;

/// Keeps a bounded number of free buffers.
pub(crate) struct BufferPool {
    free: Mutex<Vec<Vec<u8>>>,
    free_bytes_max: usize,
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
        let class_bytes = (len + BLOCK_BYTES).next_power_of_two().max(CLASS_BYTES_MIN);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let found = free.iter().rposition(|memory| memory.len() == class_bytes);
        let memory = found.map(|place| free.swap_remove(place));
        drop(free);
        let memory = memory.unwrap_or_else(|| vec![0; class_bytes]);
        let start = memory.as_ptr().addr().wrapping_neg() % BLOCK_BYTES;
        RoundBuffer {
            memory,
            start,
            len,
            pool: Arc::clone(self),
        }
    }

    fn put_back(&self, memory: Vec<u8>) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let free_bytes: usize = free.iter().map(Vec::len).sum();
        if free_bytes + memory.len() <= self.free_bytes_max {
            free.push(memory);
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
        assert_eq!(pool.free.lock().unwrap().len(), 1, "one of 16 KiB fits");
    }
}
