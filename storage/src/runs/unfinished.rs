//! A file that nothing names yet.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use crate::vfs::Vfs;

/// Unlinks a file when it is dropped, unless it was kept: so what was given up leaves nothing.
#[derive(Debug)]
pub(super) struct Unfinished {
    vfs: Arc<dyn Vfs>,
    path: PathBuf,
    is_kept: bool,
}

impl Unfinished {
    pub(super) fn new(vfs: Arc<dyn Vfs>, path: PathBuf) -> Self {
        Self {
            vfs,
            path,
            is_kept: false,
        }
    }

    /// The file has another name now.
    pub(super) fn rename(&mut self, path: PathBuf) {
        self.path = path;
    }

    /// Something may name the file from now on.
    pub(super) fn keep(&mut self) {
        self.is_kept = true;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        match self.vfs.unlink(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                let path = self.path.display();
                tracing::warn!(%path, %error, "file of no use stays until the next start");
            }
            _ => {}
        }
    }
}
