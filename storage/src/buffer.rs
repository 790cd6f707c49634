//! Block-aligned buffers for rounds, given back to a pool when the last slice of them is dropped.
//!
//! A round is encoded into one buffer; the disk, the tail cache and the settle thread then share it.
//! Reuse matters: on a virtual machine the first touch of a fresh page costs microseconds, and a buffer
//! of 4 MiB has a thousand pages. So lengths come in few sizes, and what was freed last stays.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::frame::Backing;
use crate::vfs::BLOCK_BYTES;

/// Length of the smallest allocation.
const MEMORY_BYTES_MIN: usize = 16 * 1024;
/// Allocations have so many lengths between a power of two and the next: a fifth is wasted at most, and
/// one that comes back soon fits again.
const SIZES_PER_DOUBLING: usize = 4;

/// Keeps a bounded number of free buffers.
pub(crate) struct BufferPool {
    free: Mutex<FreeBuffers>,
    free_bytes_max: usize,
}

#[derive(Default)]
struct FreeBuffers {
    /// In the order in which they were freed.
    buffers: VecDeque<Vec<u8>>,
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
        let memory_bytes = memory_bytes_for(len);
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

    /// The free buffer of this length that was freed last: some of it may be in the processor's cache.
    fn take_free(&self, memory_bytes: usize) -> Option<Vec<u8>> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |memory: &Vec<u8>| memory.len() == memory_bytes;
        let place = free.buffers.iter().rposition(fits)?;
        let memory = free.buffers.remove(place)?;
        free.bytes -= memory.len();
        Some(memory)
    }

    /// Keeps a buffer, instead of those that nobody has wanted for the longest time.
    fn put_back(&self, memory: Vec<u8>) {
        let mut surplus = Vec::new();
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.bytes += memory.len();
        free.buffers.push_back(memory);
        while free.bytes > self.free_bytes_max
            && let Some(oldest) = free.buffers.pop_front()
        {
            free.bytes -= oldest.len();
            surplus.push(oldest);
        }
        // Giving memory back to the system takes long.
        drop(free);
        drop(surplus);
    }
}

/// How long an allocation is that holds an aligned buffer of this length.
fn memory_bytes_for(len: usize) -> usize {
    let needed = (len + BLOCK_BYTES).max(MEMORY_BYTES_MIN);
    let step = needed.next_power_of_two() / 2 / SIZES_PER_DOUBLING;
    needed.next_multiple_of(step)
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
    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        self.memory
            .get_mut(self.start..self.start + self.len)
            .unwrap_or_default()
    }

    /// What slices of it hold.
    pub(crate) fn backing(&self) -> Backing {
        Backing::new(&self.memory, self.memory.len())
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
    fn lengths_come_in_few_sizes_and_waste_at_most_a_fifth() {
        let mut sizes = std::collections::BTreeSet::new();
        for len in (0..4 * 1024 * 1024).step_by(997) {
            let memory_bytes = memory_bytes_for(len);
            assert!(memory_bytes >= len + BLOCK_BYTES, "{len} has room");
            let needed = (len + BLOCK_BYTES).max(MEMORY_BYTES_MIN);
            assert!(memory_bytes - needed <= memory_bytes / 5, "{len} wastes");
            sizes.insert(memory_bytes);
        }
        assert!(sizes.len() <= 34, "{sizes:?}");
    }

    #[test]
    fn the_pool_keeps_no_more_than_its_bound_and_what_was_freed_last() {
        let pool = BufferPool::new(100 * 1024);
        let (small, large) = (pool.take(1), pool.take(70 * 1024));
        let address = large.as_ref().as_ptr().addr();
        drop(small);
        drop([pool.take(1), pool.take(1)]);
        drop(large);
        let free = pool.free.lock().unwrap();
        assert!(free.bytes <= 100 * 1024, "{} bytes", free.bytes);
        let kept: usize = free.buffers.iter().map(Vec::len).sum();
        assert_eq!(kept, free.bytes, "counted");
        drop(free);
        let again = pool.take(70 * 1024);
        assert_eq!(
            again.as_ref().as_ptr().addr(),
            address,
            "the last one freed"
        );
    }

    #[test]
    fn a_buffer_that_exceeds_the_bound_is_not_kept() {
        let pool = BufferPool::new(16 * 1024);
        drop(pool.take(1024 * 1024));
        assert_eq!(pool.free.lock().unwrap().buffers.len(), 0);
    }
}
