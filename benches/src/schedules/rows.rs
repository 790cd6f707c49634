//! The figures of scheduled records, and their medians.

use serde::Serialize;

use crate::report::Measured;
use crate::spread::Spread;

/// What is measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SchedulesSetting {
    /// `schedules`.
    pub benchmark: &'static str,
    /// How many records are scheduled.
    pub records: u32,
    /// How many with one commit.
    pub records_per_commit: u32,
}

/// What they cost.
#[derive(Debug, Clone, Serialize)]
pub struct Schedules {
    /// Records scheduled a second.
    pub scheduled_per_second: f64,
    /// Resident memory of the broker before there was anything.
    pub empty_bytes: u64,
    /// Resident memory when all were scheduled.
    pub memory_bytes: u64,
    /// From the start of the next life to the line that says that it is ready.
    pub ready_ms: f64,
    /// Resident memory then.
    pub ready_memory_bytes: u64,
    /// Resident memory when all were due and delivered.
    pub delivered_memory_bytes: u64,
    /// Overdue records delivered a second.
    pub delivered_per_second: f64,
}

/// Median, minimum and maximum.
#[derive(Debug, Clone, Serialize)]
pub struct SchedulesMedian {
    rounds: usize,
    #[serde(flatten)]
    setting: SchedulesSetting,
    scheduled_per_second: Spread,
    memory_bytes: Spread,
    ready_ms: Spread,
    delivered_per_second: Spread,
}

impl Measured for Schedules {
    type Setting = SchedulesSetting;
    type Median = SchedulesMedian;

    fn median(setting: &SchedulesSetting, rounds: &[&Self]) -> Option<SchedulesMedian> {
        let spread = |value: fn(&Self) -> f64| Spread::of(rounds.iter().map(|it| value(it)));
        Some(SchedulesMedian {
            rounds: rounds.len(),
            setting: setting.clone(),
            scheduled_per_second: spread(|it| it.scheduled_per_second)?,
            memory_bytes: spread(|it| megabytes(it.memory_bytes) * 1e6)?,
            ready_ms: spread(|it| it.ready_ms)?,
            delivered_per_second: spread(|it| it.delivered_per_second)?,
        })
    }

    fn format_run(&self, setting: &SchedulesSetting) -> String {
        format!(
            "{}  {:.0} scheduled/s  {:.1} MB, before {:.1}  ready after {:.0} ms with {:.1} MB  \
             {:.0} delivered/s, then {:.1} MB",
            format_setting(setting),
            self.scheduled_per_second,
            megabytes(self.memory_bytes),
            megabytes(self.empty_bytes),
            self.ready_ms,
            megabytes(self.ready_memory_bytes),
            self.delivered_per_second,
            megabytes(self.delivered_memory_bytes),
        )
    }

    fn format_median(median: &SchedulesMedian) -> String {
        format!(
            "{}  {} scheduled/s  {} bytes  ready after {} ms  {} delivered/s",
            format_setting(&median.setting),
            median.scheduled_per_second.format(0),
            median.memory_bytes.format(0),
            median.ready_ms.format(0),
            median.delivered_per_second.format(0)
        )
    }
}

fn format_setting(setting: &SchedulesSetting) -> String {
    format!(
        "{}  {} records, {} with a commit",
        setting.benchmark, setting.records, setting.records_per_commit
    )
}

#[expect(clippy::cast_precision_loss, reason = "figures of a measurement")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
