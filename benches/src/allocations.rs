//! Counting what is allocated: by a thread, so that a count is the same each time.
//!
//! A program that counts makes [`CountingAllocator`] its own with `#[global_allocator]`; in others
//! every count is 0.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, which also counts for each thread.
#[derive(Debug, Clone, Copy, Default)]
pub struct CountingAllocator;

thread_local! {
    static COUNTED: Cell<Allocations> = const { Cell::new(Allocations { count: 0, held_bytes: 0 }) };
}

/// What a thread has allocated since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allocations {
    /// How often memory was asked for, or asked to grow or shrink.
    pub count: u64,
    /// Bytes that were asked for and not given back. Negative where others' memory was given back.
    pub held_bytes: i64,
}

impl Allocations {
    /// Those of this thread so far.
    pub fn of_this_thread() -> Self {
        COUNTED.get()
    }

    /// Those of this thread while it did something.
    pub fn during<T>(work: impl FnOnce() -> T) -> (Self, T) {
        let before = Self::of_this_thread();
        let result = work();
        let after = Self::of_this_thread();
        let during = Self {
            count: after.count - before.count,
            held_bytes: after.held_bytes - before.held_bytes,
        };
        (during, result)
    }
}

fn note(count: u64, bytes_before: usize, bytes_after: usize) {
    // A thread that ends may free memory after its numbers are gone.
    let noted = COUNTED.try_with(|counted| {
        let mut known = counted.get();
        known.count += count;
        known.held_bytes += signed(bytes_after) - signed(bytes_before);
        counted.set(known);
    });
    noted.unwrap_or_default();
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[expect(unsafe_code, reason = "an allocator can be written in no other way")]
// SAFETY: every call is passed on to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(1, 0, layout.size());
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(1, 0, layout.size());
        // SAFETY: as promised by the caller.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        note(0, layout.size(), 0);
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note(1, layout.size(), new_size);
        // SAFETY: as promised by the caller.
        unsafe { System.realloc(block, layout, new_size) }
    }
}
