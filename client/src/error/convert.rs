//! From what the transport and the broker say to the one error of the SDK.
#![warn(clippy::wildcard_enum_match_arm)]

use std::error::Error as StdError;

use tonic::{Code, ConnectError, Status};
use towpath_proto::problem::Problem;
use towpath_proto::reason::{ErrorReason, RetryAdvice};
use towpath_proto::v1;

use super::{Effects, Error, ErrorKind};

pub(super) fn kind_of(reason: ErrorReason) -> ErrorKind {
    match reason {
        ErrorReason::Overloaded | ErrorReason::LimitReached | ErrorReason::StorageFull => {
            ErrorKind::Overloaded
        }
        ErrorReason::ShuttingDown => ErrorKind::Unavailable,
        ErrorReason::LogCorrupt => ErrorKind::Corrupt,
        ErrorReason::StorageFailed | ErrorReason::Internal => ErrorKind::Internal,
        ErrorReason::InvalidArgument
        | ErrorReason::RecordTooLarge
        | ErrorReason::BatchTooLarge
        | ErrorReason::StartUnset
        | ErrorReason::InvalidFilter
        | ErrorReason::TopicNotFound
        | ErrorReason::PartitionNotFound
        | ErrorReason::TopicExists
        | ErrorReason::EtagMismatch
        | ErrorReason::GroupNotFound
        | ErrorReason::SubscriptionNotFound
        | ErrorReason::SubscriptionExists
        | ErrorReason::GroupNotEmpty
        | ErrorReason::DeadLetterNotFound
        | ErrorReason::ProducerNotFound
        | ErrorReason::ScheduleNotFound
        | ErrorReason::ScheduleExists
        | ErrorReason::TopicInUse
        | ErrorReason::OffsetOutOfRange
        | ErrorReason::SequenceGap
        | ErrorReason::ProducerFenced
        | ErrorReason::ProducerUnknown
        | ErrorReason::ExpectedOffsetMismatch
        | ErrorReason::ExpectedVersionMismatch
        | ErrorReason::StaleEntityVersion
        | ErrorReason::GenerationStale
        | ErrorReason::MemberUnknown
        | ErrorReason::LeaseExpired
        | ErrorReason::SubscriptionBusy => ErrorKind::Rejected,
    }
}

impl Error {
    /// Takes over the status of a call or of a broken stream.
    pub(crate) fn from_status(status: Status) -> Self {
        if let Some(problem) = Problem::from_status(&status) {
            return Self::from_problem(&problem);
        }
        // Only what this side made up has a source: the broker never answered.
        if status.source().is_some() {
            return Self::from_transport(status);
        }
        let (kind, advice, effects) = judge(status.code());
        let message = match status.message() {
            "" => status.code().description().to_owned(),
            message => message.to_owned(),
        };
        Self::new(kind, advice, effects, message)
    }

    /// Takes over what a stream carried.
    pub(crate) fn from_stream(error: &v1::Error) -> Self {
        if let Some(problem) = Problem::from_stream(error) {
            return Self::from_problem(&problem);
        }
        let (kind, advice, effects) = judge(Code::from_i32(error.code));
        let retry_after = error.retry_after_ms.map(std::time::Duration::from_millis);
        let hint = Some(error.hint.clone()).filter(|hint| !hint.is_empty());
        Self::new(kind, advice, effects, error.message.clone()).change(|inner| {
            inner.retry_after = retry_after;
            inner.hint = hint;
        })
    }

    fn from_transport(status: Status) -> Self {
        let causes = std::iter::successors(status.source(), |&error| error.source());
        let mut causes = causes.into_iter();
        let error = if causes.any(<dyn StdError>::is::<ConnectError>) {
            Self::new(
                ErrorKind::Connect,
                RetryAdvice::Same,
                Effects::None,
                "cannot connect to the broker",
            )
        } else {
            Self::unavailable(Effects::Possible, "the connection to the broker broke")
        };
        error.because(Cause::of(&status))
    }
}

/// Decides by the code alone, for reasons of later versions and for answers of others.
fn judge(code: Code) -> (ErrorKind, RetryAdvice, Effects) {
    match code {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented => (ErrorKind::Rejected, RetryAdvice::Never, Effects::None),
        Code::Aborted => (
            ErrorKind::Rejected,
            RetryAdvice::AfterRefresh,
            Effects::Possible,
        ),
        Code::ResourceExhausted => (ErrorKind::Overloaded, RetryAdvice::Same, Effects::None),
        Code::Unavailable | Code::Cancelled => {
            (ErrorKind::Unavailable, RetryAdvice::Same, Effects::Possible)
        }
        Code::DeadlineExceeded => (ErrorKind::Timeout, RetryAdvice::Same, Effects::Possible),
        Code::DataLoss => (ErrorKind::Corrupt, RetryAdvice::Never, Effects::Possible),
        Code::Ok | Code::Unknown | Code::Internal => {
            (ErrorKind::Internal, RetryAdvice::Never, Effects::Possible)
        }
    }
}

/// The texts of a chain of causes, so that no type of the transport leaves the SDK.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Cause {
    text: String,
    source: Option<Box<Cause>>,
}

impl Cause {
    /// Copies what is below the status, leaving out causes that only repeat what is above them.
    fn of(status: &Status) -> Self {
        let mut texts: Vec<String> = Vec::new();
        for cause in std::iter::successors(status.source(), |&error| error.source()) {
            let text = cause.to_string();
            if texts.last() != Some(&text) {
                texts.push(text);
            }
        }
        let below = texts.split_off(texts.len().min(1));
        let source = below
            .into_iter()
            .rev()
            .fold(None, |source, text| Some(Box::new(Self { text, source })));
        let text = texts.pop().unwrap_or_default();
        Self { text, source }
    }
}
