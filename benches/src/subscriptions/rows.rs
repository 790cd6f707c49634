//! The figures of subscriptions, and their medians.

use serde::Serialize;

use crate::report::{Measured, format_neighbours};
use crate::spread::Spread;

/// Subscriptions that nothing happens in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IdleSetting {
    /// `subscriptions idle`.
    pub benchmark: &'static str,
    /// How many there are.
    pub subscriptions: u32,
    /// Topics that they share.
    pub topics: u32,
    /// Subscriptions that have a consumer.
    pub consumers: u32,
}

/// What they cost.
#[derive(Debug, Clone, Serialize)]
pub struct Idle {
    /// How long processor time was measured.
    pub seconds: f64,
    /// Processor time of the broker, in percent of one core.
    pub server_core_percent: f64,
    /// Resident memory of the broker before there was anything.
    pub empty_bytes: u64,
    /// Resident memory in the end.
    pub memory_bytes: u64,
    /// From the start of the next life to the line that says that it is ready.
    pub ready_ms: f64,
    /// Resident memory then.
    pub ready_memory_bytes: u64,
    /// Share of processor time that the hypervisor gave to others.
    pub steal_percent: f64,
    /// Share of processor time that other processes of the machine had.
    pub others_percent: f64,
}

/// Median, minimum and maximum.
#[derive(Debug, Clone, Serialize)]
pub struct IdleMedian {
    rounds: usize,
    #[serde(flatten)]
    setting: IdleSetting,
    server_core_percent: Spread,
    memory_bytes: Spread,
    ready_ms: Spread,
    ready_memory_bytes: Spread,
    others_percent: Spread,
}

/// Records that consumers have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InFlightSetting {
    /// `subscriptions in-flight`.
    pub benchmark: &'static str,
    /// `shared` or `key-shared`.
    pub mode: &'static str,
    /// How many records.
    pub records: u32,
    /// Who has them.
    pub consumers: u32,
}

/// What they cost.
#[derive(Debug, Clone, Serialize)]
pub struct InFlight {
    /// Resident memory of the broker with all consumers, before they had anything.
    pub memory_bytes_before: u64,
    /// Resident memory when they had all records.
    pub memory_bytes: u64,
    /// Growth, for each record.
    pub bytes_per_record: f64,
}

/// Median, minimum and maximum.
#[derive(Debug, Clone, Serialize)]
pub struct InFlightMedian {
    rounds: usize,
    #[serde(flatten)]
    setting: InFlightSetting,
    memory_bytes_before: Spread,
    bytes_per_record: Spread,
}

/// Records that are handled, perhaps beside one that waits for an hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WaitingSetting {
    /// `subscriptions waiting`.
    pub benchmark: &'static str,
    /// Whether one waits.
    pub is_one_waiting: bool,
    /// How many records.
    pub records: u32,
    /// How many keys they have.
    pub keys: u32,
}

/// How fast that goes.
#[derive(Debug, Clone, Serialize)]
pub struct Waiting {
    /// From the first consumer until all are settled that can be.
    pub seconds: f64,
    /// Records settled a second.
    pub records_per_second: f64,
    /// Records that are not settled then: those of the key that waits.
    pub lag_records: u64,
    /// Resident memory of the broker then.
    pub memory_bytes: u64,
}

/// Median, minimum and maximum.
#[derive(Debug, Clone, Serialize)]
pub struct WaitingMedian {
    rounds: usize,
    #[serde(flatten)]
    setting: WaitingSetting,
    records_per_second: Spread,
    lag_records: Spread,
}

impl Measured for Idle {
    type Setting = IdleSetting;
    type Median = IdleMedian;

    fn median(setting: &IdleSetting, rounds: &[&Self]) -> Option<IdleMedian> {
        let spread = |value: fn(&Self) -> f64| Spread::of(rounds.iter().map(|it| value(it)));
        Some(IdleMedian {
            rounds: rounds.len(),
            setting: setting.clone(),
            server_core_percent: spread(|it| it.server_core_percent)?,
            memory_bytes: spread(|it| number(it.memory_bytes))?,
            ready_ms: spread(|it| it.ready_ms)?,
            ready_memory_bytes: spread(|it| number(it.ready_memory_bytes))?,
            others_percent: spread(|it| it.others_percent)?,
        })
    }

    fn format_run(&self, setting: &IdleSetting) -> String {
        let setting = format_idle(setting);
        format!(
            "{setting}  {:.2} % of a core  {:.1} MB (empty {:.1})  ready in {:.0} ms with {:.1} MB  {}",
            self.server_core_percent,
            megabytes(self.memory_bytes),
            megabytes(self.empty_bytes),
            self.ready_ms,
            megabytes(self.ready_memory_bytes),
            format_neighbours(self.steal_percent, self.others_percent)
        )
    }

    fn format_median(median: &IdleMedian) -> String {
        format!(
            "{}  {} % of a core  {} bytes  ready in {} ms with {} bytes  others {} %",
            format_idle(&median.setting),
            median.server_core_percent.format(2),
            median.memory_bytes.format(0),
            median.ready_ms.format(0),
            median.ready_memory_bytes.format(0),
            median.others_percent.format(0)
        )
    }
}

impl Measured for InFlight {
    type Setting = InFlightSetting;
    type Median = InFlightMedian;

    fn median(setting: &InFlightSetting, rounds: &[&Self]) -> Option<InFlightMedian> {
        let spread = |value: fn(&Self) -> f64| Spread::of(rounds.iter().map(|it| value(it)));
        Some(InFlightMedian {
            rounds: rounds.len(),
            setting: setting.clone(),
            memory_bytes_before: spread(|it| number(it.memory_bytes_before))?,
            bytes_per_record: spread(|it| it.bytes_per_record)?,
        })
    }

    fn format_run(&self, setting: &InFlightSetting) -> String {
        format!(
            "{}  {:.1} bytes a record  {:.1} MB, without them {:.1}",
            format_in_flight(setting),
            self.bytes_per_record,
            megabytes(self.memory_bytes),
            megabytes(self.memory_bytes_before)
        )
    }

    fn format_median(median: &InFlightMedian) -> String {
        format!(
            "{}  {} bytes a record  on top of {} bytes",
            format_in_flight(&median.setting),
            median.bytes_per_record.format(1),
            median.memory_bytes_before.format(0)
        )
    }
}

impl Measured for Waiting {
    type Setting = WaitingSetting;
    type Median = WaitingMedian;

    fn median(setting: &WaitingSetting, rounds: &[&Self]) -> Option<WaitingMedian> {
        let spread = |value: fn(&Self) -> f64| Spread::of(rounds.iter().map(|it| value(it)));
        Some(WaitingMedian {
            rounds: rounds.len(),
            setting: setting.clone(),
            records_per_second: spread(|it| it.records_per_second)?,
            lag_records: spread(|it| number(it.lag_records))?,
        })
    }

    fn format_run(&self, setting: &WaitingSetting) -> String {
        format!(
            "{}  {:.0} records/s in {:.1} s, {} left  {:.1} MB",
            format_waiting(setting),
            self.records_per_second,
            self.seconds,
            self.lag_records,
            megabytes(self.memory_bytes)
        )
    }

    fn format_median(median: &WaitingMedian) -> String {
        format!(
            "{}  {} records/s, {} left",
            format_waiting(&median.setting),
            median.records_per_second.format(0),
            median.lag_records.format(0)
        )
    }
}

fn format_waiting(setting: &WaitingSetting) -> String {
    let beside = match setting.is_one_waiting {
        true => "beside one that waits",
        false => "nothing waits",
    };
    format!(
        "{}  {beside:<21}  {} records of {} keys",
        setting.benchmark, setting.records, setting.keys
    )
}

fn format_idle(setting: &IdleSetting) -> String {
    format!(
        "{}  {} of {} topics, {} with a consumer",
        setting.benchmark, setting.subscriptions, setting.topics, setting.consumers
    )
}

fn format_in_flight(setting: &InFlightSetting) -> String {
    format!(
        "{}  {:<10}  {} records  {} consumers",
        setting.benchmark, setting.mode, setting.records, setting.consumers
    )
}

fn megabytes(bytes: u64) -> f64 {
    number(bytes) / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "figures of a measurement")]
fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_flight_is_told_with_its_mode() {
        let in_flight = |bytes_per_record| InFlight {
            memory_bytes_before: 20_000_000,
            memory_bytes: 22_000_000,
            bytes_per_record,
        };
        let setting = InFlightSetting {
            benchmark: "subscriptions in-flight",
            mode: "shared",
            records: 100_000,
            consumers: 3,
        };
        let rounds = [21.0, 20.0, 19.5].map(in_flight);
        let rounds: Vec<_> = rounds.iter().collect();
        let median = InFlight::median(&setting, &rounds).expect("rounds");
        let expected = "subscriptions in-flight  shared      100000 records  3 consumers  \
                        20.0 (19.5 to 21.0) bytes a record  on top of \
                        20000000 (20000000 to 20000000) bytes";
        assert_eq!(InFlight::format_median(&median), expected);
        assert!(InFlight::median(&setting, &[]).is_none(), "no rounds");
    }
}
