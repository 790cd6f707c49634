//! Shared by the unit tests of this crate.

use std::sync::Arc;

use bytes::BytesMut;
use towpath_proto::batch::OwnedRecords;
use towpath_proto::ids::Offset;
use towpath_proto::wire::FetchedBatch;

use crate::record::Origin;
use crate::{ReceivedRecord, Record};

/// A record as it is once it was written and read.
pub(crate) fn received(record: &Record) -> ReceivedRecord {
    let mut batch = BytesMut::new();
    record.as_new_record("").put(&mut batch);
    let batch = FetchedBatch {
        batch: batch.freeze(),
        ..FetchedBatch::default()
    };
    let mut records = OwnedRecords::new(batch.batch.clone());
    let record = records.next().expect("one record").expect("well formed");
    let topic = "orders".parse().expect("a name");
    ReceivedRecord::new(Arc::new(Origin { topic, batch }), Offset::ZERO, record)
}

/// Calls `check` with `count` random sources, each from a seed of its own. A failure names its seed;
/// the environment variable `SEED` repeats just that one, and `CASES` sets another count.
pub(crate) fn for_seeds(count: u64, check: impl Fn(fastrand::Rng)) {
    let given = variable("SEED");
    let first = given.unwrap_or_else(|| fastrand::u64(..u64::MAX / 2));
    let count = match given {
        Some(_) => 1,
        None => variable("CASES").unwrap_or(count),
    };
    for seed in first..first + count {
        let tell = TellOnPanic(seed);
        check(fastrand::Rng::with_seed(seed));
        drop(tell);
    }
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

struct TellOnPanic(u64);

impl Drop for TellOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("SEED={}", self.0);
        }
    }
}
