//! The folder `quarantine/`: bytes that recovery takes out of use and never deletes.

use std::path::Path;

use crate::environment::Environment;
use crate::error::{Operation, StorageError, io_error};
use crate::folder;
use crate::vfs::write_all_at;

/// Copies bytes into a file of the quarantine and makes it durable. A copy of the same name that an
/// interrupted recovery left is written over: with the same bytes, or with what can be seen of them by now.
pub(super) fn set_aside(
    environment: &Environment,
    name: &str,
    bytes: &[u8],
) -> Result<(), StorageError> {
    let vfs = &environment.vfs;
    let path = Path::new(folder::QUARANTINE).join(name);
    let file = environment.open_or_create(&path)?;
    write_all_at(&*file, bytes, 0).map_err(io_error(Operation::Write, &path))?;
    file.sync_data().map_err(io_error(Operation::Sync, &path))?;
    vfs.sync_dir(Path::new(folder::QUARANTINE))
        .map_err(io_error(Operation::SyncDir, &path))?;
    tracing::warn!(path = %path.display(), bytes = bytes.len(), "unfinished bytes set aside");
    Ok(())
}
