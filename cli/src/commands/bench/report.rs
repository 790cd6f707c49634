//! The figures of a measurement, with everything that they depend on.

mod setting;
mod text;

use std::io::{self, Write};

use hdrhistogram::Histogram;
use serde::Serialize;
use towpath_client::ServerInfo;

use super::Measured;
use super::seconds::WholeSeconds;
use super::usage::Usage;
use crate::args::BenchCommand;
use crate::commands::version::VERSION;
use crate::output::{Report, json_line};

use setting::{Setting, latency_of};

/// The figures of a measurement.
#[derive(Debug, Serialize)]
pub(super) struct BenchReport {
    bench: &'static str,
    records: u64,
    /// Of values: that were written, or read where reading is measured.
    bytes: u64,
    seconds: f64,
    /// Before that; none where nobody joins.
    joining_seconds: Option<f64>,
    records_per_second: f64,
    /// Of values, 10^6 bytes each.
    megabytes_per_second: f64,
    #[serde(flatten)]
    whole_seconds: WholeSecondsReport,
    latency_us: LatencyReport,
    /// What a latency is the time of.
    latency_of: String,
    durability: String,
    #[serde(flatten)]
    setting: Setting,
    client_cpu_seconds: Option<f64>,
    /// That the broker has written since the run began, what it prepared included.
    checkpoints: Option<u64>,
    server: Option<ServerReport>,
    version: &'static str,
    broker_version: String,
    processors: usize,
}

/// None in a short run.
#[derive(Debug, Default, Serialize)]
struct WholeSecondsReport {
    worst_second_records: Option<u64>,
    median_second_records: Option<u64>,
    worst_second_megabytes_per_second: Option<f64>,
    median_second_megabytes_per_second: Option<f64>,
}

#[derive(Debug, Serialize)]
struct LatencyReport {
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    p9999: f64,
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
        let setting = Setting::of(command, measured.place);
        let records = load.records.get() * u64::from(setting.passes.unwrap_or(1));
        let bytes_of_record = load.size as u64 * u64::from(setting.appends.unwrap_or(1));
        let bytes = records * bytes_of_record;
        let elapsed = measured.elapsed;
        let seconds = elapsed.time.as_secs_f64();
        let whole = measured.seconds;
        Self {
            bench: command.name(),
            records,
            bytes,
            seconds,
            joining_seconds: measured.joining.map(|it| it.as_secs_f64()),
            records_per_second: per(records, seconds),
            megabytes_per_second: per(bytes, seconds) / 1e6,
            whole_seconds: whole
                .map(|it| WholeSecondsReport::of(it, bytes_of_record))
                .unwrap_or_default(),
            latency_us: LatencyReport::of(&measured.latencies),
            latency_of: latency_of(command),
            durability: info.durability.clone(),
            setting,
            client_cpu_seconds: elapsed.client_cpu.map(|cpu| cpu.as_secs_f64()),
            checkpoints: None,
            server: elapsed.server.map(|usage| ServerReport::of(usage, bytes)),
            version: VERSION,
            broker_version: info.version.clone(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

impl BenchReport {
    /// Tells how many checkpoints there were, where that is known.
    pub(super) fn with_checkpoints(self, checkpoints: Option<u64>) -> Self {
        Self {
            checkpoints,
            ..self
        }
    }
}

impl WholeSecondsReport {
    fn of(seconds: WholeSeconds, bytes_of_record: u64) -> Self {
        let megabytes = |records: u64| per(records * bytes_of_record, 1e6);
        Self {
            worst_second_records: Some(seconds.worst),
            median_second_records: Some(seconds.median),
            worst_second_megabytes_per_second: Some(megabytes(seconds.worst)),
            median_second_megabytes_per_second: Some(megabytes(seconds.median)),
        }
    }
}

impl LatencyReport {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| micros(histogram.value_at_quantile(quantile));
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: micros(histogram.max()),
        }
    }
}

impl ServerReport {
    fn of(usage: Usage, bytes: u64) -> Self {
        let cpu_seconds = usage.cpu.as_secs_f64();
        Self {
            cpu_seconds,
            cpu_seconds_per_gigabyte: cpu_seconds / per(bytes, 1e9),
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
        self.write_lines(out)
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        json_line(out, self)
    }
}
