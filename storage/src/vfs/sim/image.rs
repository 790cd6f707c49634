//! One image of a simulated file: what a reader would see, or what the disk holds.

use std::ops::Range;
use std::sync::Arc;

use super::extents::{Extents, pages_of};
use super::pages::{BLOCK, Pages};

/// Content, length and allocation of a file. Content past the length is zeros.
#[derive(Debug, Clone, Default)]
pub(super) struct Image {
    pub(super) length: u64,
    pub(super) pages: Pages,
    pub(super) extents: Extents,
}

/// One change of a file.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Write { position: u64, content: Content },
    Allocate { position: u64, length: u64 },
    SetLength { length: u64 },
}

/// The bytes of a write; files are written through with zeros, which need no memory.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Bytes(Arc<[u8]>),
    Zeros(u64),
}

impl Image {
    /// Reads up to the end of the file; returns the number of bytes read.
    pub(super) fn read(&self, buffer: &mut [u8], position: u64) -> usize {
        let rest = self.length.saturating_sub(position);
        let count = usize::try_from(rest).map_or(buffer.len(), |rest| rest.min(buffer.len()));
        self.pages.read(&mut buffer[..count], position);
        count
    }

    /// Applies a change as a whole.
    pub(super) fn apply(&mut self, change: &Change) {
        if let Change::Write { position, content } = change {
            content.write(&mut self.pages, *position, 0..content.length());
        }
        self.apply_length(change);
    }

    /// Applies what a change does to the length and the allocation; a cut leaves zeros.
    pub(super) fn apply_length(&mut self, change: &Change) {
        match change {
            Change::Write { position, content } => self.extend(*position, content.length()),
            Change::Allocate { position, length } => self.extend(*position, *length),
            Change::SetLength { length } => self.set_length(*length),
        }
    }

    /// Cuts or extends with zeros.
    pub(super) fn set_length(&mut self, length: u64) {
        if length < self.length {
            self.pages.cut(length);
            self.extents.cut(length.div_ceil(BLOCK));
        }
        self.length = length;
    }

    /// Cuts, and leaves the bytes behind the end in the last block.
    pub(super) fn cut_blocks(&mut self, length: u64) {
        self.pages.cut(length.next_multiple_of(BLOCK));
        self.extents.cut(length.div_ceil(BLOCK));
        self.length = length;
    }

    fn extend(&mut self, position: u64, length: u64) {
        if length > 0 {
            self.extents.insert(pages_of(position, length));
            self.length = self.length.max(position + length);
        }
    }
}

impl Change {
    /// The bytes that a write covers.
    pub(super) fn written(&self) -> Range<u64> {
        match self {
            Self::Write { position, content } => *position..*position + content.length(),
            Self::Allocate { .. } | Self::SetLength { .. } => 0..0,
        }
    }

    /// Writes a part of the bytes of a write, or of the zeros behind a cut.
    pub(super) fn write(&self, pages: &mut Pages, part: Range<u64>) {
        match self {
            Self::Write { position, content } => {
                content.write(pages, *position, part.start - position..part.end - position);
            }
            Self::Allocate { .. } | Self::SetLength { .. } => {
                pages.write_zeros(part.start, part.end - part.start);
            }
        }
    }

    /// The first byte that it covers.
    pub(super) fn start(&self) -> u64 {
        match self {
            Self::Write { position, .. } | Self::Allocate { position, .. } => *position,
            Self::SetLength { length } => *length,
        }
    }

    /// The length to which a file of the given length is cut, if it is.
    pub(super) fn cuts(&self, before: u64) -> Option<u64> {
        match self {
            Self::SetLength { length } if *length < before => Some(*length),
            _ => None,
        }
    }

    /// The length of a file of the given length after this change.
    pub(super) fn length_after(&self, before: u64) -> u64 {
        match self {
            Self::Write { position, content } if content.length() > 0 => {
                before.max(position + content.length())
            }
            Self::Allocate { position, length } => before.max(position + length),
            Self::SetLength { length } => *length,
            Self::Write { .. } => before,
        }
    }
}

impl Content {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        if is_zero(&bytes) {
            Self::Zeros(bytes.len() as u64)
        } else {
            Self::Bytes(bytes.into())
        }
    }

    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Zeros(length) => *length,
        }
    }

    /// Writes a part of the bytes, given relative to their start, which belongs at `position`.
    pub(super) fn write(&self, pages: &mut Pages, position: u64, part: Range<u64>) {
        match self {
            Self::Bytes(bytes) => {
                pages.write(
                    &bytes[part.start as usize..part.end as usize],
                    position + part.start,
                );
            }
            Self::Zeros(_) => pages.write_zeros(position + part.start, part.end - part.start),
        }
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    // Compares with a neighbour a block away, so that an unoptimised build is fast as well.
    let (head, tail) = bytes.split_at(bytes.len().min(64));
    head.iter().all(|byte| *byte == 0) && (tail.is_empty() || bytes[..tail.len()] == *tail)
}
