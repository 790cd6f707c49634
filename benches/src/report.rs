//! The rows that a measurement prints, as text for people or as one JSON object a line.
//!
//! The names of figures are those of `towpath bench -o json` (`bytes`, `seconds`,
//! `megabytes_per_second`, `latency_us`, `durability`), so that the rows can be paired; 1 MB is
//! 10^6 bytes of payload.

use serde::Serialize;

use crate::host::Machine;
use crate::{Error, Result};

mod figures;
mod median;
mod text;

pub use figures::{Figures, LatencyUs, Setting};
pub use median::Median;

/// One line of a report.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "row", rename_all = "snake_case")]
pub enum Row {
    /// Where it was measured; the first row.
    Machine(Machine),
    /// One run.
    Run {
        /// Counts from 1; runs of one round stand next to each other and can be compared.
        round: u32,
        /// What was measured.
        #[serde(flatten)]
        setting: Setting,
        /// What came out.
        #[serde(flatten)]
        figures: Figures,
    },
    /// The middle and the range over all rounds of a setting; last rows.
    Median(Median),
}

/// Prints rows as they come and the medians at the end.
#[derive(Debug)]
pub struct Report<W> {
    format: Format,
    sink: W,
    runs: Vec<(Setting, Figures)>,
}

/// How rows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns.
    Text,
    /// One JSON object a line.
    Json,
}

impl<W: std::io::Write> Report<W> {
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
    pub fn add(&mut self, round: u32, setting: Setting, figures: Figures) -> Result<()> {
        self.runs.push((setting.clone(), figures.clone()));
        self.print(&Row::Run {
            round,
            setting,
            figures,
        })
    }

    /// Prints the median of each setting, in the order in which the settings first came.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn finish(mut self) -> Result<()> {
        let runs = std::mem::take(&mut self.runs);
        let mut settings: Vec<&Setting> = Vec::new();
        for (setting, _) in &runs {
            if !settings.contains(&setting) {
                settings.push(setting);
            }
        }
        for setting in settings {
            let figures: Vec<_> = runs
                .iter()
                .filter(|run| run.0 == *setting)
                .map(|run| &run.1)
                .collect();
            if let Some(median) = Median::of(setting, &figures) {
                self.print(&Row::Median(median))?;
            }
        }
        Ok(())
    }

    fn print(&mut self, row: &Row) -> Result<()> {
        let line = match self.format {
            Format::Json => serde_json::to_string(row)?,
            Format::Text => text::format_row(row),
        };
        writeln!(self.sink, "{line}").map_err(Error::io("print a row"))
    }
}

#[cfg(test)]
mod tests;
