//! Cuts a stream of bytes into blocks of whole lines, without copying a line.

use std::io::{self, Read};

use bytes::{Bytes, BytesMut};

/// How much is read at a time.
const READ_BYTES: usize = 256 * 1024;

/// Longest line. A record of the largest size that is written in base64, or as text in which every
/// byte is escaped, is shorter.
pub(crate) const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Lines that were read together, or all of an input that is not cut into lines.
#[derive(Debug, Clone)]
pub(crate) enum Block {
    /// Whole lines; the last may lack its line feed.
    Lines {
        /// Number of the first line, from 1.
        first_line: u64,
        /// The lines.
        bytes: Bytes,
    },
    /// Everything, even if it is empty.
    Whole(Bytes),
}

/// One line without its line feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Which line of the input it is, from 1.
    pub(crate) number: u64,
    /// Its bytes, a slice of what was read.
    pub(crate) bytes: Bytes,
}

impl Block {
    /// The lines in their order.
    pub(crate) fn lines(self) -> impl Iterator<Item = Line> {
        let (mut next_line, mut rest) = match self {
            Self::Lines { first_line, bytes } => (first_line, Rest::Lines(bytes)),
            Self::Whole(bytes) => (1, Rest::Whole(bytes)),
        };
        std::iter::from_fn(move || {
            let number = next_line;
            next_line += 1;
            Some(Line {
                number,
                bytes: rest.take()?,
            })
        })
    }
}

/// What was not cut off yet.
enum Rest {
    Lines(Bytes),
    Whole(Bytes),
    Nothing,
}

impl Rest {
    fn take(&mut self) -> Option<Bytes> {
        match self {
            Self::Lines(bytes) if bytes.is_empty() => None,
            Self::Lines(bytes) => match memchr::memchr(b'\n', bytes) {
                Some(end) => {
                    let mut line = bytes.split_to(end + 1);
                    line.truncate(end);
                    Some(line)
                }
                None => Some(std::mem::take(bytes)),
            },
            Self::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Nothing;
                Some(bytes)
            }
            Self::Nothing => None,
        }
    }
}

/// Reads blocks of whole lines.
#[derive(Debug)]
pub(super) struct LineBlocks<R> {
    reader: R,
    /// The beginning of a line whose end was not read yet.
    rest: BytesMut,
    next_line: u64,
    is_at_end: bool,
}

impl<R: Read> LineBlocks<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            rest: BytesMut::new(),
            next_line: 1,
            is_at_end: false,
        }
    }

    /// Number of the line that is read next, from 1.
    pub(super) const fn next_line(&self) -> u64 {
        self.next_line
    }

    /// Reads until at least one line is complete; none at the end of the input.
    ///
    /// # Errors
    ///
    /// What reading met; [`io::ErrorKind::FileTooLarge`] for a line that is too long.
    pub(super) fn next_block(&mut self) -> io::Result<Option<Block>> {
        while !self.is_at_end {
            let searched = self.rest.len();
            if searched > LINE_BYTES_MAX {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            self.is_at_end = read_more(&mut self.reader, &mut self.rest)? == 0;
            let fresh = self.rest.get(searched..).unwrap_or_default();
            if let Some(end) = memchr::memrchr(b'\n', fresh) {
                return Ok(Some(self.take(searched + end + 1)));
            }
        }
        match self.rest.len() {
            0 => Ok(None),
            len => Ok(Some(self.take(len))),
        }
    }

    fn take(&mut self, len: usize) -> Block {
        let bytes = self.rest.split_to(len).freeze();
        let first_line = self.next_line;
        let line_count = memchr::memchr_iter(b'\n', &bytes).count();
        self.next_line += line_count as u64;
        Block::Lines { first_line, bytes }
    }
}

/// Reads all of the input, up to the length of the longest line.
///
/// # Errors
///
/// As [`LineBlocks::next_block`].
pub(super) fn read_whole(reader: &mut impl Read) -> io::Result<Bytes> {
    let mut bytes = BytesMut::new();
    while read_more(reader, &mut bytes)? > 0 {
        if bytes.len() > LINE_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
    }
    Ok(bytes.freeze())
}

/// Reads once, behind what is there; returns how much.
fn read_more(reader: &mut impl Read, bytes: &mut BytesMut) -> io::Result<usize> {
    let start = bytes.len();
    bytes.resize(start + READ_BYTES, 0);
    let space = bytes.get_mut(start..).unwrap_or_default();
    let outcome = loop {
        match reader.read(space) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => break outcome,
        }
    };
    bytes.truncate(start + outcome.as_ref().unwrap_or(&0));
    outcome
}

#[cfg(test)]
mod tests;
