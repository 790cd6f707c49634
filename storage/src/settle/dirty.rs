//! Segments that were written to and not synced since.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Operation, StorageError, io_error};
use crate::ids::SegmentRef;
use crate::segment_files::SegmentFiles;
use crate::vfs::{SyncTarget, VfsFile};

/// Segments that are synced together.
const SYNC_COUNT_MAX: usize = 512;

#[derive(Debug)]
struct DirtySegment {
    /// Opened before the first write that is not synced; see [`DirtySegments::add`].
    log: Arc<dyn VfsFile>,
    /// Only if it was written to as well.
    index: Option<Arc<dyn VfsFile>>,
}

/// Segments that were written to since they were last synced. A dirty segment is never closed: its
/// entry here holds a descriptor that was open before it became dirty.
#[derive(Debug, Default)]
pub struct DirtySegments {
    segments: Mutex<BTreeMap<SegmentRef, DirtySegment>>,
    /// Held while syncing, so that whoever finds the map empty knows that all syncs have returned.
    syncing: Mutex<()>,
}

impl DirtySegments {
    /// Syncs every dirty segment and its index. Returns how many there were.
    ///
    /// # Errors
    /// [`StorageError::Io`] of one that failed. Nothing is known about its content then; the process
    /// must end without a checkpoint, and recovery writes the frames again.
    pub fn sync(&self, files: &SegmentFiles) -> Result<usize, StorageError> {
        self.sync_and_tell(files, |_, _| {})
    }

    /// As [`DirtySegments::sync`]; says now and then how many are synced, of how many.
    pub(crate) fn sync_and_tell(
        &self,
        files: &SegmentFiles,
        mut tell: impl FnMut(usize, usize),
    ) -> Result<usize, StorageError> {
        // DURABILITY: a checkpoint must not overtake a sync that the settle thread has begun.
        let _syncing = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = std::mem::take(&mut *self.lock());
        let count = left.len();
        while let Some((first_later, _)) = left.iter().nth(SYNC_COUNT_MAX) {
            let later = left.split_off(&first_later.clone());
            sync_all(files, &left)?;
            left = later;
            tell(count - left.len(), count);
        }
        sync_all(files, &left)?;
        Ok(count)
    }

    /// Notes that a segment was written to, and its index if given. Returns how many segments are dirty.
    ///
    /// Of a segment that was dirty before the earlier descriptor is kept. Every descriptor syncs what
    /// was written through any of them, but one is told only of failures of writeback since it was
    /// opened, or since nobody was told of: had another process synced the file meanwhile, the new
    /// descriptor would know nothing of what the old one still has to report.
    pub(super) fn add(
        &self,
        segment: SegmentRef,
        log: Arc<dyn VfsFile>,
        index: Option<Arc<dyn VfsFile>>,
    ) -> usize {
        let mut segments = self.lock();
        let dirty = segments
            .entry(segment)
            .or_insert(DirtySegment { log, index: None });
        if dirty.index.is_none() {
            dirty.index = index;
        }
        segments.len()
    }

    /// The descriptor that is held for a dirty segment.
    pub(super) fn log(&self, segment: SegmentRef) -> Option<Arc<dyn VfsFile>> {
        let segments = self.lock();
        segments.get(&segment).map(|dirty| Arc::clone(&dirty.log))
    }

    /// Forgets segments that are about to be removed.
    pub(crate) fn forget(&self, is_gone: impl Fn(SegmentRef) -> bool) {
        self.lock().retain(|segment, _| !is_gone(*segment));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SegmentRef, DirtySegment>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sync_all(
    files: &SegmentFiles,
    dirty: &BTreeMap<SegmentRef, DirtySegment>,
) -> Result<(), StorageError> {
    let path_of = |segment: SegmentRef, is_index: bool| -> PathBuf {
        match is_index {
            false => files.log_path(segment),
            true => files.index_path(segment),
        }
    };
    let both = dirty.iter().flat_map(|(segment, dirty)| {
        let index = dirty.index.as_ref().map(|index| (*segment, true, index));
        [Some((*segment, false, &dirty.log)), index]
    });
    let both: Vec<_> = both.flatten().collect();
    let targets: Vec<_> = both
        .iter()
        .map(|(_, _, file)| SyncTarget::File(&***file))
        .collect();
    let synced = files.environment().vfs.sync_all(&targets);
    synced.map_err(|(place, error)| {
        let path = both.get(place);
        let path = path.map(|(segment, is_index, _)| path_of(*segment, *is_index));
        io_error(Operation::Sync, path.unwrap_or_default())(error)
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::ids::{Offset, PartitionRef, TopicId};
    use crate::vfs::OpenMode;
    use crate::vfs::sim::{SimDisk, SimOptions};

    #[test]
    fn the_first_descriptor_of_a_dirty_segment_is_kept() {
        let vfs = SimDisk::new(SimOptions::default()).vfs();
        let path = Path::new("segment");
        let first = vfs.open(path, OpenMode::CreateNew).unwrap();
        let second = vfs.open(path, OpenMode::Write).unwrap();
        let segment = SegmentRef::new(
            PartitionRef {
                topic: TopicId::new(1),
                partition: 0,
            },
            Offset::ZERO,
        );
        let dirty = DirtySegments::default();
        dirty.add(segment, Arc::clone(&first), None);
        dirty.add(segment, Arc::clone(&second), Some(Arc::clone(&first)));
        dirty.add(segment, Arc::clone(&second), Some(second));
        let held = dirty.segments.lock().unwrap().remove(&segment).unwrap();
        assert!(Arc::ptr_eq(&held.log, &first), "of the log");
        assert!(
            held.index.is_some_and(|index| Arc::ptr_eq(&index, &first)),
            "of the index"
        );
    }
}
