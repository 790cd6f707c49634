//! Storage through its public face, on the simulated disk: what it keeps, what it finds again, what it
//! refuses.
//!
//! [`driver`] is a broker in miniature; each module is one subject.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed step is a failed test"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "places in small files fit everywhere"
)]

mod checkpoints;
mod committing;
mod damaged;
mod driver;
mod dump;
mod format_document;
mod golden;
mod indexes;
mod journal_files;
mod opening;
mod random;
mod reading;
mod rewriting;
mod runs;
mod segments;
mod settling;
mod tamper;
mod torn;
