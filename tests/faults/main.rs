//! Faults of the machine under the real binary: power losses, disks that fail, fill up or are slow, no
//! descriptors left, clients that hoard memory.
//!
//! Clients of the SDK write and read all the time, and what they saw is checked as a history. What
//! the machine cannot do is skipped with a notice. `SEED=n` draws other times and orders (what the
//! operating system does is not repeated by it), `LOSSES=n` sets the number of power losses (default
//! 50), `TOWPATH_BIN` names another binary, `TMPDIR` where the disks lie.
#![deny(unsafe_op_in_unsafe_fn)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking and says what it did"
)]

mod cli;
mod descriptors;
mod disk_errors;
mod full_disk;
mod hoarders;
mod layout;
mod power_loss;
mod power_switch;
mod read_only;
mod slow_disk;

use std::time::Duration;

use towpath_tests::fault::{Disk, Strace, skip};
use towpath_tests::setting::number;

/// Longest wait for anything; reached only when something hangs, also at the lowest priority on a machine
/// that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(300);

/// Exit code of a broker that could not go on.
const BROKER_FAILED: i32 = 70;

/// The seed of this run: `SEED`, or one of its own.
fn seed() -> u64 {
    number("SEED", fastrand::u64(..1 << 32))
}

/// Whether the machine can do what a test needs; if not, says so.
fn can(test: &str, needs: &[Need]) -> bool {
    let missing = needs.iter().find_map(|need| match need {
        Need::Disks => Disk::missing(),
        Need::Strace => Strace::missing(),
    });
    missing.inspect(|why| skip(test, why)).is_none()
}

/// What a test needs of the machine.
#[derive(Debug, Clone, Copy)]
enum Need {
    /// Disks of its own.
    Disks,
    /// Changes to system calls.
    Strace,
}
