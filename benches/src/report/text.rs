//! Rows for people: one line each, units in the line.

use super::median::{LatencySpreadUs, Median};
use super::{Figures, Row, Setting};
use crate::round_file::{Durability, FileKind, WriteMode};
use crate::size::format_bytes;
use crate::spread::Spread;

pub(super) fn format_row(row: &Row) -> String {
    match row {
        Row::Machine(machine) => format!(
            "{} cores of {}, {} GiB, Linux {}, {}",
            machine.cores,
            machine.processor,
            machine.memory_gib,
            machine.kernel,
            machine.file_system
        ),
        Row::Run {
            round,
            setting,
            figures,
        } => {
            format!(
                "round {round:<2}  {}  {}",
                format_setting(setting),
                format_figures(figures)
            )
        }
        Row::Median(median) => {
            format!(
                "median    {}  {}",
                format_setting(&median.setting),
                format_median(median)
            )
        }
    }
}

fn format_setting(setting: &Setting) -> String {
    let file = [
        setting.write.map(|write| match write {
            WriteMode::Buffered => "buffered",
            WriteMode::Direct => "direct",
        }),
        setting.file.map(|file| match file {
            FileKind::Overwritten => "overwritten",
            FileKind::Fresh => "fresh",
        }),
        setting.durability.map(|durability| match durability {
            Durability::Fdatasync => "fdatasync",
            Durability::None => "no sync",
        }),
    ];
    let file: Vec<_> = file.into_iter().flatten().collect();
    let size = format_bytes(setting.message_bytes);
    format!(
        "{:<20}  {size:>7}  {:<32}",
        setting.benchmark,
        file.join(", ")
    )
}

fn format_figures(figures: &Figures) -> String {
    if let Some(latency) = figures.latency_us {
        return format!(
            "p50 {:.0} us  p99 {:.0} us  max {:.0} us  {:.0} MB/s  steal {:.1} %",
            latency.p50,
            latency.p99,
            latency.max,
            figures.megabytes_per_second,
            figures.steal_percent
        );
    }
    let server = figures
        .server_cpu_seconds_per_gb
        .map_or_else(String::new, |cpu| format!("  server {cpu:.2} s CPU/GB"));
    format!(
        "{:>5.0} MB/s{server}  client {:.2} s CPU/GB  steal {:.1} %",
        figures.megabytes_per_second, figures.client_cpu_seconds_per_gb, figures.steal_percent
    )
}

fn format_median(median: &Median) -> String {
    let rate = format_spread(&median.megabytes_per_second, 0);
    if let Some(LatencySpreadUs { p50, p99, max, .. }) = &median.latency_us {
        return format!(
            "p50 {} us  p99 {} us  max {} us  {rate} MB/s",
            format_spread(p50, 0),
            format_spread(p99, 0),
            format_spread(max, 0)
        );
    }
    let server = median
        .server_cpu_seconds_per_gb
        .map_or_else(String::new, |cpu| {
            format!("  server {} s CPU/GB", format_spread(&cpu, 2))
        });
    let client = format_spread(&median.client_cpu_seconds_per_gb, 2);
    format!("{rate} MB/s{server}  client {client} s CPU/GB")
}

fn format_spread(spread: &Spread, decimals: usize) -> String {
    let Spread { median, min, max } = spread;
    format!("{median:.decimals$} ({min:.decimals$} to {max:.decimals$})")
}
