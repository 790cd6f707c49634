//! The rows of a comparison, and what is read of them again.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::{fmt, fs};

use serde::{Deserialize, Serialize};

use super::summary::Median;
use super::work::{Class, Job, Work};
use crate::host::Machine;
use crate::report::LatencyUs;
use crate::{Error, Result};

/// A system as it was run. The same system may take part in two classes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// Its name, in lower case.
    pub system: String,
    /// When a record counts as written.
    pub class: Class,
    /// Its version, as it says itself.
    pub version: String,
    /// What was set, beyond its defaults.
    pub settings: String,
}

/// What was not measured, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The system.
    pub system: String,
    /// The class, if one of several was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// What it would have done; everything if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<Work>,
    /// Why.
    pub reason: String,
}

/// What a system did of a job, as its load program says.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Done {
    /// Records that were written, read or acked.
    pub records: u64,
    /// The time that took.
    pub seconds: f64,
    /// Processor time of the clients, if known.
    pub client_cpu_seconds: Option<f64>,
    /// Processor time of the server, if known.
    pub server_cpu_seconds: Option<f64>,
    /// Time of single records, where each was timed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<LatencyUs>,
}

/// One run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// Counts from 1: only runs of one round and job are compared.
    pub round: u32,
    /// The system.
    pub system: String,
    /// When a record counted as written.
    pub class: Class,
    /// What was done.
    #[serde(flatten)]
    pub job: Job,
    /// What came out.
    #[serde(flatten)]
    pub done: Done,
    /// Records a second.
    pub records_per_second: f64,
    /// Values in 10^6 bytes a second.
    pub megabytes_per_second: f64,
    /// Processor time of the server for 10^9 bytes of values.
    pub server_cpu_seconds_per_gb: Option<f64>,
    /// Processor time of the server for each record.
    pub server_cpu_us_per_record: Option<f64>,
    /// Most memory that the server has had so far.
    pub server_memory_bytes_max: Option<u64>,
    /// Share of processor time that the hypervisor gave to others.
    pub steal_percent: f64,
    /// Share of processor time that other processes of the machine had.
    pub others_percent: f64,
}

/// A line of the report.
#[derive(Debug, Serialize)]
#[serde(tag = "row", rename_all = "snake_case")]
pub enum Row {
    /// Where it was measured; the first row.
    Machine(Machine),
    /// Who took part.
    System(Card),
    /// What did not.
    LeftOut(LeftOut),
    /// One run.
    Run(Run),
    /// All rounds of a job by one system; last rows.
    Median(Median),
}

/// The rows of earlier runs, those of medians left out.
#[derive(Debug, Deserialize)]
#[serde(tag = "row", rename_all = "snake_case")]
enum Earlier {
    Machine(Machine),
    System(Card),
    LeftOut(LeftOut),
    Run(Run),
    #[serde(other)]
    Other,
}

impl Run {
    /// Derives the rates.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a run moves far fewer than 2^52 bytes"
    )]
    pub(crate) fn new(round: u32, card: &Card, job: &Job, done: Done) -> Self {
        let seconds = done.seconds.max(f64::MIN_POSITIVE);
        let (records, size_bytes) = (done.records as f64, job.size_bytes as f64);
        let bytes = records * size_bytes;
        let server_cpu = |share: f64| done.server_cpu_seconds.map(|cpu| cpu * share);
        Self {
            round,
            system: card.system.clone(),
            class: card.class,
            job: job.clone(),
            records_per_second: records / seconds,
            megabytes_per_second: bytes / 1e6 / seconds,
            server_cpu_seconds_per_gb: server_cpu(1e9 / bytes.max(f64::MIN_POSITIVE)),
            server_cpu_us_per_record: server_cpu(1e6 / records.max(1.0)),
            done,
            server_memory_bytes_max: None,
            steal_percent: 0.0,
            others_percent: 0.0,
        }
    }

    /// What counts: the median time of a record in microseconds, or records a second.
    pub(crate) fn figure(&self) -> Option<f64> {
        if self.job.is_of_time() {
            self.done.latency_us.map(|it| it.p50)
        } else {
            Some(self.records_per_second)
        }
    }

    /// Whether system and class are these.
    pub(crate) fn is_of(&self, system: &str, class: Class) -> bool {
        self.system == system && self.class == class
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            system,
            class,
            work,
            reason,
        } = self;
        write!(f, "{system}")?;
        if let Some(class) = class {
            write!(f, " ({class})")?;
        }
        if let Some(work) = work {
            write!(f, ", {work}")?;
        }
        write!(f, ": {reason}")
    }
}

/// Reads JSON rows of earlier runs; rounds are counted on from file to file, and what is told of
/// systems is taken once.
///
/// # Errors
/// [`Error::Io`] and [`Error::Report`] for a file that cannot be read or holds something else.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut rounds_before = 0;
    for path in paths {
        let file = fs::File::open(path).map_err(Error::io("open the rows"))?;
        let mut rounds = 0;
        for line in BufReader::new(file).lines() {
            let line = line.map_err(Error::io("read the rows"))?;
            match serde_json::from_str(&line)? {
                Earlier::Machine(it) if rows.is_empty() => rows.push(Row::Machine(it)),
                Earlier::System(it)
                    if !has(&rows, |row| matches!(row, Row::System(had) if *had == it)) =>
                {
                    rows.push(Row::System(it));
                }
                Earlier::LeftOut(it) => rows.push(Row::LeftOut(it)),
                Earlier::Run(mut run) => {
                    rounds = rounds.max(run.round);
                    run.round += rounds_before;
                    rows.push(Row::Run(run));
                }
                _ => {}
            }
        }
        rounds_before += rounds;
    }
    Ok(rows)
}

fn has(rows: &[Row], is_it: impl Fn(&Row) -> bool) -> bool {
    rows.iter().any(is_it)
}

#[cfg(test)]
mod tests;
