//! The durable half of Towpath: journal, partition logs, checkpoints, recovery.
//!
//! Storage knows bytes, files and offsets. It does not know topics' meaning, consumers, tokio, tonic
//! or prost. Files, time and randomness come from outside ([`Environment`]), so everything here runs
//! unchanged on the simulated disk.
#![deny(unsafe_code)]

mod environment;
pub mod vfs;

pub use environment::{Clock, Entropy, Environment, SystemClock, SystemEntropy};
