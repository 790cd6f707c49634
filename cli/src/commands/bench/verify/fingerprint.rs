//! Which records are where, in two numbers.

use towpath_client::{Offset, PartitionId};

use super::{expect_count, void};
use crate::failure::Failure;

/// Bytes of a value that it is known by.
const MARK_BYTES: usize = size_of::<u64>();

/// Which records are where, in whatever order they were noted. Two of the same records at the same places
/// are equal; if a record is missing, doubled, at another place or another one, they differ but for one
/// chance in 2^64.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::commands::bench) struct Fingerprint {
    pub(super) count: u64,
    pub(super) sum: u64,
}

impl Fingerprint {
    /// A record with this mark is here.
    pub(in crate::commands::bench) fn note(
        &mut self,
        partition: PartitionId,
        offset: Offset,
        mark: u64,
    ) {
        let place = scrambled(offset.get() ^ u64::from(partition.get()).rotate_right(24));
        self.count += 1;
        self.sum = self.sum.wrapping_add(scrambled(place ^ mark));
    }

    /// Takes over what another one has noted.
    pub(in crate::commands::bench) const fn add(&mut self, other: Self) {
        self.count += other.count;
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// Whether these are the records that were acknowledged.
    ///
    /// # Errors
    ///
    /// They are not: the run is void.
    pub(in crate::commands::bench) fn expect(
        self,
        who: &str,
        acknowledged: Self,
    ) -> Result<(), Failure> {
        expect_count(who, self.count, acknowledged.count)?;
        if self == acknowledged {
            return Ok(());
        }
        Err(void(format!(
            "{who} other records, or at other places, than were acknowledged"
        )))
    }
}

/// What a value is known by: its first bytes, as a number.
pub(in crate::commands::bench) fn mark_of(value: &[u8]) -> u64 {
    let mut bytes = [0; MARK_BYTES];
    for (byte, of_value) in bytes.iter_mut().zip(value) {
        *byte = *of_value;
    }
    u64::from_le_bytes(bytes)
}

/// The end of `splitmix64`: every bit of the answer depends on every bit of the number.
const fn scrambled(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(records: &[(u32, u64, u64)]) -> Fingerprint {
        let mut noted = Fingerprint::default();
        for (partition, offset, mark) in records {
            noted.note(PartitionId::new(*partition), Offset::new(*offset), *mark);
        }
        noted
    }

    #[test]
    fn the_same_records_at_the_same_places_are_equal_in_any_order() {
        let mut parts = of(&[(0, 1, 8)]);
        parts.add(of(&[(1, 0, 9), (0, 0, 7)]));
        assert_eq!(parts, of(&[(0, 0, 7), (0, 1, 8), (1, 0, 9)]));
    }

    #[test]
    fn anything_else_is_told() {
        let acknowledged = of(&[(0, 0, 7), (0, 1, 8), (1, 0, 9)]);
        let said = |read: &[(u32, u64, u64)]| {
            let failure = of(read).expect("the clients have read", acknowledged);
            failure.expect_err("void").message().to_owned()
        };
        let lost = said(&[(0, 0, 7), (0, 1, 8)]);
        assert_eq!(lost, "void: the clients have read 2 records instead of 3");
        let doubled = said(&[(0, 0, 7), (0, 1, 8), (1, 0, 9), (1, 1, 9)]);
        assert_eq!(
            doubled,
            "void: the clients have read 4 records instead of 3"
        );
        for moved in [
            [(0, 0, 8), (0, 1, 7), (1, 0, 9)],
            [(1, 0, 7), (0, 1, 8), (1, 0, 9)],
            [(0, 0, 7), (0, 1, 8), (1, 0, 10)],
            [(0, 0, 7), (0, 0, 7), (1, 0, 9)],
        ] {
            let message = said(&moved);
            assert!(message.contains("other records"), "{moved:?}: {message}");
        }
    }

    #[test]
    fn values_are_known_by_their_first_bytes() {
        assert_eq!(mark_of(&[1, 0, 0, 0, 0, 0, 0, 0, 9]), 1, "a long one");
        assert_eq!(mark_of(&[1, 1]), 257, "a short one");
    }
}
