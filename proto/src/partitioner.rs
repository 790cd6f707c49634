//! Which partition a key belongs to, the same for every client and for the broker.
//!
//! The rule is that of Kafka's default partitioner, so that keys keep their partition when a topic
//! is copied from there, and so that clients in any language find it already written.

use std::num::NonZeroU32;

use crate::ids::PartitionId;

const SEED: u32 = 0x9747_b28c;
const FACTOR: u32 = 0x5bd1_e995;

/// Returns the partition of a key: `(murmur2(key) & 0x7fffffff) % partition_count`.
///
/// A record without a key has no partition of its own; its producer chooses one.
pub fn partition_of(key: &[u8], partition_count: NonZeroU32) -> PartitionId {
    PartitionId::new((murmur2(key) & 0x7fff_ffff) % partition_count)
}

/// Returns the 32-bit `MurmurHash2` with Kafka's seed.
pub fn murmur2(key: &[u8]) -> u32 {
    let (words, tail) = key.as_chunks::<4>();
    let mut hash = SEED ^ u32::try_from(key.len()).unwrap_or(u32::MAX);
    for word in words {
        let mut word = u32::from_le_bytes(*word).wrapping_mul(FACTOR);
        word = (word ^ (word >> 24)).wrapping_mul(FACTOR);
        hash = hash.wrapping_mul(FACTOR) ^ word;
    }
    if !tail.is_empty() {
        let bytes = tail
            .iter()
            .rev()
            .fold(0_u32, |bytes, &byte| (bytes << 8) | u32::from(byte));
        hash = (hash ^ bytes).wrapping_mul(FACTOR);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(FACTOR);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of Kafka's `UtilsTest.testMurmur2`, and the empty key.
    #[test]
    fn murmur2_gives_the_published_values() {
        let vectors: [(&[u8], i32); 7] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (
                b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            (b"abc", 479_470_107),
            (b"", 275_646_681),
        ];
        for (key, expected) in vectors {
            assert_eq!(murmur2(key).cast_signed(), expected, "{key:?}");
        }
    }

    #[test]
    fn a_negative_hash_loses_its_sign_bit_only() {
        // A power of two would not show the difference.
        let twelve = NonZeroU32::new(12).unwrap();
        let hash = murmur2(b"21").cast_signed();
        assert!(hash < 0, "{hash}");
        let expected = (hash & i32::MAX) % 12;
        assert_eq!(
            partition_of(b"21", twelve).get().cast_signed(),
            expected,
            "as Kafka computes it"
        );
    }

    #[test]
    fn one_partition_takes_every_key() {
        let one = NonZeroU32::MIN;
        assert_eq!(
            partition_of(b"any", one),
            PartitionId::new(0),
            "only partition"
        );
    }

    #[test]
    fn keys_spread_over_all_partitions() {
        let eight = NonZeroU32::new(8).unwrap();
        let mut counts = [0_u32; 8];
        for key in 0..8_000 {
            counts[partition_of(format!("key-{key}").as_bytes(), eight).get() as usize] += 1;
        }
        assert!(
            counts.iter().all(|&count| (800..1200).contains(&count)),
            "{counts:?}"
        );
    }
}
