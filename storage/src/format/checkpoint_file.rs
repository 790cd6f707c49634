//! A checkpoint file: blocks of sorted rows, then a footer.
//!
//! ```text
//! block: magic u32 | crc u32 of lsn and rows | rows bytes u32 | row count u32 | rows     (repeated)
//! footer, the last 96 bytes of the file
//! ```

use bytes::{Buf, BufMut};

use super::{STRUCTURE_VERSION, crc_of};
use crate::ids::{BrokerId, Lsn};

/// Bytes of a block's header.
pub const BLOCK_HEADER_BYTES: usize = 16;
/// Bytes of the footer.
pub const FOOTER_BYTES: usize = 96;
/// Most bytes of rows in a block, unless one row alone is larger.
pub const BLOCK_ROWS_BYTES: usize = 64 * 1024;
/// Largest block that a reader accepts: one row of the largest entry.
pub const BLOCK_ROWS_BYTES_MAX: u32 = 64 * 1024 * 1024;

const BLOCK_MAGIC: u32 = u32::from_le_bytes(*b"TCKB");
const FOOTER_MAGIC: u64 = u64::from_le_bytes(*b"TOWPCKPT");

/// Header of a block of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockHeader {
    /// CRC-32 of the checkpoint's LSN and the rows.
    pub crc: u32,
    /// Length of the rows.
    pub rows_bytes: u32,
    /// Number of rows.
    pub row_count: u32,
}

impl BlockHeader {
    /// Describes a block of the checkpoint at `lsn`.
    pub fn of(lsn: Lsn, rows: &[u8], row_count: u32) -> Self {
        Self {
            crc: Self::crc(lsn, rows),
            rows_bytes: u32::try_from(rows.len()).unwrap_or(u32::MAX),
            row_count,
        }
    }

    fn crc(lsn: Lsn, rows: &[u8]) -> u32 {
        crc_of(&[&lsn.get().to_le_bytes(), rows])
    }

    /// Appends the header to `out`.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_u32_le(BLOCK_MAGIC);
        out.put_u32_le(self.crc);
        out.put_u32_le(self.rows_bytes);
        out.put_u32_le(self.row_count);
    }

    /// Reads a header; `None` if no block starts here.
    pub fn decode(mut input: &[u8]) -> Option<Self> {
        let magic = input.try_get_u32_le().ok()?;
        let crc = input.try_get_u32_le().ok()?;
        let rows_bytes = input.try_get_u32_le().ok()?;
        let row_count = input.try_get_u32_le().ok()?;
        (magic == BLOCK_MAGIC && rows_bytes <= BLOCK_ROWS_BYTES_MAX).then_some(Self {
            crc,
            rows_bytes,
            row_count,
        })
    }

    /// Whether `rows` are the block's rows in the checkpoint at `lsn`.
    pub fn matches(&self, lsn: Lsn, rows: &[u8]) -> bool {
        rows.len() == self.rows_bytes as usize && Self::crc(lsn, rows) == self.crc
    }
}

/// The end of a checkpoint file, which says what the file is.
///
/// ```text
///  0 magic u64       8 version u32       12 crc u32 of bytes 0..12 and 16..96
/// 16 lsn u64        24 row count u64     32 rows end u64 (file position of the footer)
/// 40 journal file u64   48 journal position u64   56 incarnation u64   64 broker time i64, ms
/// 72 broker id, 16 bytes                 88 reserved, zero
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointFooter {
    /// Every effect of entries up to this one is in the rows and the segments; none of a later one.
    pub lsn: Lsn,
    /// Number of rows in the file.
    pub row_count: u64,
    /// Position of the footer: where the blocks end.
    pub blocks_end: u64,
    /// The journal file that continues after `lsn`.
    pub journal_file: u64,
    /// Position in it of the round after `lsn`.
    pub journal_position: u64,
    /// Life of the folder's data: raised at each start.
    pub incarnation: u64,
    /// Broker time at `lsn`, milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// The folder that the file belongs to.
    pub broker_id: BrokerId,
}

impl CheckpointFooter {
    /// The footer's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut head = Vec::with_capacity(FOOTER_BYTES);
        head.put_u64_le(FOOTER_MAGIC);
        head.put_u32_le(STRUCTURE_VERSION);
        let mut rest = Vec::with_capacity(FOOTER_BYTES);
        rest.put_u64_le(self.lsn.get());
        rest.put_u64_le(self.row_count);
        rest.put_u64_le(self.blocks_end);
        rest.put_u64_le(self.journal_file);
        rest.put_u64_le(self.journal_position);
        rest.put_u64_le(self.incarnation);
        rest.put_i64_le(self.time_ms);
        rest.put_slice(self.broker_id.as_bytes());
        rest.put_u64_le(0);
        head.put_u32_le(crc_of(&[&head, &rest]));
        head.put_slice(&rest);
        head
    }

    /// Reads a footer; `None` if the bytes are not a whole, intact one of this version.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = (bytes.get(..12)?, bytes.get(16..FOOTER_BYTES)?);
        let mut input = bytes;
        let magic = input.try_get_u64_le().ok()?;
        let version = input.try_get_u32_le().ok()?;
        let crc = input.try_get_u32_le().ok()?;
        if magic != FOOTER_MAGIC || version != STRUCTURE_VERSION || crc != crc_of(&[head, rest]) {
            return None;
        }
        Some(Self {
            lsn: Lsn::new(input.try_get_u64_le().ok()?),
            row_count: input.try_get_u64_le().ok()?,
            blocks_end: input.try_get_u64_le().ok()?,
            journal_file: input.try_get_u64_le().ok()?,
            journal_position: input.try_get_u64_le().ok()?,
            incarnation: input.try_get_u64_le().ok()?,
            time_ms: input.try_get_i64_le().ok()?,
            broker_id: BrokerId::new(input.get(..16)?.try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::intact_others;

    #[test]
    fn a_footer_survives_the_round_trip_and_no_flipped_bit() {
        let footer = CheckpointFooter {
            lsn: Lsn::new(4),
            row_count: 2,
            blocks_end: 100,
            journal_file: 3,
            journal_position: 4096,
            incarnation: 9,
            time_ms: 12,
            broker_id: BrokerId::new([7; 16]),
        };
        let bytes = footer.encode();
        assert_eq!(bytes.len(), FOOTER_BYTES, "fixed length");
        assert_eq!(CheckpointFooter::decode(&bytes), Some(footer));
        for bit in 0..FOOTER_BYTES * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(CheckpointFooter::decode(&damaged), None, "bit={bit}");
        }
        for (what, other) in intact_others(&bytes, FOOTER_BYTES) {
            assert_eq!(CheckpointFooter::decode(&other), None, "{what}");
        }
    }

    #[test]
    fn a_block_of_another_checkpoint_does_not_match() {
        let header = BlockHeader::of(Lsn::new(1), b"rows", 1);
        let mut bytes = Vec::new();
        header.encode(&mut bytes);
        assert_eq!(BlockHeader::decode(&bytes), Some(header));
        assert!(header.matches(Lsn::new(1), b"rows"), "its own");
        assert!(!header.matches(Lsn::new(2), b"rows"), "of another lsn");
        assert!(!header.matches(Lsn::new(1), b"rowz"), "other rows");
    }
}
