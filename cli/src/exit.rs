//! How the process ends: the one table of exit codes, and which failure has which.

use std::io;
use std::process::{ExitCode, Termination};

use towpath_client::{Error, ErrorKind, ErrorReason};

/// What the exit code of the process says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done,
    /// Any failure that has no code of its own.
    Failed,
    /// The command line asks for something that is not allowed.
    Usage,
    /// The broker was not reached or did not answer in time.
    Unreachable,
    /// What was named does not exist.
    NotFound,
    /// Not permitted.
    NotAllowed,
    /// Something is there already, in use, or in the wrong state.
    Conflict,
    /// A limit is reached or the disk is full.
    Limit,
    /// Fewer records came in time than were asked for.
    Fewer,
    /// The broker could not go on and ended itself.
    BrokerFailed,
    /// Interrupted.
    Interrupted,
}

impl Exit {
    /// The number that the process ends with.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::NotFound => 4,
            Self::NotAllowed => 5,
            Self::Conflict => 6,
            Self::Limit => 7,
            Self::Fewer => 8,
            Self::BrokerFailed => 70,
            Self::Interrupted => 130,
        }
    }

    /// The code for an error of the SDK: by its reason, or by its kind where it has none.
    pub(crate) fn of_error(error: &Error) -> Self {
        match error.reason() {
            Some(reason) => Self::of_reason(reason),
            None => Self::of_kind(error.kind()),
        }
    }

    /// The code for an error of the operating system.
    pub(crate) fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::NotFound,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::NotAllowed,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Limit,
            _ => Self::Failed,
        }
    }

    #[warn(clippy::wildcard_enum_match_arm)]
    const fn of_reason(reason: ErrorReason) -> Self {
        match reason {
            ErrorReason::InvalidArgument
            | ErrorReason::RecordTooLarge
            | ErrorReason::BatchTooLarge
            | ErrorReason::StartUnset
            | ErrorReason::InvalidFilter => Self::Usage,
            ErrorReason::TopicNotFound
            | ErrorReason::PartitionNotFound
            | ErrorReason::GroupNotFound
            | ErrorReason::SubscriptionNotFound
            | ErrorReason::DeadLetterNotFound
            | ErrorReason::ProducerNotFound
            | ErrorReason::ScheduleNotFound => Self::NotFound,
            ErrorReason::TopicExists
            | ErrorReason::ScheduleExists
            | ErrorReason::EtagMismatch
            | ErrorReason::TopicInUse
            | ErrorReason::SubscriptionExists
            | ErrorReason::GroupNotEmpty
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
            | ErrorReason::SubscriptionBusy => Self::Conflict,
            ErrorReason::Overloaded | ErrorReason::LimitReached | ErrorReason::StorageFull => {
                Self::Limit
            }
            ErrorReason::ShuttingDown => Self::Unreachable,
            ErrorReason::LogCorrupt | ErrorReason::StorageFailed | ErrorReason::Internal => {
                Self::Failed
            }
        }
    }

    const fn of_kind(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Connect | ErrorKind::Timeout | ErrorKind::Unavailable => Self::Unreachable,
            ErrorKind::Rejected => Self::Usage,
            ErrorKind::Overloaded => Self::Limit,
            _ => Self::Failed,
        }
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self.code())
    }
}

/// Ends the process at once, without letting anything finish: the answer to a second interrupt.
#[expect(
    clippy::exit,
    reason = "whoever interrupts twice does not want to wait for what hangs"
)]
pub(crate) fn exit_now(exit: Exit) -> ! {
    std::process::exit(exit.code().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_the_code_of_their_class() {
        let check = |reason: ErrorReason, code: u8| {
            assert_eq!(Exit::of_reason(reason).code(), code, "{reason}");
        };
        check(ErrorReason::Internal, 1);
        check(ErrorReason::LogCorrupt, 1);
        check(ErrorReason::RecordTooLarge, 2);
        check(ErrorReason::ShuttingDown, 3);
        check(ErrorReason::TopicNotFound, 4);
        check(ErrorReason::PartitionNotFound, 4);
        check(ErrorReason::ProducerNotFound, 4);
        check(ErrorReason::TopicExists, 6);
        check(ErrorReason::ProducerFenced, 6);
        check(ErrorReason::OffsetOutOfRange, 6);
        check(ErrorReason::StorageFull, 7);
    }

    #[test]
    fn kinds_decide_where_there_is_no_reason() {
        let check = |kind: ErrorKind, code: u8| {
            assert_eq!(Exit::of_kind(kind).code(), code, "{kind:?}");
        };
        check(ErrorKind::Connect, 3);
        check(ErrorKind::Timeout, 3);
        check(ErrorKind::Unavailable, 3);
        check(ErrorKind::Overloaded, 7);
        check(ErrorKind::Corrupt, 1);
        check(ErrorKind::Internal, 1);
    }
}
