//! Zstandard frames (RFC 8878).

use bytes::Buf;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{find_frame_compressed_size, get_frame_content_size};

use super::{CUT_OFF, DAMAGED, DICTIONARY, Fault, NO_MAGIC, TRAILING};

const MAGIC: u32 = 0xFD2F_B528;
/// What the format asks every decoder to take.
const WINDOW_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Bits of the first byte of a frame's descriptor.
mod flag {
    pub(super) const SINGLE_SEGMENT: u8 = 0b0010_0000;
    pub(super) const DICTIONARY_MASK: u8 = 0b0000_0011;
}

pub(super) fn compress(batch: &[u8], level: i32) -> Option<Vec<u8>> {
    Compressor::new(level).ok()?.compress(batch).ok()
}

/// At most `capacity` bytes, of what [`check_frame`] has passed.
pub(super) fn decompress(compressed: &[u8], capacity: usize) -> Result<Vec<u8>, Fault> {
    let mut batch = Vec::with_capacity(capacity);
    let decompressed = Decompressor::new()
        .and_then(|mut decompressor| decompressor.decompress_to_buffer(compressed, &mut batch));
    match decompressed {
        Ok(_) => Ok(batch),
        Err(error) if is_no_room(&error) => Err(Fault::NoRoom),
        Err(_) => Err(Fault::Malformed(DAMAGED)),
    }
}

/// The library tells its errors as texts.
fn is_no_room(error: &std::io::Error) -> bool {
    error.to_string().contains("too small")
}

/// Looks at the head of one frame and at the lengths of its blocks, and returns the size that it says it
/// has.
pub(super) fn check_frame(frame: &[u8]) -> Result<Option<u64>, &'static str> {
    let mut head = frame;
    if head.try_get_u32_le().map_err(|_error| CUT_OFF)? != MAGIC {
        return Err(NO_MAGIC);
    }
    let flags = head.try_get_u8().map_err(|_error| CUT_OFF)?;
    if flags & flag::DICTIONARY_MASK != 0 {
        return Err(DICTIONARY);
    }
    if flags & flag::SINGLE_SEGMENT == 0
        && window_bytes(head.try_get_u8().map_err(|_error| CUT_OFF)?) > WINDOW_BYTES_MAX
    {
        return Err("it needs a window of more than 8 MiB");
    }
    let declared = get_frame_content_size(frame).map_err(|_error| CUT_OFF)?;
    match find_frame_compressed_size(frame) {
        Ok(bytes) if bytes == frame.len() => Ok(declared),
        Ok(_) => Err(TRAILING),
        Err(_) => Err(CUT_OFF),
    }
}

/// The window that a descriptor asks for.
fn window_bytes(descriptor: u8) -> u64 {
    let base = 1_u64 << (10 + u32::from(descriptor >> 3));
    (base / 8).saturating_mul(8 + u64::from(descriptor & 7))
}
