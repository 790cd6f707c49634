//! The figures of groups, and their medians.

use std::fmt;

use serde::Serialize;

use crate::host::Usage;
use crate::report::{Measured, format_neighbours};
use crate::spread::Spread;

/// How a member goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Departure {
    /// By SIGINT: it leaves its group.
    Leave,
    /// By `kill -9`.
    Kill,
}

impl fmt::Display for Departure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Leave => "leave",
            Self::Kill => "kill",
        })
    }
}

/// What was measured: equal settings are rounds of the same measurement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupSetting {
    /// `groups takeover` or `groups idle`.
    pub benchmark: &'static str,
    /// Partitions that the group shares.
    pub partitions: u32,
    /// Members at the beginning.
    pub members: u32,
    /// How one of them went, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub departure: Option<Departure>,
}

/// How long it took until partitions had an owner again.
#[derive(Debug, Clone, Serialize)]
pub struct Takeover {
    /// From the signal to the member to the news of its partitions at the heir.
    pub ownerless_ms: f64,
    /// Share of processor time that the hypervisor gave to others.
    pub steal_percent: f64,
    /// Share of processor time that other processes of the machine had.
    pub others_percent: f64,
}

/// What members cost that have nothing to do.
#[derive(Debug, Clone, Serialize)]
pub struct Idle {
    /// How long it was measured.
    pub seconds: f64,
    /// Processor time of the broker, in percent of one core.
    pub server_core_percent: f64,
    /// Processor time of all members.
    pub client_core_percent: f64,
    /// Share of processor time that the hypervisor gave to others.
    pub steal_percent: f64,
    /// Share of processor time that other processes of the machine had.
    pub others_percent: f64,
}

/// Median, minimum and maximum of takeovers.
#[derive(Debug, Clone, Serialize)]
pub struct TakeoverMedian {
    rounds: usize,
    #[serde(flatten)]
    setting: GroupSetting,
    ownerless_ms: Spread,
    others_percent: Spread,
}

/// Median, minimum and maximum of idle members.
#[derive(Debug, Clone, Serialize)]
pub struct IdleMedian {
    rounds: usize,
    #[serde(flatten)]
    setting: GroupSetting,
    server_core_percent: Spread,
    client_core_percent: Spread,
    others_percent: Spread,
}

impl Idle {
    pub(super) fn of(usage: &Usage) -> Self {
        let percent = |cpu_seconds: f64| 100.0 * cpu_seconds / usage.seconds;
        Self {
            seconds: usage.seconds,
            server_core_percent: percent(usage.server_cpu_seconds.unwrap_or_default()),
            client_core_percent: percent(usage.client_cpu_seconds),
            steal_percent: usage.steal_percent,
            others_percent: usage.others_percent,
        }
    }
}

impl Measured for Takeover {
    type Setting = GroupSetting;
    type Median = TakeoverMedian;

    fn median(setting: &GroupSetting, rounds: &[&Self]) -> Option<TakeoverMedian> {
        let spread = |value: fn(&Self) -> f64| Spread::of(rounds.iter().map(|it| value(it)));
        Some(TakeoverMedian {
            rounds: rounds.len(),
            setting: setting.clone(),
            ownerless_ms: spread(|it| it.ownerless_ms)?,
            others_percent: spread(|it| it.others_percent)?,
        })
    }

    fn format_run(&self, setting: &GroupSetting) -> String {
        let neighbours = format_neighbours(self.steal_percent, self.others_percent);
        let setting = format_setting(setting);
        format!("{setting}  {:.1} ms  {neighbours}", self.ownerless_ms)
    }

    fn format_median(median: &TakeoverMedian) -> String {
        let setting = format_setting(&median.setting);
        let others = median.others_percent.format(0);
        let takeover = median.ownerless_ms.format(1);
        format!("{setting}  {takeover} ms  others {others} %")
    }
}

impl Measured for Idle {
    type Setting = GroupSetting;
    type Median = IdleMedian;

    fn median(setting: &GroupSetting, rounds: &[&Self]) -> Option<IdleMedian> {
        let spread = |value: fn(&Self) -> f64| Spread::of(rounds.iter().map(|it| value(it)));
        Some(IdleMedian {
            rounds: rounds.len(),
            setting: setting.clone(),
            server_core_percent: spread(|it| it.server_core_percent)?,
            client_core_percent: spread(|it| it.client_core_percent)?,
            others_percent: spread(|it| it.others_percent)?,
        })
    }

    fn format_run(&self, setting: &GroupSetting) -> String {
        let neighbours = format_neighbours(self.steal_percent, self.others_percent);
        let (server, client) = (self.server_core_percent, self.client_core_percent);
        let setting = format_setting(setting);
        format!("{setting}  broker {server:.2} %  members {client:.2} % of a core  {neighbours}")
    }

    fn format_median(median: &IdleMedian) -> String {
        let setting = format_setting(&median.setting);
        let server = median.server_core_percent.format(2);
        let client = median.client_core_percent.format(2);
        let others = median.others_percent.format(0);
        format!("{setting}  broker {server} %  members {client} % of a core  others {others} %")
    }
}

fn format_setting(setting: &GroupSetting) -> String {
    let departure = setting.departure.map(|it| format!("  {it:<5}"));
    format!(
        "{:<15}  {} partitions  {} members{}",
        setting.benchmark,
        setting.partitions,
        setting.members,
        departure.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(departure: Option<Departure>) -> GroupSetting {
        GroupSetting {
            benchmark: "groups takeover",
            partitions: 8,
            members: 2,
            departure,
        }
    }

    #[test]
    fn a_takeover_is_told_with_how_the_member_went() {
        let takeover = |ownerless_ms| Takeover {
            ownerless_ms,
            steal_percent: 0.0,
            others_percent: 4.0,
        };
        let setting = setting(Some(Departure::Kill));
        let rounds = [2_040.0, 2_000.0, 2_050.0].map(takeover);
        let rounds: Vec<_> = rounds.iter().collect();
        let median = Takeover::median(&setting, &rounds).expect("rounds");
        let expected = "groups takeover  8 partitions  2 members  kill   \
                        2040.0 (2000.0 to 2050.0) ms  others 4 (4 to 4) %";
        assert_eq!(Takeover::format_median(&median), expected);
        assert!(Takeover::median(&setting, &[]).is_none(), "no rounds");
    }

    #[test]
    fn idle_members_cost_parts_of_a_core() {
        let idle = Idle::of(&Usage {
            seconds: 10.0,
            server_cpu_seconds: Some(0.05),
            client_cpu_seconds: 0.1,
            steal_percent: 0.0,
            others_percent: 0.0,
        });
        let row = idle.format_run(&setting(None));
        assert!(
            row.contains("broker 0.50 %  members 1.00 % of a core"),
            "{row}"
        );
    }
}
