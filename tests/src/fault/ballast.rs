//! Something else that takes up a disk.

use std::fs::OpenOptions;
use std::path::PathBuf;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::Disk;

/// The unit in which the operating system is asked for space.
const STEP_BYTES: u64 = 64 * 1024;

/// A file that takes up a disk until it is removed.
#[derive(Debug)]
pub struct Ballast {
    path: PathBuf,
}

impl Ballast {
    /// Takes up a disk but for so many bytes, as near as the operating system lets it.
    ///
    /// # Panics
    ///
    /// The operating system refuses for another reason than that the disk is full.
    pub fn leave(disk: &Disk, left_bytes: u64) -> Self {
        let path = disk.root().join("ballast");
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).open(&path);
        let file = file.expect("a file");
        let mut length = 0;
        while disk.available_bytes() > left_bytes {
            let excess_bytes = disk.available_bytes() - left_bytes;
            // Large pieces first; what the file system needs for itself is not known before.
            let piece_bytes = (excess_bytes / 2).max(STEP_BYTES);
            match fallocate(&file, FallocateFlags::empty(), length, piece_bytes) {
                Ok(()) => length += piece_bytes,
                Err(Errno::NOSPC) => break,
                Err(error) => panic!("no ballast: {error}"),
            }
        }
        Self { path }
    }

    /// Removes it.
    ///
    /// # Panics
    ///
    /// It cannot be removed.
    pub fn remove(self) {
        std::fs::remove_file(&self.path).expect("removed");
    }
}
