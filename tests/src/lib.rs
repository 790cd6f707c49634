//! Harness of the tests that need more than one crate.
//!
//! [`stepper`] drives a broker without threads, one step at a time, on a simulated disk; [`model`]
//! remembers what it acknowledged and compares; [`orphans`] looks for files that belong to nothing.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_in_result,
    clippy::print_stdout,
    reason = "a harness fails by panicking"
)]

pub mod fault;
pub mod history;
pub mod load;
pub mod model;
pub mod mutants;
pub mod orphans;
pub mod process;
pub mod setting;
pub mod soak;
pub mod stepper;
pub mod swarm;
