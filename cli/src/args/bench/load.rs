//! What a measurement writes, by how many clients.

use std::num::{NonZeroU32, NonZeroU64};

use clap::{Args, ValueEnum};
use towpath_client::Compression;

use crate::args::number::parse_count;
use crate::args::size::parse_size;

/// Largest value that fits into a record of the broker's default size with room for the rest.
const SIZE_BYTES_MAX: usize = 1024 * 1024;
/// Most that a client has in flight by default: the SDK's number.
const IN_FLIGHT_BYTES: usize = 16 * 1024 * 1024;
/// What many clients together have in flight by default.
const IN_FLIGHT_BYTES_OF_ALL: usize = 128 * 1024 * 1024;

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
    /// Size at which a client that writes sends a batch
    #[arg(long, value_name = "BYTES", default_value = "128KiB", value_parser = parse_size)]
    pub(crate) batch_bytes: usize,
    /// Bytes that a client that writes may have in flight [default: 16MiB, or its share of 128MiB]
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    in_flight_bytes: Option<usize>,
    /// Process id of the broker, to tell its processor time and memory
    #[arg(long, value_name = "PID")]
    pub(crate) server_pid: Option<u32>,
    /// Admin listener of the broker, to tell how many checkpoints it has written meanwhile
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) server_admin: Option<String>,
    /// Leave the topic behind
    #[arg(long)]
    pub(crate) keep_topic: bool,
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

impl BenchLoad {
    /// How many records each client has, one number a client.
    pub(crate) fn shares(&self) -> impl Iterator<Item = u64> {
        let (records, clients) = (self.records.get(), u64::from(self.clients.get()));
        (0..clients).map(move |client| records / clients + u64::from(client < records % clients))
    }

    /// A load of one client that is at least so large.
    pub(crate) fn filling(bytes: u64, size: usize) -> Self {
        let records = bytes.div_ceil(size as u64);
        Self {
            records: NonZeroU64::new(records).unwrap_or(NonZeroU64::MIN),
            size,
            values: BenchValues::Random,
            compression: Compression::None,
            partitions: NonZeroU32::MIN,
            clients: NonZeroU32::MIN,
            batch_bytes: IN_FLIGHT_BYTES / 64,
            in_flight_bytes: None,
            server_pid: None,
            server_admin: None,
            keep_topic: false,
        }
    }

    /// Bytes that a client that writes may have in flight: together not more than this process can
    /// well hold, unless it was asked for.
    pub(crate) fn in_flight_bytes(&self) -> usize {
        let share = IN_FLIGHT_BYTES_OF_ALL / self.clients.get() as usize;
        self.in_flight_bytes
            .unwrap_or_else(|| share.min(IN_FLIGHT_BYTES))
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
            clients: NonZeroU32::new(clients).expect("clients"),
            ..BenchLoad::filling(records, 1)
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

    #[test]
    fn many_clients_share_what_is_in_flight_unless_it_is_given() {
        assert_eq!(load(1, 1).in_flight_bytes(), 16 << 20, "one");
        assert_eq!(load(1, 1_024).in_flight_bytes(), 128 << 10, "many");
        let given = BenchLoad {
            in_flight_bytes: Some(7),
            ..load(1, 1_024)
        };
        assert_eq!(given.in_flight_bytes(), 7, "given");
    }
}
