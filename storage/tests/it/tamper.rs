//! What a test does to the files of a closed data folder.

use std::path::{Path, PathBuf};

use towpath_storage::vfs::sim::SimDisk;
use towpath_storage::vfs::{OpenMode, read_full_at, write_all_at};

pub(crate) fn journal_path(file: u64) -> PathBuf {
    PathBuf::from(format!("journal/{file:020}.journal"))
}

pub(crate) fn overwrite(disk: &SimDisk, path: &Path, position: u64, bytes: &[u8]) {
    let file = disk.vfs().open(path, OpenMode::Write).unwrap();
    write_all_at(&*file, bytes, position).unwrap();
}

pub(crate) fn cut(disk: &SimDisk, path: &Path, length: u64) {
    let file = disk.vfs().open(path, OpenMode::Write).unwrap();
    file.set_len(length).unwrap();
}

/// Bytes of a file; fewer at its end.
pub(crate) fn bytes_at(disk: &SimDisk, path: &Path, position: u64, length: usize) -> Vec<u8> {
    let file = disk.vfs().open(path, OpenMode::Read).unwrap();
    let mut bytes = vec![0; length];
    let count = read_full_at(&*file, &mut bytes, position).unwrap();
    bytes.truncate(count);
    bytes
}

/// Paths that begin with `prefix`.
pub(crate) fn paths(disk: &SimDisk, prefix: &str) -> Vec<String> {
    let mut paths = disk.paths();
    paths.retain(|path| path.starts_with(prefix) && path.len() > prefix.len());
    paths
}
