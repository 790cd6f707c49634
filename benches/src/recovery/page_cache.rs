//! Taking the folder out of memory, as it is after the machine has started.

use std::fs::{self, File};
use std::path::Path;

use rustix::fs::syncfs;
use serde::Serialize;

use crate::{Error, Result};

/// Whether recovery finds files in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PageCache {
    /// No: it was dropped before the start.
    Dropped,
    /// Perhaps: only root may drop it. Our own look at the journal has even brought that in.
    Kept,
}

const DROP_CACHES: &str = "/proc/sys/vm/drop_caches";
const CLEAN_PAGES: &str = "1";

/// Writes the pages of the file system of `dir` to the disk and drops those of the whole machine.
///
/// Only clean pages can be dropped, so what the broker had not synced is written first: recovery
/// finds it on the disk, and has less to write than right after a kill.
///
/// # Errors
/// [`Error::Io`] if `dir` cannot be synced.
pub(super) fn drop_page_cache(dir: &Path) -> Result<PageCache> {
    let folder = File::open(dir).map_err(Error::io("open the data folder"))?;
    syncfs(&folder).map_err(|error| Error::io("sync the file system")(error.into()))?;
    Ok(match fs::write(DROP_CACHES, CLEAN_PAGES) {
        Ok(()) => PageCache::Dropped,
        Err(_not_root) => PageCache::Kept,
    })
}
