//! Reading frames from segments. Blocks; runs on the read pool.

mod resync;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::buffer::BufferPool;
use crate::error::{Operation, StorageError, io_error};
use crate::format::frame::{FRAME_HEADER_BYTES, FrameError, FrameHeader, FramePlace};
use crate::format::segment_header::SEGMENT_HEADER_BYTES;
use crate::format::{align_block, usize_of};
use crate::ids::{Offset, OffsetRange, SegmentRef};
use crate::index::{Sought, look_up};
use crate::partition_log::{Frame, PartitionLog, ReadLimit};
use crate::segment_files::SegmentFiles;
use crate::vfs::{BLOCK_BYTES, VfsFile, read_full_at};

/// Read at once from a segment.
const READ_BYTES: usize = 256 * 1024;
/// Free read buffers that are kept.
const POOL_BYTES: usize = 8 * 1024 * 1024;
/// No frame is longer: the largest commit and its header.
const FRAME_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Where the last read of a partition ended, so that the next needs no look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadCursor {
    segment: SegmentRef,
    position: u64,
    /// Offset of the frame at `position`.
    offset: Offset,
}

/// What a read from segments found.
#[derive(Debug, Default)]
pub struct DiskRead {
    /// Frames, the first of which holds the offset; none if `loss` begins there.
    pub frames: Vec<Frame>,
    /// Records behind the frames that are lost to damage.
    pub loss: Option<OffsetRange>,
    /// For the next read.
    pub cursor: Option<ReadCursor>,
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
    /// than what [`PartitionLog::read_tail`] returned.
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
            return Ok(DiskRead {
                loss: Some(loss),
                ..DiskRead::default()
            });
        };
        let end = next_base.map_or(until, |base| base.min(until));
        match self.files.log(segment) {
            Ok(file) => {
                let path = self.files.log_path(segment);
                let start = cursor.filter(|it| it.segment == segment && it.offset == offset);
                let place = FramePlace {
                    segment,
                    position: start
                        .map_or_else(|| self.start_position(segment, offset), |it| it.position),
                };
                SegmentRead {
                    reader: self,
                    file,
                    path,
                    place,
                    offset,
                    end,
                    limit,
                }
                .run()
            }
            Err(error) if error.is_not_found() => {
                tracing::error!(%segment, "segment file is missing");
                let loss = OffsetRange { start: offset, end };
                Ok(DiskRead {
                    loss: Some(loss),
                    ..DiskRead::default()
                })
            }
            Err(error) => Err(error),
        }
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
        let after = segments.partition_point(|base| {
            let segment = SegmentRef {
                partition: log.partition(),
                base: *base,
            };
            look_up(&self.files, segment, Sought::Offset(*base))
                .is_some_and(|first| first.append_time_ms < time_ms)
        });
        let Some(base) = segments.get(after.saturating_sub(1)) else {
            return Ok(log.log_start());
        };
        let segment = SegmentRef {
            partition: log.partition(),
            base: *base,
        };
        let entry = look_up(&self.files, segment, Sought::TimeMs(time_ms));
        let mut offset = entry
            .map_or(*base, |entry| entry.base_offset)
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

/// One read from one segment.
struct SegmentRead<'a> {
    reader: &'a LogReader,
    file: Arc<dyn VfsFile>,
    path: PathBuf,
    /// Where the frame that is looked at lies.
    place: FramePlace,
    /// The offset that is wanted next.
    offset: Offset,
    /// One past the last offset to be read from this segment.
    end: Offset,
    limit: ReadLimit,
}

/// What stands at a position.
enum Step {
    Frame(Frame),
    /// The bytes read so far end inside the frame, which needs this many.
    Short(usize),
    /// Nothing more: the limit is reached.
    Done,
    /// Damage below the wanted offset was passed over: the position has moved.
    Moved,
    /// The wanted records are lost up to an offset.
    Damaged {
        end: Offset,
        /// Whether the frame with that offset lies at the present position.
        is_passed: bool,
    },
}

impl SegmentRead<'_> {
    fn run(mut self) -> Result<DiskRead, StorageError> {
        let mut read = DiskRead::default();
        let mut want_bytes = READ_BYTES;
        let mut payload_bytes = 0;
        while self.offset < self.end {
            let block_position = self.place.position;
            let block = self.read_block(want_bytes)?;
            loop {
                let start = usize_of(self.place.position - block_position);
                if self.offset >= self.end || (start >= block.len() && !block.is_empty()) {
                    break;
                }
                match self.step(&block, start, want_bytes)? {
                    Step::Short(needed) if start == 0 => want_bytes = needed,
                    Step::Short(_) | Step::Moved => {}
                    Step::Frame(frame) => {
                        payload_bytes += frame.payload.len();
                        if payload_bytes > self.limit.bytes_max && !read.frames.is_empty() {
                            return Ok(self.finish(read));
                        }
                        self.advance(&frame.header);
                        read.frames.push(frame);
                        continue;
                    }
                    Step::Done => return Ok(self.finish(read)),
                    Step::Damaged { end, is_passed } => {
                        let start = self.offset;
                        read.loss = Some(OffsetRange { start, end });
                        self.offset = end;
                        return Ok(match is_passed {
                            true => self.finish(read),
                            false => read,
                        });
                    }
                }
                break;
            }
            if !read.frames.is_empty() {
                break;
            }
        }
        Ok(self.finish(read))
    }

    fn finish(&self, read: DiskRead) -> DiskRead {
        let cursor = ReadCursor {
            segment: self.place.segment,
            position: self.place.position,
            offset: self.offset,
        };
        DiskRead {
            cursor: Some(cursor),
            ..read
        }
    }

    fn read_block(&self, want_bytes: usize) -> Result<Bytes, StorageError> {
        let mut buffer = self.reader.pool.take(want_bytes);
        let count = read_full_at(&*self.file, buffer.as_mut_slice(), self.place.position)
            .map_err(io_error(Operation::Read, &self.path))?;
        Ok(buffer.freeze().slice(..count))
    }

    /// Looks at the frame at the present place; frames below the wanted offset are stepped over.
    fn step(
        &mut self,
        block: &Bytes,
        mut start: usize,
        want_bytes: usize,
    ) -> Result<Step, StorageError> {
        loop {
            let rest = block.get(start..).unwrap_or_default();
            let is_file_end = block.len() < want_bytes;
            match FrameHeader::decode(rest, &self.place) {
                Ok(header) => {
                    let frame_bytes = usize_of(header.frame_bytes());
                    if header.next_offset() <= self.offset {
                        self.place.position += header.padded_bytes();
                        start += usize_of(header.padded_bytes());
                        continue;
                    }
                    if rest.len() < frame_bytes
                        && !is_file_end
                        && header.frame_bytes() <= FRAME_BYTES_MAX
                    {
                        return Ok(Step::Short(frame_bytes));
                    }
                    return Ok(self.judge(block, start, header));
                }
                Err(FrameError::Short) if !is_file_end => return Ok(Step::Short(READ_BYTES)),
                // Zeros fill the block before a run that starts on a block boundary.
                Err(FrameError::Blank)
                    if !self.place.position.is_multiple_of(BLOCK_BYTES as u64) =>
                {
                    let next = align_block(self.place.position);
                    start += usize_of(next - self.place.position);
                    self.place.position = next;
                }
                Err(error) => return self.damaged(&error.to_string()),
            }
        }
    }

    fn judge(&mut self, block: &Bytes, start: usize, header: FrameHeader) -> Step {
        if header.lsn > self.limit.lsn_max {
            return Step::Done;
        }
        let payload_start = start + FRAME_HEADER_BYTES;
        let payload_end = start + usize_of(header.frame_bytes());
        let payload = block.get(payload_start..payload_end).unwrap_or_default();
        if header.base_offset > self.offset {
            return Step::Damaged {
                end: header.base_offset.min(self.end),
                is_passed: header.base_offset <= self.end,
            };
        }
        if !header.matches(payload) {
            tracing::error!(segment = %self.place.segment, position = self.place.position,
                "records do not match their checksum");
            self.place.position += header.padded_bytes();
            return Step::Damaged {
                end: header.next_offset().min(self.end),
                is_passed: header.next_offset() <= self.end,
            };
        }
        Step::Frame(Frame {
            header,
            payload: block.slice(payload_start..payload_end),
        })
    }

    /// Damage to a header: nothing is known until the next intact one.
    fn damaged(&mut self, what: &str) -> Result<Step, StorageError> {
        let FramePlace { segment, position } = self.place;
        tracing::error!(%segment, position, what, "segment is damaged");
        let next = resync::next_frame(&self.reader.files, &*self.file, &self.path, &self.place)?;
        let Some((position, base_offset)) = next else {
            return Ok(Step::Damaged {
                end: self.end,
                is_passed: false,
            });
        };
        self.place.position = position;
        if base_offset <= self.offset {
            return Ok(Step::Moved);
        }
        Ok(Step::Damaged {
            end: base_offset.min(self.end),
            is_passed: base_offset <= self.end,
        })
    }

    fn advance(&mut self, header: &FrameHeader) {
        self.place.position += header.padded_bytes();
        self.offset = header.next_offset();
    }
}
