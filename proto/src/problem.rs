//! One refusal or failure, as both ends handle it and as streams carry it.
//!
//! Unary calls and broken streams carry the same as a status; see [`crate::status`].

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::batch::{BatchError, Fault};
use crate::compression::DecompressError;
use crate::reason::ErrorReason;
use crate::status::code_of;
use crate::v1;

/// Longest message and hint: all of a problem must fit into the trailers of a call.
const TEXT_BYTES_MAX: usize = 1024;
/// Longest value of the metadata.
const METADATA_VALUE_BYTES_MAX: usize = 512;

/// Name of the metadata that tells which field of a request is wrong.
pub const FIELD: &str = "field";

/// A refusal or failure: why, for people and for programs.
///
/// Texts that are too long for a call's trailers are cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    reason: ErrorReason,
    message: String,
    hint: Option<String>,
    metadata: BTreeMap<String, String>,
    retry_after: Option<Duration>,
}

impl Problem {
    /// Makes a problem from its reason and a message: lower case, no full stop, no secrets.
    pub fn new(reason: ErrorReason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: cut(message.into(), TEXT_BYTES_MAX),
            hint: None,
            metadata: BTreeMap::new(),
            retry_after: None,
        }
    }

    /// Makes the problem of a field whose value is not allowed, such as `records[3].key`.
    pub fn invalid_field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorReason::InvalidArgument, message).with(FIELD, field.into())
    }

    /// Adds a fact by name; docs/errors.md lists the names for each reason.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl fmt::Display) -> Self {
        let value = cut(value.to_string(), METADATA_VALUE_BYTES_MAX);
        self.metadata.insert(name.to_owned(), value);
        self
    }

    /// Adds what to do about it, for people.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        let hint = cut(hint.into(), TEXT_BYTES_MAX);
        self.hint = (!hint.is_empty()).then_some(hint);
        self
    }

    /// Adds how long to wait before another try, in whole milliseconds.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(Duration::from_millis(millis(wait)));
        self
    }

    /// Why.
    pub const fn reason(&self) -> ErrorReason {
        self.reason
    }

    /// What happened, for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it, for people.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Facts about this case by name.
    pub const fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// How long to wait before another try; none when the client uses its own back-off.
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Reads what a stream carried; none if this version does not know the reason.
    ///
    /// The caller then goes by [`v1::Error::code`] alone.
    pub fn from_stream(error: &v1::Error) -> Option<Self> {
        let reason = ErrorReason::from_number(error.reason)?;
        let mut problem = Self::new(reason, error.message.as_str()).with_hint(error.hint.as_str());
        for (name, value) in &error.metadata {
            problem = problem.with(name, value);
        }
        problem.retry_after = error.retry_after_ms.map(Duration::from_millis);
        Some(problem)
    }
}

impl std::error::Error for Problem {}

/// Prints the message, then the reason in brackets.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.reason)
    }
}

/// Makes what a stream carries.
impl From<Problem> for v1::Error {
    fn from(problem: Problem) -> Self {
        Self {
            reason: problem.reason.number(),
            code: code_of(problem.reason).into(),
            message: problem.message,
            metadata: problem.metadata,
            retry_after_ms: problem.retry_after.map(millis),
            hint: problem.hint.unwrap_or_default(),
        }
    }
}

/// Makes the refusal of a batch that a walk found wrong.
impl From<BatchError> for Problem {
    fn from(error: BatchError) -> Self {
        let too_large = match error.fault {
            Fault::BatchTooLarge {
                size_bytes,
                size_bytes_max,
            } => Some((ErrorReason::BatchTooLarge, size_bytes, size_bytes_max)),
            Fault::RecordTooLarge {
                size_bytes,
                size_bytes_max,
            } => Some((ErrorReason::RecordTooLarge, size_bytes, size_bytes_max)),
            _ => None,
        };
        let problem = match too_large {
            Some((reason, size_bytes, size_bytes_max)) => Self::new(reason, error.to_string())
                .with("size_bytes", size_bytes)
                .with("size_bytes_max", size_bytes_max),
            None => Self::new(ErrorReason::InvalidArgument, error.to_string()),
        };
        problem.with(FIELD, error.field_path())
    }
}

/// Makes the refusal of a batch that cannot be decompressed.
impl From<DecompressError> for Problem {
    fn from(error: DecompressError) -> Self {
        let problem = match error {
            DecompressError::Malformed { .. } => {
                Self::new(ErrorReason::InvalidArgument, error.to_string()).with_hint(
                    "compress each batch to one frame of the codec, without a dictionary",
                )
            }
            DecompressError::TooLarge { size_bytes_max } => {
                Self::new(ErrorReason::BatchTooLarge, error.to_string())
                    .with("size_bytes_max", size_bytes_max)
                    .with_hint("the bound holds for the batch before it is compressed")
            }
        };
        problem.with(FIELD, "compressed_batch")
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_goes_through_a_stream_unchanged() {
        let problem = Problem::new(ErrorReason::Overloaded, "too many requests wait")
            .with("limit", 64)
            .with_hint("send less")
            .with_retry_after(Duration::from_micros(250_900));
        let error = v1::Error::from(problem.clone());
        assert_eq!(
            (error.code, error.retry_after_ms),
            (8, Some(250)),
            "code and wait"
        );
        assert_eq!(
            Problem::from_stream(&error),
            Some(problem),
            "there and back"
        );
    }

    #[test]
    fn a_reason_of_a_newer_version_is_left_to_the_code() {
        let error = v1::Error {
            reason: 9_999,
            code: 14,
            ..v1::Error::default()
        };
        assert_eq!(Problem::from_stream(&error), None, "unknown number");
        assert_eq!(
            Problem::from_stream(&v1::Error::default()),
            None,
            "unspecified"
        );
    }

    #[test]
    fn a_walk_says_which_field_is_wrong_and_what_is_allowed() {
        let fault = Fault::RecordTooLarge {
            size_bytes: 7,
            size_bytes_max: 5,
        };
        let problem = Problem::from(BatchError {
            record: Some(2),
            header: None,
            fault,
        });
        assert_eq!(problem.reason(), ErrorReason::RecordTooLarge, "reason");
        let facts: Vec<_> = problem
            .metadata()
            .iter()
            .map(|(n, v)| format!("{n}={v}"))
            .collect();
        assert_eq!(
            facts,
            ["field=batch.records[2]", "size_bytes=7", "size_bytes_max=5"],
            "facts"
        );

        let fault = Fault::UnknownField { tag: 9 };
        let problem = Problem::from(BatchError {
            record: None,
            header: None,
            fault,
        });
        assert_eq!(problem.reason(), ErrorReason::InvalidArgument, "malformed");
        let fault = Fault::BatchTooLarge {
            size_bytes: 7,
            size_bytes_max: 5,
        };
        let problem = Problem::from(BatchError {
            record: None,
            header: None,
            fault,
        });
        assert_eq!(problem.reason(), ErrorReason::BatchTooLarge, "batch");
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let problem = Problem::new(ErrorReason::Internal, "\u{20ac}".repeat(1000))
            .with("name", "\u{20ac}".repeat(1000));
        assert_eq!(problem.message().len(), 1023, "message");
        assert_eq!(problem.metadata()["name"].len(), 510, "metadata");
    }
}
