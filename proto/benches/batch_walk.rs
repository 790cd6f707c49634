//! What a walk over a batch costs: `cargo bench -p towpath-proto`.
//!
//! Prints nanoseconds a record for a few shapes of batch, the best of many short runs, since other
//! programs share the machine.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]
#![expect(clippy::disallowed_methods, reason = "measures real time")]
#![expect(
    clippy::expect_used,
    reason = "a measurement of a refused batch means nothing"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use prost::Message;
use towpath_proto::batch::{BatchLimits, NewRecord, OwnedRecords, Records, walk};
use towpath_proto::v1;

const RUNS: u32 = 400;
const RECORD_COUNT: u32 = 1_000;

fn main() {
    println!("ns a record, {RECORD_COUNT} records, best of {RUNS} runs");
    println!(
        "{:<28}{:>8}{:>10}{:>8}{:>8}",
        "shape", "walk", "borrowed", "owned", "prost"
    );
    for (shape, key, value_bytes, headers) in [
        ("100 B, no key", None, 100, 0),
        ("100 B, key", Some("customer-42"), 100, 0),
        ("1 KiB, key", Some("customer-42"), 1024, 0),
        ("100 B, key, 5 headers", Some("customer-42"), 100, 5),
    ] {
        let batch = batch_of(key, value_bytes, headers);
        println!(
            "{shape:<28}{:>8.1}{:>10.1}{:>8.1}{:>8.1}",
            measure(|| walk(&batch, &BatchLimits::default())
                .expect("a good batch")
                .value_bytes),
            measure(|| Records::new(&batch)
                .map(|record| value_len(record.expect("good").value()))
                .sum()),
            measure(|| {
                OwnedRecords::new(batch.clone())
                    .map(|record| value_len(record.expect("good").value()))
                    .sum()
            }),
            measure(|| v1::RecordBatch::decode(batch.clone())
                .expect("good")
                .records
                .len()),
        );
    }
}

fn value_len(value: Option<&[u8]>) -> usize {
    value.map_or(0, <[u8]>::len)
}

fn batch_of(key: Option<&str>, value_bytes: usize, headers: usize) -> Bytes {
    let names = ["ce-id", "ce-type", "ce-time", "ce-source", "content-type"];
    let value = vec![b'v'; value_bytes];
    let record = NewRecord {
        key: key.map(str::as_bytes),
        value: Some(&value),
        headers: names
            .iter()
            .take(headers)
            .map(|name| (*name, &b"application/json"[..])),
        event_time_ms: None,
    };
    let mut batch = BytesMut::new();
    for _ in 0..RECORD_COUNT {
        record.put(&mut batch);
    }
    batch.freeze()
}

/// Returns the nanoseconds that one record takes in the best run.
fn measure(mut work: impl FnMut() -> usize) -> f64 {
    let mut best = Duration::MAX;
    for _ in 0..RUNS {
        let start = Instant::now();
        black_box(work());
        best = best.min(start.elapsed());
    }
    best.as_secs_f64() * 1e9 / f64::from(RECORD_COUNT)
}
