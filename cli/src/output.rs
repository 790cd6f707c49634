//! The only place that prints: data to standard output, everything else to standard error.
//!
//! Commands return what is to be printed, or hand records to a [`RecordPrinter`]; how it looks (for
//! a terminal, a pipe, or as JSON) is decided here.

mod base64_text;
mod json;
mod log;
mod number;
mod printable;
mod progress;
mod record;
mod report;
mod reports;
mod table;

use std::fmt;
use std::io::{self, BufRead as _, IsTerminal as _, Write};

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::outcome::Outcome;

pub(crate) use base64_text::base64_text;
pub(crate) use json::json_line;
pub(crate) use log::{LogUse, start_logging};
pub(crate) use number::{bytes, count, count_of, duration, exact_bytes, exact_duration, rate};
pub(crate) use printable::printable;
pub(crate) use progress::Progress;
pub(crate) use record::RecordPrinter;
pub(crate) use report::Report;
pub(crate) use reports::ReportPrinter;
pub(crate) use table::{Align, Table};

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people on a terminal, plain values or tables in a pipe
    Text,
    /// One JSON object, or one a line where there are many
    Json,
}

/// Standard output and standard error of the process.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    format: Format,
    is_terminal: bool,
    is_error_terminal: bool,
}

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const NOTE: Style = Style::new().bold();

impl Output {
    /// The streams of this process.
    pub(crate) fn of_process(format: Format) -> Self {
        Self {
            format,
            is_terminal: io::stdout().is_terminal(),
            is_error_terminal: io::stderr().is_terminal(),
        }
    }

    /// Prints how a command ended and returns how the process ends.
    pub(crate) fn end(&self, outcome: Result<Outcome, Failure>) -> Exit {
        let outcome = outcome
            .unwrap_or_else(|failure| Outcome::silent(failure.exit()).with_failure(Some(failure)));
        let unprinted = outcome
            .report
            .and_then(|report| self.report(&*report).err());
        match outcome.failure.or(unprinted) {
            Some(failure) => {
                self.failure(&failure);
                failure.exit()
            }
            None => outcome.exit,
        }
    }

    /// Prints a result at once.
    ///
    /// # Errors
    ///
    /// Standard output does not take it.
    pub(crate) fn report(&self, report: &dyn Report) -> Result<(), Failure> {
        let mut text = Vec::new();
        let print = |text: &mut Vec<u8>| match self.format {
            Format::Json => report.write_json(text),
            Format::Text => report.write_text(text),
        };
        print(&mut text).map_err(|error| Failure::output(&error))?;
        if self.format == Format::Text && !report.is_data() {
            drop(anstream::stderr().write_all(&text));
            return Ok(());
        }
        let mut stdout = anstream::stdout();
        stdout
            .write_all(&text)
            .and_then(|()| stdout.flush())
            .map_err(|error| Failure::output(&error))
    }

    /// What prints results of which there are many.
    pub(crate) fn reports(&self) -> ReportPrinter<io::Stdout> {
        ReportPrinter::new(io::stdout(), self.format)
    }

    /// Whether data is printed as JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Passes on what another program said on its standard error, byte for byte.
    #[expect(clippy::unused_self, reason = "whoever prints must hold the output")]
    pub(crate) fn pass_on(&self, said: &[u8]) {
        drop(io::stderr().write_all(said));
    }

    /// Prints a line of a story while it happens; as JSON only its end is told.
    ///
    /// # Errors
    ///
    /// Standard output does not take it.
    pub(crate) fn say(&self, text: impl fmt::Display) -> Result<(), Failure> {
        match self.format {
            Format::Text => {
                writeln!(anstream::stdout(), "{text}").map_err(|error| Failure::output(&error))
            }
            Format::Json => Ok(()),
        }
    }

    /// What prints records as they come.
    pub(crate) fn records(&self) -> RecordPrinter<io::Stdout> {
        let form = match (self.format, self.is_terminal) {
            (Format::Json, _) => record::Form::Json,
            (Format::Text, true) => record::Form::Aligned,
            (Format::Text, false) => record::Form::Values,
        };
        RecordPrinter::new(io::stdout(), form)
    }

    /// Shows that a long command goes on, where somebody watches.
    pub(crate) fn progress(&self, what: &'static str, total: Option<u64>) -> Progress {
        if self.is_error_terminal {
            Progress::shown(what, total)
        } else {
            Progress::hidden()
        }
    }

    /// Tells something that is good to know.
    #[expect(clippy::unused_self, reason = "whoever prints must hold the output")]
    pub(crate) fn note(&self, text: impl fmt::Display) {
        tell(NOTE, "note", text);
    }

    /// Tells of something that is not as it should be but stops nothing.
    #[expect(clippy::unused_self, reason = "whoever prints must hold the output")]
    pub(crate) fn warning(&self, text: impl fmt::Display) {
        tell(WARNING, "warning", text);
    }

    /// Tells why the command failed.
    #[expect(clippy::unused_self, reason = "whoever prints must hold the output")]
    pub(crate) fn failure(&self, failure: &Failure) {
        if failure.is_quiet() {
            return;
        }
        tell(ERROR, "error", failure.message());
        for line in failure.details() {
            drop(writeln!(anstream::stderr(), "  {line}"));
        }
    }

    /// Whether somebody is there to ask.
    pub(crate) fn can_ask(&self) -> bool {
        self.is_error_terminal && io::stdin().is_terminal()
    }

    /// Asks before something that cannot be undone; yes where nobody is there to ask.
    pub(crate) fn confirm(&self, question: impl fmt::Display) -> bool {
        if !self.can_ask() {
            return true;
        }
        drop(write!(anstream::stderr(), "{question} [y/N] "));
        let mut answer = String::new();
        let is_read = io::stdin().lock().read_line(&mut answer).is_ok();
        is_read && matches!(answer.trim(), "y" | "Y" | "yes")
    }
}

fn tell(style: Style, word: &str, text: impl fmt::Display) {
    drop(writeln!(
        anstream::stderr(),
        "{style}{word}:{style:#} {text}"
    ));
}
