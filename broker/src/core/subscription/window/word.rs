//! What is kept of 64 records that follow each other.
//!
//! There are many words while consumers have many records, so a word has all of its columns from the
//! beginning and none grows: a record takes a little more than five bytes, and twelve more where the
//! order of keys is kept.

use super::super::keys::KeyHash;
use super::super::lease::LeaseId;
use super::super::settled::WORD_RECORDS;

/// Places that the records of a word take.
const WORD_LEN: usize = u64::BITS as usize;

/// The records of a word: bits by their place, then columns.
#[derive(Debug)]
pub(super) struct Word {
    /// Can be delivered.
    pub(super) ready: u64,
    /// With a consumer.
    pub(super) leased: u64,
    /// Nobody is to get these.
    pub(super) passed: u64,
    /// On their way to the dead letters.
    pub(super) moving: u64,
    /// The filter was not true of these.
    pub(super) filtered: u64,
    /// The filter could not judge these.
    pub(super) unjudged: u64,
    /// Leases of its records.
    pub(super) leases: Vec<LeaseId>,
    /// Lengths of the encoded records; 0 for those that are settled.
    bytes: [u32; WORD_LEN],
    /// None in a mode without order.
    keys: Option<Box<KeyColumns>>,
}

#[derive(Debug)]
struct KeyColumns {
    /// Hashes of the records' keys.
    hashes: [KeyHash; WORD_LEN],
    /// Distance to the next record of the same key; of the last one the distance back to the first.
    steps: [u32; WORD_LEN],
}

impl Word {
    /// A word without records.
    pub(super) fn new(is_ordered: bool) -> Self {
        let keys = is_ordered.then(|| {
            Box::new(KeyColumns {
                hashes: [KeyHash(0); WORD_LEN],
                steps: [0; WORD_LEN],
            })
        });
        Self {
            ready: 0,
            leased: 0,
            passed: 0,
            moving: 0,
            filtered: 0,
            unjudged: 0,
            leases: Vec::new(),
            bytes: [0; WORD_LEN],
            keys,
        }
    }

    /// Takes what is known of the record at a place.
    pub(super) fn put(&mut self, place: usize, key: KeyHash, bytes: u32) {
        if let Some(known) = self.bytes.get_mut(place) {
            *known = bytes;
        }
        if let Some(columns) = &mut self.keys
            && let Some(known) = columns.hashes.get_mut(place)
        {
            *known = key;
        }
    }

    /// Length of an encoded record.
    pub(super) fn bytes(&self, place: usize) -> u32 {
        self.bytes.get(place).copied().unwrap_or(0)
    }

    /// Hash of the key of a record; 0 in a mode without order.
    pub(super) fn key(&self, place: usize) -> KeyHash {
        let columns = self.keys.as_ref();
        let key = columns.and_then(|it| it.hashes.get(place).copied());
        key.unwrap_or(KeyHash(0))
    }

    /// As [`Word::set_step`] has it.
    pub(super) fn step(&self, place: usize) -> u32 {
        let columns = self.keys.as_ref();
        columns.map_or(0, |it| it.steps.get(place).copied().unwrap_or(0))
    }

    /// Notes how far it is from a record to the next one of its key, or back from the last to the first.
    pub(super) fn set_step(&mut self, place: usize, step: u32) {
        let columns = self.keys.as_mut();
        if let Some(known) = columns.and_then(|it| it.steps.get_mut(place)) {
            *known = step;
        }
    }
}

const _: () = assert!(WORD_LEN as u64 == WORD_RECORDS, "a bit for each record");
