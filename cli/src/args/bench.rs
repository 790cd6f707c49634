//! `towpath bench`.

use std::num::NonZeroU32;
use std::num::NonZeroU64;

use clap::{Args, Subcommand, ValueEnum};
use towpath_client::{Compression, SubscriptionMode};

use super::number::parse_count;
use super::size::parse_size;
use crate::failure::Failure;

/// Largest value that fits into a record of the broker's default size with room for the rest.
const SIZE_BYTES_MAX: usize = 1024 * 1024;

/// Which of the measurements.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  towpath bench produce --records 1000000 --size 1KiB
  towpath bench consume --records 1000000 --size 1KiB --partitions 8 --clients 2
  towpath bench group --records 1000000 --size 1KiB --partitions 8 --clients 4
  towpath bench subscription --records 1000000 --size 100 --mode shared --clients 4
  towpath bench latency --records 10000 --size 1KiB
  towpath bench latency --records 600000 --size 1KiB --rate 20000 --clients 4 -o json
")]
pub(crate) struct BenchArgs {
    /// What to measure.
    #[command(subcommand)]
    pub(crate) command: BenchCommand,
}

/// One measurement. Each has a topic of its own, checks what became of every record, and says so.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// How fast records are made durable
    #[command(before_help = "Examples:
  towpath bench produce --records 1000000 --size 1KiB
  towpath bench produce --records 5000000 --size 100 --partitions 16 --clients 4 -o json
  towpath bench produce --values json --compression zstd:1
")]
    Produce(BenchLoad),
    /// How fast records are read back
    #[command(before_help = "Examples:
  towpath bench consume --records 1000000 --size 1KiB
  towpath bench consume --records 5000000 --size 100 --partitions 8 --clients 2 -o json
")]
    Consume(BenchLoad),
    /// How fast records are read by a consumer group of which every client is a member
    #[command(before_help = "Examples:
  towpath bench group --records 1000000 --size 1KiB --partitions 8 --clients 4
  towpath bench group --records 5000000 --size 100 --partitions 8 -o json
")]
    Group(BenchLoad),
    /// How fast records of a durable subscription are acked, each by itself
    #[command(before_help = "Examples:
  towpath bench subscription --records 1000000 --size 100 --mode shared
  towpath bench subscription --records 1000000 --size 1KiB --keys 10000 --clients 4 -o json
")]
    Subscription {
        /// The load.
        #[command(flatten)]
        load: BenchLoad,
        /// The subscription.
        #[command(flatten)]
        subscription: BenchSubscription,
    },
    /// How long a record takes to be durable
    #[command(before_help = "Examples:
  towpath bench latency --records 10000 --size 1KiB                  one in flight
  towpath bench latency --records 10000 --size 1KiB --clients 64     one in flight each
  towpath bench latency --records 600000 --size 1KiB --rate 20000    at a fixed rate
")]
    Latency {
        /// The load.
        #[command(flatten)]
        load: BenchLoad,
        /// Records a second over all clients, sent when they are due whatever became of the others;
        /// latency counts from when they were due [default: each client has one in flight]
        #[arg(long, value_name = "PER_SECOND", value_parser = parse_count::<NonZeroU64>)]
        rate: Option<NonZeroU64>,
    },
}

/// What is written and read.
#[derive(Debug, Clone, Args)]
pub(crate) struct BenchLoad {
    /// Number of records
    #[arg(long, value_name = "N", default_value = "100000",
          value_parser = parse_count::<NonZeroU64>)]
    pub(crate) records: NonZeroU64,
    /// Size of each value
    #[arg(long, value_name = "BYTES", default_value = "1KiB", value_parser = parse_value_size)]
    pub(crate) size: usize,
    /// What values are: random bytes, which do not compress, or orders in JSON, which do
    #[arg(long, value_enum, default_value_t = BenchValues::Random, hide_possible_values = true,
          value_name = "random|json")]
    pub(crate) values: BenchValues,
    /// How batches are compressed: none, lz4, zstd, or zstd:1 to zstd:19
    #[arg(long, value_name = "CODEC", default_value_t)]
    pub(crate) compression: Compression,
    /// Partitions of the topic
    #[arg(long, value_name = "N", default_value = "1", value_parser = parse_count::<NonZeroU32>)]
    pub(crate) partitions: NonZeroU32,
    /// Clients, each with connections of its own
    #[arg(long, value_name = "N", default_value = "1", value_parser = parse_count::<NonZeroU32>)]
    pub(crate) clients: NonZeroU32,
    /// Size at which a client sends a batch [default: the SDK's]
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    pub(crate) batch_bytes: Option<usize>,
    /// Process id of the broker, to tell its processor time and memory
    #[arg(long, value_name = "PID")]
    pub(crate) server_pid: Option<u32>,
    /// Leave the topic behind
    #[arg(long)]
    pub(crate) keep_topic: bool,
}

impl BenchCommand {
    /// What is written and read.
    pub(crate) const fn load(&self) -> &BenchLoad {
        match self {
            Self::Produce(load)
            | Self::Consume(load)
            | Self::Group(load)
            | Self::Subscription { load, .. }
            | Self::Latency { load, .. } => load,
        }
    }

    /// Name of the measurement.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Produce(_) => "produce",
            Self::Consume(_) => "consume",
            Self::Group(_) => "group",
            Self::Subscription { .. } => "subscription",
            Self::Latency { .. } => "latency",
        }
    }

    /// Whether the flags go together.
    ///
    /// # Errors
    ///
    /// They do not.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match self {
            Self::Consume(load) | Self::Group(load) if load.clients > load.partitions => Err(
                Failure::usage("more clients than partitions: some would have nothing to read"),
            ),
            _ => Ok(()),
        }
    }

    /// Records a second that are due, if they are.
    pub(crate) const fn rate(&self) -> Option<NonZeroU64> {
        match self {
            Self::Latency { rate, .. } => *rate,
            Self::Produce(_) | Self::Consume(_) | Self::Group(_) | Self::Subscription { .. } => {
                None
            }
        }
    }

    /// The subscription that is measured, if there is one.
    pub(crate) const fn subscription(&self) -> Option<&BenchSubscription> {
        match self {
            Self::Subscription { subscription, .. } => Some(subscription),
            _ => None,
        }
    }
}

/// A subscription that is measured.
#[derive(Debug, Clone, Args)]
pub(crate) struct BenchSubscription {
    /// Who gets records, and in which order
    #[arg(long, value_enum, default_value_t = BenchMode::KeyShared)]
    pub(crate) mode: BenchMode,
    /// Keys that the records have, drawn at random [default: none has a key]
    #[arg(long, value_name = "N", value_parser = parse_count::<NonZeroU32>)]
    pub(crate) keys: Option<NonZeroU32>,
    /// Records that each client may have that are not settled [default: the SDK's]
    #[arg(long, value_name = "N", value_parser = parse_count::<NonZeroU64>)]
    pub(crate) in_flight: Option<NonZeroU64>,
}

/// What values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchValues {
    /// Random bytes
    Random,
    /// Orders in JSON
    Json,
}

impl BenchValues {
    /// What the flag says.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Json => "json",
        }
    }
}

/// Modes that several clients share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchMode {
    /// Any record to anyone
    Shared,
    /// Each key in order, to one client at a time
    KeyShared,
}

impl BenchMode {
    /// What the flag says.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::KeyShared => "key-shared",
        }
    }
}

impl From<BenchMode> for SubscriptionMode {
    fn from(mode: BenchMode) -> Self {
        match mode {
            BenchMode::Shared => Self::Shared,
            BenchMode::KeyShared => Self::KeyShared,
        }
    }
}

impl BenchLoad {
    /// How many records each client has, one number a client.
    pub(crate) fn shares(&self) -> impl Iterator<Item = u64> {
        let (records, clients) = (self.records.get(), u64::from(self.clients.get()));
        (0..clients).map(move |client| records / clients + u64::from(client < records % clients))
    }
}

fn parse_value_size(text: &str) -> Result<usize, String> {
    match parse_size(text)? {
        size @ 1..=SIZE_BYTES_MAX => Ok(size),
        _ => Err(format!("expected a size from 1 to {SIZE_BYTES_MAX} bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(records: u64, clients: u32) -> BenchLoad {
        BenchLoad {
            records: NonZeroU64::new(records).expect("records"),
            size: 1,
            values: BenchValues::Random,
            compression: Compression::None,
            partitions: NonZeroU32::MIN,
            clients: NonZeroU32::new(clients).expect("clients"),
            batch_bytes: None,
            server_pid: None,
            keep_topic: false,
        }
    }

    #[test]
    fn shares_differ_by_one_at_most_and_add_up() {
        let check = |records, clients, expected: &[u64]| {
            let shares: Vec<_> = load(records, clients).shares().collect();
            assert_eq!(shares, expected, "{records} for {clients}");
        };
        check(10, 1, &[10]);
        check(10, 3, &[4, 3, 3]);
        check(2, 3, &[1, 1, 0]);
    }

    #[test]
    fn values_have_a_size_that_the_broker_takes() {
        assert_eq!(parse_value_size("1KiB"), Ok(1_024), "with a unit");
        assert_eq!(parse_value_size("1MiB"), Ok(1 << 20), "the largest");
        for text in ["0", "1048577", "x"] {
            assert!(parse_value_size(text).is_err(), "{text} was accepted");
        }
    }
}
