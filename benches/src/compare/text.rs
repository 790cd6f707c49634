//! The report for people: runs as they come, then a table for each job.

use std::io::Write;

use super::rows::{Card, Row, Run};
use super::summary::{Median, medians};
use super::work::{Job, Work};
use crate::report::{Format, format_machine, format_neighbours};
use crate::spread::Spread;
use crate::{Error, Result};

/// Prints rows as they come and the medians at the end.
#[derive(Debug)]
pub struct Comparison<W> {
    format: Format,
    sink: W,
    runs: Vec<Run>,
    /// Lines that say what was left out, each printed once.
    left_out: Vec<String>,
    name_count: u32,
}

impl<W: Write> Comparison<W> {
    /// Prints to `sink`.
    pub fn new(sink: W, format: Format) -> Self {
        Self {
            format,
            sink,
            runs: Vec::new(),
            left_out: Vec::new(),
            name_count: 0,
        }
    }

    /// A name that no run had before.
    pub(super) fn next_name(&mut self) -> String {
        self.name_count += 1;
        format!("load-{}", self.name_count)
    }

    /// Prints a row; runs are remembered for the medians.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn add(&mut self, row: Row) -> Result<()> {
        let line = match self.format {
            Format::Json => serde_json::to_string(&row)?,
            Format::Text => format_row(&row),
        };
        match row {
            Row::Run(run) => self.runs.push(run),
            // What a system lacks is the same in all sizes.
            Row::LeftOut(_) if self.left_out.contains(&line) => return Ok(()),
            Row::LeftOut(_) => self.left_out.push(line.clone()),
            _ => {}
        }
        self.print(&line)
    }

    /// Prints the medians and returns them.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn finish(mut self) -> Result<Vec<Median>> {
        let medians = medians(&self.runs);
        let mut heading = String::new();
        for median in &medians {
            if self.format == Format::Json {
                let line = serde_json::to_string(&Row::Median(median.clone()))?;
                self.print(&line)?;
                continue;
            }
            let job = median.job.to_string();
            if job != heading {
                self.print(&format!("\n{job}\n{}", columns(&heads(&median.job))))?;
                heading = job;
            }
            self.print(&format_median(median))?;
        }
        Ok(medians)
    }

    fn print(&mut self, line: &str) -> Result<()> {
        writeln!(self.sink, "{line}").map_err(Error::io("print a row"))
    }
}

fn heads(job: &Job) -> [String; 8] {
    let (figure, more) = match job.work {
        Work::Latency => ("p50 us", "p99 us"),
        Work::Clients => ("records/s", "p99 us"),
        _ => ("records/s", "MB/s"),
    };
    let cpu = if job.is_bulk() {
        "server s CPU/GB"
    } else {
        "server us CPU/record"
    };
    let ahead = "Towpath is x as fast";
    [
        "system",
        "acked when in",
        figure,
        more,
        ahead,
        cpu,
        "memory MB",
        "others %",
    ]
    .map(str::to_owned)
}

fn columns([system, class, figure, more, ahead, cpu, memory, others]: &[String; 8]) -> String {
    let line = format!(
        "  {system:<13} {class:<13} {figure:<34} {more:<26} {ahead:<26} {cpu:<22} {memory:<10} {others}"
    );
    line.trim_end().to_owned()
}

fn format_row(row: &Row) -> String {
    match row {
        Row::Machine(machine) => format_machine(machine),
        Row::System(card) => format_card(card),
        Row::LeftOut(left_out) => format!("left out: {left_out}"),
        Row::Run(run) => format_run(run),
        Row::Median(median) => format_median(median),
    }
}

fn format_card(card: &Card) -> String {
    let Card {
        system,
        class,
        version,
        settings,
    } = card;
    format!("{system:<13} {class:<13} {version}: {settings}")
}

fn format_run(run: &Run) -> String {
    let neighbours = format_neighbours(run.steal_percent, run.others_percent);
    let latency = run.done.latency_us.map_or_else(String::new, |it| {
        format!("  p50 {:.0} us  p99 {:.0} us", it.p50, it.p99)
    });
    format!(
        "round {:<2}  {:<13} {:<13} {}: {:.0} records/s  {:.1} MB/s{latency}  {neighbours}",
        run.round, run.system, run.class, run.job, run.records_per_second, run.megabytes_per_second
    )
}

fn format_median(median: &Median) -> String {
    let optional = |spread: &Option<Spread>, decimals| {
        spread.map_or_else(|| "-".to_owned(), |it| it.format(decimals))
    };
    let (figure, more) = if median.job.is_of_time() {
        (optional(&median.p50_us, 0), optional(&median.p99_us, 0))
    } else {
        let more = match &median.p99_us {
            Some(p99) => p99.format(0),
            None => median.megabytes_per_second.format(1),
        };
        (median.records_per_second.format(0), more)
    };
    let cpu = if median.job.is_bulk() {
        &median.server_cpu_seconds_per_gb
    } else {
        &median.server_cpu_us_per_record
    };
    columns(&[
        median.system.clone(),
        median.class.to_string(),
        figure,
        more,
        optional(&median.towpath_times_as_fast, 2),
        optional(cpu, 2),
        median
            .server_memory_megabytes_max
            .map_or_else(|| "-".to_owned(), |it| format!("{:.0}", it.max)),
        median.others_percent.format(0),
    ])
}

#[cfg(test)]
mod tests;
