//! What stands before every block of a run.

use bytes::{Buf, BufMut};

use super::RunIdentity;
use crate::format::{checkpoint_file, crc_of};

/// Bytes before the content of a block.
pub const BLOCK_HEADER_BYTES: usize = 16;
/// Largest block that a reader accepts, header included: one row of the largest entry.
pub const BLOCK_BYTES_MAX: u32 = checkpoint_file::BLOCK_ROWS_BYTES_MAX;

/// What a block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockKind {
    /// Rows.
    Data,
    /// The filter and the data blocks of a partition.
    Index,
    /// The tables and the partitions of the run.
    Contents,
}

impl BlockKind {
    const fn magic(self) -> u32 {
        u32::from_le_bytes(match self {
            Self::Data => *b"TRND",
            Self::Index => *b"TRNI",
            Self::Contents => *b"TRNC",
        })
    }
}

/// Where a block lies in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockPlace {
    /// Position of its header.
    pub position: u64,
    /// Length with its header.
    pub bytes: u32,
}

impl BlockPlace {
    /// Where the block ends; `None` if no file is that long.
    pub fn end(&self) -> Option<u64> {
        self.position.checked_add(u64::from(self.bytes))
    }

    /// Appends the place to `out`.
    pub(super) fn encode(&self, out: &mut impl BufMut) {
        out.put_u64_le(self.position);
        out.put_u32_le(self.bytes);
    }

    /// Takes a place from the front.
    pub(super) fn decode(input: &mut &[u8]) -> Option<Self> {
        Some(Self {
            position: input.try_get_u64_le().ok()?,
            bytes: input.try_get_u32_le().ok()?,
        })
    }
}

/// Header of a block.
///
/// ```text
///  0 magic u32   4 crc u32 of the seed, bytes 8..16 and the content
///  8 content bytes u32   12 item count u32
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockHeader {
    /// What the block holds.
    pub kind: BlockKind,
    /// CRC-32 of run, position, lengths and content.
    pub crc: u32,
    /// Length of the content.
    pub content_bytes: u32,
    /// Rows of a data block, data blocks of an index block, index blocks of a contents block.
    pub item_count: u32,
}

impl BlockHeader {
    /// Describes a block of `run` at `position`.
    pub fn of(
        kind: BlockKind,
        run: &RunIdentity,
        position: u64,
        content: &[u8],
        item_count: u32,
    ) -> Self {
        let content_bytes = u32::try_from(content.len()).unwrap_or(u32::MAX);
        let header = Self {
            kind,
            crc: 0,
            content_bytes,
            item_count,
        };
        let crc = header.crc_at(run, position, content);
        Self { crc, ..header }
    }

    fn crc_at(&self, run: &RunIdentity, position: u64, content: &[u8]) -> u32 {
        crc_of(&[
            &run.seed(position),
            &self.content_bytes.to_le_bytes(),
            &self.item_count.to_le_bytes(),
            content,
        ])
    }

    /// Appends the header to `out`.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_u32_le(self.kind.magic());
        out.put_u32_le(self.crc);
        out.put_u32_le(self.content_bytes);
        out.put_u32_le(self.item_count);
    }

    /// Reads a header of a block of `kind`; `None` if none starts here.
    pub fn decode(kind: BlockKind, mut input: &[u8]) -> Option<Self> {
        let magic = input.try_get_u32_le().ok()?;
        (magic == kind.magic()).then_some(())?;
        Some(Self {
            kind,
            crc: input.try_get_u32_le().ok()?,
            content_bytes: input.try_get_u32_le().ok()?,
            item_count: input.try_get_u32_le().ok()?,
        })
    }

    /// Whether `content` is the block's content at `position` of `run`.
    pub fn matches(&self, run: &RunIdentity, position: u64, content: &[u8]) -> bool {
        content.len() == self.content_bytes as usize
            && self.crc == self.crc_at(run, position, content)
    }
}
