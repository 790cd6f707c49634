//! Commits that are measured.

use std::num::{NonZeroU32, NonZeroU64};

use clap::Args;

use super::BenchSource;
use crate::args::number::parse_count;

/// Commits that are measured: each acks a record of a subscription and writes what was made of it.
#[derive(Debug, Clone, Args)]
pub(crate) struct BenchCommit {
    /// The records.
    #[command(flatten)]
    pub(crate) source: BenchSource,
    /// Records that a commit writes, each an operation of its own
    #[arg(long, value_name = "N", default_value = "3", value_parser = parse_count::<NonZeroU32>)]
    pub(crate) appends: NonZeroU32,
    /// Commits that each client may have that are not answered
    #[arg(long, value_name = "N", default_value = "1", value_parser = parse_count::<NonZeroU64>)]
    pub(crate) in_flight: NonZeroU64,
}
