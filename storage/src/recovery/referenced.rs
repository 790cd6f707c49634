//! Checking what went by reference: reading it back from the segments, past the page cache.
//!
//! It was written that way, so it is seldom in the cache; reading it through the cache would only fill
//! that with bytes that nobody asked for.

use std::ops::Range;

use crate::buffer::BufferPool;
use crate::error::{Operation, StorageError, io_error};
use crate::format::entry::{DirectoryLine, FrameForm};
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader};
use crate::format::{align_block, usize_of};
use crate::journal::CommittedFrame;
use crate::segment_files::SegmentFiles;
use crate::vfs::{BLOCK_BYTES, VfsFile};

/// Read at once, unless one frame is longer.
const READ_BYTES: u64 = 4 * 1024 * 1024;

/// Returns the frames by reference whose bytes are not what was written.
pub(super) fn find_damaged(
    files: &SegmentFiles,
    frames: &[CommittedFrame],
) -> Result<Vec<DirectoryLine>, StorageError> {
    let pool = BufferPool::new(usize_of(2 * READ_BYTES));
    let references = frames
        .iter()
        .filter(|frame| frame.line.form == FrameForm::Reference);
    let mut lines: Vec<_> = references.map(|frame| frame.line).collect();
    lines.sort_by_key(|line| (line.place.segment, line.place.position));
    let mut damaged = Vec::new();
    let mut rest = lines.as_slice();
    while let Some(first) = rest.first() {
        let start = first.place.position;
        let count = rest.partition_point(|line| {
            let is_near = end_of(line) - start.min(end_of(line)) <= READ_BYTES;
            line.place.segment == first.place.segment && is_near
        });
        let (read, later) = rest.split_at(count.max(1));
        check(files, &pool, read, &mut damaged)?;
        rest = later;
    }
    Ok(damaged)
}

/// Checks frames of one segment that lie near each other.
fn check(
    files: &SegmentFiles,
    pool: &std::sync::Arc<BufferPool>,
    lines: &[DirectoryLine],
    damaged: &mut Vec<DirectoryLine>,
) -> Result<(), StorageError> {
    let (Some(first), Some(last)) = (lines.first(), lines.last()) else {
        return Ok(());
    };
    let segment = first.place.segment;
    let start = first.place.position - first.place.position % BLOCK_BYTES as u64;
    let mut buffer = pool.take(usize_of(align_block(end_of(last)) - start));
    let count = read_blocks(&*files.direct(segment)?, buffer.as_mut_slice(), start)
        .map_err(io_error(Operation::Read, files.log_path(segment)))?;
    let bytes = buffer.as_ref().get(..count).unwrap_or_default();
    for line in lines {
        let frame_start = usize_of(line.place.position - start);
        let frame = frame_start..frame_start + usize_of(line.frame.frame_bytes());
        if !is_frame(bytes, frame, line) {
            damaged.push(*line);
        }
    }
    Ok(())
}

/// Reads until the buffer is full or the file ends. If that is inside a block, no further transfer would
/// be aligned.
fn read_blocks(file: &dyn VfsFile, buffer: &mut [u8], position: u64) -> std::io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..)
        && !rest.is_empty()
    {
        let count = file.read_at(rest, position + done as u64)?;
        done += count;
        if count == 0 || !count.is_multiple_of(BLOCK_BYTES) {
            break;
        }
    }
    Ok(done)
}

fn is_frame(bytes: &[u8], frame: Range<usize>, line: &DirectoryLine) -> bool {
    let Some((header, payload)) = bytes
        .get(frame)
        .and_then(|it| it.split_at_checked(FRAME_HEADER_BYTES))
    else {
        return false;
    };
    FrameHeader::decode(header, &line.place) == Ok(line.frame) && line.frame.matches(payload)
}

fn end_of(line: &DirectoryLine) -> u64 {
    line.place.position + line.frame.padded_bytes()
}
