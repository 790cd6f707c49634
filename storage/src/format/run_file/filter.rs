//! A Bloom filter over the filter keys of a partition.

use std::hash::Hasher;

use bytes::Bytes;
use siphasher::sip::SipHasher13;

/// Bits for each distinct key: about one key in a hundred that is not there is taken for one that may be.
const BITS_PER_KEY: usize = 10;
/// Bits that each key sets, the best number for ten bits a key.
const PROBES: u64 = 7;

/// The number by which a filter knows a key: SipHash-1-3 with a key of zeros, of the table (u16) and the
/// first `filter_key_bytes` bytes of the row's key, or all of a shorter one.
pub fn filter_hash(table: u16, key: &[u8], filter_key_bytes: usize) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(&table.to_le_bytes());
    hasher.write(key.get(..filter_key_bytes).unwrap_or(key));
    hasher.finish()
}

/// Says of a key that it is certainly not there, or that it may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    bits: Bytes,
}

impl Filter {
    /// A filter of all these hashes, each once.
    pub fn of(hashes: &[u64]) -> Self {
        let bytes = hashes.len().saturating_mul(BITS_PER_KEY).div_ceil(8).max(8);
        let mut bits = vec![0_u8; bytes];
        for hash in hashes {
            for (byte, mask) in places(*hash, bytes) {
                if let Some(byte) = bits.get_mut(byte) {
                    *byte |= mask;
                }
            }
        }
        Self { bits: bits.into() }
    }

    /// The filter of these bytes; any bytes are one, and none at all is one that excludes nothing.
    pub fn from_bytes(bits: Bytes) -> Self {
        Self { bits }
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bits
    }

    /// Whether a key of this hash may be there; `false` is certain.
    pub fn may_hold(&self, hash: u64) -> bool {
        let mut places = places(hash, self.bits.len());
        places.all(|(byte, mask)| self.bits.get(byte).is_none_or(|byte| byte & mask != 0))
    }
}

/// Byte and mask of each bit that a hash sets in a filter of `bytes` bytes.
fn places(hash: u64, bytes: usize) -> impl Iterator<Item = (usize, u8)> {
    let bit_count = (bytes as u64).saturating_mul(8);
    let step = hash.rotate_left(32) | 1;
    (0..PROBES).filter_map(move |probe| {
        let mixed = hash.wrapping_add(step.wrapping_mul(probe));
        let bit = mixed.checked_rem(bit_count)?;
        Some((super::super::usize_of(bit >> 3), 1 << (bit & 7)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(range: std::ops::Range<u32>) -> Vec<u64> {
        let hash = |number: u32| filter_hash(0x8000, &number.to_le_bytes(), 4);
        range.map(hash).collect()
    }

    #[test]
    fn what_was_put_in_may_be_there_and_little_else() {
        for count in [0, 1, 7, 1_000, 10_000] {
            let inside = hashes(0..count);
            let filter = Filter::of(&inside);
            assert!(
                inside.iter().all(|hash| filter.may_hold(*hash)),
                "all of them"
            );
            let outside = hashes(1_000_000..1_010_000);
            let wrong = outside.iter().filter(|hash| filter.may_hold(**hash));
            let wrong = wrong.count();
            assert!(wrong < 300, "3 % at most, count={count} wrong={wrong}");
        }
    }

    #[test]
    fn a_filter_key_is_the_head_of_a_key() {
        assert_eq!(filter_hash(1, b"head-1", 4), filter_hash(1, b"head-2", 4));
        assert_ne!(filter_hash(1, b"head", 4), filter_hash(2, b"head", 4));
        assert_eq!(
            filter_hash(1, b"he", 4),
            filter_hash(1, b"he", 2),
            "a short key is whole"
        );
    }

    #[test]
    fn the_hash_is_the_one_that_is_written_down() {
        // By PYTHONHASHSEED=0 python3 -c 'print(hash(b"\x00\x80abc") % 2**64)' as well, from 3.11 on.
        assert_eq!(filter_hash(0x8000, b"abc", 3), 15034551828469282666);
    }

    #[test]
    fn any_bytes_are_a_filter() {
        assert!(
            Filter::from_bytes(Bytes::new()).may_hold(7),
            "without bits nothing is excluded"
        );
        assert!(!Filter::from_bytes(Bytes::from_static(&[0])).may_hold(7));
    }
}
