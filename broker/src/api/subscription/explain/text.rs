//! What is said of a record to people.

use towpath_proto::v1;

use super::letter::{LETTERS_MAX, Search};
use crate::api::subscription::show;
use crate::core::{DeadLetterState, Obstacle, Parking, RecordExplanation, RecordPlace};

/// One reason why nothing happens.
pub(super) fn obstacle(obstacle: &Obstacle) -> v1::ObstacleDetail {
    use v1::DeliveryObstacle as Kind;
    let (kind, detail) = match obstacle {
        Obstacle::Paused => (Kind::Paused, "the subscription is paused".to_owned()),
        Obstacle::NoConsumers => (Kind::NoConsumers, "no consumer is connected".to_owned()),
        Obstacle::NoCredit(None) => (
            Kind::NoCredit,
            "no consumer asks for more: each has as many records as it wants".to_owned(),
        ),
        Obstacle::NoCredit(Some(holder)) => (
            Kind::NoCredit,
            format!(
                "consumer {holder:?} has the exclusive subscription and asks for no more; others wait"
            ),
        ),
        Obstacle::Halted(halt) => (Kind::Halted, show::describe(halt)),
        Obstacle::BackOff(due_ms) => (
            Kind::BackOff,
            format!("it waits for its next attempt, at {}", time(*due_ms)),
        ),
        Obstacle::Key(offset) => (
            Kind::Key,
            format!("the record at offset {offset} has the same key and is not done with"),
        ),
        Obstacle::Parked(count, parking) => (
            Kind::Parked,
            format!("its key has {count} dead letters{}", parked(*parking)),
        ),
        Obstacle::DeadLetters(problem) => (
            Kind::DeadLetterProblem,
            format!("the dead letters cannot be written: {problem}"),
        ),
        Obstacle::Suspect(partition, offset) => (
            Kind::Suspect,
            format!(
                "the record {partition}@{offset} is delivered alone: its consumer went while it \
                 handled it and others"
            ),
        ),
        Obstacle::NoIdleConsumer => (
            Kind::Suspect,
            "its consumer went while it handled it and others: it is delivered alone, and waits for a \
             consumer that has nothing"
                .to_owned(),
        ),
        Obstacle::Full => (
            Kind::Full,
            "as many records of the partition wait as may".to_owned(),
        ),
    };
    v1::ObstacleDetail {
        obstacle: kind.into(),
        detail,
    }
}

/// A broker time as people read it.
fn time(ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(ms);
    time.map_or_else(
        |_| format!("{ms} ms since the Unix epoch"),
        |it| format!("{it:.3}"),
    )
}

/// What becomes of a record behind the dead letters of its key.
fn parked(parking: Parking) -> &'static str {
    match parking {
        Parking::Follows => ": it follows them, in order",
        Parking::AwaitsRedriven => {
            ", of which some are delivered again: it waits for what becomes of these"
        }
        Parking::AwaitsAll => {
            ", and the subscription was moved back before them: it waits until the last of them is \
             redriven and acked, or discarded; then its key begins anew from there"
        }
    }
}

/// What is known besides, and what is not known any more.
pub(super) fn note(
    explanation: &RecordExplanation,
    search: &Search,
    is_gone: bool,
    verdict: v1::FilterVerdict,
) -> String {
    let letter = search.found.as_ref().map(|it| it.state);
    let is_settled = explanation.record.place == RecordPlace::Settled;
    let note = match (letter, verdict) {
        _ if !is_settled && !is_gone => "",
        (Some(DeadLetterState::Dead), _) => "it is among the dead letters",
        (Some(DeadLetterState::Redriven), _) => "its dead letter is delivered again",
        (Some(DeadLetterState::Settled), _) => {
            "it was a dead letter, which was handled, discarded or appended to a topic since"
        }
        (None, _) if is_gone => {
            "it is below the log start: whether it was handled is not known any more"
        }
        (None, v1::FilterVerdict::NoMatch) => {
            "its filter is not true of it, so it was not delivered, unless a seek or a change of the \
             filter came between"
        }
        (None, _) => {
            "it was acked, or its dead letter was discarded or appended to a topic: who handled it and \
             when is not kept"
        }
    };
    match search.is_cut_short && letter.is_none() {
        true => format!("{note}; of its dead letters only {LETTERS_MAX} were looked at"),
        false => note.to_owned(),
    }
}
