//! Segments that were written to and not synced since.
//!
//! What is settled is handed on to the disk soon, in pieces: left to the checkpoint it would be hundreds of
//! MB at once, behind which every sync of the journal waits. That cost 70 to 150 ms without an
//! acknowledgement for each checkpoint at 100 MB/s.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Operation, StorageError, io_error};
use crate::ids::SegmentRef;
use crate::segment_files::SegmentFiles;
use crate::vfs::{BLOCK_BYTES, SyncPace, SyncTarget, VfsFile};

/// Segments that are synced together, at either pace: with fewer a change of pace is noticed sooner.
const FAST_SYNC_COUNT_MAX: usize = 512;
const GENTLE_SYNC_COUNT_MAX: usize = 64;
/// Bytes to be written that are synced together: a sync of the journal waits for no more.
const SYNC_BYTES_MAX: u64 = 4 * MIB;
/// From so many bytes on, what was written to a segment is handed on to the disk.
const PIECE_BYTES: u64 = MIB;
/// With more than so many bytes of all segments not handed on, smaller pieces are.
const WAITING_BYTES_MAX: u64 = 16 * MIB;
/// The smaller pieces; less is not worth a transfer of its own.
const SMALL_PIECE_BYTES: u64 = 64 * 1024;

const MIB: u64 = 1024 * 1024;

#[derive(Debug)]
struct DirtySegment {
    /// Opened before the first write that is not synced; see [`DirtySegments::add`].
    log: Arc<dyn VfsFile>,
    /// Only if it was written to as well.
    index: Option<Arc<dyn VfsFile>>,
    /// What was written to the log and not handed on to the disk.
    waiting: Range<u64>,
}

impl DirtySegment {
    fn waiting_bytes(&self) -> u64 {
        self.waiting.end - self.waiting.start
    }
}

/// All of them.
#[derive(Debug, Default)]
struct Dirty {
    segments: BTreeMap<SegmentRef, DirtySegment>,
    /// Of all segments.
    waiting_bytes: u64,
}

/// Segments that were written to since they were last synced. A dirty segment is never closed: its
/// entry here holds a descriptor that was open before it became dirty.
#[derive(Debug, Default)]
pub struct DirtySegments {
    dirty: Mutex<Dirty>,
    /// Held while syncing, so that whoever finds the map empty knows that all syncs have returned.
    syncing: Mutex<()>,
}

impl DirtySegments {
    /// Syncs every dirty segment and its index, as fast as it goes. Returns how many there were.
    ///
    /// # Errors
    /// [`StorageError::Io`] of one that failed. Nothing is known about its content then; the process
    /// must end without a checkpoint, and recovery writes the frames again.
    pub fn sync(&self, files: &SegmentFiles) -> Result<usize, StorageError> {
        self.sync_and_tell(files, |_, _| {})
    }

    /// As [`DirtySegments::sync`], at a pace that is asked for again and again.
    ///
    /// # Errors
    /// As [`DirtySegments::sync`].
    pub fn sync_at_pace(
        &self,
        files: &SegmentFiles,
        pace: impl Fn() -> SyncPace,
    ) -> Result<usize, StorageError> {
        self.sync_all(files, pace, |_, _| {})
    }

    /// As [`DirtySegments::sync`]; says now and then how many are synced, of how many.
    pub(crate) fn sync_and_tell(
        &self,
        files: &SegmentFiles,
        tell: impl FnMut(usize, usize),
    ) -> Result<usize, StorageError> {
        self.sync_all(files, || SyncPace::Fast, tell)
    }

    fn sync_all(
        &self,
        files: &SegmentFiles,
        pace: impl Fn() -> SyncPace,
        mut tell: impl FnMut(usize, usize),
    ) -> Result<usize, StorageError> {
        // DURABILITY: a checkpoint must not overtake a sync that the settle thread has begun.
        let _syncing = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let left = std::mem::take(&mut *self.lock()).segments;
        let count = left.len();
        let mut synced_count = 0;
        let mut left = left.into_iter().peekable();
        while left.peek().is_some() {
            let pace = pace();
            let group = next_group(&mut left, pace);
            sync_group(files, &group, pace)?;
            synced_count += group.len();
            tell(synced_count, count);
        }
        Ok(count)
    }

    /// Notes where a segment's log was written to, and that its index was if given. Returns how many
    /// segments are dirty.
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
        written: Range<u64>,
    ) -> usize {
        let mut all = self.lock();
        let Dirty {
            segments,
            waiting_bytes,
        } = &mut *all;
        let dirty = segments.entry(segment).or_insert(DirtySegment {
            log,
            index: None,
            waiting: written.start..written.start,
        });
        if dirty.index.is_none() {
            dirty.index = index;
        }
        *waiting_bytes -= dirty.waiting_bytes();
        dirty.waiting.end = dirty.waiting.end.max(written.end);
        *waiting_bytes += dirty.waiting_bytes();
        let piece = take_piece(&mut dirty.waiting, *waiting_bytes);
        *waiting_bytes -= piece.end - piece.start;
        let log = Arc::clone(&dirty.log);
        let count = segments.len();
        drop(all);
        if !piece.is_empty() {
            log.start_write_back(piece.start, piece.end - piece.start);
        }
        count
    }

    /// The descriptor that is held for a dirty segment.
    pub(super) fn log(&self, segment: SegmentRef) -> Option<Arc<dyn VfsFile>> {
        let all = self.lock();
        let dirty = all.segments.get(&segment);
        dirty.map(|dirty| Arc::clone(&dirty.log))
    }

    /// Forgets segments that are about to be removed.
    pub(crate) fn forget(&self, is_gone: impl Fn(SegmentRef) -> bool) {
        let mut all = self.lock();
        all.segments.retain(|segment, _| !is_gone(*segment));
        all.waiting_bytes = all.segments.values().map(DirtySegment::waiting_bytes).sum();
    }

    fn lock(&self) -> MutexGuard<'_, Dirty> {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes whole blocks off the front that are to be handed on to the disk now, if they are enough.
fn take_piece(waiting: &mut Range<u64>, all_waiting_bytes: u64) -> Range<u64> {
    let piece_bytes = match all_waiting_bytes > WAITING_BYTES_MAX {
        true => SMALL_PIECE_BYTES,
        false => PIECE_BYTES,
    };
    // The block at the end is written to again.
    let end = waiting.end - waiting.end % BLOCK_BYTES as u64;
    if end < waiting.start + piece_bytes {
        return waiting.start..waiting.start;
    }
    let piece = waiting.start..end;
    waiting.start = end;
    piece
}

/// Takes the next segments that are to be synced together: one at least.
fn next_group(
    left: &mut Peekable<impl Iterator<Item = (SegmentRef, DirtySegment)>>,
    pace: SyncPace,
) -> Vec<(SegmentRef, DirtySegment)> {
    let count_max = match pace {
        SyncPace::Fast => FAST_SYNC_COUNT_MAX,
        SyncPace::Gentle => GENTLE_SYNC_COUNT_MAX,
    };
    let mut group = Vec::new();
    let mut waiting_bytes = 0;
    while group.len() < count_max
        && let Some(next) = left.next_if(|(_, dirty)| {
            group.is_empty() || waiting_bytes + dirty.waiting_bytes() <= SYNC_BYTES_MAX
        })
    {
        waiting_bytes += next.1.waiting_bytes();
        group.push(next);
    }
    group
}

fn sync_group(
    files: &SegmentFiles,
    dirty: &[(SegmentRef, DirtySegment)],
    pace: SyncPace,
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
    let synced = files.environment().vfs.sync_all(&targets, pace);
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
    use crate::vfs::sim::{OperationKind, SimDisk, SimOptions};
    use crate::vfs::{OpenMode, Vfs};

    fn segment(partition: u32) -> SegmentRef {
        let topic = TopicId::new(1);
        SegmentRef::new(PartitionRef { topic, partition }, Offset::ZERO)
    }

    fn create(vfs: &dyn Vfs, name: &str) -> Arc<dyn VfsFile> {
        vfs.open(Path::new(name), OpenMode::CreateNew)
            .expect("a file")
    }

    #[test]
    fn the_first_descriptor_of_a_dirty_segment_is_kept() {
        let vfs = SimDisk::new(SimOptions::default()).vfs();
        let first = create(&*vfs, "segment");
        let second = vfs.open(Path::new("segment"), OpenMode::Write).unwrap();
        let segment = segment(0);
        let dirty = DirtySegments::default();
        dirty.add(segment, Arc::clone(&first), None, 0..8);
        dirty.add(segment, Arc::clone(&second), Some(Arc::clone(&first)), 8..9);
        dirty.add(segment, Arc::clone(&second), Some(second), 9..10);
        let held = dirty.lock().segments.remove(&segment).unwrap();
        assert!(Arc::ptr_eq(&held.log, &first), "of the log");
        assert!(
            held.index.is_some_and(|index| Arc::ptr_eq(&index, &first)),
            "of the index"
        );
    }

    #[test]
    fn what_is_written_is_handed_on_once_and_in_whole_blocks() {
        let disk = SimDisk::new(SimOptions::default());
        let file = create(&*disk.vfs(), "segment");
        let dirty = DirtySegments::default();
        let block = BLOCK_BYTES as u64;
        let write = |written: Range<u64>| {
            let end = written.end;
            dirty.add(segment(0), Arc::clone(&file), None, written);
            let waiting = dirty.lock().segments[&segment(0)].waiting.clone();
            assert_eq!(waiting.end, end, "what was written last waits");
            assert_eq!(dirty.lock().waiting_bytes, end - waiting.start, "bytes");
            (disk.count(OperationKind::StartWriteBack), waiting.start)
        };
        assert_eq!(write(100..PIECE_BYTES), (0, 100), "less than a piece");
        let end = PIECE_BYTES + 100;
        assert_eq!(write(PIECE_BYTES..end + block), (1, PIECE_BYTES + block));
        let last = end + PIECE_BYTES;
        assert_eq!(write(end + block..last), (1, PIECE_BYTES + block), "again");
        assert_eq!(write(last..last + block), (2, 2 * PIECE_BYTES + block));
    }

    #[test]
    fn many_segments_hand_on_smaller_pieces() {
        let disk = SimDisk::new(SimOptions::default());
        let file = create(&*disk.vfs(), "segment");
        let dirty = DirtySegments::default();
        let add = |partition, written| {
            dirty.add(segment(partition), Arc::clone(&file), None, written);
            disk.count(OperationKind::StartWriteBack)
        };
        let part = PIECE_BYTES / 2;
        let count = u32::try_from(WAITING_BYTES_MAX / part).unwrap();
        for partition in 0..count {
            assert_eq!(add(partition, 0..part), 0, "there is room to wait");
        }
        assert_eq!(add(count, 0..SMALL_PIECE_BYTES - 1), 0, "not worth it");
        assert_eq!(add(0, part..part + 1), 1, "no room any more");
        assert_eq!(
            dirty.lock().waiting_bytes,
            WAITING_BYTES_MAX - part + SMALL_PIECE_BYTES
        );
        dirty.forget(|segment| segment.partition.partition < 2);
        assert_eq!(
            dirty.lock().waiting_bytes,
            WAITING_BYTES_MAX - 2 * part + SMALL_PIECE_BYTES - 1,
            "what is removed waits no longer"
        );
    }

    #[test]
    fn so_many_are_synced_together_as_a_sync_of_the_journal_may_wait_for() {
        let vfs = SimDisk::new(SimOptions::default()).vfs();
        let file = create(&*vfs, "segment");
        let group_sizes = |waiting: &[u64], pace| {
            let mut left = (0..).zip(waiting).map(|(partition, end)| {
                let dirty = DirtySegment {
                    log: Arc::clone(&file),
                    index: None,
                    waiting: 0..*end,
                };
                (segment(partition), dirty)
            });
            let mut left = left.by_ref().peekable();
            let mut sizes = Vec::new();
            while left.peek().is_some() {
                sizes.push(next_group(&mut left, pace).len());
            }
            sizes
        };
        let half = SYNC_BYTES_MAX / 2;
        for (pace, count_max) in [
            (SyncPace::Fast, FAST_SYNC_COUNT_MAX),
            (SyncPace::Gentle, GENTLE_SYNC_COUNT_MAX),
        ] {
            assert_eq!(group_sizes(&[half, half, 1], pace), [2, 1]);
            assert_eq!(
                group_sizes(&[1, SYNC_BYTES_MAX, 3 * half, half], pace),
                [1, 1, 1, 1]
            );
            let little = vec![0; count_max + 1];
            assert_eq!(group_sizes(&little, pace), [count_max, 1]);
        }
    }
}
