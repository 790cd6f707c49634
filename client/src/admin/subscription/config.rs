//! Settings of a subscription.

use std::time::Duration;

use towpath_proto::v1;

/// Settings of a subscription, all of them known.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriptionConfig {
    /// Who gets records, and in which order.
    pub mode: SubscriptionMode,
    /// What dead letters do to their key.
    pub on_dead_letter: OnDeadLetter,
    /// How long a consumer may keep a record before it settles or extends it.
    pub ack_deadline: Duration,
    /// Wait before the second attempt; it doubles with each failure.
    pub backoff_min: Duration,
    /// Longest such wait.
    pub backoff_max: Duration,
    /// Failed attempts after which a record is dead.
    pub attempts_max: u32,
    /// A record that is older when an attempt fails is dead; none for any age.
    pub age_max: Option<Duration>,
    /// Which records are delivered: an expression in CEL; none for all.
    pub filter: Option<String>,
    /// What becomes of records that the filter cannot judge.
    pub on_filter_error: OnFilterError,
}

/// What becomes of a record that the filter cannot judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnFilterError {
    /// It is delivered.
    Deliver,
    /// It goes to the dead letters.
    DeadLetter,
    /// One that this version does not know.
    Unknown,
}

/// Who gets records, and in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SubscriptionMode {
    /// Any consumer; the records of one key one after the other.
    KeyShared,
    /// Any consumer, in no order.
    Shared,
    /// One consumer at a time; the records of one key one after the other.
    Exclusive,
    /// One that this version does not know.
    Unknown,
}

/// What becomes of the later records of a key of which one is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnDeadLetter {
    /// They go to the dead letters as well, in order, until the key is redriven or discarded.
    Park,
    /// They are delivered.
    Skip,
    /// One that this version does not know.
    Unknown,
}

impl SubscriptionConfig {
    pub(super) fn from_proto(config: v1::SubscriptionConfig) -> Self {
        let ms = |ms: Option<u64>| Duration::from_millis(ms.unwrap_or_default());
        Self {
            mode: SubscriptionMode::from_proto(config.mode()),
            on_dead_letter: OnDeadLetter::from_proto(config.on_dead_letter()),
            ack_deadline: ms(config.ack_deadline_ms),
            backoff_min: ms(config.backoff_min_ms),
            backoff_max: ms(config.backoff_max_ms),
            attempts_max: config.attempts_max.unwrap_or_default(),
            age_max: config.age_max_ms.map(Duration::from_millis),
            on_filter_error: OnFilterError::from_proto(config.on_filter_error()),
            filter: Some(config.filter).filter(|filter| !filter.is_empty()),
        }
    }
}

impl SubscriptionMode {
    const fn from_proto(mode: v1::SubscriptionMode) -> Self {
        match mode {
            v1::SubscriptionMode::KeyShared => Self::KeyShared,
            v1::SubscriptionMode::Shared => Self::Shared,
            v1::SubscriptionMode::Exclusive => Self::Exclusive,
            v1::SubscriptionMode::Unspecified => Self::Unknown,
        }
    }

    pub(super) const fn to_proto(self) -> v1::SubscriptionMode {
        match self {
            Self::KeyShared => v1::SubscriptionMode::KeyShared,
            Self::Shared => v1::SubscriptionMode::Shared,
            Self::Exclusive => v1::SubscriptionMode::Exclusive,
            Self::Unknown => v1::SubscriptionMode::Unspecified,
        }
    }
}

impl OnFilterError {
    const fn from_proto(on_filter_error: v1::OnFilterError) -> Self {
        match on_filter_error {
            v1::OnFilterError::Deliver => Self::Deliver,
            v1::OnFilterError::DeadLetter => Self::DeadLetter,
            v1::OnFilterError::Unspecified => Self::Unknown,
        }
    }

    pub(super) const fn to_proto(self) -> v1::OnFilterError {
        match self {
            Self::Deliver => v1::OnFilterError::Deliver,
            Self::DeadLetter => v1::OnFilterError::DeadLetter,
            Self::Unknown => v1::OnFilterError::Unspecified,
        }
    }
}

impl OnDeadLetter {
    const fn from_proto(on_dead_letter: v1::OnDeadLetter) -> Self {
        match on_dead_letter {
            v1::OnDeadLetter::Park => Self::Park,
            v1::OnDeadLetter::Skip => Self::Skip,
            v1::OnDeadLetter::Unspecified => Self::Unknown,
        }
    }

    pub(super) const fn to_proto(self) -> v1::OnDeadLetter {
        match self {
            Self::Park => v1::OnDeadLetter::Park,
            Self::Skip => v1::OnDeadLetter::Skip,
            Self::Unknown => v1::OnDeadLetter::Unspecified,
        }
    }
}
