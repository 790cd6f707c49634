//! What to measure, from the command line.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::program::ROOM_BYTES;
use crate::size::{format_bytes, parse_bytes};

/// What to measure.
#[derive(Debug, Clone, Args)]
pub struct GrowthPlan {
    /// The program to measure, for example `target/release/towpath`.
    #[arg(long, value_name = "FILE")]
    pub towpath: PathBuf,
    /// Data folder of the broker, missing or empty; its parent names the file system to measure.
    #[arg(long)]
    pub dir: PathBuf,
    /// What grows.
    #[arg(long, value_enum)]
    pub curve: Curve,
    /// How large it is, step by step, instead of what the curve has by itself.
    #[arg(long, value_parser = parse_bytes, value_delimiter = ',')]
    pub steps: Vec<usize>,
    /// How often each step is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Records of 1 KiB that a run writes; a checkpoint begins after about 260,000.
    #[arg(long, default_value_t = 1_500_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub records: u64,
    /// Records that a run sends with one in flight a client.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub latency_records: u64,
    /// Draw the runs as an image.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

/// What grows while everything else stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Curve {
    /// Bytes in the data folder that nobody reads.
    Stored,
    /// Partitions of the topic that is written and read.
    Partitions,
    /// Clients that write, each with connections of its own, to as many partitions.
    Clients,
    /// Subscriptions that have nothing to do, each with a topic for its dead letters.
    Subscriptions,
}

impl Curve {
    fn default_steps(self) -> &'static [u64] {
        match self {
            Self::Stored => &[1 << 30, 10 << 30, 50 << 30],
            Self::Partitions | Self::Subscriptions => &[1, 10, 100, 1_000, 10_000],
            Self::Clients => &[1, 10, 100, 1_000],
        }
    }

    /// The word on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Partitions => "partitions",
            Self::Clients => "clients",
            Self::Subscriptions => "subscriptions",
        }
    }

    /// Writes a step as people do.
    pub(super) fn format_step(self, at: u64) -> String {
        match self {
            Self::Stored => format_bytes(usize::try_from(at).unwrap_or(usize::MAX)),
            Self::Partitions | Self::Clients | Self::Subscriptions => at.to_string(),
        }
    }
}

impl GrowthPlan {
    /// The steps from small to large, each once.
    pub fn steps(&self) -> Vec<u64> {
        let mut steps: Vec<_> = self.steps.iter().map(|step| *step as u64).collect();
        if steps.is_empty() {
            steps = self.curve.default_steps().to_vec();
        }
        steps.sort_unstable();
        steps.dedup();
        steps
    }

    /// Bytes that must be free on the disk: for the largest step, a run, and the journal.
    pub fn room_bytes(&self) -> u64 {
        let stored = match self.curve {
            Curve::Stored => self.steps().last().copied().unwrap_or_default(),
            Curve::Partitions | Curve::Clients | Curve::Subscriptions => 0,
        };
        let run = self.records.saturating_mul(2 << 10);
        stored.saturating_add(run).saturating_add(ROOM_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory as _, Parser};

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        plan: GrowthPlan,
    }

    fn parse(flags: &str) -> Result<GrowthPlan, clap::Error> {
        let line = format!("growth --towpath towpath --dir folder {flags}");
        Line::try_parse_from(line.split_whitespace()).map(|line| line.plan)
    }

    #[test]
    fn the_flags_are_consistent() {
        Line::command().debug_assert();
    }

    #[test]
    fn steps_are_those_of_the_curve_or_in_rising_order_and_once() {
        let steps = |flags: &str| parse(flags).unwrap().steps();
        assert_eq!(steps("--curve stored"), [1 << 30, 10 << 30, 50 << 30]);
        assert_eq!(steps("--curve clients"), [1, 10, 100, 1_000]);
        assert_eq!(steps("--curve clients --steps 64,8,64"), [8, 64]);
        assert_eq!(
            steps("--curve stored --steps 1GiB,256MiB"),
            [1 << 28, 1 << 30]
        );
    }

    #[test]
    fn what_would_measure_nothing_is_refused() {
        for flags in [
            "",
            "--curve x",
            "--curve stored --steps 0",
            "--curve clients --rounds 0",
        ] {
            assert!(parse(flags).is_err(), "{flags:?} was accepted");
        }
    }

    #[test]
    fn only_what_is_stored_needs_room_for_itself() {
        let room = |flags: &str| parse(flags).unwrap().room_bytes();
        let run = (2 << 30) + (2 << 20);
        assert_eq!(room("--curve clients --steps 1GiB --records 1024"), run);
        let stored = room("--curve stored --steps 1GiB --records 1024");
        assert_eq!(stored, run + (1 << 30));
    }
}
