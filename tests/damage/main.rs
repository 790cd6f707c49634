//! Damage to every file of a data folder: whatever is read afterwards is right, or said to be lost, or the
//! folder is refused; and a folder that was refused is whole again when the damage is undone.
//!
//! In CI a sample is tried, from a seed that is printed (`SEED=n`). `DAMAGE=10` tries ten
//! times as many, `DAMAGE=all` everything, with `SHARD=k/n` the k-th of n parts of it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::unwrap_in_result,
    clippy::panic,
    clippy::case_sensitive_file_extension_comparisons,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking and says what it did; places in small files fit everywhere"
)]

mod cases;
mod files;
mod fixtures;
mod flips;
mod repairs;
mod script;
mod scrubs;
mod trial;
mod verifies;
mod view;
