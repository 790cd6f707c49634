//! Reading frames from segments. Blocks; runs on the read pool.

mod resync;
mod segment_read;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use crate::buffer::BufferPool;
use crate::error::StorageError;
use crate::format::frame::FramePlace;
use crate::format::segment_header::SEGMENT_HEADER_BYTES;
use crate::frame::Frame;
use crate::ids::{Offset, OffsetRange, SegmentRef};
use crate::index::{Sought, look_up};
use crate::partition_log::{PartitionLog, ReadLimit, SettledEnd};
use crate::segment_files::SegmentFiles;
use segment_read::SegmentRead;

/// Read at once from a segment, unless fewer bytes of payload are wanted.
const READ_BYTES: usize = 256 * 1024;
/// Read at once at least.
const READ_BYTES_MIN: usize = 8 * 1024;
/// Free read buffers that are kept.
const POOL_BYTES: usize = 8 * 1024 * 1024;

/// Where a frame of a partition lies, so that a read of it or of one soon behind it needs no look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadCursor {
    segment: SegmentRef,
    position: u64,
    /// Offset of the frame at `position`.
    offset: Offset,
}

/// Bytes of a segment that are not what was written there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SegmentDamage {
    /// The segment's file.
    pub path: PathBuf,
    /// Where in the file.
    pub positions: Range<u64>,
    /// What was found.
    pub what: String,
}

/// What a read from segments found.
#[derive(Debug, Default)]
pub struct DiskRead {
    /// Frames, the first of which holds the offset; none if `loss` begins there.
    pub frames: Vec<Frame>,
    /// Records behind the frames that are lost to damage.
    pub loss: Option<OffsetRange>,
    /// What the loss comes of.
    pub damage: Option<SegmentDamage>,
    /// For the next read.
    pub cursor: Option<ReadCursor>,
    /// For reading the same frames again.
    pub start: Option<ReadCursor>,
}

/// Reads frames from segment files; shared by the threads of the read pool.
#[derive(Debug, Clone)]
pub struct LogReader {
    files: Arc<SegmentFiles>,
    pool: Arc<BufferPool>,
}

impl LogReader {
    pub(crate) fn new(files: Arc<SegmentFiles>) -> Self {
        Self {
            files,
            pool: BufferPool::new(POOL_BYTES),
        }
    }

    /// Reads frames from the one that holds `offset`, which must be below `until`, itself no further
    /// than what [`PartitionLog::read_tail`] returned. A cursor is used if it is not behind `offset`.
    ///
    /// Each payload is checked against its CRC. Damage ends the frames and is returned as `loss`; what
    /// lies behind it is found again at the next intact frame, as far as the index reaches.
    ///
    /// # Errors
    /// [`StorageError::Io`] if the operating system cannot read; nothing is known to be lost then.
    pub fn read(
        &self,
        log: &PartitionLog,
        cursor: Option<ReadCursor>,
        offset: Offset,
        until: Offset,
        limit: ReadLimit,
    ) -> Result<DiskRead, StorageError> {
        let Some((segment, next_base)) = log.segment_of(offset) else {
            let loss = OffsetRange {
                start: offset,
                end: until,
            };
            let nowhere = SegmentRef::new(log.partition(), offset);
            return Ok(DiskRead {
                loss: Some(loss),
                damage: Some(self.missing(nowhere)),
                ..DiskRead::default()
            });
        };
        let end = next_base.map_or(until, |base| base.min(until));
        let range = OffsetRange { start: offset, end };
        let settled_end = log.settled_end().filter(|it| it.segment == segment);
        match self.read_segment(segment, cursor, range, limit, settled_end) {
            Err(error) if error.is_not_found() => {
                // Its file may have gone since it was found in the log, which then names another one.
                if log.segment_of(offset).map(|(now, _)| now) != Some(segment) {
                    return self.read(log, None, offset, until, limit);
                }
                tracing::error!(%segment, "segment file is missing");
                let loss = OffsetRange { start: offset, end };
                Ok(DiskRead {
                    loss: Some(loss),
                    damage: Some(self.missing(segment)),
                    ..DiskRead::default()
                })
            }
            read => read,
        }
    }

    fn missing(&self, segment: SegmentRef) -> SegmentDamage {
        SegmentDamage {
            path: self.files.log_path(segment),
            positions: 0..0,
            what: "the file is missing".to_owned(),
        }
    }

    /// As [`LogReader::read`], of one segment file: frames of a range that it holds. `settled_end` is how far it
    /// holds nothing else, as far as that is known better than by its index.
    ///
    /// # Errors
    /// [`StorageError::Io`]; also if the file is missing.
    pub(crate) fn read_segment(
        &self,
        segment: SegmentRef,
        cursor: Option<ReadCursor>,
        range: OffsetRange,
        limit: ReadLimit,
        settled_end: Option<SettledEnd>,
    ) -> Result<DiskRead, StorageError> {
        let file = self.files.log(segment)?;
        let start = cursor.filter(|it| it.segment == segment && it.offset <= range.start);
        let position = start.map_or_else(
            || self.start_position(segment, range.start),
            |it| it.position,
        );
        SegmentRead {
            reader: self,
            file,
            place: FramePlace { segment, position },
            offset: range.start,
            end: range.end,
            limit,
            settled_end,
            gap_start: None,
        }
        .run()
    }

    fn start_position(&self, segment: SegmentRef, offset: Offset) -> u64 {
        look_up(&self.files, segment, Sought::Offset(offset))
            .map_or(SEGMENT_HEADER_BYTES, |entry| entry.position)
    }

    /// The offset of the first record appended at or after `time_ms`; the end if there is none.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub fn offset_at_time(&self, log: &PartitionLog, time_ms: i64) -> Result<Offset, StorageError> {
        let end = log.end();
        if log.last_append_time_ms().is_none_or(|last| last < time_ms) {
            return Ok(end);
        }
        let segments = log.segments();
        // The last segment that begins before the time may hold it; later ones begin at or past it.
        let after = segments.partition_point(|segment| {
            look_up(&self.files, *segment, Sought::Offset(segment.base))
                .is_some_and(|first| first.append_time_ms < time_ms)
        });
        let Some(segment) = segments.get(after.saturating_sub(1)).copied() else {
            return Ok(log.log_start());
        };
        let entry = look_up(&self.files, segment, Sought::TimeMs(time_ms));
        let mut offset = entry
            .map_or(segment.base, |entry| entry.base_offset)
            .max(log.log_start());
        let mut cursor = None;
        while offset < end {
            let limit = ReadLimit {
                bytes_max: READ_BYTES,
                lsn_max: crate::Lsn::new(u64::MAX),
            };
            let (frames, loss) = match log.read_tail(offset, limit) {
                crate::partition_log::TailRead::Frames(frames) => (frames, None),
                crate::partition_log::TailRead::AtEnd => break,
                crate::partition_log::TailRead::OnDisk { until } => {
                    let read = self.read(log, cursor, offset, until, limit)?;
                    cursor = read.cursor;
                    (read.frames, read.loss)
                }
            };
            let found = frames
                .iter()
                .find(|frame| frame.header.append_time_ms >= time_ms);
            if let Some(frame) = found {
                return Ok(frame.header.base_offset.max(offset));
            }
            let read_to = frames.last().map(|frame| frame.header.next_offset());
            offset = loss.map(|loss| loss.end).or(read_to).unwrap_or(end);
        }
        Ok(end)
    }
}
