//! The rows that a measurement prints, as text for people or as one JSON object a line.
//!
//! The names of figures are those of `towpath bench -o json` (`bytes`, `seconds`,
//! `megabytes_per_second`, `latency_us`, `durability`), so that the rows can be paired; 1 MB is
//! 10^6 bytes of payload. A measurement of something else than throughput brings its own figures
//! by implementing [`Measured`].

use std::fmt::Debug;

use serde::Serialize;

use crate::host::Machine;
use crate::{Error, Result};

mod figures;
mod median;
mod text;

pub use figures::{Figures, LatencyUs, Setting};
pub use median::Median;
pub(crate) use text::{format_machine, format_neighbours};

/// The figures of one run.
pub trait Measured: Debug + Serialize {
    /// What was measured: equal settings are rounds of the same measurement.
    type Setting: Debug + Clone + PartialEq + Serialize;
    /// The middle and the range of the figures over all rounds of a setting.
    type Median: Debug + Serialize;

    /// Takes the median over the rounds of a setting; `None` for no rounds.
    fn median(setting: &Self::Setting, rounds: &[&Self]) -> Option<Self::Median>;

    /// Writes a run as one line for people.
    fn format_run(&self, setting: &Self::Setting) -> String;

    /// Writes a median as one line for people.
    fn format_median(median: &Self::Median) -> String;
}

/// One line of a report.
#[derive(Debug, Serialize)]
#[serde(tag = "row", rename_all = "snake_case", bound = "")]
pub enum Row<'a, M: Measured> {
    /// Where it was measured; the first row.
    Machine(Machine),
    /// One run.
    Run {
        /// Counts from 1; runs of one round stand next to each other and can be compared.
        round: u32,
        /// What was measured.
        #[serde(flatten)]
        setting: &'a M::Setting,
        /// What came out.
        #[serde(flatten)]
        figures: &'a M,
    },
    /// The middle and the range over all rounds of a setting; last rows.
    Median(M::Median),
}

/// Prints rows as they come and the medians at the end.
#[derive(Debug)]
pub struct Report<W, M: Measured = Figures> {
    format: Format,
    sink: W,
    runs: Vec<(M::Setting, M)>,
}

/// How rows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns.
    Text,
    /// One JSON object a line.
    Json,
}

impl<W: std::io::Write, M: Measured> Report<W, M> {
    /// Prints to `sink`, beginning with the machine.
    ///
    /// # Errors
    /// Those of `sink`.
    pub fn start(sink: W, format: Format, machine: Machine) -> Result<Self> {
        let mut report = Self {
            format,
            sink,
            runs: Vec::new(),
        };
        report.print(&Row::Machine(machine))?;
        Ok(report)
    }

    /// Prints one run and remembers it for the medians.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn add(&mut self, round: u32, setting: M::Setting, figures: M) -> Result<()> {
        self.print(&Row::Run {
            round,
            setting: &setting,
            figures: &figures,
        })?;
        self.runs.push((setting, figures));
        Ok(())
    }

    /// All runs so far, in their order.
    pub fn runs(&self) -> &[(M::Setting, M)] {
        &self.runs
    }

    /// Prints the median of each setting, in the order in which the settings first came.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn finish(mut self) -> Result<()> {
        let runs = std::mem::take(&mut self.runs);
        let mut settings: Vec<&M::Setting> = Vec::new();
        for (setting, _) in &runs {
            if !settings.contains(&setting) {
                settings.push(setting);
            }
        }
        for setting in settings {
            let rounds: Vec<_> = runs
                .iter()
                .filter(|run| run.0 == *setting)
                .map(|run| &run.1)
                .collect();
            if let Some(median) = M::median(setting, &rounds) {
                self.print(&Row::Median(median))?;
            }
        }
        Ok(())
    }

    fn print(&mut self, row: &Row<'_, M>) -> Result<()> {
        let line = match self.format {
            Format::Json => serde_json::to_string(row)?,
            Format::Text => text::format_row(row),
        };
        writeln!(self.sink, "{line}").map_err(Error::io("print a row"))
    }
}

#[cfg(test)]
mod tests;
