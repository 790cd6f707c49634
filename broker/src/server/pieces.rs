//! What one data frame of a response is made of: pieces that lie in several buffers.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

use crate::memory::Sent;

/// Bytes that are written one piece after the other, each from where it lies and with as few calls as if
/// they were one.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    /// What is written next; empty only when nothing is left.
    first: Bytes,
    others: VecDeque<Bytes>,
    others_bytes: usize,
    /// The memory of all of them.
    _sent: Option<Sent>,
}

impl Pieces {
    /// Pieces, none of them empty, whose memory is held by `sent`.
    pub(super) fn new(mut pieces: VecDeque<Bytes>, sent: Sent) -> Self {
        let first = pieces.pop_front().unwrap_or_default();
        Self {
            first,
            others_bytes: pieces.iter().map(Bytes::len).sum(),
            others: pieces,
            _sent: Some(sent),
        }
    }
}

impl From<Bytes> for Pieces {
    fn from(bytes: Bytes) -> Self {
        Self {
            first: bytes,
            ..Self::default()
        }
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.first.len() + self.others_bytes
    }

    fn chunk(&self) -> &[u8] {
        &self.first
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        if self.first.is_empty() {
            return 0;
        }
        let pieces = std::iter::once(&self.first).chain(&self.others);
        let filled = slices.iter_mut().zip(pieces);
        filled
            .map(|(slice, piece)| *slice = IoSlice::new(piece))
            .count()
    }

    /// # Panics
    /// If there are fewer bytes.
    fn advance(&mut self, count: usize) {
        let mut left = count;
        while left >= self.first.len() {
            left -= self.first.len();
            let Some(next) = self.others.pop_front() else {
                self.first = Bytes::new();
                break;
            };
            self.others_bytes -= next.len();
            self.first = next;
        }
        self.first.advance(left);
    }
}
