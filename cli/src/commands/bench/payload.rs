//! Values that do not stay in a cache: slices of random bytes, which do not compress either, or of orders
//! in JSON, in turn.

use bytes::{Bytes, BytesMut};
use towpath_client::Record;

use super::keys::Keys;
use super::orders::Orders;
use super::verify::mark_of;
use crate::args::BenchValues;

/// Bytes that values are cut from: well beyond the caches of a processor.
const REGION_BYTES: u64 = 64 * 1024 * 1024;
/// The same bytes in every run.
const SEED: u64 = 0x7061_7468;

/// Values of one size, round and round. A value costs no copy and no allocation.
#[derive(Debug, Clone)]
pub(super) struct Payload {
    region: Bytes,
    size: usize,
    position: usize,
    keys: Option<Keys>,
}

impl Payload {
    /// Draws the bytes for so many values of this size, which is not 0.
    pub(super) fn new(values: BenchValues, size: usize, records: u64) -> Self {
        let count = (REGION_BYTES / size as u64).clamp(1, records.max(1));
        let mut region = vec![0; usize::try_from(count).unwrap_or(1) * size];
        let mut random = fastrand::Rng::with_seed(SEED);
        match values {
            BenchValues::Random => random.fill(&mut region),
            BenchValues::Json => Orders::new(random).fill(&mut region, size),
        }
        Self {
            region: region.into(),
            size,
            position: 0,
            keys: None,
        }
    }

    /// The same values, beginning at another one.
    pub(super) fn starting_at(&self, index: usize) -> Self {
        let count = self.region.len() / self.size;
        Self {
            position: index % count * self.size,
            ..self.clone()
        }
    }

    /// The same values, each with a key.
    pub(super) fn with_keys(self, keys: Option<Keys>) -> Self {
        Self { keys, ..self }
    }

    /// A record with the next value, and the mark by which it is known.
    pub(super) fn next_record(&mut self) -> (u64, Record) {
        let value = self.next_value();
        let mark = mark_of(&value);
        (mark, self.record_of(value))
    }

    /// A record with the next value, of at least eight bytes, that has this mark. The value is copied.
    pub(super) fn marked_record(&mut self, mark: u64) -> Record {
        let value = self.next_value();
        let bytes = mark.to_le_bytes();
        let mut marked = BytesMut::with_capacity(value.len());
        marked.extend_from_slice(&bytes);
        marked.extend_from_slice(value.get(bytes.len()..).unwrap_or_default());
        self.record_of(marked.freeze())
    }

    fn record_of(&mut self, value: Bytes) -> Record {
        let record = Record::new(value);
        match &mut self.keys {
            Some(keys) => record.key(keys.next_key()),
            None => record,
        }
    }

    /// The next value.
    fn next_value(&mut self) -> Bytes {
        if self.position == self.region.len() {
            self.position = 0;
        }
        let start = self.position;
        self.position += self.size;
        self.region.slice(start..self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_round_and_differ() {
        let mut payload = Payload::new(BenchValues::Random, 1_000, 3);
        let values: Vec<_> = (0..4).map(|_| payload.next_value()).collect();
        assert_eq!(values[0].len(), 1_000, "size");
        assert_ne!(values[0], values[1], "neighbours");
        assert_eq!(values[0], values[3], "once round");
        assert_eq!(
            payload.starting_at(2).next_value(),
            values[2],
            "from another one"
        );
    }

    #[test]
    fn no_more_is_drawn_than_a_region() {
        assert_eq!(
            Payload::new(BenchValues::Random, 1 << 20, 1_000)
                .region
                .len(),
            64 << 20,
            "region"
        );
        assert_eq!(
            Payload::new(BenchValues::Json, 100, 7).region.len(),
            700,
            "few records"
        );
    }
}
