//! How a command ended: what it has to say, and what went wrong.

use std::fmt;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Report;

/// How a command ended that could be carried out.
pub(crate) struct Outcome {
    /// What is to be printed.
    pub(crate) report: Option<Box<dyn Report>>,
    /// Why it did not do all it was asked to, if so; decides how the process ends.
    pub(crate) failure: Option<Failure>,
    /// How the process ends otherwise.
    pub(crate) exit: Exit,
}

impl Outcome {
    /// Ended, with nothing more to print.
    pub(crate) const fn silent(exit: Exit) -> Self {
        Self {
            report: None,
            failure: None,
            exit,
        }
    }

    /// Done, with a result.
    pub(crate) fn of(report: impl Report + 'static) -> Self {
        Self {
            report: Some(Box::new(report)),
            ..Self::silent(Exit::Done)
        }
    }

    /// The same, but something went wrong.
    #[must_use]
    pub(crate) fn with_failure(mut self, failure: Option<Failure>) -> Self {
        self.failure = failure;
        self
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcome")
            .field("has_report", &self.report.is_some())
            .field("failure", &self.failure)
            .field("exit", &self.exit)
            .finish()
    }
}
