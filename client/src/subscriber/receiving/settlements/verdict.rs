//! What is said of a record, as the wire has it.

use std::time::Duration;

use towpath_proto::v1;
use towpath_proto::v1::settlement::Outcome;

use crate::subscriber::outcome::DeliveryOutcome;
use crate::time::whole_ms;

/// Longest reason that the broker keeps.
const REASON_BYTES_MAX: usize = 200;
/// Longest wait that the broker takes.
const DELAY_MAX: Duration = Duration::from_hours(24);

/// What is said of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A handler begins with it.
    Start,
    /// It takes longer.
    Extend,
    /// This became of it.
    Settled(DeliveryOutcome),
}

impl Verdict {
    pub(super) fn to_proto(&self) -> Outcome {
        match self {
            Self::Start => Outcome::Start(v1::Start {}),
            Self::Extend => Outcome::Extend(v1::Extend {}),
            Self::Settled(outcome) => outcome.to_proto(),
        }
    }
}

impl DeliveryOutcome {
    pub(crate) fn to_proto(&self) -> Outcome {
        match self {
            Self::Ack => Outcome::Ack(v1::Ack {}),
            Self::Release => Outcome::Release(v1::Release {}),
            Self::Nack { delay, reason } => Outcome::Nack(v1::Nack {
                delay_ms: delay.map(|delay| whole_ms(delay.min(DELAY_MAX))),
                reason: cut(reason),
            }),
            Self::DeadLetter { reason } => Outcome::DeadLetter(v1::ToDeadLetters {
                reason: cut(reason),
            }),
        }
    }
}

fn cut(reason: &str) -> String {
    let (kept, _) = reason.split_at(reason.floor_char_boundary(REASON_BYTES_MAX));
    kept.to_owned()
}
