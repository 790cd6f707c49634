//! What a measurement was asked for.

use std::num::{NonZeroU32, NonZeroU64};

use serde::Serialize;

use crate::args::{BenchCommand, BenchSource};
use crate::commands::bench::produce::CHUNK_RECORDS;
use crate::commands::bench::subscription::SAMPLE_RECORDS;

/// What a measurement was asked for; none where that has no meaning for it.
#[derive(Debug, Default, Serialize)]
pub(super) struct Setting {
    pub(super) size_bytes: usize,
    /// What values are.
    pub(super) values: &'static str,
    pub(super) compression: String,
    pub(super) partitions: u32,
    pub(super) clients: u32,
    pub(super) batch_bytes: usize,
    /// Of each client that writes.
    pub(super) in_flight_bytes: usize,
    pub(super) rate: Option<u64>,
    /// Records whose latency was not counted.
    pub(super) warm_up: Option<u64>,
    pub(super) readers: Option<u32>,
    /// Where the broker had what was read.
    pub(super) read_from: Option<&'static str>,
    pub(super) passes: Option<u32>,
    /// Of the subscription.
    pub(super) mode: Option<&'static str>,
    pub(super) keys: Option<u32>,
    /// Records of each consumer, where the SDK does not decide, or commits of each client.
    pub(super) in_flight: Option<u64>,
    /// Records that each commit writes.
    pub(super) appends: Option<u32>,
}

impl Setting {
    pub(super) fn of(command: &BenchCommand, read_from: Option<&'static str>) -> Self {
        let load = command.load();
        let setting = Self {
            size_bytes: load.size,
            values: load.values.name(),
            compression: load.compression.to_string(),
            partitions: load.partitions.get(),
            clients: load.clients.get(),
            batch_bytes: load.batch_bytes,
            in_flight_bytes: load.in_flight_bytes(),
            read_from,
            ..Self::default()
        };
        match command {
            BenchCommand::Produce(_) | BenchCommand::Group(_) => setting,
            BenchCommand::Latency { rate, warm_up, .. } => Self {
                rate: rate.map(NonZeroU64::get),
                warm_up: *warm_up,
                ..setting
            },
            BenchCommand::Consume { consume, .. } => Self {
                passes: Some(consume.passes.get()),
                ..setting
            },
            BenchCommand::EndToEnd { end_to_end, .. } => Self {
                rate: end_to_end.rate.map(NonZeroU64::get),
                readers: Some(end_to_end.readers.get()),
                ..setting
            },
            BenchCommand::Subscription { subscription, .. } => Self {
                in_flight: subscription.in_flight.map(NonZeroU64::get),
                ..setting.with_source(subscription.source)
            },
            BenchCommand::Commit { commit, .. } => Self {
                in_flight: Some(commit.in_flight.get()),
                appends: Some(commit.appends.get()),
                ..setting.with_source(commit.source)
            },
        }
    }

    fn with_source(self, source: BenchSource) -> Self {
        Self {
            mode: Some(source.mode.name()),
            keys: source.keys.map(NonZeroU32::get),
            ..self
        }
    }
}

/// What a latency of a measurement is the time of.
pub(super) fn latency_of(command: &BenchCommand) -> String {
    match command {
        BenchCommand::Produce(_) => {
            format!("from taking a record to its acknowledgement, one in {CHUNK_RECORDS}")
        }
        BenchCommand::Consume { .. } | BenchCommand::Group(_) => "a wait for a batch".to_owned(),
        BenchCommand::EndToEnd { end_to_end, .. } => match end_to_end.rate {
            None => "from giving a record to its producer until a reader has it".to_owned(),
            Some(_) => "from when a record was due until a reader has it".to_owned(),
        },
        BenchCommand::Subscription { .. } => {
            format!("from an ack to its confirmation, one in {SAMPLE_RECORDS}")
        }
        BenchCommand::Commit { .. } => "from sending a commit to its answer".to_owned(),
        BenchCommand::Latency { rate: None, .. } => {
            "from sending a record to its acknowledgement, one in flight a client".to_owned()
        }
        BenchCommand::Latency { rate: Some(_), .. } => {
            "from when a record was due to its acknowledgement".to_owned()
        }
    }
}
