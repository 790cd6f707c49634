//! What is known of records before they are decided on.

use bytes::Bytes;

/// Header of a record that brings an older version of its entity than its topic has: with the greater version,
/// in decimal digits.
pub const STALE_HEADER: &str = "towpath-stale";

/// Room that the rows of one record take in an entry at most, bytes: where its key's last record is, where
/// that version of its key is, where its event is.
pub const RECORD_ROW_BYTES: usize = 256;

/// What matters of the records of one batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BatchFacts {
    /// Of every record.
    pub records: Vec<RecordFacts>,
    /// The records are dead letters that are written again: they are never taken for repeated.
    pub is_redriven: bool,
    /// What is on disk of an earlier batch with the same sequence.
    pub unwritten_on_disk: Option<Bytes>,
}

/// What matters of one record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordFacts {
    /// Where it comes from: the number of its operation in a commit, or its own number in a request.
    pub origin: u32,
    /// What names its event; none if nothing does, or events are not compared.
    pub event: Option<Remembered>,
    /// Its key; none if it has none, or keys are not looked at.
    pub key: Option<Remembered>,
    /// Which version of its entity it brings.
    pub entity_version: Option<u64>,
    /// How many records its key is to have before it.
    pub expected_version: Option<u64>,
}

/// Something that is remembered under its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// 128 bits, so that no two have the same.
    pub hash: [u8; 16],
    /// What is on disk under it.
    pub on_disk: Option<Bytes>,
}

impl Remembered {
    /// What was not looked up yet.
    pub fn new(hash: [u8; 16]) -> Self {
        Self {
            hash,
            on_disk: None,
        }
    }
}
