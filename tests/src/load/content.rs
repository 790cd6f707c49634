//! What the records hold.

use std::hash::{DefaultHasher, Hasher as _};

use fastrand::Rng;

use crate::history::Item;

/// Bytes that name the item, then noise of its own.
pub(super) fn value_of(item: Item, noise_bytes: usize) -> Vec<u8> {
    let numbers = [
        item.producer,
        item.place.topic,
        u64::from(item.place.partition),
        item.sequence,
    ];
    let mut bytes: Vec<u8> = numbers
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect();
    let name_bytes = bytes.len();
    bytes.resize(name_bytes + noise_bytes, 0);
    Rng::with_seed(digest(None, &bytes)).fill(&mut bytes[name_bytes..]);
    bytes
}

/// Digest of a record.
pub(super) fn digest(key: Option<&[u8]>, value: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    if let Some(key) = key {
        hasher.write_usize(key.len());
        hasher.write(key);
    }
    hasher.write(value);
    hasher.finish()
}

/// Sizes as they occur: mostly small, some larger, now and then a large one.
pub(super) fn noise_bytes(random: &mut Rng) -> usize {
    match random.u8(..) {
        0..200 => random.usize(0..200),
        200..253 => random.usize(200..2_000),
        _ => random.usize(2_000..40_000),
    }
}
