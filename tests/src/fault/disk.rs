//! A disk of its own for one test: an ext4 file system in a file, behind a loop device.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::statvfs;
use tempfile::TempDir;

use super::tool::run;

/// Size of the disk that is made to see whether one can be made.
const SMALL_BYTES: u64 = 8 * 1024 * 1024;

/// An ext4 file system; unmounted, detached and removed when it is dropped.
///
/// Whatever runs on it must be dropped before: declare it first.
#[derive(Debug)]
pub struct Disk {
    folder: TempDir,
    is_mounted: bool,
}

impl Disk {
    /// Why this machine cannot have such disks; none if it can.
    pub fn missing() -> Option<&'static str> {
        static MISSING: OnceLock<Option<String>> = OnceLock::new();
        let try_it = || Self::make(SMALL_BYTES).err();
        MISSING.get_or_init(try_it).as_deref()
    }

    /// Makes an empty file system of this size, all of it for anyone, and mounts it.
    ///
    /// # Panics
    ///
    /// The machine cannot; see [`Disk::missing`].
    pub fn ext4(bytes: u64) -> Self {
        Self::make(bytes).unwrap_or_else(|error| panic!("no disk: {error}"))
    }

    fn make(bytes: u64) -> Result<Self, String> {
        let folder = tempfile::Builder::new()
            .prefix("towpath-disk-")
            .tempdir()
            .map_err(|error| error.to_string())?;
        let mut disk = Self {
            folder,
            is_mounted: false,
        };
        File::create(disk.image())
            .and_then(|image| image.set_len(bytes))
            .map_err(|error| error.to_string())?;
        std::fs::create_dir(disk.root()).map_err(|error| error.to_string())?;
        // Without a share that only root may fill, full means the same to every user.
        let args = ["-q", "-F", "-m", "0"].map(PathBuf::from);
        run("mkfs.ext4", args.iter().chain([&disk.image()]))?;
        disk.try_mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// A folder on it for a broker.
    pub fn data_dir(&self) -> PathBuf {
        self.root().join("data")
    }

    /// What may still be written on it, bytes.
    ///
    /// # Panics
    ///
    /// It cannot be asked.
    pub fn available_bytes(&self) -> u64 {
        let stat = statvfs(self.root()).expect("a mounted disk");
        stat.f_bavail * stat.f_frsize
    }

    /// Mounts it after [`Disk::unmount`].
    ///
    /// # Panics
    ///
    /// It cannot be mounted.
    pub fn mount(&mut self) {
        self.try_mount()
            .unwrap_or_else(|error| panic!("not mounted: {error}"));
    }

    fn try_mount(&mut self) -> Result<(), String> {
        run("mount", [Path::new("-oloop"), &self.image(), &self.root()])?;
        self.is_mounted = true;
        Ok(())
    }

    /// Changes how it is mounted: `ro` makes it read-only, `rw` writable.
    ///
    /// # Panics
    ///
    /// The operating system refuses.
    pub fn remount(&self, options: &str) {
        let options = format!("-oremount,{options}");
        run("mount", [Path::new(&options), &self.root()])
            .unwrap_or_else(|error| panic!("not remounted: {error}"));
    }

    /// Unmounts it, and with it goes what was only in memory. Nobody may use it.
    ///
    /// # Panics
    ///
    /// Somebody uses it.
    pub fn unmount(&mut self) {
        run("umount", [self.root()]).unwrap_or_else(|error| panic!("not unmounted: {error}"));
        self.is_mounted = false;
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if !self.is_mounted || run("umount", [self.root()]).is_ok() {
            return;
        }
        // Somebody still uses it, since the test fails: it goes as soon as they do.
        if let Err(error) = run("umount", [Path::new("--lazy"), &self.root()]) {
            super::report("a disk stays mounted", error);
        }
    }
}
