//! Keys of records, drawn at random.

use std::num::NonZeroU32;

use bytes::Bytes;

/// The same keys in every run.
const SEED: u64 = 0x006b_6579;
/// Length of a key.
const KEY_BYTES: usize = size_of::<u32>();

/// Draws keys. A key costs no copy and no allocation.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    table: Bytes,
    random: fastrand::Rng,
}

impl Keys {
    /// So many keys; what is drawn depends on `stream`.
    pub(super) fn new(count: NonZeroU32, stream: u64) -> Self {
        let table: Vec<u8> = (0..count.get()).flat_map(u32::to_le_bytes).collect();
        Self {
            table: table.into(),
            random: fastrand::Rng::with_seed(SEED ^ stream),
        }
    }

    /// The next key.
    pub(super) fn next_key(&mut self) -> Bytes {
        let start = self.random.usize(..self.table.len() / KEY_BYTES) * KEY_BYTES;
        self.table.slice(start..start + KEY_BYTES)
    }

    /// Which of the keys this is, if it is one.
    pub(super) fn number_of(key: &[u8]) -> Option<usize> {
        let number = u32::from_le_bytes(key.try_into().ok()?);
        usize::try_from(number).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn all_keys_are_drawn_and_known_by_their_numbers() {
        let mut keys = Keys::new(NonZeroU32::new(10).expect("count"), 1);
        let drawn = (0..1_000).map(|_| Keys::number_of(&keys.next_key()).expect("a key"));
        let drawn: BTreeSet<_> = drawn.collect();
        assert_eq!(drawn, (0..10).collect(), "numbers");
        assert_eq!(Keys::number_of(b"ready"), None, "another key");
    }
}
