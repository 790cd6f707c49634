//! The first block of a journal file: which file it is and the salt of its present life.

use bytes::{Buf, BufMut};

use super::{STRUCTURE_VERSION, crc_of};
use crate::ids::{BrokerId, Lsn};
use crate::vfs::BLOCK_BYTES;

/// Bytes that the header takes: one block, so that rounds start on a block boundary.
pub const JOURNAL_HEADER_BYTES: usize = BLOCK_BYTES;

const MAGIC: u64 = u64::from_le_bytes(*b"TOWPJRNL");
const USED_BYTES: usize = 64;

/// Header of a journal file.
///
/// ```text
///  0 magic u64      8 version u32   12 crc u32 of bytes 0..12 and 16..64
/// 16 number u64    24 salt u64      32 previous salt u64
/// 40 broker id, 16 bytes            56 file bytes u64
/// 64 durable u64   72 crc u32 of bytes 12..16 and 64..72
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalHeader {
    /// The file's number; equal to the one in its name while the file is in use.
    pub number: u64,
    /// Random, new in each life of the file, mixed into the checksum of every entry in it.
    pub salt: u64,
    /// Salt of the file's previous life, to tell stale entries from torn ones; 0 in the first.
    pub previous_salt: u64,
    /// The folder that the file belongs to.
    pub broker_id: BrokerId,
    /// Length of the file, which was durable before its first entry; 0 in files of older releases.
    pub file_bytes: u64,
    /// Last entry that was durable when the file was made ready, in files before it. Zero says nothing: so
    /// older releases left it, and so it is read where it is damaged.
    pub durable: Lsn,
}

impl JournalHeader {
    /// The header's block.
    pub fn encode(&self) -> Vec<u8> {
        let mut block = Vec::with_capacity(JOURNAL_HEADER_BYTES);
        block.put_u64_le(MAGIC);
        block.put_u32_le(STRUCTURE_VERSION);
        let mut rest = Vec::with_capacity(USED_BYTES);
        rest.put_u64_le(self.number);
        rest.put_u64_le(self.salt);
        rest.put_u64_le(self.previous_salt);
        rest.put_slice(self.broker_id.as_bytes());
        rest.put_u64_le(self.file_bytes);
        block.put_u32_le(crc_of(&[&block, &rest]));
        block.put_slice(&rest);
        let crc = durable_crc(&block, self.durable);
        block.put_u64_le(self.durable.get());
        block.put_u32_le(crc);
        block.resize(JOURNAL_HEADER_BYTES, 0);
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
        let number = input.try_get_u64_le().ok()?;
        let salt = input.try_get_u64_le().ok()?;
        let previous_salt = input.try_get_u64_le().ok()?;
        let broker_id = BrokerId::new(input.get(..16)?.try_into().ok()?);
        input.advance(16);
        let file_bytes = input.try_get_u64_le().ok()?;
        Some(Self {
            number,
            salt,
            previous_salt,
            broker_id,
            file_bytes,
            durable: decode_durable(bytes).unwrap_or(Lsn::ZERO),
        })
    }
}

/// Has a checksum of its own, since older releases check the first 64 bytes.
fn decode_durable(bytes: &[u8]) -> Option<Lsn> {
    let mut input = bytes.get(USED_BYTES..)?;
    let durable = Lsn::new(input.try_get_u64_le().ok()?);
    let crc = input.try_get_u32_le().ok()?;
    (crc == durable_crc(bytes, durable)).then_some(durable)
}

/// Checksum of what was durable and of the header's own checksum, so that it is of this header.
fn durable_crc(header: &[u8], durable: Lsn) -> u32 {
    let header_crc = header.get(12..16).unwrap_or_default();
    crc_of(&[header_crc, &durable.get().to_le_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::intact_others;

    #[test]
    fn a_header_survives_the_round_trip_and_no_flipped_bit() {
        let header = JournalHeader {
            number: 7,
            salt: 0x1234_5678_9abc_def0,
            previous_salt: 3,
            broker_id: BrokerId::new([9; 16]),
            file_bytes: 65_536,
            durable: Lsn::new(0x0102_0304),
        };
        let block = header.encode();
        assert_eq!(block.len(), JOURNAL_HEADER_BYTES, "a header is one block");
        assert_eq!(JournalHeader::decode(&block), Some(header));
        for bit in 0..USED_BYTES * 8 {
            let mut damaged = block.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(JournalHeader::decode(&damaged), None, "bit={bit}");
        }
        for (what, other) in intact_others(&block, USED_BYTES) {
            assert_eq!(JournalHeader::decode(&other), None, "{what}");
        }
        let says_nothing = JournalHeader {
            durable: Lsn::ZERO,
            ..header
        };
        for bit in USED_BYTES * 8..(USED_BYTES + 12) * 8 {
            let mut damaged = block.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                JournalHeader::decode(&damaged),
                Some(says_nothing),
                "bit={bit}"
            );
        }
        let mut older = block.clone();
        older[USED_BYTES..].fill(0);
        assert_eq!(
            JournalHeader::decode(&older),
            Some(says_nothing),
            "as older releases left it"
        );
        assert_eq!(JournalHeader::decode(&vec![0; JOURNAL_HEADER_BYTES]), None);
    }
}
