//! Payloads that neither compress nor stay in a cache: slices of 64 MiB of random bytes, in turn.

use std::sync::OnceLock;

use bytes::Bytes;

use crate::size::MIB;

/// Bytes of random data that payloads are cut from; well beyond the second-level cache.
pub const REGION_BYTES: usize = 64 * MIB;

/// One payload with its checksum, which is computed once so that a load generator spends nothing
/// on it while it is measured.
#[derive(Debug, Clone)]
pub struct Payload {
    /// The bytes, shared with the region.
    pub bytes: Bytes,
    /// CRC-32 of the bytes.
    pub crc: u32,
}

/// Payloads of one size, by sequence.
#[derive(Debug, Clone)]
pub struct Payloads {
    pieces: Vec<Payload>,
}

impl Payloads {
    /// Cuts the region into pieces of `message_bytes`, which is clamped to 1 byte .. the region.
    pub fn of(message_bytes: usize) -> Self {
        let region = region();
        let message_bytes = message_bytes.clamp(1, REGION_BYTES);
        let pieces = (0..REGION_BYTES / message_bytes)
            .map(|index| {
                let bytes = region.slice(index * message_bytes..(index + 1) * message_bytes);
                let crc = crc32fast::hash(&bytes);
                Payload { bytes, crc }
            })
            .collect();
        Self { pieces }
    }

    /// Returns the payload of a sequence; the region comes round again and again.
    pub fn get(&self, sequence: u64) -> &Payload {
        let count = self.pieces.len() as u64;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a remainder of a usize fits it"
        )]
        let index = (sequence % count) as usize;
        &self.pieces[index]
    }
}

/// The random bytes, the same in every process and run, made at first use.
pub fn region() -> Bytes {
    static REGION: OnceLock<Bytes> = OnceLock::new();
    REGION
        .get_or_init(|| {
            let mut bytes = vec![0; REGION_BYTES];
            fastrand::Rng::with_seed(SEED).fill(&mut bytes);
            bytes.into()
        })
        .clone()
}

const SEED: u64 = 0x7061_7468;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_walk_the_whole_region_and_come_round() {
        let payloads = Payloads::of(MIB);
        assert_eq!(payloads.get(0).bytes, region().slice(..MIB));
        assert_eq!(payloads.get(63).bytes, region().slice(63 * MIB..));
        assert_eq!(payloads.get(64).bytes, payloads.get(0).bytes);
    }

    #[test]
    fn payload_checksums_are_those_of_their_bytes() {
        let payload = Payloads::of(1000).get(7).clone();
        assert_eq!(payload.crc, crc32fast::hash(&payload.bytes));
        assert_eq!(payload.bytes.len(), 1000);
    }
}
