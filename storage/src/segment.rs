//! Segment files come and grow: creating them, allocating ahead, checking what is found.
//!
//! Runs on the settle thread. The sequencer appends only to segments, and below allocated ends, that
//! were reported ready from here.

mod batch;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::{Corruption, Operation, StorageError, io_error};
use crate::folder;
use crate::format::segment_header::SegmentHeader;
use crate::ids::{PartitionRef, SegmentRef, TopicId};
use crate::segment_files::SegmentFiles;
use crate::vfs::DirEntry;

pub use batch::SegmentBatch;

/// Space of a partition's first segment to begin with.
pub const FIRST_STEP_BYTES: u64 = 64 * 1024;

/// What a caller knows of a segment whose files it wants ready.
#[derive(Debug, Clone)]
pub struct SegmentWish {
    /// The segment.
    pub segment: SegmentRef,
    /// Name of its topic, for the name of the folder.
    pub topic_name: String,
    /// Where the next frame would go; the length of the header if the segment holds none.
    pub next_position: u64,
    /// How far it should be allocated at least.
    pub allocated_end: u64,
}

/// Makes a segment's files ready for appends: creates them if the segment holds nothing yet, checks
/// them otherwise, and allocates up to the wished end. Returns the allocated end.
///
/// # Errors
/// [`StorageError::Io`]; out of space leaves a shorter or no file and may be tried again.
/// [`StorageError::Corrupt`] if the segment holds frames and its file is missing or is not its own.
pub fn ensure_segment(files: &SegmentFiles, wish: &SegmentWish) -> Result<u64, StorageError> {
    let mut batch = SegmentBatch::new(files);
    let allocated_end = batch.add(wish)?;
    batch.sync()?;
    Ok(allocated_end)
}

/// Moves a file that stands in a segment's place, and is not known, to the quarantine.
fn set_aside(files: &SegmentFiles, segment: SegmentRef, path: &Path) -> Result<(), StorageError> {
    files.close(segment);
    let environment = files.environment();
    let (partition, base) = (segment.partition, segment.base.get());
    let unique = environment.entropy.next_u64();
    let name = format!(
        "{}-{}-{base:020}-{unique:016x}.log",
        partition.topic, partition.partition
    );
    let quarantine = Path::new(folder::QUARANTINE);
    let vfs = &environment.vfs;
    vfs.rename(path, &quarantine.join(name))
        .map_err(io_error(Operation::Rename, path))?;
    tracing::error!(path = %path.display(), "unknown file in the place of a segment set aside");
    vfs.sync_dir(quarantine)
        .map_err(io_error(Operation::SyncDir, quarantine))
}

fn damaged(path: PathBuf, what: &str) -> StorageError {
    Corruption {
        path,
        position: 0,
        what: what.to_owned(),
    }
    .into()
}

fn header_of(files: &SegmentFiles, segment: SegmentRef) -> SegmentHeader {
    SegmentHeader {
        segment,
        broker_id: files.broker_id(),
    }
}

/// Removes a segment's files. Files that are already gone are no error.
///
/// # Errors
/// [`StorageError::Io`]; it may be called again.
pub fn remove_segment(files: &SegmentFiles, segment: SegmentRef) -> Result<(), StorageError> {
    let vfs = &files.environment().vfs;
    for path in [files.log_path(segment), files.index_path(segment)] {
        match vfs.unlink(&path) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                return Err(io_error(Operation::Unlink, path)(source));
            }
            _ => {}
        }
    }
    // A reader may have opened them a moment ago: a file that is kept open keeps its space.
    files.close(segment);
    Ok(())
}

/// Removes the files of segments of one partition and makes that durable, so that none comes back when
/// nobody knows of it any more. Files that are already gone are no error.
///
/// # Errors
/// [`StorageError::Io`]; it may be called again, but not after a failed sync
/// ([`StorageError::is_failed_sync`]): the process must end, since a second one may lie.
pub fn remove_segments(files: &SegmentFiles, segments: &[SegmentRef]) -> Result<(), StorageError> {
    for segment in segments {
        remove_segment(files, *segment)?;
    }
    let Some(folder) = segments.first().and_then(|segment| {
        let path = files.log_path(*segment);
        path.parent().map(Path::to_path_buf)
    }) else {
        return Ok(());
    };
    match files.environment().vfs.sync_dir(&folder) {
        Err(source) if source.kind() != ErrorKind::NotFound => {
            Err(io_error(Operation::SyncDir, folder)(source))
        }
        _ => Ok(()),
    }
}

/// Removes the files of a topic and its folders. Names that storage did not give are left alone, and
/// with them the folder that holds them. Calling it again is no error.
///
/// # Errors
/// As [`remove_segments`].
pub fn remove_topic(files: &SegmentFiles, topic: TopicId) -> Result<(), StorageError> {
    let Some(folder_name) = files.topic_folder(topic) else {
        return Ok(());
    };
    let vfs = &files.environment().vfs;
    let topic_path = Path::new(folder::TOPICS).join(&*folder_name);
    for entry in list_if_any(files, &topic_path)? {
        let Ok(number) = entry.name.parse() else {
            continue;
        };
        let partition = PartitionRef {
            topic,
            partition: number,
        };
        let path = folder::partition_folder(&folder_name, partition);
        let names = list_if_any(files, &path)?;
        // Either file may be left of an interrupted removal; both stand side by side.
        let mut segments: Vec<_> = names
            .iter()
            .filter_map(|file| folder::parse_segment_file(partition, &file.name))
            .collect();
        segments.dedup();
        for segment in segments {
            remove_segment(files, segment)?;
        }
        remove_empty_dir(files, &path)?;
    }
    remove_empty_dir(files, &topic_path)?;
    let topics = Path::new(folder::TOPICS);
    vfs.sync_dir(topics)
        .map_err(io_error(Operation::SyncDir, &topic_path))?;
    files.remove_topic_folder(topic);
    Ok(())
}

/// What a folder holds; nothing if an interrupted removal took it away.
pub(crate) fn list_if_any(
    files: &SegmentFiles,
    path: &Path,
) -> Result<Vec<DirEntry>, StorageError> {
    match files.environment().vfs.list(path) {
        Err(source) if source.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(io_error(Operation::List, path)),
    }
}

fn remove_empty_dir(files: &SegmentFiles, path: &Path) -> Result<(), StorageError> {
    let vfs = &files.environment().vfs;
    match vfs.remove_dir(path) {
        Err(source) if source.kind() == ErrorKind::DirectoryNotEmpty => {
            tracing::warn!(path = %path.display(), "folder of a deleted topic holds unknown names and stays");
            // What was removed from it stays away all the same.
            vfs.sync_dir(path)
                .map_err(io_error(Operation::SyncDir, path))
        }
        Err(source) if source.kind() != ErrorKind::NotFound => {
            Err(io_error(Operation::Unlink, path)(source))
        }
        _ => Ok(()),
    }
}
