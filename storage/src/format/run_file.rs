//! A run: an immutable sorted file of index rows, in `index/<number>.run`.
//!
//! ```text
//! header, 64 bytes
//! for each partition:   up to 32 data blocks   (rows, about 16 KiB each)
//!                       one index block        (Bloom filter, first key and place of each data block)
//! contents block        (tables, first key and place of each index block)
//! footer, 128 bytes     (where the contents block is, counts, LSNs)
//! ```
//!
//! Rows are sorted by table and key and each is there once, with a value or as gone. Every block has a
//! CRC of a seed that names file and position, so a block that was copied, moved or left by an earlier
//! life of the file is never valid.

mod block;
mod contents;
mod data_block;
mod filter;
mod partition_index;
mod sort_key;
mod varint;

pub use block::{BLOCK_BYTES_MAX, BLOCK_HEADER_BYTES, BlockHeader, BlockKind, BlockPlace};
pub use contents::{PartitionPlace, RunContents, TableSummary};
pub use data_block::{BlockRow, DataBlock, DataBlockBuilder, GROUP_ROWS};
pub use filter::{Filter, filter_hash};
pub use partition_index::{DataPlace, PartitionIndex};
pub use sort_key::{row_key, sort_key, successor};

use bytes::{Buf, BufMut};

use super::crc_of;
use crate::ids::{BrokerId, Lsn};

/// Version of a run's bytes.
pub const RUN_VERSION: u32 = 1;
/// Bytes of the header.
pub const RUN_HEADER_BYTES: usize = 64;
/// Bytes of the footer.
pub const RUN_FOOTER_BYTES: usize = 128;
/// A data block is ended when its rows take this many bytes, unless one row alone is larger.
pub const DATA_BLOCK_BYTES: usize = 16 * 1024;
/// Most data blocks under one index block.
pub const PARTITION_BLOCKS_MAX: usize = 32;

const HEADER_MAGIC: u64 = u64::from_le_bytes(*b"TOWPRUNH");
const FOOTER_MAGIC: u64 = u64::from_le_bytes(*b"TOWPRUNF");

/// Which run it is. Its number and salt seed the CRC of every block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunIdentity {
    /// Number in the file's name.
    pub number: u64,
    /// Random, so that blocks of an earlier file of this number are not taken for this one's.
    pub salt: u64,
    /// The folder that the file belongs to.
    pub broker_id: BrokerId,
}

impl RunIdentity {
    /// The bytes that come before those of a block at `position` in its CRC.
    pub(super) fn seed(&self, position: u64) -> [u8; 24] {
        let mut seed = [0; 24];
        let mut out = &mut seed[..];
        out.put_u64_le(self.number);
        out.put_u64_le(self.salt);
        out.put_u64_le(position);
        seed
    }

    /// The header's bytes.
    ///
    /// ```text
    ///  0 magic u64    8 version u32   12 crc u32 of bytes 0..12 and 16..64
    /// 16 number u64  24 salt u64      32 broker id, 16 bytes   48 reserved, zero
    /// ```
    pub fn encode_header(&self) -> Vec<u8> {
        let mut rest = Vec::with_capacity(RUN_HEADER_BYTES);
        self.encode(&mut rest);
        rest.put_bytes(0, 16);
        with_head(HEADER_MAGIC, &rest)
    }

    /// Reads a header; `None` if the bytes are not a whole, intact one of this version.
    pub fn decode_header(bytes: &[u8]) -> Option<Self> {
        Self::decode(&mut without_head(
            HEADER_MAGIC,
            bytes.get(..RUN_HEADER_BYTES)?,
        )?)
    }

    fn encode(&self, out: &mut impl BufMut) {
        out.put_u64_le(self.number);
        out.put_u64_le(self.salt);
        out.put_slice(self.broker_id.as_bytes());
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        Some(Self {
            number: input.try_get_u64_le().ok()?,
            salt: input.try_get_u64_le().ok()?,
            broker_id: BrokerId::new(take::<16>(input)?),
        })
    }
}

/// The entries whose changes a run holds: those above `after` up to `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunSpan {
    /// The last entry that the next older run holds.
    pub after: Lsn,
    /// The last entry that this run holds.
    pub last: Lsn,
}

/// The end of a run's file, which says what the file is.
///
/// ```text
///   0 magic u64           8 version u32          12 crc u32 of bytes 0..12 and 16..128
///  16 number u64         24 salt u64             32 broker id, 16 bytes
///  48 contents position u64   56 contents bytes u32   60 partition count u32
///  64 row count u64      72 gone count u64       80 after lsn u64   88 last lsn u64
///  96 first table u16    98 last table u16      100 reserved, zero
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunFooter {
    /// Which run it is.
    pub identity: RunIdentity,
    /// Where the contents block is; the footer follows it.
    pub contents: BlockPlace,
    /// Number of index blocks.
    pub partition_count: u32,
    /// Number of rows, those that are gone included.
    pub row_count: u64,
    /// Number of rows that are gone.
    pub gone_count: u64,
    /// The entries whose changes it holds.
    pub span: RunSpan,
    /// Lowest table.
    pub first_table: u16,
    /// Highest table.
    pub last_table: u16,
}

impl RunFooter {
    /// The footer's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut rest = Vec::with_capacity(RUN_FOOTER_BYTES);
        self.identity.encode(&mut rest);
        rest.put_u64_le(self.contents.position);
        rest.put_u32_le(self.contents.bytes);
        rest.put_u32_le(self.partition_count);
        rest.put_u64_le(self.row_count);
        rest.put_u64_le(self.gone_count);
        rest.put_u64_le(self.span.after.get());
        rest.put_u64_le(self.span.last.get());
        rest.put_u16_le(self.first_table);
        rest.put_u16_le(self.last_table);
        rest.put_bytes(0, 28);
        with_head(FOOTER_MAGIC, &rest)
    }

    /// Reads a footer; `None` if the bytes are not a whole, intact one of this version.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut input = without_head(FOOTER_MAGIC, bytes.get(..RUN_FOOTER_BYTES)?)?;
        Some(Self {
            identity: RunIdentity::decode(&mut input)?,
            contents: BlockPlace {
                position: input.try_get_u64_le().ok()?,
                bytes: input.try_get_u32_le().ok()?,
            },
            partition_count: input.try_get_u32_le().ok()?,
            row_count: input.try_get_u64_le().ok()?,
            gone_count: input.try_get_u64_le().ok()?,
            span: RunSpan {
                after: Lsn::new(input.try_get_u64_le().ok()?),
                last: Lsn::new(input.try_get_u64_le().ok()?),
            },
            first_table: input.try_get_u16_le().ok()?,
            last_table: input.try_get_u16_le().ok()?,
        })
    }
}

/// Magic, version and CRC, and what they stand before.
fn with_head(magic: u64, rest: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(RUN_FOOTER_BYTES);
    bytes.put_u64_le(magic);
    bytes.put_u32_le(RUN_VERSION);
    bytes.put_u32_le(crc_of(&[&bytes, rest]));
    bytes.put_slice(rest);
    bytes
}

/// What stands behind an intact head.
fn without_head(magic: u64, bytes: &[u8]) -> Option<&[u8]> {
    let (head, rest) = (bytes.get(..12)?, bytes.get(16..)?);
    let mut input = bytes;
    let is_magic = input.try_get_u64_le().ok()? == magic;
    let is_version = input.try_get_u32_le().ok()? == RUN_VERSION;
    let is_intact = input.try_get_u32_le().ok()? == crc_of(&[head, rest]);
    (is_magic && is_version && is_intact).then_some(rest)
}

fn take<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = input.split_first_chunk::<N>()?;
    *input = rest;
    Some(*taken)
}

#[cfg(test)]
mod tests;
