//! The power switch of an ext4 file system.

use std::path::Path;

use rustix::fs::{Mode, OFlags, open};
use rustix::ioctl::{Opcode, Setter, ioctl, opcode};

/// What becomes of what the file system has done and not put on its disk yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Its own journal is still put on the disk (`EXT4_GOING_FLAGS_LOGFLUSH`).
    Journaled,
    /// Nothing is (`EXT4_GOING_FLAGS_NOLOGFLUSH`).
    Hard,
}

/// Stops a mounted ext4 file system as a power loss does: from here on every call that changes it fails
/// with EIO. After it was unmounted, only what had been on its disk is there.
///
/// # Panics
///
/// `root` is no ext4 file system.
pub(crate) fn power_off(root: &Path, cut: Cut) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = open(root, flags, Mode::empty()).expect("a mounted file system");
    let argument: u32 = match cut {
        Cut::Journaled => 1,
        Cut::Hard => 2,
    };
    #[expect(unsafe_code, reason = "no safe call switches a file system off")]
    // SAFETY: EXT4_IOC_SHUTDOWN takes a pointer to a u32.
    let call = unsafe { Setter::<EXT4_IOC_SHUTDOWN, u32>::new(argument) };
    #[expect(unsafe_code, reason = "no safe call switches a file system off")]
    // SAFETY: the kernel reads the u32 that `call` owns, and writes nothing. A file system that does
    // not know the number refuses it.
    let done = unsafe { ioctl(root, call) };
    done.expect("a file system that can be switched off");
}

/// `_IOR('X', 125, __u32)`; see `fs/ext4/ext4.h` in the Linux kernel.
const EXT4_IOC_SHUTDOWN: Opcode = opcode::read::<u32>(b'X', 125);
