//! The data folder of the broker that is measured: new, with room for the largest size, gone in the end.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;

use crate::output;
use crate::{Error, Result};

/// A data folder that is removed when this is dropped, unless it is to stay.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    is_kept: bool,
}

impl DataFolder {
    /// Makes the folder, or takes an empty one. Its parent must be there.
    ///
    /// # Errors
    /// [`Error::Refused`] if something is in it, or if its disk has fewer than `room_bytes` free;
    /// [`Error::Io`] if it cannot be made.
    pub fn create(path: &Path, room_bytes: u64, is_kept: bool) -> Result<Self> {
        match fs::create_dir(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => check_empty(path)?,
            made => made.map_err(Error::io("make the data folder"))?,
        }
        let folder = Self {
            path: path.to_owned(),
            is_kept,
        };
        folder.check_room(room_bytes)?;
        Ok(folder)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn check_room(&self, room_bytes: u64) -> Result<()> {
        let disk =
            statvfs(&self.path).map_err(|error| Error::io("look at the disk")(error.into()))?;
        let free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free_bytes >= room_bytes {
            return Ok(());
        }
        let (room, free) = (room_bytes.div_ceil(1 << 20), free_bytes >> 20);
        let dir = self.path.display();
        Err(Error::Refused(format!(
            "the disk of {dir} has no room for the largest size: {room} MiB are needed with the load \
             and the journal, {free} MiB are free"
        )))
    }
}

impl Drop for DataFolder {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.path) {
            let dir = self.path.display();
            output::warn(&format!("{dir} was not removed: {error}"));
        }
    }
}

fn check_empty(path: &Path) -> Result<()> {
    let mut entries = fs::read_dir(path).map_err(Error::io("look into the data folder"))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(Error::Refused(format!(
            "{} is not empty: a folder that is filled and removed must be new",
            path.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_holds_something_is_refused_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("precious"), "x").unwrap();
        let error = DataFolder::create(dir.path(), 0, false).unwrap_err();
        assert!(matches!(error, Error::Refused(_)), "{error}");
        assert!(dir.path().join("precious").exists(), "it was removed");
    }

    #[test]
    fn a_disk_without_room_is_refused_and_nothing_is_left_on_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let error = DataFolder::create(&path, u64::MAX, false).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("has no room for the largest size"), "{text}");
        assert!(!path.exists(), "the folder was left");
    }

    #[test]
    fn the_folder_goes_in_the_end_unless_it_is_to_stay() {
        let dir = tempfile::tempdir().unwrap();
        for is_kept in [false, true] {
            let path = dir.path().join("data");
            let folder = DataFolder::create(&path, 1, is_kept).unwrap();
            fs::write(folder.path().join("segment"), "x").unwrap();
            drop(folder);
            assert_eq!(path.exists(), is_kept);
        }
    }
}
