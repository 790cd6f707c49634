//! The figures of topics that look at records, and their medians.

use serde::Serialize;

use super::Looking;
use crate::report::{LatencyUs, Measured};
use crate::spread::{Spread, to_float};

/// What is measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeysSetting {
    /// `keys`.
    pub benchmark: &'static str,
    /// How the topic looks at records.
    pub looking: Looking,
    /// How many are written.
    pub records: u32,
    /// How many keys they have.
    pub keys: u32,
}

/// What it costs.
#[derive(Debug, Clone, Serialize)]
pub struct Keys {
    /// How long writing took.
    pub seconds: f64,
    /// Records written a second.
    pub records_per_second: f64,
    /// Processor time of the broker for each, microseconds.
    pub server_cpu_us_per_record: f64,
    /// Resident memory of the broker after it.
    pub memory_bytes: u64,
    /// Bytes that came to the index on disk meanwhile; what changed last is in the journal.
    pub index_bytes: u64,
    /// Of reading the newest record of a key, where that can be asked.
    pub latest_us: Option<LatencyUs>,
    /// Of reading the history of a key, where there are any.
    pub history_us: Option<LatencyUs>,
}

/// Median, minimum and maximum.
#[derive(Debug, Clone, Serialize)]
pub struct KeysMedian {
    rounds: usize,
    #[serde(flatten)]
    setting: KeysSetting,
    records_per_second: Spread,
    server_cpu_us_per_record: Spread,
    memory_bytes: Spread,
}

impl Measured for Keys {
    type Setting = KeysSetting;
    type Median = KeysMedian;

    fn median(setting: &KeysSetting, rounds: &[&Self]) -> Option<KeysMedian> {
        let spread = |value: fn(&Self) -> f64| Spread::of(rounds.iter().map(|it| value(it)));
        Some(KeysMedian {
            rounds: rounds.len(),
            setting: setting.clone(),
            records_per_second: spread(|it| it.records_per_second)?,
            server_cpu_us_per_record: spread(|it| it.server_cpu_us_per_record)?,
            memory_bytes: spread(|it| to_float(it.memory_bytes))?,
        })
    }

    fn format_run(&self, setting: &KeysSetting) -> String {
        let latency = |name: &str, it: &Option<LatencyUs>| match it {
            Some(it) => format!("  {name} p50 {} us p99 {} us", it.p50, it.p99),
            None => String::new(),
        };
        format!(
            "{}  {:.0} records/s  {:.2} us of the broker each  {:.1} MB  index {:.1} MB{}{}",
            format_setting(setting),
            self.records_per_second,
            self.server_cpu_us_per_record,
            to_float(self.memory_bytes) / 1e6,
            to_float(self.index_bytes) / 1e6,
            latency("latest", &self.latest_us),
            latency("history", &self.history_us)
        )
    }

    fn format_median(median: &KeysMedian) -> String {
        format!(
            "{}  {} records/s  {} us of the broker each  {} bytes",
            format_setting(&median.setting),
            median.records_per_second.format(0),
            median.server_cpu_us_per_record.format(2),
            median.memory_bytes.format(0)
        )
    }
}

fn format_setting(setting: &KeysSetting) -> String {
    format!(
        "{}  {:<8}  {} records of {} keys",
        setting.benchmark, setting.looking, setting.records, setting.keys
    )
}
