//! `towpath bench`.

mod commit;
mod consume;
mod load;
mod subscription;

use std::num::NonZeroU64;

use clap::{Args, Subcommand};

use super::number::parse_count;
use crate::failure::Failure;

pub(crate) use commit::BenchCommit;
pub(crate) use consume::{BenchConsume, BenchEndToEnd, BenchPlace};
pub(crate) use load::{BenchLoad, BenchValues};
pub(crate) use subscription::{BenchSource, BenchSubscription};

/// Values that hold a number or a time of eight bytes.
const MARKED_SIZE_BYTES_MIN: usize = 8;
/// Half of what a broker's tail cache holds by default: so much certainly stays there.
const TAIL_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Which of the measurements.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  towpath bench produce --records 1000000 --size 1KiB
  towpath bench consume --records 1000000 --size 1KiB --partitions 8 --clients 2
  towpath bench end-to-end --records 600000 --size 1KiB --rate 20000
  towpath bench group --records 1000000 --size 1KiB --partitions 8 --clients 4
  towpath bench subscription --records 1000000 --size 100 --mode shared --clients 4
  towpath bench commit --records 100000 --size 100 --clients 64
  towpath bench latency --records 10000 --size 1KiB
  towpath bench latency --records 600000 --size 1KiB --rate 20000 --clients 4 -o json
")]
pub(crate) struct BenchArgs {
    /// What to measure.
    #[command(subcommand)]
    pub(crate) command: BenchCommand,
}

/// One measurement. Each has topics of its own, checks what became of every record, and says so.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// How fast records are made durable
    #[command(before_help = "Examples:
  towpath bench produce --records 1000000 --size 1KiB
  towpath bench produce --records 5000000 --size 100 --partitions 16 --clients 4 -o json
  towpath bench produce --records 5000000 --size 100 --partitions 1000 --clients 1000
  towpath bench produce --values json --compression zstd:1
")]
    Produce(BenchLoad),
    /// How fast records are read back
    #[command(before_help = "Examples:
  towpath bench consume --records 1000000 --size 1KiB
  towpath bench consume --records 30000 --size 1KiB --from tail --passes 100
  towpath bench consume --records 5000000 --size 100 --partitions 8 --clients 2 --from disk -o json
")]
    Consume {
        /// The load.
        #[command(flatten)]
        load: BenchLoad,
        /// How it is read.
        #[command(flatten)]
        consume: BenchConsume,
    },
    /// How fast, and how long after it was due, a record has come to a reader that follows
    #[command(before_help = "Examples:
  towpath bench end-to-end --records 1000000 --size 1KiB             as fast as it goes
  towpath bench end-to-end --records 600000 --size 1KiB --rate 20000 at a fixed rate
  towpath bench end-to-end --records 600000 --rate 20000 --partitions 8 --clients 4 --readers 2
")]
    EndToEnd {
        /// The load.
        #[command(flatten)]
        load: BenchLoad,
        /// Its readers.
        #[command(flatten)]
        end_to_end: BenchEndToEnd,
    },
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
    /// How fast records of a durable subscription become others, each by an atomic commit
    #[command(before_help = "Examples:
  towpath bench commit --records 10000 --size 100                    one commit in flight
  towpath bench commit --records 100000 --size 100 --clients 64      one in flight each
  towpath bench commit --records 100000 --size 100 --in-flight 64 --appends 1 -o json
")]
    Commit {
        /// The load.
        #[command(flatten)]
        load: BenchLoad,
        /// The commits.
        #[command(flatten)]
        commit: BenchCommit,
    },
    /// How long a record takes to be durable
    #[command(before_help = "Examples:
  towpath bench latency --records 10000 --size 1KiB                  one in flight
  towpath bench latency --records 10000 --size 1KiB --clients 64     one in flight each
  towpath bench latency --records 600000 --size 1KiB --rate 20000    at a fixed rate
  towpath bench latency --records 900000 --partitions 256 --rate 100000 --warm-up 100000
                                                                     once every partition has files
")]
    Latency {
        /// The load.
        #[command(flatten)]
        load: BenchLoad,
        /// Records a second over all clients, sent when they are due whatever became of the others;
        /// latency counts from when they were due [default: each client has one in flight]
        #[arg(long, value_name = "PER_SECOND", value_parser = parse_count::<NonZeroU64>)]
        rate: Option<NonZeroU64>,
        /// Records in the beginning, over all clients, whose latency is not counted: the first ones of a
        /// partition wait for its files
        #[arg(long, value_name = "N", value_parser = parse_count::<u64>)]
        warm_up: Option<u64>,
    },
}

impl BenchCommand {
    /// What is written and read.
    pub(crate) const fn load(&self) -> &BenchLoad {
        match self {
            Self::Produce(load)
            | Self::Group(load)
            | Self::Consume { load, .. }
            | Self::EndToEnd { load, .. }
            | Self::Subscription { load, .. }
            | Self::Commit { load, .. }
            | Self::Latency { load, .. } => load,
        }
    }

    /// How many clients there are, with those that only read.
    pub(crate) fn client_count(&self) -> u32 {
        let readers = match self {
            Self::EndToEnd { end_to_end, .. } => end_to_end.readers.get(),
            _ => 0,
        };
        self.load().clients.get().saturating_add(readers)
    }

    /// Name of the measurement.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Produce(_) => "produce",
            Self::Consume { .. } => "consume",
            Self::EndToEnd { .. } => "end-to-end",
            Self::Group(_) => "group",
            Self::Subscription { .. } => "subscription",
            Self::Commit { .. } => "commit",
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
            Self::Consume { load, consume } => {
                check_readers("clients", load.clients.get(), load)?;
                check_tail(load, consume)
            }
            Self::Group(load) => check_readers("clients", load.clients.get(), load),
            Self::EndToEnd { load, end_to_end } => {
                check_readers("readers", end_to_end.readers.get(), load)?;
                check_marked(load)
            }
            Self::Commit { load, .. } => check_marked(load),
            Self::Latency { load, warm_up, .. } => check_warm_up(warm_up.unwrap_or(0), load),
            Self::Produce(_) | Self::Subscription { .. } => Ok(()),
        }
    }
}

fn check_warm_up(warm_up: u64, load: &BenchLoad) -> Result<(), Failure> {
    if warm_up < load.records.get() {
        return Ok(());
    }
    let message = "nothing is left to be measured after the warm-up";
    Err(Failure::usage(message).hint("--records counts those of --warm-up too"))
}

fn check_readers(who: &str, readers: u32, load: &BenchLoad) -> Result<(), Failure> {
    if readers <= load.partitions.get() {
        return Ok(());
    }
    let message = format!("more {who} than partitions: some would have nothing to read");
    Err(Failure::usage(message).hint("--partitions says how many there are"))
}

fn check_marked(load: &BenchLoad) -> Result<(), Failure> {
    if load.size >= MARKED_SIZE_BYTES_MIN {
        return Ok(());
    }
    let message = format!("values of at least {MARKED_SIZE_BYTES_MIN} bytes are needed");
    Err(Failure::usage(message).hint("each holds a time, or a number, by which it is known again"))
}

fn check_tail(load: &BenchLoad, consume: &BenchConsume) -> Result<(), Failure> {
    let written = load.records.get().saturating_mul(load.size as u64);
    if consume.from != Some(BenchPlace::Tail) || written <= TAIL_BYTES_MAX {
        return Ok(());
    }
    let message = format!(
        "the broker does not keep {written} bytes in memory: at most {TAIL_BYTES_MAX} are read from there"
    );
    Err(Failure::usage(message).hint("to read more: fewer --records, and --passes"))
}
