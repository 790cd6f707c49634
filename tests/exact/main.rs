//! Records that rest on versions of their keys, versions of entities, and histories of keys, by the SDK against
//! a broker in the same process.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod harness;
mod histories;
mod states;
mod versions;
mod writers;
