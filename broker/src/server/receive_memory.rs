//! How much each connection may send ahead: much while few are open, little when many are.

use std::sync::{Arc, Mutex, PoisonError};

const KIB: u32 = 1024;
/// What the first connections get.
const WINDOW_BYTES_MAX: u32 = 8 * 1024 * KIB;
/// What every connection gets, beyond the budget if need be.
const WINDOW_BYTES_MIN: u32 = 128 * KIB;
/// What all windows add up to, as long as they are above the minimum.
const BUDGET_BYTES: u32 = 256 * 1024 * KIB;
/// Each connection gets this part of what is left.
const SHARE_DIVISOR: u32 = 16;

/// Memory for what clients send ahead. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct ReceiveMemory {
    left_bytes: Arc<Mutex<u32>>,
}

/// What one connection may send ahead; given back when dropped.
#[derive(Debug)]
pub(super) struct Window {
    memory: ReceiveMemory,
    bytes: u32,
    taken_bytes: u32,
}

impl Default for ReceiveMemory {
    fn default() -> Self {
        Self {
            left_bytes: Arc::new(Mutex::new(BUDGET_BYTES)),
        }
    }
}

impl ReceiveMemory {
    /// Takes a window for a connection.
    pub(super) fn take(&self) -> Window {
        let mut left = self
            .left_bytes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let bytes = (*left / SHARE_DIVISOR).clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_MAX);
        let taken_bytes = bytes.min(*left);
        *left -= taken_bytes;
        Window {
            memory: self.clone(),
            bytes,
            taken_bytes,
        }
    }
}

impl Window {
    /// Bytes that the connection may send before they are taken.
    pub(super) fn bytes(&self) -> u32 {
        self.bytes
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        let left = &self.memory.left_bytes;
        *left.lock().unwrap_or_else(PoisonError::into_inner) += self.taken_bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_connections_get_large_windows_and_the_last_small_ones() {
        let memory = ReceiveMemory::default();
        let windows: Vec<_> = (0..1024).map(|_| memory.take()).collect();
        assert_eq!(windows[0].bytes(), WINDOW_BYTES_MAX);
        assert_eq!(windows[1023].bytes(), WINDOW_BYTES_MIN);
        let total: u64 = windows.iter().map(|window| u64::from(window.bytes())).sum();
        assert!(total < 2 * u64::from(BUDGET_BYTES), "{total} bytes");
        drop(windows);
        assert_eq!(memory.take().bytes(), WINDOW_BYTES_MAX, "given back");
    }
}
