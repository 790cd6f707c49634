//! Swarm simulation: many seeds, each with faults of its own.
//!
//! `SEEDS=2000` runs that many (default 300) from `SEED` (default 0); `STEPS` is their length (default
//! 2,000). A failure names its seed, and the same seed fails again.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking and says what it did"
)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use towpath_tests::swarm::{Outcome, run};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// `TOWPATH_LOG=debug` shows what the broker has to say.
fn init_log() {
    let wanted = std::env::var("TOWPATH_LOG").unwrap_or_else(|_| "off".to_owned());
    let filter = tracing_subscriber::EnvFilter::new(wanted);
    let logger = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_test_writer();
    // Both tests try; the second finds it done.
    drop(logger.try_init());
}

fn steps() -> u32 {
    u32::try_from(number("STEPS", 2000)).unwrap()
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..10 {
        let (first, second) = (run(seed, steps()), run(seed, steps()));
        assert_eq!(first.trace_digest, second.trace_digest, "seed {seed}");
        assert!(first.history == second.history, "seed {seed}");
    }
}

#[test]
fn no_seed_breaks_a_promise() {
    init_log();
    let (first, count) = (number("SEED", 0), number("SEEDS", 300));
    let (mut accepted, mut restarts, mut failed_starts, mut operations) = (0, 0, 0, 0);
    for seed in first..first + count {
        let outcome = catch_unwind(AssertUnwindSafe(|| run(seed, steps())));
        let Ok(Outcome {
            violations, counts, ..
        }) = outcome
        else {
            panic!("SEED={seed} SEEDS=1 repeats it");
        };
        assert!(
            violations.is_empty(),
            "SEED={seed} SEEDS=1 repeats it: {violations:#?}"
        );
        accepted += counts.accepted;
        restarts += counts.restarts;
        failed_starts += counts.failed_starts;
        operations += counts.operations;
    }
    println!(
        "{count} seeds from {first}: {accepted} batches acknowledged, {restarts} restarts, \
         {failed_starts} failed starts, {operations} file operations"
    );
    assert!(accepted > count, "the simulation did something");
}
