//! Why the broker refused or failed: the reasons, and what follows from each.
//!
//! Both ends share this list. `error.proto` shows it to other languages, `docs/errors.md` to
//! people; tests compare the three.
#![warn(clippy::wildcard_enum_match_arm)]

use std::fmt;
use std::str::FromStr;

use crate::v1;

/// Defines the enum with its texts and its numbers on the wire from one list.
macro_rules! reasons {
    ($($(#[$attribute:meta])* $name:ident = $text:literal,)*) => {
        /// Why the broker refused or failed. Names and meanings are part of the contract.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ErrorReason {
            $($(#[$attribute])* $name,)*
        }

        impl ErrorReason {
            /// Every reason, in the order of `error.proto`.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Returns the name that travels in `google.rpc.ErrorInfo`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// Returns its number in `error.proto`.
            pub const fn number(self) -> i32 {
                match self {
                    $(Self::$name => v1::ErrorReason::$name as i32,)*
                }
            }

            /// Returns the reason with this number in `error.proto`; none if this version does not
            /// know it, or if it is that of the unspecified one.
            pub fn from_number(number: i32) -> Option<Self> {
                match v1::ErrorReason::try_from(number).ok()? {
                    v1::ErrorReason::Unspecified => None,
                    $(v1::ErrorReason::$name => Some(Self::$name),)*
                }
            }
        }
    };
}

reasons! {
    /// A field has a value that is not allowed.
    InvalidArgument = "INVALID_ARGUMENT",
    /// A record is larger than allowed.
    RecordTooLarge = "RECORD_TOO_LARGE",
    /// A batch is larger than allowed.
    BatchTooLarge = "BATCH_TOO_LARGE",
    /// A new group or subscription does not say where to start reading.
    StartUnset = "START_UNSET",
    /// The filter of a subscription is no expression that this broker can evaluate.
    InvalidFilter = "INVALID_FILTER",
    /// There is no topic of this name or id.
    TopicNotFound = "TOPIC_NOT_FOUND",
    /// The topic has no partition of this number.
    PartitionNotFound = "PARTITION_NOT_FOUND",
    /// There is a topic of this name already.
    TopicExists = "TOPIC_EXISTS",
    /// The topic was changed since its etag was read.
    EtagMismatch = "ETAG_MISMATCH",
    /// Subscriptions need the topic, or what is to be trimmed of it, or it takes only their dead letters.
    TopicInUse = "TOPIC_IN_USE",
    /// There is no consumer group of this name.
    GroupNotFound = "GROUP_NOT_FOUND",
    /// There is no subscription of this name.
    SubscriptionNotFound = "SUBSCRIPTION_NOT_FOUND",
    /// There is a subscription of this name already.
    SubscriptionExists = "SUBSCRIPTION_EXISTS",
    /// The group has connected members.
    GroupNotEmpty = "GROUP_NOT_EMPTY",
    /// There is no such dead letter, or it is settled.
    DeadLetterNotFound = "DEAD_LETTER_NOT_FOUND",
    /// There is no producer of this name.
    ProducerNotFound = "PRODUCER_NOT_FOUND",
    /// No record of this schedule id is scheduled.
    ScheduleNotFound = "SCHEDULE_NOT_FOUND",
    /// Another record of the topic is scheduled under this id.
    ScheduleExists = "SCHEDULE_EXISTS",
    /// The offset is outside of what may be read.
    OffsetOutOfRange = "OFFSET_OUT_OF_RANGE",
    /// Stored records are damaged or gone.
    LogCorrupt = "LOG_CORRUPT",
    /// A batch of the producer is missing before this one.
    SequenceGap = "SEQUENCE_GAP",
    /// A newer life of the named producer has taken over, or its name was deleted.
    ProducerFenced = "PRODUCER_FENCED",
    /// The broker does not know the producer of a batch that is not its first.
    ProducerUnknown = "PRODUCER_UNKNOWN",
    /// The partition does not end where the request expects it to.
    ExpectedOffsetMismatch = "EXPECTED_OFFSET_MISMATCH",
    /// The key does not have the version that the request expects.
    ExpectedVersionMismatch = "EXPECTED_VERSION_MISMATCH",
    /// The record's entity version is not above the last one.
    StaleEntityVersion = "STALE_ENTITY_VERSION",
    /// The request belongs to an assignment that is over.
    GenerationStale = "GENERATION_STALE",
    /// The group does not know the member.
    MemberUnknown = "MEMBER_UNKNOWN",
    /// The delivery was given back before it was settled.
    LeaseExpired = "LEASE_EXPIRED",
    /// Another consumer holds the exclusive subscription.
    SubscriptionBusy = "SUBSCRIPTION_BUSY",
    /// Too much work is waiting.
    Overloaded = "OVERLOADED",
    /// A limit of the broker is reached.
    LimitReached = "LIMIT_REACHED",
    /// The disk is full, or nearly.
    StorageFull = "STORAGE_FULL",
    /// The broker is stopping and takes no new work.
    ShuttingDown = "SHUTTING_DOWN",
    /// The disk failed while the request was on its way there.
    StorageFailed = "STORAGE_FAILED",
    /// A fault in the broker itself.
    Internal = "INTERNAL",
}

/// Whether and how a request that failed for a reason is worth sending again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetryAdvice {
    /// The same request may succeed later.
    Same,
    /// It may succeed after the client has read or joined again.
    AfterRefresh,
    /// It will not succeed before something is changed.
    Never,
}

/// A reason that this version does not know: decide by the gRPC code alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("reason is not known")]
pub struct UnknownReason;

impl ErrorReason {
    /// Returns what to do with a request that was refused for this reason.
    pub const fn retry_advice(self) -> RetryAdvice {
        match self {
            Self::Overloaded | Self::StorageFull | Self::ShuttingDown | Self::SubscriptionBusy => {
                RetryAdvice::Same
            }
            Self::SequenceGap
            | Self::ProducerUnknown
            | Self::EtagMismatch
            | Self::ExpectedOffsetMismatch
            | Self::ExpectedVersionMismatch
            | Self::GenerationStale
            | Self::MemberUnknown => RetryAdvice::AfterRefresh,
            Self::InvalidArgument
            | Self::RecordTooLarge
            | Self::BatchTooLarge
            | Self::StartUnset
            | Self::InvalidFilter
            | Self::TopicNotFound
            | Self::PartitionNotFound
            | Self::TopicExists
            | Self::TopicInUse
            | Self::GroupNotFound
            | Self::SubscriptionNotFound
            | Self::SubscriptionExists
            | Self::GroupNotEmpty
            | Self::DeadLetterNotFound
            | Self::ProducerNotFound
            | Self::ScheduleNotFound
            | Self::ScheduleExists
            | Self::OffsetOutOfRange
            | Self::LogCorrupt
            | Self::ProducerFenced
            | Self::StaleEntityVersion
            | Self::LeaseExpired
            | Self::LimitReached
            | Self::StorageFailed
            | Self::Internal => RetryAdvice::Never,
        }
    }

    /// Whether the broker promises that the request changed nothing.
    pub const fn has_no_side_effects(self) -> bool {
        match self {
            Self::StorageFailed | Self::Internal => false,
            Self::InvalidArgument
            | Self::RecordTooLarge
            | Self::BatchTooLarge
            | Self::StartUnset
            | Self::InvalidFilter
            | Self::TopicNotFound
            | Self::PartitionNotFound
            | Self::TopicExists
            | Self::EtagMismatch
            | Self::TopicInUse
            | Self::GroupNotFound
            | Self::SubscriptionNotFound
            | Self::SubscriptionExists
            | Self::GroupNotEmpty
            | Self::DeadLetterNotFound
            | Self::ProducerNotFound
            | Self::ScheduleNotFound
            | Self::ScheduleExists
            | Self::OffsetOutOfRange
            | Self::LogCorrupt
            | Self::SequenceGap
            | Self::ProducerFenced
            | Self::ProducerUnknown
            | Self::ExpectedOffsetMismatch
            | Self::ExpectedVersionMismatch
            | Self::StaleEntityVersion
            | Self::GenerationStale
            | Self::MemberUnknown
            | Self::LeaseExpired
            | Self::SubscriptionBusy
            | Self::Overloaded
            | Self::LimitReached
            | Self::StorageFull
            | Self::ShuttingDown => true,
        }
    }
}

impl fmt::Display for ErrorReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ErrorReason {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Self, UnknownReason> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.as_str() == text)
            .ok_or(UnknownReason)
    }
}

#[cfg(test)]
mod tests;
