//! The sparse index of a segment: an entry for a frame every 16 KiB, by offset and by time.
//!
//! It is a hint that can always be rebuilt from the frames: entries carry a checksum, a bad one ends
//! the index, and a reader without one starts at the head of the segment.

use std::sync::Arc;

use crate::error::{Operation, StorageError, io_error, io_error_of};
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader, FramePlace};
use crate::format::index_entry::{INDEX_ENTRY_BYTES, IndexEntry};
use crate::format::segment_header::SEGMENT_HEADER_BYTES;
use crate::format::{FORMAT_VERSION, align_block, frame::FrameError, usize_of};
use crate::ids::{Offset, SegmentRef};
use crate::segment_files::SegmentFiles;
use crate::vfs::{BLOCK_BYTES, OpenMode, VfsFile, read_full_at, write_all_at};

/// Distance of two entries in the segment, at least.
pub(crate) const INDEX_INTERVAL_BYTES: u64 = 16 * 1024;

/// Entries that are held against their frames before an index counts as none: one may point at a damaged
/// frame, and all of them may be those of another segment.
const TRIES_MAX: usize = 4;

/// The writing end of an active segment's index. There may be thousands, so it holds a descriptor only
/// while there is something to sync.
#[derive(Debug)]
pub(crate) struct IndexWriter {
    segment: SegmentRef,
    /// The file, if it was changed since it was last taken.
    unsynced: Option<Arc<dyn VfsFile>>,
    index_bytes: u64,
    /// Position of the frame that the last entry points at.
    last_position: Option<u64>,
}

impl IndexWriter {
    /// Opens the index of a segment whose next frame will be written at `next_position`. Entries at or
    /// past it, left by a round that was lost, are cut; a missing or damaged index, or that of another segment,
    /// is rebuilt.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub(crate) fn open(
        files: &SegmentFiles,
        segment: SegmentRef,
        next_position: u64,
    ) -> Result<Self, StorageError> {
        let file = match files.index(segment) {
            Err(error) if error.is_not_found() => create(files, segment)?,
            other => other?,
        };
        let path = files.index_path(segment);
        let entries = read_entries(&*file, segment.base)
            .map_err(io_error(Operation::Read, &path))?
            .into_iter()
            .take_while(|entry| entry.position < next_position)
            .collect::<Vec<_>>();
        let mut last = entries.iter().rev().take(TRIES_MAX);
        let is_own = entries.is_empty() || last.any(|entry| is_right(files, segment, entry));
        let entries = if is_own { entries } else { Vec::new() };
        let index_bytes = (entries.len() * INDEX_ENTRY_BYTES) as u64;
        let mut unsynced = None;
        if file.len().map_err(io_error(Operation::Read, &path))? != index_bytes {
            file.set_len(index_bytes)
                .map_err(io_error(Operation::Write, &path))?;
            unsynced = Some(file);
        }
        let last_position = entries.last().map(|entry| entry.position);
        let mut writer = Self {
            segment,
            unsynced,
            index_bytes,
            last_position,
        };
        writer.catch_up(files, next_position)?;
        Ok(writer)
    }

    /// The index file if it was changed since the last call, to be synced at a checkpoint.
    pub(crate) fn take_unsynced(&mut self) -> Option<Arc<dyn VfsFile>> {
        self.unsynced.take()
    }

    /// Adds entries for those of the frames, in order, that are far enough from the last one, with one
    /// write. On a full disk it does not: the index stays sparser, and what was begun is overwritten
    /// later.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub(crate) fn note<'a>(
        &mut self,
        files: &SegmentFiles,
        frames: impl IntoIterator<Item = (&'a FrameHeader, u64)>,
    ) -> Result<(), StorageError> {
        let mut last_position = self.last_position;
        let mut bytes = Vec::new();
        for (header, position) in frames {
            if last_position.is_some_and(|last| position < last + INDEX_INTERVAL_BYTES) {
                continue;
            }
            let entry = IndexEntry {
                base_offset: header.base_offset,
                position,
                append_time_ms: header.append_time_ms,
            };
            bytes.extend(entry.encode(self.segment.base));
            last_position = Some(position);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let file = files.index(self.segment)?;
        let path = || files.index_path(self.segment);
        let written = write_all_at(&*file, &bytes, self.index_bytes)
            .map_err(io_error_of(Operation::Write, path));
        match written {
            Err(error) if error.is_full() => return Ok(()),
            written => written?,
        }
        self.unsynced = Some(file);
        self.index_bytes += bytes.len() as u64;
        self.last_position = last_position;
        Ok(())
    }

    /// Indexes frames between the last entry and `end_position` that have none.
    fn catch_up(&mut self, files: &SegmentFiles, end_position: u64) -> Result<(), StorageError> {
        let start = self.last_position.unwrap_or(SEGMENT_HEADER_BYTES);
        if end_position < start + INDEX_INTERVAL_BYTES {
            return Ok(());
        }
        let mut walk = FrameWalk::new(files, self.segment, start, end_position)?;
        while let Some((header, position)) = walk.next_header()? {
            self.note(files, [(&header, position)])?;
        }
        Ok(())
    }
}

fn create(files: &SegmentFiles, segment: SegmentRef) -> Result<Arc<dyn VfsFile>, StorageError> {
    let path = files.index_path(segment);
    let vfs = &files.environment().vfs;
    tracing::warn!(path = %path.display(), format = FORMAT_VERSION, "missing index is rebuilt");
    vfs.open(&path, OpenMode::CreateNew)
        .map_err(io_error(Operation::Create, path))
}

/// The valid entries of an index, up to the first that is damaged or out of order.
fn read_entries(file: &dyn VfsFile, segment_base: Offset) -> std::io::Result<Vec<IndexEntry>> {
    let mut bytes = vec![0; usize_of(file.len()?)];
    let count = read_full_at(file, &mut bytes, 0)?;
    let mut entries: Vec<IndexEntry> = Vec::with_capacity(count / INDEX_ENTRY_BYTES);
    for chunk in bytes
        .get(..count)
        .unwrap_or_default()
        .chunks_exact(INDEX_ENTRY_BYTES)
    {
        let Some(entry) = IndexEntry::decode(chunk, segment_base) else {
            break;
        };
        let follows = entries
            .last()
            .is_none_or(|last| last.position < entry.position);
        if !follows {
            break;
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// What a reader looks for in an index.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sought {
    /// The last entry at or below an offset.
    Offset(Offset),
    /// The last entry before a time.
    TimeMs(i64),
    /// The first entry past a position: where reading can go on behind damage.
    After(u64),
}

/// Looks an entry up and holds it against its frame; `None` if there is none, or no usable index.
pub(crate) fn look_up(
    files: &SegmentFiles,
    segment: SegmentRef,
    sought: Sought,
) -> Option<IndexEntry> {
    let file = files.index(segment).ok()?;
    let entries = read_entries(&*file, segment.base).ok()?;
    let after = match sought {
        Sought::Offset(offset) => entries.partition_point(|entry| entry.base_offset <= offset),
        Sought::TimeMs(time_ms) => entries.partition_point(|it| it.append_time_ms < time_ms),
        Sought::After(position) => entries.partition_point(|entry| entry.position <= position),
    };
    let (before, behind) = entries.split_at_checked(after)?;
    let is_right = |entry: &&IndexEntry| is_right(files, segment, entry);
    match sought {
        Sought::Offset(_) | Sought::TimeMs(_) => {
            before.iter().rev().take(TRIES_MAX).find(is_right).copied()
        }
        Sought::After(_) => behind.iter().take(TRIES_MAX).find(is_right).copied(),
    }
}

/// Whether an entry is about the frame at its position. One that was written for another segment is not, and
/// its checksum does not tell.
fn is_right(files: &SegmentFiles, segment: SegmentRef, entry: &IndexEntry) -> bool {
    let Ok(file) = files.log(segment) else {
        return false;
    };
    let mut bytes = [0; FRAME_HEADER_BYTES];
    let place = FramePlace {
        segment,
        position: entry.position,
    };
    let count = read_full_at(&*file, &mut bytes, entry.position).unwrap_or_default();
    let header = FrameHeader::decode(bytes.get(..count).unwrap_or_default(), &place);
    header.is_ok_and(|header| {
        (header.base_offset, header.append_time_ms) == (entry.base_offset, entry.append_time_ms)
    })
}

/// What is wrong with an index: positions in it, and what was found there.
///
/// # Errors
/// [`StorageError::Io`].
pub(crate) fn find_faults(
    files: &SegmentFiles,
    segment: SegmentRef,
) -> Result<Vec<(u64, &'static str)>, StorageError> {
    let file = match files.index(segment) {
        Err(error) if error.is_not_found() => return Ok(vec![(0, "the index is missing")]),
        opened => opened?,
    };
    let path = files.index_path(segment);
    let file_bytes = file.len().map_err(io_error(Operation::Read, &path))?;
    let entries = read_entries(&*file, segment.base).map_err(io_error(Operation::Read, &path))?;
    let mut faults = Vec::new();
    for (number, entry) in (0..).zip(&entries) {
        if !is_right(files, segment, entry) {
            let what = "the index entry points at no intact frame of its offset and time";
            faults.push((number * INDEX_ENTRY_BYTES as u64, what));
        }
    }
    let valid_bytes = (entries.len() * INDEX_ENTRY_BYTES) as u64;
    if valid_bytes < file_bytes {
        faults.push((valid_bytes, "the index entry is damaged or out of order"));
    }
    Ok(faults)
}

/// Walks the headers of a segment's frames without reading their payloads.
#[derive(Debug)]
pub(crate) struct FrameWalk {
    segment: SegmentRef,
    file: Arc<dyn VfsFile>,
    path: std::path::PathBuf,
    position: u64,
    end_position: u64,
}

impl FrameWalk {
    pub(crate) fn new(
        files: &SegmentFiles,
        segment: SegmentRef,
        position: u64,
        end_position: u64,
    ) -> Result<Self, StorageError> {
        let (file, path) = (files.log(segment)?, files.log_path(segment));
        Ok(Self {
            segment,
            file,
            path,
            position,
            end_position,
        })
    }

    /// The next header and its position; `None` at the end, or where frames cannot be followed any
    /// further because of damage.
    pub(crate) fn next_header(&mut self) -> Result<Option<(FrameHeader, u64)>, StorageError> {
        while self.position < self.end_position {
            let mut bytes = [0; FRAME_HEADER_BYTES];
            let count = read_full_at(&*self.file, &mut bytes, self.position)
                .map_err(io_error(Operation::Read, &self.path))?;
            let place = FramePlace {
                segment: self.segment,
                position: self.position,
            };
            match FrameHeader::decode(bytes.get(..count).unwrap_or_default(), &place) {
                Ok(header) => {
                    self.position += header.padded_bytes();
                    return Ok(Some((header, place.position)));
                }
                // Zeros fill the block before a run that starts on a block boundary.
                Err(FrameError::Blank) if !self.position.is_multiple_of(BLOCK_BYTES as u64) => {
                    self.position = align_block(self.position);
                }
                Err(_) => return Ok(None),
            }
        }
        Ok(None)
    }
}
