//! Making the files of several segments ready together: each folder is synced once for all of them.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{SegmentWish, damaged, header_of, set_aside};
use crate::error::{Operation, StorageError, io_error};
use crate::folder;
use crate::format::segment_header::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::format::usize_of;
use crate::segment_files::SegmentFiles;
use crate::vfs::{SyncPace, SyncTarget, VfsFile, read_full_at, write_all_at};

/// Segments whose files are being made ready. Nothing may be appended to one of them before
/// [`SegmentBatch::sync`] has returned.
#[derive(Debug)]
pub struct SegmentBatch<'a> {
    files: &'a SegmentFiles,
    /// New files, with their paths.
    logs: Vec<(PathBuf, Arc<dyn VfsFile>)>,
    /// Folders with new names in them.
    folders: BTreeSet<PathBuf>,
}

impl<'a> SegmentBatch<'a> {
    /// A batch without segments.
    pub fn new(files: &'a SegmentFiles) -> Self {
        Self {
            files,
            logs: Vec::new(),
            folders: BTreeSet::new(),
        }
    }

    /// Does for a segment what [`ensure_segment`](super::ensure_segment) does, but for the syncs.
    /// Returns what its allocated end will be.
    ///
    /// # Errors
    /// As [`ensure_segment`](super::ensure_segment); the other segments of the batch are as they were.
    pub fn add(&mut self, wish: &SegmentWish) -> Result<u64, StorageError> {
        let (files, segment) = (self.files, wish.segment);
        let is_blank = wish.next_position <= SEGMENT_HEADER_BYTES;
        let file = match files.log(segment) {
            Ok(file) => file,
            Err(error) if error.is_not_found() && is_blank => return self.create(wish),
            Err(error) if error.is_not_found() => {
                return Err(damaged(files.log_path(segment), "the file is missing"));
            }
            Err(error) => return Err(error),
        };
        let path = files.log_path(segment);
        let mut block = vec![0; usize_of(SEGMENT_HEADER_BYTES)];
        let count =
            read_full_at(&*file, &mut block, 0).map_err(io_error(Operation::Read, &path))?;
        block.truncate(count);
        let is_own = SegmentHeader::decode(&block) == Some(header_of(files, segment));
        if !is_blank && is_own {
            return grow(&*file, &path, wish.allocated_end);
        }
        if !is_blank {
            let what = "the segment header is damaged or belongs to another segment";
            return Err(damaged(path, what));
        }
        // Whoever made it may have died, or met a full disk, before header and names were durable: all
        // of that is done again.
        if !is_own && block.iter().any(|byte| *byte != 0) {
            drop(file);
            set_aside(files, segment, &path)?;
        }
        self.create(wish)
    }

    /// Makes the new files and their names durable.
    ///
    /// # Errors
    /// [`StorageError::Io`], a failed sync: nothing is known about the files, and the process must end.
    pub fn sync(self) -> Result<(), StorageError> {
        let logs = self.logs.iter().map(|(_, log)| SyncTarget::File(&**log));
        let folders = self.folders.iter().map(|path| SyncTarget::Dir(path));
        let targets: Vec<_> = logs.chain(folders).collect();
        // DURABILITY: header and names are on disk before a segment is reported ready for appends. In
        // which order they get there does not matter: until then nobody looks for them.
        let vfs = &self.files.environment().vfs;
        let synced = vfs.sync_all(&targets, SyncPace::Fast);
        synced.map_err(|(place, error)| match self.logs.get(place) {
            Some((path, _)) => io_error(Operation::Sync, path)(error),
            None => {
                let folder = self.folders.iter().nth(place - self.logs.len());
                io_error(Operation::SyncDir, folder.cloned().unwrap_or_default())(error)
            }
        })
    }

    /// Creates what is missing of folders and files, allocates the file and writes its header.
    fn create(&mut self, wish: &SegmentWish) -> Result<u64, StorageError> {
        let files = self.files;
        let topic = wish.segment.partition.topic;
        // A topic has one folder, whatever it is called.
        let folder_name = files.topic_folder(topic).map_or_else(
            || folder::topic_folder_name(topic, &wish.topic_name),
            |found| found.to_string(),
        );
        let topic_path = Path::new(folder::TOPICS).join(&folder_name);
        self.ensure_dir(&topic_path)?;
        files.add_topic_folder(topic, &folder_name);
        let partition_path = folder::partition_folder(&folder_name, wish.segment.partition);
        self.ensure_dir(&partition_path)?;
        let path = files.log_path(wish.segment);
        let environment = files.environment();
        let log = environment.open_or_create(&path)?;
        let allocated_end = grow(&*log, &path, wish.allocated_end)?;
        let header = header_of(files, wish.segment).encode();
        write_all_at(&*log, &header, 0).map_err(io_error(Operation::Write, &path))?;
        // The index needs no sync of its own: it holds nothing, and one that is lost is made again.
        environment.open_or_create(&files.index_path(wish.segment))?;
        self.logs.push((path, log));
        self.folders.insert(partition_path);
        Ok(allocated_end)
    }

    fn ensure_dir(&mut self, path: &Path) -> Result<(), StorageError> {
        // Synced even if it was there: whoever created it may have died before its own sync.
        let parent = path.parent().unwrap_or(Path::new(folder::TOPICS));
        self.folders.insert(parent.to_path_buf());
        match self.files.environment().vfs.create_dir(path) {
            Err(source) if source.kind() != ErrorKind::AlreadyExists => {
                Err(io_error(Operation::Create, path)(source))
            }
            _ => Ok(()),
        }
    }
}

/// Extends the allocated space to `allocated_end`; returns the end as it is then.
fn grow(file: &dyn VfsFile, path: &Path, allocated_end: u64) -> Result<u64, StorageError> {
    let len = file.len().map_err(io_error(Operation::Read, path))?;
    if len < allocated_end
        && let Err(source) = file.allocate(len, allocated_end - len)
    {
        // What it got before the disk was full would keep the disk full, for nothing.
        if let Err(error) = file.set_len(len) {
            tracing::warn!(%error, path = %path.display(), "unused space of a segment not given back");
        }
        return Err(io_error(Operation::Allocate, path)(source));
    }
    Ok(len.max(allocated_end))
}
