//! Walking the frames of one segment, from a position to the end of a read.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::{DiskRead, LogReader, READ_BYTES, READ_BYTES_MIN, ReadCursor, SegmentDamage, resync};
use crate::error::{Operation, StorageError, io_error_of};
use crate::format::frame::{FRAME_HEADER_BYTES, FrameError, FrameHeader, FramePlace};
use crate::format::{align_block, usize_of};
use crate::frame::{Backing, Frame, OffsetDeltas};
use crate::ids::{Offset, OffsetRange};
use crate::partition_log::{ReadLimit, SettledEnd};
use crate::vfs::{BLOCK_BYTES, VfsFile, read_full_at};

/// No frame is longer: the largest commit and its header.
const FRAME_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// One read from one segment.
pub(super) struct SegmentRead<'a> {
    pub(super) reader: &'a LogReader,
    pub(super) file: Arc<dyn VfsFile>,
    /// Where the frame that is looked at lies.
    pub(super) place: FramePlace,
    /// The offset that is wanted next.
    pub(super) offset: Offset,
    /// One past the last offset to be read from this segment.
    pub(super) end: Offset,
    pub(super) limit: ReadLimit,
    /// How far the file holds acknowledged frames and nothing else, if that is known.
    pub(super) settled_end: Option<SettledEnd>,
    /// Where zeros begin that were passed over before the present place.
    pub(super) gap_start: Option<u64>,
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
        /// Where in the file.
        positions: Range<u64>,
        /// What was found there.
        what: String,
    },
}

/// What was read at once.
struct Block {
    bytes: Bytes,
    /// The buffer that they lie in.
    backing: Backing,
}

impl SegmentRead<'_> {
    pub(super) fn run(mut self) -> Result<DiskRead, StorageError> {
        let mut read = DiskRead::default();
        let mut want_bytes = self.limit.bytes_max.clamp(READ_BYTES_MIN, READ_BYTES);
        let mut payload_bytes = 0;
        while self.offset < self.end {
            let block_position = self.place.position;
            let block = self.read_block(want_bytes)?;
            loop {
                let start = usize_of(self.place.position - block_position);
                let is_over = start >= block.bytes.len() && !block.bytes.is_empty();
                if self.offset >= self.end || is_over {
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
                        if read.frames.is_empty() {
                            read.start = Some(self.cursor(frame.header.base_offset));
                        }
                        self.advance(&frame.header);
                        read.frames.push(frame);
                        continue;
                    }
                    Step::Done => return Ok(self.finish(read)),
                    Step::Damaged {
                        end,
                        is_passed,
                        positions,
                        what,
                    } => {
                        let start = self.offset;
                        read.loss = Some(OffsetRange { start, end });
                        read.damage = Some(SegmentDamage {
                            path: self.path(),
                            positions,
                            what,
                        });
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
        DiskRead {
            cursor: Some(self.cursor(self.offset)),
            ..read
        }
    }

    /// A cursor on the frame at the present place, which begins with `offset`. What was passed over for a gap
    /// counts as one only when a frame was found behind it.
    fn cursor(&self, offset: Offset) -> ReadCursor {
        ReadCursor {
            segment: self.place.segment,
            position: self.gap_start.unwrap_or(self.place.position),
            offset,
        }
    }

    fn read_block(&self, want_bytes: usize) -> Result<Block, StorageError> {
        let mut buffer = self.reader.pool.take(want_bytes);
        let count = read_full_at(&*self.file, buffer.as_mut_slice(), self.place.position)
            .map_err(io_error_of(Operation::Read, || self.path()))?;
        let backing = buffer.backing();
        let bytes = buffer.freeze().slice(..count);
        Ok(Block { bytes, backing })
    }

    /// Looks at the frame at the present place; frames below the wanted offset are stepped over.
    fn step(
        &mut self,
        block: &Block,
        mut start: usize,
        want_bytes: usize,
    ) -> Result<Step, StorageError> {
        loop {
            let rest = block.bytes.get(start..).unwrap_or_default();
            let is_file_end = block.bytes.len() < want_bytes;
            match FrameHeader::decode(rest, &self.place) {
                Ok(header) => {
                    self.gap_start = None;
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
                    self.gap_start = Some(self.place.position);
                    start += usize_of(next - self.place.position);
                    self.place.position = next;
                }
                Err(error) => return self.damaged(&error.to_string()),
            }
        }
    }

    fn judge(&mut self, block: &Block, start: usize, header: FrameHeader) -> Step {
        let bytes = &block.bytes;
        if header.lsn > self.limit.lsn_max {
            return Step::Done;
        }
        let payload_start = start + usize_of(header.payload_start());
        let payload_end = start + usize_of(header.frame_bytes());
        let payload = bytes.get(payload_start..payload_end).unwrap_or_default();
        if header.base_offset > self.offset {
            return Step::Damaged {
                end: header.base_offset.min(self.end),
                is_passed: header.base_offset <= self.end,
                positions: self.place.position..self.place.position,
                what: "the frames before this position are missing".to_owned(),
            };
        }
        let deltas_start = start + FRAME_HEADER_BYTES;
        let has_deltas = header.sparse.is_some() && payload_start <= bytes.len();
        let deltas = match has_deltas {
            true => bytes.slice(deltas_start..payload_start),
            false => Bytes::new(),
        };
        let deltas = OffsetDeltas::read(&header, deltas);
        let Some(deltas) = deltas.filter(|_| header.matches(payload)) else {
            tracing::error!(segment = %self.place.segment, position = self.place.position,
                "records do not match their checksum");
            let start = self.place.position;
            self.place.position += header.padded_bytes();
            return Step::Damaged {
                end: header.next_offset().min(self.end),
                is_passed: header.next_offset() <= self.end,
                positions: start..start + header.frame_bytes(),
                what: "records do not match their checksum".to_owned(),
            };
        };
        Step::Frame(Frame {
            header,
            payload: bytes.slice(payload_start..payload_end),
            deltas,
            backing: block.backing,
        })
    }

    /// Damage to a header: nothing is known until the next intact one.
    fn damaged(&mut self, what: &str) -> Result<Step, StorageError> {
        // Behind zeros no run begins: they may be what is left of frames.
        self.place.position = self.gap_start.take().unwrap_or(self.place.position);
        let FramePlace {
            segment,
            position: start,
        } = self.place;
        tracing::error!(%segment, position = start, what, "segment is damaged");
        let (files, file) = (&self.reader.files, &*self.file);
        let next = resync::next_frame(files, file, &self.path(), &self.place, self.settled_end)?;
        let Some((position, base_offset)) = next else {
            let file_bytes = self.file.len();
            let file_bytes = file_bytes.map_err(io_error_of(Operation::Read, || self.path()))?;
            return Ok(Step::Damaged {
                end: self.end,
                is_passed: false,
                positions: start..file_bytes.max(start),
                what: what.to_owned(),
            });
        };
        self.place.position = position;
        if base_offset <= self.offset {
            return Ok(Step::Moved);
        }
        Ok(Step::Damaged {
            end: base_offset.min(self.end),
            is_passed: base_offset <= self.end,
            positions: start..position,
            what: what.to_owned(),
        })
    }

    fn path(&self) -> PathBuf {
        self.reader.files.log_path(self.place.segment)
    }

    fn advance(&mut self, header: &FrameHeader) {
        self.place.position += header.padded_bytes();
        self.offset = header.next_offset();
    }
}
