//! One line of a segment's sparse index: where the frame with an offset and a time starts.

use bytes::{Buf, BufMut};

use super::crc_of;
use crate::ids::Offset;

/// Bytes of an index entry.
pub const INDEX_ENTRY_BYTES: usize = 32;

/// Points at the start of a frame.
///
/// ```text
///  0 base offset u64   8 position u64   16 append time i64, ms
/// 24 crc u32 of the segment's base offset and bytes 0..24   28 magic u32
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// Offset of the frame's first record.
    pub base_offset: Offset,
    /// Where the frame starts in the segment file.
    pub position: u64,
    /// The frame's append time.
    pub append_time_ms: i64,
}

const MAGIC: u32 = u32::from_le_bytes(*b"TIDX");

impl IndexEntry {
    /// The entry's bytes in the index of the segment that starts at `segment_base`.
    pub fn encode(&self, segment_base: Offset) -> [u8; INDEX_ENTRY_BYTES] {
        let mut bytes = [0; INDEX_ENTRY_BYTES];
        let (body, mut tail) = bytes.split_at_mut(24);
        let mut out = &mut *body;
        out.put_u64_le(self.base_offset.get());
        out.put_u64_le(self.position);
        out.put_i64_le(self.append_time_ms);
        tail.put_u32_le(crc_of(&[&segment_base.get().to_le_bytes(), body]));
        tail.put_u32_le(MAGIC);
        bytes
    }

    /// Reads an entry; `None` if the bytes are not a whole, intact entry of that segment.
    pub fn decode(bytes: &[u8], segment_base: Offset) -> Option<Self> {
        let (mut body, mut tail) = bytes.get(..INDEX_ENTRY_BYTES)?.split_at_checked(24)?;
        let crc = tail.try_get_u32_le().ok()?;
        let magic = tail.try_get_u32_le().ok()?;
        if magic != MAGIC || crc != crc_of(&[&segment_base.get().to_le_bytes(), body]) {
            return None;
        }
        Some(Self {
            base_offset: Offset::new(body.try_get_u64_le().ok()?),
            position: body.try_get_u64_le().ok()?,
            append_time_ms: body.try_get_i64_le().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_entry_survives_the_round_trip_and_no_flipped_bit() {
        let entry = IndexEntry {
            base_offset: Offset::new(77),
            position: 8192,
            append_time_ms: -1,
        };
        let bytes = entry.encode(Offset::new(50));
        assert_eq!(IndexEntry::decode(&bytes, Offset::new(50)), Some(entry));
        assert_eq!(
            IndexEntry::decode(&bytes, Offset::new(51)),
            None,
            "of another segment"
        );
        for bit in 0..INDEX_ENTRY_BYTES * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                IndexEntry::decode(&damaged, Offset::new(50)),
                None,
                "bit={bit}"
            );
        }
    }
}
