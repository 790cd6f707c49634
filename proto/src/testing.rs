//! Shared by the unit tests of this crate.

use proptest::test_runner::{Config, RngSeed};

/// Returns a configuration of property tests whose seed is taken from `SEED` or printed, so that a
/// failure can be repeated. Nothing is written beside the sources.
pub(crate) fn seeded() -> Config {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(rand_seed);
    println!("SEED={seed}");
    Config {
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..Config::default()
    }
}

fn rand_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}
