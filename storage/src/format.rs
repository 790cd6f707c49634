//! Bytes on disk to values and back, from slices. One file per structure; nothing here opens files,
//! allocates from a length that it has not checked, or panics on any input.
//!
//! Everything is little-endian. Every structure has a magic number that is not zero, so that
//! all-zero bytes are never valid. `docs/storage-format.md` describes each field.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

pub mod checkpoint_file;
pub mod entry;
pub mod format_file;
pub mod frame;
pub mod index_entry;
pub mod journal_header;
pub mod row;
pub mod run_file;
pub mod run_row;
pub mod scrub_file;
pub mod segment_header;

use crate::vfs::BLOCK_BYTES;

/// The version of a data folder. One of a newer version is refused untouched; one of an older version
/// becomes one of this version when it is opened, before anything else in it is written. Version 2 may
/// have runs, version 3 payloads with a codec.
pub const FORMAT_VERSION: u32 = 3;

/// The version of journal headers, segment headers and checkpoint footers, which folders of all these
/// versions have alike.
pub const STRUCTURE_VERSION: u32 = 1;

/// Frames and entries start at multiples of this many bytes.
pub const ALIGN_BYTES: u64 = 8;

/// Rounds `bytes` up to a multiple of `unit`, a power of two; saturates.
pub(crate) const fn align_up(bytes: u64, unit: u64) -> u64 {
    bytes.saturating_add(unit.wrapping_sub(1)) & !unit.wrapping_sub(1)
}

/// Rounds `bytes` up to whole blocks.
pub(crate) const fn align_block(bytes: u64) -> u64 {
    align_up(bytes, BLOCK_BYTES as u64)
}

/// CRC-32 of the parts one after the other.
pub(crate) fn crc_of(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

/// Headers of another kind and of another version than this one, with the checksum at 12 of what else is in
/// `used_bytes` put right.
#[cfg(test)]
fn intact_others(header: &[u8], used_bytes: usize) -> [(&'static str, Vec<u8>); 2] {
    [("another kind", 0), ("another version", 8)].map(|(what, place)| {
        let mut other = header.to_vec();
        other[place] ^= 1;
        let crc = crc_of(&[&other[..12], &other[16..used_bytes]]);
        other[12..16].copy_from_slice(&crc.to_le_bytes());
        (what, other)
    })
}

const _: () = assert!(usize::BITS == 64, "positions are handled as usize");

/// A length that is known to fit, as storage runs on 64-bit machines only.
#[expect(
    clippy::cast_possible_truncation,
    reason = "usize has 64 bits, asserted above"
)]
pub(crate) const fn usize_of(number: u64) -> usize {
    number as usize
}
