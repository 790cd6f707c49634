//! LZ4 frames.

use std::io::{BufRead, Write};

use bytes::Buf;
use lz4_flex::frame::{BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::{CUT_OFF, DAMAGED, DICTIONARY, Fault, NO_MAGIC, TRAILING};

const MAGIC: u32 = 0x184D_2204;

/// Bits of the first byte of a frame's descriptor.
mod flag {
    pub(super) const VERSION_MASK: u8 = 0b1100_0000;
    pub(super) const VERSION_1: u8 = 0b0100_0000;
    pub(super) const BLOCK_CHECKSUMS: u8 = 0b0001_0000;
    pub(super) const CONTENT_SIZE: u8 = 0b0000_1000;
    pub(super) const CONTENT_CHECKSUM: u8 = 0b0000_0100;
    pub(super) const DICTIONARY: u8 = 0b0000_0001;
}

/// In the length of a block: it is stored as it was.
const IS_STORED: u32 = 0x8000_0000;
const CHECKSUM_BYTES: usize = 4;

pub(super) fn compress(batch: &[u8]) -> Option<Vec<u8>> {
    let block_size = match batch.len() {
        ..=0x1_0000 => BlockSize::Max64KB,
        0x1_0001..=0x4_0000 => BlockSize::Max256KB,
        _ => BlockSize::Max1MB,
    };
    let info = FrameInfo::new()
        .block_size(block_size)
        .content_size(Some(batch.len() as u64));
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::with_capacity(batch.len() / 2));
    encoder.write_all(batch).ok()?;
    encoder.finish().ok()
}

/// At most `capacity` bytes, of what [`check_frame`] has passed.
pub(super) fn decompress(compressed: &[u8], capacity: usize) -> Result<Vec<u8>, Fault> {
    let mut batch = Vec::with_capacity(capacity);
    let mut decoder = FrameDecoder::new(compressed);
    loop {
        let block = decoder
            .fill_buf()
            .map_err(|_error| Fault::Malformed(DAMAGED))?;
        if block.is_empty() {
            break;
        }
        if block.len() > capacity.saturating_sub(batch.len()) {
            return Err(Fault::NoRoom);
        }
        batch.extend_from_slice(block);
        let count = block.len();
        decoder.consume(count);
    }
    // It also stops at a block of nothing, which no writer makes.
    match decoder.get_ref().is_empty() {
        true => Ok(batch),
        false => Err(Fault::Malformed(DAMAGED)),
    }
}

/// Walks over one frame from its first byte to its last, and returns the size that it says it has.
pub(super) fn check_frame(mut frame: &[u8]) -> Result<Option<u64>, &'static str> {
    if frame.try_get_u32_le().map_err(|_error| CUT_OFF)? != MAGIC {
        return Err(NO_MAGIC);
    }
    let flags = frame.try_get_u8().map_err(|_error| CUT_OFF)?;
    if flags & flag::VERSION_MASK != flag::VERSION_1 {
        return Err("it has another version");
    }
    if flags & flag::DICTIONARY != 0 {
        return Err(DICTIONARY);
    }
    let _block_size = frame.try_get_u8().map_err(|_error| CUT_OFF)?;
    let declared = match flags & flag::CONTENT_SIZE != 0 {
        true => Some(frame.try_get_u64_le().map_err(|_error| CUT_OFF)?),
        false => None,
    };
    let _header_checksum = frame.try_get_u8().map_err(|_error| CUT_OFF)?;
    let checksum_bytes = |flag| match flags & flag != 0 {
        true => CHECKSUM_BYTES,
        false => 0,
    };
    loop {
        let length = frame.try_get_u32_le().map_err(|_error| CUT_OFF)?;
        if length == 0 {
            break;
        }
        let length = usize::try_from(length & !IS_STORED).map_err(|_error| CUT_OFF)?;
        let bytes = length.saturating_add(checksum_bytes(flag::BLOCK_CHECKSUMS));
        frame = frame.get(bytes..).ok_or(CUT_OFF)?;
    }
    let behind = frame.get(checksum_bytes(flag::CONTENT_CHECKSUM)..);
    match behind.ok_or(CUT_OFF)? {
        [] => Ok(declared),
        _ => Err(TRAILING),
    }
}
