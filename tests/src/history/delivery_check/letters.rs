//! Dead letters: how records become some, and what becomes of them.

use super::known::{Known, KnownLetter, State};
use super::{Check, Facts, Found, Ledger, Rule, Unit, broken};
use crate::history::{Deed, LetterState};

fn letter_unit(partition: u32, offset: u64) -> Unit {
    Unit {
        partition,
        is_letter: true,
        offset,
    }
}

impl Ledger {
    /// Rules 10, 12 and 22 for a record that has become a dead letter.
    pub(super) fn bury(
        &mut self,
        facts: &Facts,
        partition: u32,
        letter: u64,
        offset: u64,
        is_parked: bool,
    ) -> Found {
        let unit = Unit {
            partition,
            is_letter: false,
            offset,
        };
        let attempts_max = self.attempts_max;
        let Some(known) = self.units.get(&unit).cloned() else {
            let what = format!("dead letter {letter} of {unit:?}, which does not exist");
            return vec![(Rule::DeadLetters, what)];
        };
        let key = known.key;
        let mut found = Found::new();
        if !known.is_open() {
            let what = format!("{unit:?} is dead letter {letter}, and {known:?}");
            found.push((Rule::DeadLetters, what));
        }
        if known.held.is_some_and(|held| held.free_from_ms.is_none()) {
            let what = format!("{unit:?} is dead letter {letter}, and with somebody: {known:?}");
            found.push((Rule::TwoOwners, what));
        }
        let is_in_place = match is_parked {
            true => self.parks && self.has_letter(partition, key),
            false => known.may_be_spent(attempts_max),
        };
        if !is_in_place {
            let what = format!("{unit:?} is dead letter {letter} for nothing: {known:?}");
            found.push((Rule::DeadLetters, what));
        }
        found.extend(self.check_order(facts, unit, None));
        if let Some(key) = key.filter(|_| self.is_ordered) {
            let before = self.last_buried.insert((partition, key), offset);
            if before.is_some_and(|before| before >= offset) {
                let what = format!("{unit:?} is dead letter {letter} behind {before:?} of its key");
                found.push((Rule::Overtaken, what));
            }
        }
        if let Some(known) = self.units.get_mut(&unit) {
            known.state = State::Dead;
            known.held = None;
        }
        let mut dead = Known::new(key);
        dead.letter = Some(KnownLetter {
            seen: LetterState::Dead,
            is_redrive_asked: false,
            is_asked_again: false,
            republished: Vec::new(),
            has_other_end: false,
        });
        self.add(letter_unit(partition, letter), dead);
        found
    }

    /// Whether a key has a dead letter that may not be settled.
    fn has_letter(&mut self, partition: u32, key: Option<u64>) -> bool {
        let end = letter_unit(partition, u64::MAX);
        key.is_some_and(|key| !self.before(end, key).is_empty())
    }

    pub(super) fn ask(&mut self, partition: u32, letter: u64, deed: Deed) {
        let Some(known) = self.units.get_mut(&letter_unit(partition, letter)) else {
            return;
        };
        let Some(of_letter) = &mut known.letter else {
            return;
        };
        match deed {
            Deed::Redrive => {
                of_letter.is_asked_again |= of_letter.seen == LetterState::Redriven;
                of_letter.is_redrive_asked = true;
                known.forget_attempts();
                return;
            }
            Deed::Discard => of_letter.has_other_end = true,
            Deed::Republish { value } => of_letter.republished.push(value),
        }
        known.was_settled = true;
        if known.state == State::Open {
            known.state = State::Either;
        }
    }

    pub(super) fn finish_deed(&mut self, partition: u32, letter: u64, deed: Deed) {
        let known = self.units.get_mut(&letter_unit(partition, letter));
        if let (Some(known), Deed::Discard | Deed::Republish { .. }) = (known, deed) {
            known.state = State::Done;
        }
    }

    /// Rules 9 and 12 for where a dead letter is seen.
    pub(super) fn see(&mut self, partition: u32, letter: u64, state: LetterState) -> Found {
        let attempts_max = self.attempts_max;
        let mut found = Found::new();
        let Some(known) = self.units.get_mut(&letter_unit(partition, letter)) else {
            return found;
        };
        let is_spent = known.may_be_spent(attempts_max);
        let (is_done, was_settled) = (known.state == State::Done, known.was_settled);
        let Some(of_letter) = &mut known.letter else {
            return found;
        };
        let before = std::mem::replace(&mut of_letter.seen, state);
        let is_in_order = match (before, state) {
            (LetterState::Settled, LetterState::Settled)
            | (LetterState::Dead, LetterState::Dead)
            | (LetterState::Redriven, LetterState::Redriven) => true,
            (LetterState::Settled, _) => false,
            (_, LetterState::Settled) => was_settled,
            (_, LetterState::Redriven) => of_letter.is_redrive_asked,
            (LetterState::Redriven, LetterState::Dead) => is_spent,
        };
        if (before, state) == (LetterState::Redriven, LetterState::Dead) {
            of_letter.is_redrive_asked = std::mem::take(&mut of_letter.is_asked_again);
            (known.is_spent, known.charges) = (false, 0);
            known.forget_attempts();
        }
        match state {
            LetterState::Settled => known.state = State::Done,
            _ if is_done => {
                let what = format!("dead letter {partition}/{letter} is {state:?}: {known:?}");
                found.push((Rule::SettledAgain, what));
            }
            _ if known.pending == 0 => known.state = State::Open,
            _ => {}
        }
        if !is_in_order {
            let what = format!(
                "dead letter {partition}/{letter} is {state:?} and was {before:?}: {known:?}"
            );
            found.push((Rule::DeadLetters, what));
        }
        found
    }
}

impl Check {
    /// Rules 12 and 21: what was republished is there once, and was settled with that.
    pub(super) fn check_republished(&mut self) {
        let mut found = Vec::new();
        for (subscription, ledger) in self.ledgers.iter().filter(|(_, it)| !it.is_over) {
            for (unit, known) in &ledger.units {
                let letter = known.letter.as_ref();
                let Some(letter) = letter.filter(|it| !it.republished.is_empty()) else {
                    continue;
                };
                let values = letter.republished.iter();
                let there = values.clone().filter(|it| self.read.contains(it)).count();
                let may_be_gone = values.clone().any(|it| self.may_be_gone(*it));
                let is_done = known.state == State::Done;
                let is_half = match there {
                    0 => is_done && !letter.has_other_end && !may_be_gone,
                    _ => !is_done && known.state != State::Either,
                };
                let rule = match there {
                    0 | 1 if is_half => Rule::TornRequest,
                    0 | 1 => continue,
                    _ => Rule::DeadLetters,
                };
                let what = format!(
                    "subscription {subscription}: {unit:?} was republished {there} times: {known:?}"
                );
                found.push(broken(rule, what));
            }
        }
        self.violations.append(&mut found);
    }

    fn may_be_gone(&self, value: u64) -> bool {
        let place = self.sent.get(&value);
        place.is_some_and(|place| self.may_go.contains(place))
    }
}
