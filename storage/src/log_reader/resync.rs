//! Finding the next frame behind a damaged header.

use std::path::Path;

use crate::error::{Operation, StorageError, io_error};
use crate::format::ALIGN_BYTES;
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader, FramePlace};
use crate::format::usize_of;
use crate::ids::Offset;
use crate::index::{Sought, look_up};
use crate::partition_log::SettledEnd;
use crate::segment_files::SegmentFiles;
use crate::vfs::{VfsFile, read_full_at};

/// Read at once.
const WINDOW_BYTES: u64 = 64 * 1024;

/// The position and base offset of the first intact frame behind `place`.
///
/// `None` if neither an index entry nor `settled_end` lies behind it: up to there, all bytes are known to
/// belong to frames that were acknowledged; further on there may be frames of a round that was lost.
pub(super) fn next_frame(
    files: &SegmentFiles,
    file: &dyn VfsFile,
    path: &Path,
    place: &FramePlace,
    settled_end: Option<SettledEnd>,
) -> Result<Option<(u64, Offset)>, StorageError> {
    let indexed = look_up(files, place.segment, Sought::After(place.position));
    let indexed = indexed.map(|entry| (entry.position, entry.base_offset));
    let settled_end = settled_end.map(|end| (end.position, end.offset));
    let known = indexed.or(settled_end);
    let Some((end_position, end_offset)) = known.filter(|(end, _)| *end > place.position) else {
        return Ok(None);
    };
    let mut window = vec![0; usize_of(WINDOW_BYTES.min(end_position - place.position))];
    let mut position = place.position + ALIGN_BYTES;
    while position + FRAME_HEADER_BYTES as u64 <= end_position {
        let length = usize_of((end_position - position).min(WINDOW_BYTES));
        let buffer = window.get_mut(..length).unwrap_or_default();
        let count =
            read_full_at(file, buffer, position).map_err(io_error(Operation::Read, path))?;
        if count < FRAME_HEADER_BYTES {
            break;
        }
        let bytes = buffer.get(..count).unwrap_or_default();
        let mut start = 0;
        while let Some(header) = bytes.get(start..start + FRAME_HEADER_BYTES) {
            let at = FramePlace {
                position: position + start as u64,
                ..*place
            };
            if let Ok(header) = FrameHeader::decode(header, &at)
                && at.position + header.padded_bytes() <= end_position
                && header.next_offset() <= end_offset
            {
                return Ok(Some((at.position, header.base_offset)));
            }
            start += usize_of(ALIGN_BYTES);
        }
        position += start as u64;
    }
    Ok(Some((end_position, end_offset)))
}
