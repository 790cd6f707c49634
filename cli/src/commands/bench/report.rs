//! The figures of a measurement, with everything that they depend on.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;
use towpath_client::ServerInfo;

use super::produce::CHUNK_RECORDS;
use super::subscription::SAMPLE_RECORDS;
use super::usage::Usage;
use super::{Latencies, Measured};
use crate::args::BenchCommand;
use crate::commands::version::VERSION;
use crate::output::{Report, bytes, count, duration, json_line, rate};

/// The figures of a measurement.
#[derive(Debug, Serialize)]
pub(super) struct BenchReport {
    bench: &'static str,
    records: u64,
    /// Of values.
    bytes: u64,
    seconds: f64,
    /// Before that; none where nobody joins.
    joining_seconds: Option<f64>,
    records_per_second: f64,
    /// Of values, 10^6 bytes each.
    megabytes_per_second: f64,
    latency_us: LatencyReport,
    /// What a latency is the time of.
    latency_of: String,
    durability: String,
    size_bytes: usize,
    /// What values are.
    values: &'static str,
    compression: String,
    partitions: u32,
    clients: u32,
    /// None where the SDK decides.
    batch_bytes: Option<usize>,
    /// None where there is no fixed rate.
    rate: Option<u64>,
    /// None without a subscription.
    mode: Option<&'static str>,
    /// None without keys.
    keys: Option<u32>,
    /// None where the SDK decides.
    in_flight: Option<u64>,
    client_cpu_seconds: Option<f64>,
    server: Option<ServerReport>,
    version: &'static str,
    broker_version: String,
    processors: usize,
}

#[derive(Debug, Serialize)]
struct LatencyReport {
    p50: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

#[derive(Debug, Serialize)]
struct ServerReport {
    cpu_seconds: f64,
    cpu_seconds_per_gigabyte: f64,
    memory_bytes: u64,
    memory_bytes_max: u64,
}

impl BenchReport {
    pub(super) fn new(command: &BenchCommand, measured: &Measured, info: &ServerInfo) -> Self {
        let load = command.load();
        let subscription = command.subscription();
        let records = load.records.get();
        let value_bytes = records * load.size as u64;
        let Measured {
            elapsed,
            latencies,
            joining,
        } = measured;
        let seconds = elapsed.time.as_secs_f64();
        Self {
            bench: command.name(),
            records,
            bytes: value_bytes,
            seconds,
            joining_seconds: joining.map(|it| it.as_secs_f64()),
            records_per_second: per(records, seconds),
            megabytes_per_second: per(value_bytes, seconds) / 1e6,
            latency_us: LatencyReport::of(latencies),
            latency_of: latency_of(command),
            durability: info.durability.clone(),
            size_bytes: load.size,
            values: load.values.name(),
            compression: load.compression.to_string(),
            partitions: load.partitions.get(),
            clients: load.clients.get(),
            batch_bytes: load.batch_bytes,
            rate: command.rate().map(Into::into),
            mode: subscription.map(|it| it.mode.name()),
            keys: subscription.and_then(|it| it.keys).map(Into::into),
            in_flight: subscription.and_then(|it| it.in_flight).map(Into::into),
            client_cpu_seconds: elapsed.client_cpu.map(|cpu| cpu.as_secs_f64()),
            server: elapsed
                .server
                .map(|usage| ServerReport::of(usage, value_bytes)),
            version: VERSION,
            broker_version: info.version.clone(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

fn latency_of(command: &BenchCommand) -> String {
    match command {
        BenchCommand::Produce(_) => {
            format!("from taking a record to its acknowledgement, one in {CHUNK_RECORDS}")
        }
        BenchCommand::Consume(_) | BenchCommand::Group(_) => "a wait for a batch".to_owned(),
        BenchCommand::Subscription { .. } => {
            format!("from an ack to its confirmation, one in {SAMPLE_RECORDS}")
        }
        BenchCommand::Latency { rate: None, .. } => {
            "from sending a record to its acknowledgement, one in flight a client".to_owned()
        }
        BenchCommand::Latency { rate: Some(_), .. } => {
            "from when a record was due to its acknowledgement".to_owned()
        }
    }
}

impl LatencyReport {
    fn of(latencies: &Latencies) -> Self {
        let histogram = &latencies.histogram;
        Self {
            p50: micros(histogram.value_at_quantile(0.5)),
            p99: micros(histogram.value_at_quantile(0.99)),
            p999: micros(histogram.value_at_quantile(0.999)),
            max: micros(histogram.max()),
        }
    }
}

impl ServerReport {
    fn of(usage: Usage, value_bytes: u64) -> Self {
        let cpu_seconds = usage.cpu.as_secs_f64();
        Self {
            cpu_seconds,
            cpu_seconds_per_gigabyte: cpu_seconds / per(value_bytes, 1e9),
            memory_bytes: usage.memory_bytes,
            memory_bytes_max: usage.memory_bytes_max,
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "figures of a measurement, not counts"
)]
fn per(number: u64, divisor: f64) -> f64 {
    number as f64 / divisor
}

/// Microseconds to the tenth.
fn micros(nanos: u64) -> f64 {
    per(nanos / 100, 10.0)
}

impl Report for BenchReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let elapsed = Duration::from_secs_f64(self.seconds);
        writeln!(
            out,
            "{} {} records of {} bytes, {} in {}",
            self.bench,
            count(self.records),
            count(self.size_bytes as u64),
            bytes(self.bytes),
            duration(elapsed)
        )?;
        writeln!(
            out,
            "  speed    {}  {:.1} MB/s",
            rate(self.records, elapsed),
            self.megabytes_per_second
        )?;
        if let Some(joining) = self.joining_seconds {
            let joining = duration(Duration::from_secs_f64(joining));
            writeln!(out, "  joining  {joining} before that")?;
        }
        let us = |micros: f64| duration(Duration::from_secs_f64(micros / 1e6));
        let LatencyReport {
            p50,
            p99,
            p999,
            max,
        } = &self.latency_us;
        writeln!(
            out,
            "  latency  p50 {}  p99 {}  p99.9 {}  max {}  ({})",
            us(*p50),
            us(*p99),
            us(*p999),
            us(*max),
            self.latency_of
        )?;
        if let Some(server) = &self.server {
            writeln!(
                out,
                "  broker   {:.2} s of processor, {:.2} s a GB, memory {}, at most {}",
                server.cpu_seconds,
                server.cpu_seconds_per_gigabyte,
                bytes(server.memory_bytes),
                bytes(server.memory_bytes_max)
            )?;
        }
        self.write_setting(out)
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        json_line(out, self)
    }
}

impl BenchReport {
    fn write_setting(&self, out: &mut dyn Write) -> io::Result<()> {
        let batch = match self.batch_bytes {
            Some(size) => format!("batches of {size} bytes"),
            None => "batches of the SDK's size".to_owned(),
        };
        let rate = self
            .rate
            .map(|rate| format!(", {} records/s due", count(rate)));
        writeln!(
            out,
            "  setting  partitions {}, clients {}, {batch}{}, processors {}, towpath {}, broker {}",
            self.partitions,
            self.clients,
            rate.unwrap_or_default(),
            self.processors,
            self.version,
            self.broker_version
        )?;
        writeln!(
            out,
            "  values   {}, compression {}",
            self.values, self.compression
        )?;
        if let Some(mode) = self.mode {
            let keys = self
                .keys
                .map_or_else(|| "none".to_owned(), |it| count(it.into()));
            let in_flight = self.in_flight.map(count);
            let in_flight = in_flight.unwrap_or_else(|| "the SDK's number".to_owned());
            writeln!(
                out,
                "  records  mode {mode}, keys {keys}, in flight {in_flight} a client"
            )?;
        }
        writeln!(out, "  durable  {}", self.durability)
    }
}
