//! How much is to be done.

use std::time::Duration;

/// Longer than the most unlucky stream needs to find a broker that dies as soon as it lives, on a
/// machine that has other things to do.
pub(super) const PATIENCE: Duration = Duration::from_mins(5);
/// Often shorter than a broker is away, so that records are given up, some of them in doubt.
const IMPATIENCE: Duration = Duration::from_millis(100);

/// Who takes part in a [`Load`](super::Load), and how.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// What everything random comes from. What the operating system does is not repeated by it.
    pub seed: u64,
    /// Names and numbers of partitions of the topics.
    pub topics: Vec<(String, u32)>,
    /// Producers whose every record should be acknowledged in the end.
    pub producer_count: u64,
    /// How long these wait for an acknowledgement.
    pub patience: Duration,
    /// Producers that give up soon, so that outcomes are in doubt.
    pub impatient_producer_count: u64,
    /// How long these wait for an acknowledgement.
    pub impatience: Duration,
    /// Whether somebody publishes records beside them, several at once.
    pub has_publisher: bool,
    /// Most records of one producer that wait for their acknowledgement.
    pub unanswered_max: usize,
    /// Whether one reader reads everything, merged, from the beginning.
    pub is_merged: bool,
    /// Whether each partition has a reader of its own, from the beginning.
    pub is_partitioned: bool,
    /// Readers that begin again and again, each time somewhere else.
    pub wanderer_count: u64,
    /// Whether readers go on, rather than complain, where the broker cannot read its disk.
    pub are_readers_undaunted: bool,
    /// Whether somebody creates and deletes further topics.
    pub has_clerk: bool,
}

impl LoadOptions {
    /// Three producers, an impatient one and one without a producer, and all kinds of readers, on two topics; and a clerk.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            topics: vec![("orders".to_owned(), 4), ("payments".to_owned(), 3)],
            producer_count: 3,
            patience: PATIENCE,
            impatient_producer_count: 1,
            impatience: IMPATIENCE,
            has_publisher: true,
            unanswered_max: 1000,
            is_merged: true,
            is_partitioned: true,
            wanderer_count: 1,
            are_readers_undaunted: false,
            has_clerk: true,
        }
    }
}
