//! Which files are what, in the words of `docs/storage-format.md`.

use std::path::{Path, PathBuf};

/// Files that hold the journal.
pub(crate) fn journal_files(data_dir: &Path) -> Vec<PathBuf> {
    files(&data_dir.join("journal"), "journal")
}

/// Files that hold records.
pub(crate) fn segment_files(data_dir: &Path) -> Vec<PathBuf> {
    files(&data_dir.join("topics"), "log")
}

/// Files that say where in a segment which offset is.
pub(crate) fn index_files(data_dir: &Path) -> Vec<PathBuf> {
    files(&data_dir.join("topics"), "index")
}

/// Files that hold the state at one moment.
pub(crate) fn checkpoint_files(data_dir: &Path) -> Vec<PathBuf> {
    files(&data_dir.join("checkpoint"), "checkpoint")
}

/// All files below a folder whose names end so.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|it| it == extension) {
            found.push(path);
        }
    }
    found
}
