//! One run: what was measured and what came out.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::{Measured, Median, text};
use crate::host::Usage;
use crate::round_file::{Durability, FileKind, RoundFileOptions, WriteMode};

/// What was measured: equal settings are rounds of the same measurement.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    /// For example `bare_model produce`.
    pub benchmark: &'static str,
    /// Bytes of payload of one message, append or socket write.
    pub message_bytes: usize,
    /// Bound on bytes sent and not acknowledged, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight_bytes: Option<usize>,
    /// How the file was written, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write: Option<WriteMode>,
    /// What the file was before, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<FileKind>,
    /// What an acknowledgement waited for, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
}

/// The figures of one run.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// Messages, appends or socket writes.
    pub messages: u64,
    /// Bytes of payload.
    pub bytes: u64,
    /// Wall clock time.
    pub seconds: f64,
    /// Payload in 10^6 bytes a second.
    pub megabytes_per_second: f64,
    /// Processor time of the server process for 10^9 bytes of payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_cpu_seconds_per_gb: Option<f64>,
    /// Processor time of the measuring process for 10^9 bytes of payload.
    pub client_cpu_seconds_per_gb: f64,
    /// Share of processor time that the hypervisor gave to others.
    pub steal_percent: f64,
    /// Share of processor time that other processes of the machine had.
    pub others_percent: f64,
    /// Time from sending one message to its acknowledgement, where each was timed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<LatencyUs>,
}

impl Setting {
    /// Names a measurement of messages of one size.
    pub fn new(benchmark: &'static str, message_bytes: usize) -> Self {
        Self {
            benchmark,
            message_bytes,
            in_flight_bytes: None,
            write: None,
            file: None,
            durability: None,
        }
    }

    /// Adds the bound on what is sent and not acknowledged.
    #[must_use]
    pub fn with_in_flight(self, in_flight_bytes: usize) -> Self {
        Self {
            in_flight_bytes: Some(in_flight_bytes),
            ..self
        }
    }

    /// Adds the file behind the measurement; `write` is how it was really written.
    #[must_use]
    pub fn with_file(self, options: &RoundFileOptions, write: WriteMode) -> Self {
        Self {
            write: Some(write),
            file: Some(options.kind),
            durability: Some(options.durability),
            ..self
        }
    }
}

impl Figures {
    /// Derives the rates of `messages` messages of `message_bytes` each.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a run moves far fewer than 2^52 bytes"
    )]
    pub fn new(messages: u64, message_bytes: usize, usage: Usage) -> Self {
        let bytes = messages * message_bytes as u64;
        let gigabytes = (bytes as f64 / 1e9).max(f64::MIN_POSITIVE);
        Self {
            messages,
            bytes,
            seconds: usage.seconds,
            megabytes_per_second: bytes as f64 / 1e6 / usage.seconds.max(f64::MIN_POSITIVE),
            server_cpu_seconds_per_gb: usage.server_cpu_seconds.map(|cpu| cpu / gigabytes),
            client_cpu_seconds_per_gb: usage.client_cpu_seconds / gigabytes,
            steal_percent: usage.steal_percent,
            others_percent: usage.others_percent,
            latency_us: None,
        }
    }

    /// Adds the latency of each message, given as a histogram of nanoseconds.
    #[must_use]
    pub fn with_latency(mut self, nanoseconds: &Histogram<u64>) -> Self {
        self.latency_us = Some(LatencyUs::of(nanoseconds));
        self
    }
}

impl Measured for Figures {
    type Setting = Setting;
    type Median = Median;

    fn median(setting: &Setting, rounds: &[&Self]) -> Option<Median> {
        Median::of(setting, rounds)
    }

    fn format_run(&self, setting: &Setting) -> String {
        let setting = text::format_setting(setting);
        format!("{setting}  {}", text::format_figures(self))
    }

    fn format_median(median: &Median) -> String {
        let setting = text::format_setting(&median.setting);
        format!("{setting}  {}", text::format_median(median))
    }
}

/// Quantiles of one run in microseconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct LatencyUs {
    /// Median.
    pub p50: f64,
    /// 99 of 100 are not above.
    pub p99: f64,
    /// 999 of 1000 are not above.
    pub p999: f64,
    /// The slowest.
    pub max: f64,
}

impl LatencyUs {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a latency is far below 2^52 nanoseconds"
    )]
    pub(crate) fn of(nanoseconds: &Histogram<u64>) -> Self {
        let at = |quantile| nanoseconds.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: nanoseconds.max() as f64 / 1e3,
        }
    }
}
