//! Writes the file of a rewritten segment and its index.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::BufMut;

use super::Keep;
use crate::error::{Operation, StorageError, io_error, with_causes};
use crate::format::frame::{FrameHeader, FramePlace, Sparse};
use crate::format::index_entry::IndexEntry;
use crate::format::segment_header::SegmentHeader;
use crate::format::usize_of;
use crate::frame::{Frame, OffsetDeltas};
use crate::ids::SegmentRef;
use crate::index::INDEX_INTERVAL_BYTES;
use crate::segment::remove_segment;
use crate::segment_files::SegmentFiles;
use crate::vfs::{OpenMode, SyncPace, SyncTarget, VfsFile, write_all_at};

/// Written at once.
const WRITE_BYTES: usize = 1024 * 1024;
/// Written between two syncs: a sync of more would hold up those of the journal.
const SYNC_STEP_BYTES: u64 = 16 * 1024 * 1024;

/// A segment whose files are durable.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) segment: SegmentRef,
    pub(super) size_bytes: u64,
    pub(super) record_count: u64,
}

/// Removes the files of a segment that was not finished.
#[derive(Debug)]
struct Unfinished {
    files: Arc<SegmentFiles>,
    segment: SegmentRef,
    is_finished: bool,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_finished
            && let Err(error) = remove_segment(&self.files, self.segment)
        {
            // The next start removes it.
            let (error, segment) = (with_causes(&error), self.segment);
            tracing::warn!(%error, %segment, "unfinished segment not removed");
        }
    }
}

#[derive(Debug)]
pub(super) struct SegmentWriter {
    unfinished: Unfinished,
    log: Arc<dyn VfsFile>,
    path: PathBuf,
    /// Bytes that are not written, and where they go.
    buffer: Vec<u8>,
    position: u64,
    unsynced_bytes: u64,
    /// A frame without records that may become longer.
    gone: Option<FrameHeader>,
    index: Vec<u8>,
    last_indexed: Option<u64>,
    size_bytes: u64,
    record_count: u64,
}

impl SegmentWriter {
    /// Creates the files of a segment, in the place of those that an earlier attempt left.
    ///
    /// # Errors
    /// [`StorageError::Io`]; nothing is left.
    pub(super) fn create(
        files: &Arc<SegmentFiles>,
        segment: SegmentRef,
    ) -> Result<Self, StorageError> {
        remove_segment(files, segment)?;
        let path = files.log_path(segment);
        let vfs = &files.environment().vfs;
        let log = vfs
            .open(&path, OpenMode::CreateNew)
            .map_err(io_error(Operation::Create, &path))?;
        let header = SegmentHeader {
            segment,
            broker_id: files.broker_id(),
        };
        Ok(Self {
            unfinished: Unfinished {
                files: Arc::clone(files),
                segment,
                is_finished: false,
            },
            log,
            path,
            buffer: header.encode(),
            position: 0,
            unsynced_bytes: 0,
            gone: None,
            index: Vec::new(),
            last_indexed: None,
            size_bytes: 0,
            record_count: 0,
        })
    }

    /// Where another segment lies.
    pub(super) fn path_of(&self, segment: SegmentRef) -> PathBuf {
        self.unfinished.files.log_path(segment)
    }

    /// Adds what stays of a frame. Returns how many of its records do not.
    ///
    /// # Errors
    /// [`StorageError::Io`]: the segment cannot be finished.
    pub(super) fn push(&mut self, frame: &Frame, keep: Keep) -> Result<u64, StorageError> {
        let before = u64::from(frame.header.record_count);
        match keep {
            Keep::All if frame.is_gone() => self.push_gone(&frame.header)?,
            Keep::All => self.push_frame(frame)?,
            Keep::Only {
                payload,
                codec,
                deltas,
            } if !deltas.is_empty() => {
                self.push_frame(&reduced(frame, (codec, payload), &deltas))?;
                return Ok(before - deltas.len() as u64);
            }
            Keep::Nothing | Keep::Only { .. } => {
                self.push_gone(&frame.header)?;
                return Ok(before);
            }
        }
        Ok(0)
    }

    /// Covers the offsets of a frame without records, together with those before it if they have none
    /// either.
    fn push_gone(&mut self, header: &FrameHeader) -> Result<(), StorageError> {
        let so_far = self.gone.and_then(|gone| gone.sparse);
        let joined = so_far.and_then(|it| it.offset_count.checked_add(header.offset_count()));
        if let (Some(gone), Some(offset_count)) = (&mut self.gone, joined) {
            gone.sparse = Some(Sparse {
                offset_count,
                deltas_crc: OffsetDeltas::default().crc(),
            });
            return Ok(());
        }
        self.write_gone()?;
        self.gone = Some(FrameHeader {
            payload_bytes: 0,
            payload_crc: crc32fast::hash(&[]),
            codec: 0,
            record_count: 0,
            sparse: Some(Sparse {
                offset_count: header.offset_count(),
                deltas_crc: OffsetDeltas::default().crc(),
            }),
            ..*header
        });
        Ok(())
    }

    fn push_frame(&mut self, frame: &Frame) -> Result<(), StorageError> {
        self.write_gone()?;
        self.record_count += u64::from(frame.header.record_count);
        self.write_frame(&frame.header, frame.deltas.as_bytes(), &frame.payload)
    }

    fn write_gone(&mut self) -> Result<(), StorageError> {
        match self.gone.take() {
            Some(gone) => self.write_frame(&gone, &[], &[]),
            None => Ok(()),
        }
    }

    fn write_frame(
        &mut self,
        header: &FrameHeader,
        deltas: &[u8],
        payload: &[u8],
    ) -> Result<(), StorageError> {
        let position = self.position + self.buffer.len() as u64;
        let segment = self.unfinished.segment;
        let place = FramePlace { segment, position };
        self.buffer.put_slice(&header.encode(&place));
        self.buffer.put_slice(deltas);
        self.buffer.put_slice(payload);
        let padding = header.padded_bytes() - header.frame_bytes();
        self.buffer.put_bytes(0, usize_of(padding));
        self.size_bytes += header.padded_bytes();
        let is_far = |last| position >= last + INDEX_INTERVAL_BYTES;
        if self.last_indexed.is_none_or(is_far) {
            let entry = IndexEntry {
                base_offset: header.base_offset,
                position,
                append_time_ms: header.append_time_ms,
            };
            self.index.put_slice(&entry.encode(segment.base));
            self.last_indexed = Some(position);
        }
        if self.buffer.len() >= WRITE_BYTES {
            self.write_buffer()?;
        }
        Ok(())
    }

    fn write_buffer(&mut self) -> Result<(), StorageError> {
        write_all_at(&*self.log, &self.buffer, self.position)
            .map_err(io_error(Operation::Write, &self.path))?;
        let count = self.buffer.len() as u64;
        self.position += count;
        self.unsynced_bytes += count;
        self.buffer.clear();
        if self.unsynced_bytes >= SYNC_STEP_BYTES {
            self.unsynced_bytes = 0;
            let synced = self.log.sync_data();
            synced.map_err(io_error(Operation::Sync, &self.path))?;
        }
        Ok(())
    }

    /// Makes the files and their names durable.
    ///
    /// # Errors
    /// [`StorageError::Io`]; nothing is left.
    pub(super) fn finish(mut self) -> Result<Written, StorageError> {
        self.write_gone()?;
        self.write_buffer()?;
        let files = Arc::clone(&self.unfinished.files);
        let segment = self.unfinished.segment;
        let vfs = &files.environment().vfs;
        let index_path = files.index_path(segment);
        let index = vfs
            .open(&index_path, OpenMode::CreateNew)
            .map_err(io_error(Operation::Create, &index_path))?;
        write_all_at(&*index, &self.index, 0).map_err(io_error(Operation::Write, &index_path))?;
        let folder = self.path.parent().unwrap_or(&self.path).to_path_buf();
        // DURABILITY: all of it is on disk before an entry names the segment.
        let targets = [
            SyncTarget::File(&*self.log),
            SyncTarget::File(&*index),
            SyncTarget::Dir(&folder),
        ];
        vfs.sync_all(&targets, SyncPace::Gentle)
            .map_err(|(place, error)| match place {
                0 => io_error(Operation::Sync, &self.path)(error),
                1 => io_error(Operation::Sync, &index_path)(error),
                _ => io_error(Operation::SyncDir, &folder)(error),
            })?;
        self.unfinished.is_finished = true;
        Ok(Written {
            segment,
            size_bytes: self.size_bytes,
            record_count: self.record_count,
        })
    }
}

/// What is left of a frame.
///
/// # Panics
/// If the deltas do not rise, or are not among the offsets that the frame covers.
fn reduced(frame: &Frame, (codec, payload): (u8, bytes::Bytes), deltas: &[u32]) -> Frame {
    let offset_count = frame.header.offset_count();
    // INVARIANT: what is kept was there.
    assert!(
        deltas.is_sorted_by(|left, right| left < right)
            && deltas.last().is_none_or(|last| *last < offset_count),
        "offsets of a frame rise and lie inside"
    );
    let is_dense = deltas.len() == offset_count as usize;
    let kept = match is_dense {
        true => OffsetDeltas::default(),
        false => OffsetDeltas::new(deltas),
    };
    let header = FrameHeader {
        payload_bytes: u32::try_from(payload.len()).unwrap_or(u32::MAX),
        payload_crc: crc32fast::hash(&payload),
        codec,
        record_count: u32::try_from(deltas.len()).unwrap_or(u32::MAX),
        sparse: (!is_dense).then(|| Sparse {
            offset_count,
            deltas_crc: kept.crc(),
        }),
        ..frame.header
    };
    Frame {
        deltas: kept,
        ..Frame::dense(header, payload)
    }
}
