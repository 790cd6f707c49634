//! The figures of one restart, and their medians.

use std::fmt;

use serde::Serialize;

use super::page_cache::PageCache;
use crate::report::{Measured, format_neighbours};
use crate::size::format_bytes;
use crate::spread::{Spread, to_float};

/// How the broker ended before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stop {
    /// By `kill -9`, in the middle of the load.
    Kill,
    /// By SIGTERM, in the middle of the load: it drained.
    Terminate,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Kill => "kill",
            Self::Terminate => "terminate",
        })
    }
}

/// What was measured: equal settings are rounds of the same measurement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecoverySetting {
    /// Always `recovery`.
    pub benchmark: &'static str,
    /// Bytes that were asked to be stored.
    pub size_bytes: u64,
    /// Bytes of the value of each record.
    pub record_bytes: usize,
    /// Partitions of the stored topic, and of the one that the load writes to.
    pub partitions: u32,
    /// How the broker ended before.
    pub stop: Stop,
    /// Whether recovery found files in memory.
    pub page_cache: PageCache,
}

/// The figures of one restart.
#[derive(Debug, Clone, Serialize)]
pub struct Recovery {
    /// Bytes in the folder's topics, by the broker's own count.
    pub stored_bytes: u64,
    /// Entries behind the last checkpoint, which recovery replays.
    pub entry_count: u64,
    /// Length of the journal behind the last checkpoint.
    pub journal_bytes: u64,
    /// Length of the frames that this part of the journal only refers to.
    pub referenced_bytes: u64,
    /// From starting the process to its line that it is ready.
    pub ready_ms: f64,
    /// From starting the process to the acknowledgement of a new client's first record.
    pub first_write_ms: f64,
    /// Processor time of the broker up to then.
    pub server_cpu_seconds: f64,
    /// Share of processor time that the hypervisor gave to others.
    pub steal_percent: f64,
    /// Share of processor time that other processes of the machine had.
    pub others_percent: f64,
}

/// Median, minimum and maximum over all rounds of one setting.
#[derive(Debug, Clone, Serialize)]
pub struct RecoveryMedian {
    rounds: usize,
    #[serde(flatten)]
    setting: RecoverySetting,
    stored_bytes: Spread,
    entry_count: Spread,
    journal_bytes: Spread,
    referenced_bytes: Spread,
    ready_ms: Spread,
    first_write_ms: Spread,
    server_cpu_seconds: Spread,
    steal_percent: Spread,
    others_percent: Spread,
}

impl Recovery {
    /// Bytes that recovery looks at: the journal, and what that refers to.
    pub fn replayed_bytes(&self) -> u64 {
        self.journal_bytes + self.referenced_bytes
    }
}

impl Measured for Recovery {
    type Setting = RecoverySetting;
    type Median = RecoveryMedian;

    fn median(setting: &RecoverySetting, rounds: &[&Self]) -> Option<RecoveryMedian> {
        let spread = |value: fn(&Self) -> f64| Spread::of(rounds.iter().map(|round| value(round)));
        Some(RecoveryMedian {
            rounds: rounds.len(),
            setting: setting.clone(),
            stored_bytes: spread(|it| to_float(it.stored_bytes))?,
            entry_count: spread(|it| to_float(it.entry_count))?,
            journal_bytes: spread(|it| to_float(it.journal_bytes))?,
            referenced_bytes: spread(|it| to_float(it.referenced_bytes))?,
            ready_ms: spread(|it| it.ready_ms)?,
            first_write_ms: spread(|it| it.first_write_ms)?,
            server_cpu_seconds: spread(|it| it.server_cpu_seconds)?,
            steal_percent: spread(|it| it.steal_percent)?,
            others_percent: spread(|it| it.others_percent)?,
        })
    }

    fn format_run(&self, setting: &RecoverySetting) -> String {
        let setting = format_setting(setting);
        let journal = format_journal(
            to_float(self.journal_bytes),
            to_float(self.referenced_bytes),
        );
        let (ready, first_write) = (self.ready_ms, self.first_write_ms);
        let neighbours = format_neighbours(self.steal_percent, self.others_percent);
        format!(
            "{setting}  {journal}  ready {ready:.0} ms  first write {first_write:.0} ms  {neighbours}"
        )
    }

    fn format_median(median: &RecoveryMedian) -> String {
        let setting = format_setting(&median.setting);
        let (journal, referenced) = (median.journal_bytes.median, median.referenced_bytes.median);
        let journal = format_journal(journal, referenced);
        let (ready, first_write) = (median.ready_ms.format(0), median.first_write_ms.format(0));
        let others = median.others_percent.format(0);
        format!(
            "{setting}  {journal}  ready {ready} ms  first write {first_write} ms  others {others} %"
        )
    }
}

fn format_setting(setting: &RecoverySetting) -> String {
    let size = usize::try_from(setting.size_bytes).unwrap_or(usize::MAX);
    let page_cache = match setting.page_cache {
        PageCache::Dropped => "dropped",
        PageCache::Kept => "kept",
    };
    format!(
        "{}  {:>7} stored  {:<9}  cache {page_cache}",
        setting.benchmark,
        format_bytes(size),
        setting.stop
    )
}

fn format_journal(journal_bytes: f64, referenced_bytes: f64) -> String {
    let (journal, referenced) = (journal_bytes / 1e6, referenced_bytes / 1e6);
    format!("journal {journal:>4.0} MB, referenced {referenced:>4.0} MB")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::host::Machine;
    use crate::recovery::testing::restart;
    use crate::report::{Format, Report};

    fn print(format: Format) -> String {
        let machine = Machine {
            processor: "abacus".to_owned(),
            cores: 2,
            memory_gib: 24,
            kernel: "6".to_owned(),
            file_system: Some("ext4".to_owned()),
        };
        let mut sink = Vec::new();
        let mut report = Report::start(&mut sink, format, machine).unwrap();
        for (round, stop, ready_ms) in [
            (1, Stop::Kill, 30.0),
            (1, Stop::Terminate, 20.0),
            (2, Stop::Kill, 50.0),
        ] {
            let (setting, recovery) = restart(1 << 30, stop, 200, ready_ms);
            report.add(round, setting, recovery).unwrap();
        }
        report.finish().unwrap();
        String::from_utf8(sink).unwrap()
    }

    #[test]
    fn rows_keep_what_follows_a_kill_apart_from_what_follows_a_stop() {
        let text = print(Format::Json);
        let rows = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let rows: Vec<Value> = rows.collect();
        assert_eq!(rows.len(), 6, "machine, three runs, two medians");
        assert_eq!(rows[1]["row"], json!("run"));
        assert_eq!(rows[1]["benchmark"], json!("recovery"));
        assert_eq!(rows[1]["size_bytes"], json!(1 << 30));
        assert_eq!(rows[1]["page_cache"], json!("dropped"));
        assert_eq!(rows[2]["stop"], json!("terminate"));
        assert_eq!(rows[3]["journal_bytes"], json!(180_000_000));
        let expected = json!({"median": 40.0, "min": 30.0, "max": 50.0});
        assert_eq!(rows[4]["ready_ms"], expected);
        assert_eq!(rows[4]["rounds"], json!(2));
        assert_eq!(rows[5]["stop"], json!("terminate"));
    }

    #[test]
    fn text_rows_name_size_end_and_units() {
        let text = print(Format::Text);
        let median = text
            .lines()
            .find(|line| line.starts_with("median"))
            .unwrap();
        for part in [
            "1 GiB stored",
            "kill",
            "cache dropped",
            "journal  180 MB, referenced   20 MB",
            "ready 40 (30 to 50) ms",
        ] {
            assert!(median.contains(part), "{part} is missing in: {median}");
        }
    }
}
