//! Faults of the machine, put on the real binary: disks of its own that lose power and fill up, system
//! calls that fail, lie or are slow, clients that hoard its memory.
//!
//! What a machine cannot do (no root, no loop devices, no `strace`) is a [`skip`] that is seen; it
//! never fails a test. Everything that is attached or mounted goes when its value is dropped. Linux
//! only.

mod ballast;
mod disk;
mod hoarder;
mod notice;
mod strace;
#[cfg(test)]
mod tests;
mod tool;
mod usage;

pub use ballast::Ballast;
pub use disk::Disk;
pub use hoarder::{Hoarder, Hoarding};
pub use notice::{report, skip};
pub use strace::{Strace, When};
pub use usage::{cpu_time, descriptor_count, resident_bytes, resident_bytes_peak};
