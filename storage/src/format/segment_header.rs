//! The first block of a segment file: which partition and base offset its frames belong to.

use bytes::{Buf, BufMut};

use super::{STRUCTURE_VERSION, crc_of};
use crate::ids::{BrokerId, Offset, PartitionRef, SegmentRef, TopicId};
use crate::vfs::BLOCK_BYTES;

/// Bytes that the header takes: one block, so that a run written past the page cache can follow it.
pub const SEGMENT_HEADER_BYTES: u64 = BLOCK_BYTES as u64;

const MAGIC: u64 = u64::from_le_bytes(*b"TOWPSGMT");
const USED_BYTES: usize = 64;

/// Header of a segment file.
///
/// ```text
///  0 magic u64      8 version u32   12 crc u32 of bytes 0..12 and 16..64
/// 16 topic id u64  24 partition u32 28 generation u32 32 base offset u64
/// 40 broker id, 16 bytes            56 reserved, zero
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Which segment the file is.
    pub segment: SegmentRef,
    /// The folder that the file belongs to.
    pub broker_id: BrokerId,
}

impl SegmentHeader {
    /// The header's block.
    pub fn encode(&self) -> Vec<u8> {
        let mut block = Vec::with_capacity(BLOCK_BYTES);
        block.put_u64_le(MAGIC);
        block.put_u32_le(STRUCTURE_VERSION);
        let mut rest = Vec::with_capacity(USED_BYTES);
        rest.put_u64_le(self.segment.partition.topic.get());
        rest.put_u32_le(self.segment.partition.partition);
        rest.put_u32_le(self.segment.generation);
        rest.put_u64_le(self.segment.base.get());
        rest.put_slice(self.broker_id.as_bytes());
        rest.put_u64_le(0);
        block.put_u32_le(crc_of(&[&block, &rest]));
        block.put_slice(&rest);
        block.resize(BLOCK_BYTES, 0);
        block
    }

    /// Reads a header; `None` if the bytes are not a whole, intact header of this version.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = (bytes.get(..12)?, bytes.get(16..USED_BYTES)?);
        let mut input = bytes;
        let magic = input.try_get_u64_le().ok()?;
        let version = input.try_get_u32_le().ok()?;
        let crc = input.try_get_u32_le().ok()?;
        if magic != MAGIC || version != STRUCTURE_VERSION || crc != crc_of(&[head, rest]) {
            return None;
        }
        let topic = TopicId::new(input.try_get_u64_le().ok()?);
        let partition = input.try_get_u32_le().ok()?;
        let generation = input.try_get_u32_le().ok()?;
        let base = Offset::new(input.try_get_u64_le().ok()?);
        let broker_id = BrokerId::new(input.get(..16)?.try_into().ok()?);
        let segment = SegmentRef {
            partition: PartitionRef { topic, partition },
            base,
            generation,
        };
        Some(Self { segment, broker_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::intact_others;

    #[test]
    fn a_header_survives_the_round_trip_and_no_flipped_bit() {
        let header = SegmentHeader {
            segment: SegmentRef {
                partition: PartitionRef {
                    topic: TopicId::new(3),
                    partition: 5,
                },
                base: Offset::new(1 << 40),
                generation: 6,
            },
            broker_id: BrokerId::new([1; 16]),
        };
        let block = header.encode();
        assert_eq!(SegmentHeader::decode(&block), Some(header));
        for bit in 0..USED_BYTES * 8 {
            let mut damaged = block.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&damaged), None, "bit={bit}");
        }
        for (what, other) in intact_others(&block, USED_BYTES) {
            assert_eq!(SegmentHeader::decode(&other), None, "{what}");
        }
    }
}
