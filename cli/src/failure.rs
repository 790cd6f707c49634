//! Why a command did not do what it was asked to, as it is told to the user.

use std::fmt;
use std::io;

use towpath_client::{Error, ErrorKind, ErrorReason, SendError};

use crate::exit::Exit;
use crate::output::count_of;

/// A failure: one line that says what is wrong, causes, and what may help.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
    causes: Vec<String>,
    hints: Vec<String>,
    is_quiet: bool,
}

impl Failure {
    /// A failure with this exit code; the message is lower case and has no full stop.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            causes: Vec::new(),
            hints: Vec::new(),
            is_quiet: false,
        }
    }

    /// A command line that asks for something that is not allowed.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The user has interrupted; nothing needs to be said.
    pub(crate) fn interrupted() -> Self {
        Self {
            is_quiet: true,
            ..Self::new(Exit::Interrupted, "interrupted")
        }
    }

    /// An operation of the operating system that failed.
    pub(crate) fn io(message: impl Into<String>, error: &io::Error) -> Self {
        Self::new(Exit::of_io(error), message).because(error)
    }

    /// Standard output does not take what is written; a reader that has gone is no failure.
    pub(crate) fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self {
                is_quiet: true,
                ..Self::new(Exit::Done, "the reader of the output has gone")
            },
            _ => Self::new(Exit::Failed, "cannot write to standard output").because(error),
        }
    }

    /// Adds the cause and the causes behind it, leaving out what only repeats what is said.
    #[must_use]
    pub(crate) fn because(mut self, error: &(dyn std::error::Error + 'static)) -> Self {
        for cause in std::iter::successors(Some(error), |error| error.source()) {
            let text = cause.to_string();
            let last = self.causes.last().unwrap_or(&self.message);
            if !last.contains(&text) {
                self.causes.push(text);
            }
        }
        self
    }

    /// Adds a line about what may help.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Puts where it happened in front of the message.
    #[must_use]
    pub(crate) fn at(mut self, place: impl fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// How the process ends.
    pub(crate) const fn exit(&self) -> Exit {
        self.exit
    }

    /// Whether nothing is to be said about it.
    pub(crate) const fn is_quiet(&self) -> bool {
        self.is_quiet
    }

    /// What is wrong.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The lines below the message: causes, then hints.
    pub(crate) fn details(&self) -> impl Iterator<Item = &str> {
        self.causes.iter().chain(&self.hints).map(String::as_str)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        let hint = error.hint().map(str::to_owned);
        let message = match &hint {
            Some(hint) => text.strip_suffix(&format!("; {hint}")).unwrap_or(&text),
            None => &text,
        };
        let mut failure = Self::new(Exit::of_error(&error), message);
        if let Some(source) = std::error::Error::source(&error) {
            failure = failure.because(source);
        }
        // What the flags are called is known only here.
        let hint = hint.filter(|_| error.reason() != Some(ErrorReason::StartUnset));
        failure.hints = hint.into_iter().chain(advice(&error)).collect();
        failure
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        Error::from(error).into()
    }
}

/// What the command line can say about an error beyond what the broker does.
fn advice(error: &Error) -> Option<String> {
    match (error.kind(), error.reason()) {
        (_, Some(ErrorReason::TopicNotFound)) => {
            let topic = error.metadata("topic")?;
            Some(format!("to create it: towpath topic create {topic}"))
        }
        (_, Some(ErrorReason::StartUnset)) => {
            let count = |name| error.metadata(name)?.parse::<u64>().ok();
            let records = |name| {
                count(name).map_or_else(|| "all records".to_owned(), |it| count_of(it, "record"))
            };
            Some(format!(
                "say --from beginning ({}) or --from end ({})",
                records("beginning_records"),
                records("end_records")
            ))
        }
        (_, Some(ErrorReason::GroupNotFound)) => {
            Some("to see what there is: towpath group list".to_owned())
        }
        (_, Some(ErrorReason::SubscriptionNotFound)) => {
            Some("to see what there is: towpath subscription list".to_owned())
        }
        (_, Some(ErrorReason::InvalidFilter)) => {
            let position = error.metadata("position")?;
            Some(format!("at character {position} of the filter"))
        }
        (_, Some(ErrorReason::ProducerNotFound)) => {
            Some("to see what there is: towpath producer list".to_owned())
        }
        (_, Some(ErrorReason::ProducerFenced)) => {
            Some("to see who has the name: towpath producer list".to_owned())
        }
        (ErrorKind::Overloaded, _) if error.metadata("limit") == Some("producer_names_max") => {
            Some("to make room: towpath producer delete NAME".to_owned())
        }
        (_, Some(ErrorReason::TopicInUse)) => {
            Some("to see who needs it: towpath subscription list".to_owned())
        }
        (_, Some(ErrorReason::GroupNotEmpty)) => {
            Some("stop its members first, or say --force".to_owned())
        }
        (ErrorKind::Connect, _) => {
            Some("is a broker running there? to start one: towpath serve".to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_has_gone_is_not_a_failure() {
        let error = io::Error::from(io::ErrorKind::BrokenPipe);
        let failure = Failure::output(&error);
        assert!(failure.is_quiet(), "quiet");
        assert_eq!(failure.exit(), Exit::Done, "exit code");
    }

    #[test]
    fn causes_that_repeat_the_message_are_left_out() {
        let error = io::Error::other("no route");
        let failure = Failure::new(Exit::Failed, "cannot connect: no route").because(&error);
        assert_eq!(failure.details().count(), 0, "details");
        let failure = Failure::new(Exit::Failed, "cannot connect").because(&error);
        assert_eq!(
            failure.details().collect::<Vec<_>>(),
            ["no route"],
            "details"
        );
    }

    #[test]
    fn the_place_stands_in_front() {
        let failure = Failure::new(Exit::Failed, "not JSON").at("line 3");
        assert_eq!(failure.message(), "line 3: not JSON", "message");
    }
}
