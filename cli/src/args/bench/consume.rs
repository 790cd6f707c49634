//! How records are read that are measured.

use std::num::{NonZeroU32, NonZeroU64};

use clap::{Args, ValueEnum};

use crate::args::number::parse_count;

/// Where the records are that are read, and how often they are.
#[derive(Debug, Clone, Args)]
pub(crate) struct BenchConsume {
    /// Where the broker has the records [default: the newest in memory, the others in segments]
    #[arg(long, value_enum, value_name = "PLACE")]
    pub(crate) from: Option<BenchPlace>,
    /// How often everything is read, one time after the other
    #[arg(long, value_name = "N", default_value = "1", value_parser = parse_count::<NonZeroU32>)]
    pub(crate) passes: NonZeroU32,
}

/// Where the broker has records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchPlace {
    /// The memory of the broker, which keeps what is new: at most 32 MiB are written
    Tail,
    /// Segments, which are read once before: the operating system has in memory what fits there
    Cache,
    /// Segments, which nothing of is in the broker's memory; root drops the page cache as well
    Disk,
}

/// Producers and readers that are measured together.
#[derive(Debug, Clone, Args)]
pub(crate) struct BenchEndToEnd {
    /// Records a second over all clients, sent when they are due whatever became of the others;
    /// latency counts from when they were due [default: as fast as they are taken]
    #[arg(long, value_name = "PER_SECOND", value_parser = parse_count::<NonZeroU64>)]
    pub(crate) rate: Option<NonZeroU64>,
    /// Clients that read, each its share of the partitions
    #[arg(long, value_name = "N", default_value = "1", value_parser = parse_count::<NonZeroU32>)]
    pub(crate) readers: NonZeroU32,
}
