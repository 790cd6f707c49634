//! A buffer that `O_DIRECT` accepts: its first byte and its padded length are multiples of 4 KiB.
//!
//! Made without unsafe code: a vector one block too long, used from its first aligned byte.

use std::io;

/// Alignment and granularity of direct writes, in bytes.
pub(crate) const BLOCK_BYTES: usize = 4096;

#[derive(Debug)]
pub(crate) struct AlignedBuffer {
    storage: Vec<u8>,
    /// First aligned byte of `storage`, which never grows and so never moves.
    start: usize,
    len: usize,
    capacity: usize,
}

impl AlignedBuffer {
    /// Makes an empty buffer with room for `capacity` bytes, rounded up to whole blocks.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        let capacity = capacity.next_multiple_of(BLOCK_BYTES);
        let storage = vec![0; capacity + BLOCK_BYTES];
        let start = storage.as_ptr().align_offset(BLOCK_BYTES);
        Self {
            storage,
            start,
            len: 0,
            capacity,
        }
    }

    /// Replaces the content by `pieces`, one after the other, and zeros up to a whole block.
    ///
    /// # Errors
    /// `InvalidInput` when they do not fit; the content is then unspecified.
    pub(crate) fn fill<B: AsRef<[u8]>>(&mut self, pieces: &[B]) -> io::Result<&[u8]> {
        self.len = 0;
        for piece in pieces {
            self.extend(piece.as_ref())?;
        }
        let padding = self.len.next_multiple_of(BLOCK_BYTES) - self.len;
        self.extend(&[0; BLOCK_BYTES][..padding])?;
        Ok(&self.storage[self.start..self.start + self.len])
    }

    fn extend(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > self.capacity - self.len {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "a round is larger than its buffer capacity={}",
                    self.capacity
                ),
            ));
        }
        let at = self.start + self.len;
        self.storage[at..at + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_starts_on_a_block_and_is_padded_with_zeros() {
        let mut buffer = AlignedBuffer::with_capacity(3 * BLOCK_BYTES);
        buffer.fill(&[[7; 5000]]).unwrap();
        let content = buffer.fill(&[[1_u8; 100], [2; 100]]).unwrap();
        assert_eq!(content.as_ptr().align_offset(BLOCK_BYTES), 0);
        assert_eq!(content.len(), BLOCK_BYTES);
        assert_eq!(content[..100], [1; 100]);
        assert_eq!(content[100..200], [2; 100]);
        assert!(
            content[200..].iter().all(|byte| *byte == 0),
            "old bytes in the padding"
        );
    }

    #[test]
    fn content_beyond_the_capacity_is_refused() {
        let mut buffer = AlignedBuffer::with_capacity(1);
        assert!(
            buffer.fill(&[[1; BLOCK_BYTES]]).is_ok(),
            "one whole block fits"
        );
        assert!(
            buffer.fill(&[[1; BLOCK_BYTES + 1]]).is_err(),
            "one byte more does not"
        );
    }
}
