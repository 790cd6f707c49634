//! Rows for people: one line each, units in the line.

use super::median::Median;
use super::{Figures, Measured, Row, Setting};
use crate::host::Machine;
use crate::round_file::{Durability, FileKind, WriteMode};
use crate::size::format_bytes;

pub(super) fn format_row<M: Measured>(row: &Row<'_, M>) -> String {
    match row {
        Row::Machine(machine) => format_machine(machine),
        Row::Run {
            round,
            setting,
            figures,
        } => format!("round {round:<2}  {}", figures.format_run(setting)),
        Row::Median(median) => format!("median    {}", M::format_median(median)),
    }
}

/// How much of the machine others had during a run.
pub(crate) fn format_neighbours(steal_percent: f64, others_percent: f64) -> String {
    format!("steal {steal_percent:.0} %  others {others_percent:.0} %")
}

/// Where it was measured.
pub(crate) fn format_machine(machine: &Machine) -> String {
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

pub(super) fn format_setting(setting: &Setting) -> String {
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

pub(super) fn format_figures(figures: &Figures) -> String {
    let neighbours = format_neighbours(figures.steal_percent, figures.others_percent);
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

pub(super) fn format_median(median: &Median) -> String {
    let others = median.others_percent.format(0);
    if let Some(latency) = &median.latency_us {
        let (p50, p99) = (latency.p50.format(0), latency.p99.format(0));
        let max = latency.max.format(0);
        return format!("p50 {p50} us  p99 {p99} us  max {max} us  others {others} %");
    }
    let rate = median.megabytes_per_second.format(0);
    let server = median
        .server_cpu_seconds_per_gb
        .map_or_else(String::new, |cpu| {
            format!("  server {} s CPU/GB", cpu.format(2))
        });
    let client = median.client_cpu_seconds_per_gb.format(2);
    format!("{rate} MB/s{server}  client {client} s CPU/GB  others {others} %")
}
