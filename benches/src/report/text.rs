//! Rows for people: one line each, units in the line.

use super::median::Median;
use super::{Figures, Row, Setting};
use crate::host::Machine;
use crate::round_file::{Durability, FileKind, WriteMode};
use crate::size::format_bytes;
use crate::spread::Spread;

pub(super) fn format_row(row: &Row) -> String {
    match row {
        Row::Machine(machine) => format_machine(machine),
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

fn format_machine(machine: &Machine) -> String {
    let Machine {
        processor,
        cores,
        memory_gib,
        kernel,
        file_system,
    } = machine;
    let file_system = file_system.as_deref().unwrap_or("no file system measured");
    format!("{cores} cores of {processor}, {memory_gib} GiB, Linux {kernel}, {file_system}")
}

fn format_setting(setting: &Setting) -> String {
    let write = setting.write.map(|write| match write {
        WriteMode::Buffered => "buffered",
        WriteMode::Direct => "direct",
    });
    let file = setting.file.map(|file| match file {
        FileKind::Overwritten => "overwritten",
        FileKind::Fresh => "fresh",
    });
    let durability = setting.durability.map(|durability| match durability {
        Durability::Fdatasync => "fdatasync",
        Durability::None => "no sync",
    });
    let file: Vec<_> = [write, file, durability].into_iter().flatten().collect();
    let size = format_bytes(setting.message_bytes);
    format!(
        "{:<19}  {size:>7}  {:<32}",
        setting.benchmark,
        file.join(", ")
    )
}

fn format_figures(figures: &Figures) -> String {
    let (steal, others) = (figures.steal_percent, figures.others_percent);
    let neighbours = format!("steal {steal:.0} %  others {others:.0} %");
    if let Some(latency) = figures.latency_us {
        let (p50, p99, max) = (latency.p50, latency.p99, latency.max);
        return format!("p50 {p50:.0} us  p99 {p99:.0} us  max {max:.0} us  {neighbours}");
    }
    let rate = figures.megabytes_per_second;
    let server = figures
        .server_cpu_seconds_per_gb
        .map_or_else(String::new, |cpu| format!("  server {cpu:.2} s CPU/GB"));
    let client = figures.client_cpu_seconds_per_gb;
    format!("{rate:.0} MB/s{server}  client {client:.2} s CPU/GB  {neighbours}")
}

fn format_median(median: &Median) -> String {
    let others = format_spread(&median.others_percent, 0);
    if let Some(latency) = &median.latency_us {
        let (p50, p99) = (
            format_spread(&latency.p50, 0),
            format_spread(&latency.p99, 0),
        );
        let max = format_spread(&latency.max, 0);
        return format!("p50 {p50} us  p99 {p99} us  max {max} us  others {others} %");
    }
    let rate = format_spread(&median.megabytes_per_second, 0);
    let server = median
        .server_cpu_seconds_per_gb
        .map_or_else(String::new, |cpu| {
            format!("  server {} s CPU/GB", format_spread(&cpu, 2))
        });
    let client = format_spread(&median.client_cpu_seconds_per_gb, 2);
    format!("{rate} MB/s{server}  client {client} s CPU/GB  others {others} %")
}

fn format_spread(spread: &Spread, decimals: usize) -> String {
    let Spread { median, min, max } = spread;
    format!("{median:.decimals$} ({min:.decimals$} to {max:.decimals$})")
}
