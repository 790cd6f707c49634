//! The figures at one step, and their medians.

use serde::Serialize;

use super::Curve;
use crate::broker_process::bench::BenchLatencyUs;
use crate::report::Measured;
use crate::spread::{Spread, to_float};

/// What was measured: equal settings are rounds of the same measurement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GrowthSetting {
    /// Always `growth`.
    pub benchmark: &'static str,
    /// What grows.
    pub curve: Curve,
    /// How large it is: bytes, or how many there are.
    pub at: u64,
    /// Records of 1 KiB that are written as fast as it goes.
    pub records: u64,
    /// Records that are sent with one in flight a client.
    pub latency_records: u64,
}

/// The figures of one round.
#[derive(Debug, Clone, Serialize)]
pub struct Growth {
    /// Durable, over the whole run.
    pub produce_megabytes_per_second: f64,
    /// The worst whole second of that; none in a short run.
    pub worst_second_megabytes_per_second: Option<f64>,
    /// The median whole second.
    pub median_second_megabytes_per_second: Option<f64>,
    /// That were written meanwhile.
    pub checkpoints: Option<u64>,
    /// Processor time of the broker for 10^9 bytes of values.
    pub produce_server_cpu_seconds_per_gb: Option<f64>,
    /// What one client reads of records in the broker's memory.
    pub tail_megabytes_per_second: f64,
    /// Acknowledged, with one in flight a client.
    pub one_in_flight_records_per_second: f64,
    /// How long each of those takes.
    pub one_in_flight_us: BenchLatencyUs,
    /// Resident memory of the broker after all that.
    pub memory_bytes: u64,
    /// How long its next start takes, after a stop.
    pub ready_ms: f64,
    /// Resident memory then.
    pub ready_memory_bytes: u64,
    /// Share of processor time that the hypervisor gave to others.
    pub steal_percent: f64,
}

/// Median, minimum and maximum over all rounds of one step.
#[derive(Debug, Clone, Serialize)]
pub struct GrowthMedian {
    rounds: usize,
    #[serde(flatten)]
    setting: GrowthSetting,
    produce_megabytes_per_second: Spread,
    #[serde(skip_serializing_if = "Option::is_none")]
    worst_second_megabytes_per_second: Option<Spread>,
    tail_megabytes_per_second: Spread,
    one_in_flight_records_per_second: Spread,
    one_in_flight_p50_us: Spread,
    one_in_flight_p99_us: Spread,
    memory_bytes: Spread,
    ready_ms: Spread,
    ready_memory_bytes: Spread,
}

impl Measured for Growth {
    type Setting = GrowthSetting;
    type Median = GrowthMedian;

    fn median(setting: &GrowthSetting, rounds: &[&Self]) -> Option<GrowthMedian> {
        let spread = |value: fn(&Self) -> f64| Spread::of(rounds.iter().map(|it| value(it)));
        let worst = |it: &&Self| it.worst_second_megabytes_per_second;
        Some(GrowthMedian {
            rounds: rounds.len(),
            setting: setting.clone(),
            produce_megabytes_per_second: spread(|it| it.produce_megabytes_per_second)?,
            worst_second_megabytes_per_second: Spread::of(rounds.iter().filter_map(worst)),
            tail_megabytes_per_second: spread(|it| it.tail_megabytes_per_second)?,
            one_in_flight_records_per_second: spread(|it| it.one_in_flight_records_per_second)?,
            one_in_flight_p50_us: spread(|it| it.one_in_flight_us.p50)?,
            one_in_flight_p99_us: spread(|it| it.one_in_flight_us.p99)?,
            memory_bytes: spread(|it| to_float(it.memory_bytes))?,
            ready_ms: spread(|it| it.ready_ms)?,
            ready_memory_bytes: spread(|it| to_float(it.ready_memory_bytes))?,
        })
    }

    fn format_run(&self, setting: &GrowthSetting) -> String {
        let worst = self.worst_second_megabytes_per_second;
        let worst = worst.map_or_else(String::new, |it| format!(", worst second {it:.0}"));
        format!(
            "{}  produce {:.0} MB/s{worst}  tail {:.0} MB/s  one in flight {:.0}/s, p50 {:.0} us, p99 \
             {:.0} us  memory {:.0} MB  ready {:.0} ms, {:.0} MB",
            format_setting(setting),
            self.produce_megabytes_per_second,
            self.tail_megabytes_per_second,
            self.one_in_flight_records_per_second,
            self.one_in_flight_us.p50,
            self.one_in_flight_us.p99,
            to_float(self.memory_bytes) / 1e6,
            self.ready_ms,
            to_float(self.ready_memory_bytes) / 1e6
        )
    }

    fn format_median(median: &GrowthMedian) -> String {
        format!(
            "{}  produce {} MB/s  tail {} MB/s  one in flight p50 {} us  memory {} bytes  ready {} ms",
            format_setting(&median.setting),
            median.produce_megabytes_per_second.format(0),
            median.tail_megabytes_per_second.format(0),
            median.one_in_flight_p50_us.format(0),
            median.memory_bytes.format(0),
            median.ready_ms.format(0)
        )
    }
}

fn format_setting(setting: &GrowthSetting) -> String {
    let GrowthSetting { curve, at, .. } = setting;
    let at = curve.format_step(*at);
    format!("{}  {:<13} {at:>8}", setting.benchmark, curve.word())
}
