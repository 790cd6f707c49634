//! Many results, one after the other.

use std::io::{BufWriter, Write};

use super::{Format, Report};
use crate::failure::Failure;

/// Prints results as they come. Nothing is sure to be written before [`ReportPrinter::flush`].
#[derive(Debug)]
pub(crate) struct ReportPrinter<W: Write> {
    out: BufWriter<W>,
    format: Format,
}

impl<W: Write> ReportPrinter<W> {
    pub(super) fn new(out: W, format: Format) -> Self {
        Self {
            out: BufWriter::new(out),
            format,
        }
    }

    /// Prints one result.
    ///
    /// # Errors
    ///
    /// What is written to does not take it.
    pub(crate) fn report(&mut self, report: &dyn Report) -> Result<(), Failure> {
        let printed = match self.format {
            Format::Text => report.write_text(&mut self.out),
            Format::Json => report.write_json(&mut self.out),
        };
        printed.map_err(|error| Failure::output(&error))
    }

    /// Writes what was gathered.
    ///
    /// # Errors
    ///
    /// What is written to does not take it.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(|error| Failure::output(&error))
    }
}
