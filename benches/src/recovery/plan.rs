//! What to measure, from the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::size::parse_bytes;

/// What to measure.
#[derive(Debug, Clone, Args)]
pub struct Plan {
    /// The program to measure, for example `target/release/towpath`.
    #[arg(long, value_name = "FILE")]
    pub towpath: PathBuf,
    /// Data folder of the broker, missing or empty; its parent names the file system to measure.
    #[arg(long)]
    pub dir: PathBuf,
    /// Bytes to store; the folder grows from one size to the next.
    #[arg(long, value_parser = parse_bytes, value_delimiter = ',', default_value = "1GiB,10GiB,50GiB")]
    pub sizes: Vec<usize>,
    /// How often each size is measured, each time after a kill and after a stop.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Milliseconds of full load before the broker is ended; rounds differ by up to half of it.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub load_ms: u64,
    /// Partitions of the topics.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub partitions: u32,
    /// Draw the runs as an image.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Leave the data folder there.
    #[arg(long)]
    pub keep: bool,
}

/// More than a broker of this machine takes in a second.
const LOAD_BYTES_PER_SECOND_MAX: u64 = 2 << 30;
/// Room for the journal, and for what the broker leaves free before it refuses to write.
const SPARE_BYTES: u64 = 2 << 30;

impl Plan {
    /// The sizes from small to large, each once.
    pub fn sizes_bytes(&self) -> Vec<u64> {
        let mut sizes: Vec<_> = self.sizes.iter().map(|size| *size as u64).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    /// How long a round produces before the broker is ended: between half of the load's time and one
    /// and a half, evenly spread over the rounds, so that journals of many lengths are met.
    pub fn load_time(&self, round: u32) -> Duration {
        let (round, rounds) = (u64::from(round), u64::from(self.rounds.max(1)));
        let halves = 2 * round + rounds - 1;
        Duration::from_millis(self.load_ms * halves / (2 * rounds))
    }

    /// Bytes that must be free on the disk before the folder is filled.
    pub fn room_bytes(&self) -> u64 {
        let largest = self.sizes_bytes().last().copied().unwrap_or(0);
        let load = LOAD_BYTES_PER_SECOND_MAX * self.load_ms / 1000 * 3 / 2;
        largest.saturating_add(load).saturating_add(SPARE_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory as _, Parser};

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        plan: Plan,
    }

    fn parse(flags: &str) -> Result<Plan, clap::Error> {
        let line = format!("recovery --towpath towpath --dir folder {flags}");
        Line::try_parse_from(line.split_whitespace()).map(|line| line.plan)
    }

    #[test]
    fn the_flags_are_consistent() {
        Line::command().debug_assert();
    }

    #[test]
    fn three_sizes_are_measured_five_times_unless_told_otherwise() {
        let plan = parse("").unwrap();
        assert_eq!(plan.sizes_bytes(), [1 << 30, 10 << 30, 50 << 30]);
        assert_eq!((plan.rounds, plan.load_ms, plan.partitions), (5, 1000, 8));
        assert!(plan.svg.is_none() && !plan.keep, "{plan:?}");
    }

    #[test]
    fn sizes_are_taken_in_rising_order_and_once() {
        let plan = parse("--sizes 256MiB,64MiB,256MiB").unwrap();
        assert_eq!(plan.sizes_bytes(), [64 << 20, 256 << 20]);
    }

    #[test]
    fn program_and_folder_must_be_named() {
        for line in ["recovery --dir folder", "recovery --towpath towpath"] {
            let error = Line::try_parse_from(line.split(' ')).unwrap_err();
            assert_eq!(
                error.kind(),
                clap::error::ErrorKind::MissingRequiredArgument
            );
        }
    }

    #[test]
    fn what_would_measure_nothing_is_refused() {
        for flags in [
            "--sizes 0",
            "--sizes",
            "--sizes 1GiB,",
            "--rounds 0",
            "--load-ms 0",
            "--partitions 0",
        ] {
            assert!(parse(flags).is_err(), "{flags} was accepted");
        }
    }

    #[test]
    fn loads_are_spread_evenly_around_their_time() {
        let times = |flags: &str| {
            let plan = parse(flags).unwrap();
            let times = (1..=plan.rounds).map(|round| plan.load_time(round).as_millis());
            times.collect::<Vec<_>>()
        };
        assert_eq!(times("--rounds 5"), [600, 800, 1000, 1200, 1400]);
        assert_eq!(times("--rounds 1 --load-ms 30"), [30]);
    }

    #[test]
    fn room_is_wanted_for_the_largest_size_the_load_and_the_journal() {
        let plan = parse("--sizes 1GiB,3GiB --rounds 1").unwrap();
        assert_eq!(plan.room_bytes(), (3 + 3 + 2) << 30);
        let plan = parse("--sizes 17179869183GiB").unwrap();
        assert_eq!(plan.room_bytes(), u64::MAX, "no wrap");
    }
}
