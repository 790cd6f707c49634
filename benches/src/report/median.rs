//! All rounds of one setting: the middle and the range of each figure.

use serde::Serialize;

use super::figures::{Figures, LatencyUs, Setting};
use crate::spread::Spread;

/// Median, minimum and maximum over all rounds of one setting.
#[derive(Debug, Clone, Serialize)]
pub struct Median {
    pub(super) rounds: usize,
    #[serde(flatten)]
    pub(super) setting: Setting,
    pub(super) megabytes_per_second: Spread,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) server_cpu_seconds_per_gb: Option<Spread>,
    pub(super) client_cpu_seconds_per_gb: Spread,
    pub(super) steal_percent: Spread,
    pub(super) others_percent: Spread,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) latency_us: Option<LatencySpreadUs>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct LatencySpreadUs {
    pub(super) p50: Spread,
    pub(super) p99: Spread,
    pub(super) p999: Spread,
    pub(super) max: Spread,
}

impl Median {
    pub(super) fn of(setting: &Setting, figures: &[&Figures]) -> Option<Self> {
        let spread = |value: fn(&Figures) -> f64| Spread::of(figures.iter().map(|f| value(f)));
        let latencies: Vec<LatencyUs> = figures.iter().filter_map(|f| f.latency_us).collect();
        Some(Self {
            rounds: figures.len(),
            setting: setting.clone(),
            megabytes_per_second: spread(|f| f.megabytes_per_second)?,
            server_cpu_seconds_per_gb: Spread::of(
                figures.iter().filter_map(|f| f.server_cpu_seconds_per_gb),
            ),
            client_cpu_seconds_per_gb: spread(|f| f.client_cpu_seconds_per_gb)?,
            steal_percent: spread(|f| f.steal_percent)?,
            others_percent: spread(|f| f.others_percent)?,
            latency_us: LatencySpreadUs::of(&latencies),
        })
    }
}

impl LatencySpreadUs {
    fn of(latencies: &[LatencyUs]) -> Option<Self> {
        let spread = |value: fn(&LatencyUs) -> f64| Spread::of(latencies.iter().map(value));
        Some(Self {
            p50: spread(|l| l.p50)?,
            p99: spread(|l| l.p99)?,
            p999: spread(|l| l.p999)?,
            max: spread(|l| l.max)?,
        })
    }
}
