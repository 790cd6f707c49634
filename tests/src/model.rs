//! What a careful client knows: every batch that was acknowledged, every one in doubt.

use std::collections::BTreeMap;

use bytes::Bytes;
use towpath_broker::core::AcceptedBatch;

/// What is known of one batch.
#[derive(Debug, Clone)]
pub struct SentBatch {
    /// Its bytes.
    pub payload: Bytes,
    /// Number of its records.
    pub record_count: u32,
    /// Where it is, if that was acknowledged.
    pub accepted: Option<AcceptedBatch>,
}

/// What is known of one topic.
#[derive(Debug, Clone, Default)]
pub struct KnownTopic {
    /// Its number, once its creation was acknowledged.
    pub id: Option<u64>,
    /// Whether its deletion was asked for, and whether that was acknowledged.
    pub deletion: Deletion,
    /// Batches by partition, in the order in which they were sent.
    pub partitions: BTreeMap<u32, Vec<SentBatch>>,
    /// Trims by partition.
    pub trims: BTreeMap<u32, KnownTrim>,
}

/// How far a partition was trimmed.
#[derive(Debug, Clone, Copy, Default)]
pub struct KnownTrim {
    /// The highest log start that was asked for.
    pub asked: u64,
    /// The highest that was acknowledged.
    pub done: u64,
}

/// How far a deletion has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Deletion {
    /// Not asked for.
    #[default]
    None,
    /// Asked for, not answered.
    InDoubt,
    /// Acknowledged.
    Done,
}

/// Everything that one client did, by the names that it gave to topics. A topic that is created again
/// is a new entry.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// Lives of topics, in the order of their creation: name and what is known.
    pub topics: Vec<(String, KnownTopic)>,
}

impl Model {
    /// The present life of a name.
    pub fn topic(&mut self, name: &str) -> &mut KnownTopic {
        let found = self
            .topics
            .iter_mut()
            .rev()
            .find(|(other, _)| other == name);
        &mut found
            .expect("the script creates a topic before it uses it")
            .1
    }
}

/// Bytes that can be told from all others.
pub fn payload(topic: u64, partition: u32, sequence: u64, length: usize) -> Bytes {
    let mut random = fastrand::Rng::with_seed(topic << 40 ^ u64::from(partition) << 20 ^ sequence);
    std::iter::repeat_with(|| random.u8(..))
        .take(length)
        .collect()
}
