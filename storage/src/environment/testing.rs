//! Seeds for the property tests of this crate.

use proptest::test_runner::{Config, RngSeed};

use super::{Entropy, SystemEntropy};

/// So many cases from a seed that is taken from `SEED` or drawn, and printed, so that a failure can
/// be repeated.
pub(crate) fn seeded(cases: u32) -> Config {
    let given = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| SystemEntropy.next_u64());
    println!("SEED={seed}");
    Config {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..Config::default()
    }
}
