//! How much each connection may send ahead: much while few are open, little when many are.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Smallest window that HTTP/2 knows of for a connection, which each has.
const WINDOW_BYTES_MIN: u32 = 64 * 1024;
/// What the first connections get.
const WINDOW_BYTES_MAX: u32 = 8 * 1024 * 1024;
/// Each connection gets this part of what is left.
const SHARE_DIVISOR: usize = 16;

/// Memory for what clients send ahead. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct ReceiveMemory {
    left_bytes: Arc<Mutex<usize>>,
}

/// What one connection may send ahead; given back when dropped.
#[derive(Debug)]
pub(super) struct Window {
    memory: ReceiveMemory,
    shared_bytes: u32,
}

impl ReceiveMemory {
    /// Memory of so many bytes, which connections share beyond the smallest window of each.
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            left_bytes: Arc::new(Mutex::new(bytes)),
        }
    }

    /// Takes a window for a connection.
    pub(super) fn take(&self) -> Window {
        let mut left = self.lock();
        let share = u32::try_from(*left / SHARE_DIVISOR).unwrap_or(u32::MAX);
        let shared_bytes = share.min(WINDOW_BYTES_MAX - WINDOW_BYTES_MIN);
        *left -= shared_bytes as usize;
        Window {
            memory: self.clone(),
            shared_bytes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        let left = &self.left_bytes;
        left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    /// Bytes that the connection may send before they are taken.
    pub(super) fn bytes(&self) -> u32 {
        WINDOW_BYTES_MIN + self.shared_bytes
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        *self.memory.lock() += self.shared_bytes as usize;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET_BYTES: usize = 256 * 1024 * 1024;

    #[test]
    fn the_first_connections_get_large_windows_and_the_last_small_ones() {
        let memory = ReceiveMemory::new(BUDGET_BYTES);
        let windows: Vec<_> = (0..10_000).map(|_| memory.take()).collect();
        assert_eq!(windows[0].bytes(), WINDOW_BYTES_MAX);
        assert!(windows[9_999].bytes() < WINDOW_BYTES_MIN + 32);
        let total: usize = windows.iter().map(|window| window.bytes() as usize).sum();
        let least = windows.len() * WINDOW_BYTES_MIN as usize;
        assert!(total <= BUDGET_BYTES + least, "{total} bytes");
        drop(windows);
        assert_eq!(memory.take().bytes(), WINDOW_BYTES_MAX, "given back");
    }
}
