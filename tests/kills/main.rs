//! The real binary dies and comes back, and every promise is kept.
//!
//! `kill -9` at random moments and SIGTERM, under load of the SDK and of the command line. A `kill -9`
//! leaves the page cache as it is, so that this tests everything but syncs: what is answered before it
//! is written, what recovery forgets, what a client does twice.
//!
//! `KILLS=10000`, `TERMS=1000`, `CHURNS=500` and `STORMS=500` are their numbers, `SEED` is what the moments and records come from
//! (drawn and printed if it is not given), `FLIGHTS=file.ndjson` (or `.ndjson.gz`) takes other events
//! than the bundled sample. Figures are told, not asserted.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it did"
)]

mod churning;
mod figures;
mod flights;
mod forwards;
mod grounded;
mod killing;
mod lives;
mod members;
mod retries;
mod stalled;
mod subscribers;
mod terminating;

use towpath_tests::setting::number;

/// The seed of this run, which is told.
fn seed(what: &str) -> u64 {
    let seed = number("SEED", fastrand::u64(..1_000_000));
    println!("{what}: SEED={seed}");
    seed
}
