//! What is known of one record, in one place: in the topic or among the dead letters.

use std::collections::BTreeSet;

use super::{Found, Rule, Unit};
use crate::history::{LetterState, Word};

/// Whether a record is done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It is to be handled.
    Open,
    /// One of both: what decided it was not answered.
    Either,
    /// It was settled, or passed by.
    Done,
    /// It is among the dead letters.
    Dead,
}

/// Who has a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) consumer: u64,
    pub(super) delivery: u64,
    pub(super) has_begun: bool,
    /// It may count as begun, and may not.
    pub(super) is_alone: bool,
    /// Others may have it from then on.
    pub(super) free_from_ms: Option<i64>,
}

/// What is known of a record.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) key: Option<u64>,
    pub(super) state: State,
    pub(super) held: Option<Held>,
    /// What was said last by who had it and did not ack it, unless it came again since.
    pub(super) let_go_by: Option<u64>,
    /// What was said of which deliveries by who had it and did not ack it, unless that came too late: who says
    /// the same again is not too late.
    pub(super) heard: BTreeSet<(u64, Word)>,
    /// Acks, and what else settles it, that are not answered.
    pub(super) pending: u32,
    /// Whether somebody may have settled it, ever.
    pub(super) was_settled: bool,
    /// The delivery that brought it last.
    pub(super) last_delivery: u64,
    /// The attempt that was told last.
    pub(super) attempt: u32,
    /// The next one is at least this.
    pub(super) attempt_min: u32,
    /// Failures that may count.
    pub(super) charges: u32,
    /// Somebody has said that it cannot be handled.
    pub(super) is_spent: bool,
    pub(super) letter: Option<KnownLetter>,
}

/// What is known of a dead letter beside that.
#[derive(Debug, Clone)]
pub(super) struct KnownLetter {
    pub(super) seen: LetterState,
    pub(super) is_redrive_asked: bool,
    /// The same while it was on its way back: it may be dead again by then.
    pub(super) is_asked_again: bool,
    /// Values of the items that it was to become.
    pub(super) republished: Vec<u64>,
    /// Somebody else may have settled it: a consumer, or who discards.
    pub(super) has_other_end: bool,
}

impl Known {
    pub(super) fn new(key: Option<u64>) -> Self {
        Self {
            key,
            state: State::Open,
            held: None,
            let_go_by: None,
            heard: BTreeSet::new(),
            pending: 0,
            was_settled: false,
            last_delivery: 0,
            attempt: 0,
            attempt_min: 0,
            charges: 0,
            is_spent: false,
            letter: None,
        }
    }

    /// Whether it is not known to be done with.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open | State::Either)
    }

    /// Whether it may be done with, and may be not.
    pub(super) fn is_doubtful(&self) -> bool {
        self.state == State::Either || self.pending > 0
    }

    /// Its attempts may begin anew.
    pub(super) fn forget_attempts(&mut self) {
        (self.attempt, self.attempt_min) = (0, 0);
    }

    pub(super) fn lose_broker(&mut self) {
        // What its last rounds have decided nobody may have heard.
        let may_have_failed = |held: Held| held.has_begun || held.is_alone;
        self.charges += u32::from(self.held.take().is_some_and(may_have_failed));
        if std::mem::take(&mut self.pending) > 0 && self.state == State::Open {
            self.state = State::Either;
        }
    }

    /// Rules 9 to 12 for one record.
    pub(super) fn take_delivery(
        &mut self,
        unit: Unit,
        held: Held,
        attempt: u32,
        time_ms: i64,
    ) -> Found {
        let mut found = Found::new();
        match self.state {
            State::Done => {
                let what = format!("{unit:?} was settled and comes again: {self:?}");
                found.push((Rule::SettledAgain, what));
            }
            State::Dead => {
                let what = format!("{unit:?} is a dead letter and comes again: {self:?}");
                found.push((Rule::DeadLetters, what));
            }
            State::Open | State::Either => self.state = State::Open,
        }
        let is_redriven = self.letter.as_ref().is_none_or(|it| it.is_redrive_asked);
        if !is_redriven {
            let what = format!("nobody has redriven {unit:?}, and it comes");
            found.push((Rule::DeadLetters, what));
        }
        let is_free = |before: Held| before.free_from_ms.is_some_and(|it| it <= time_ms);
        if let Some(before) = self.held.filter(|it| !is_free(*it)) {
            let what = format!("{unit:?} comes to {held:?} at {time_ms}, and is with {before:?}");
            found.push((Rule::TwoOwners, what));
        }
        if attempt < self.attempt.max(self.attempt_min) {
            let what = format!("{unit:?}: attempt {attempt} of {self:?}");
            found.push((Rule::Attempts, what));
        }
        if attempt > 1 + self.charges {
            let what = format!("{unit:?}: attempt {attempt}, charged for nothing: {self:?}");
            found.push((Rule::Attempts, what));
        }
        self.attempt = attempt;
        self.last_delivery = held.delivery;
        self.held = Some(held);
        self.let_go_by = None;
        found
    }
}
