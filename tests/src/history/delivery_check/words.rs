//! What consumers say, how they go, and what the broker answers.

use super::known::{Held, State};
use super::{Facts, Found, Ledger, Rule, Unit};
use crate::history::{Place, Word};

/// Failures in a row below which there is no outage for sure, in which attempts count.
const FAILURES_COUNTED_MAX: u32 = 25;

/// Something that a consumer has said and that is not answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Saying {
    unit: Unit,
    consumer: u64,
    delivery: u64,
    word: Word,
    /// The attempt of which it was said.
    attempt: u32,
    /// How often the partition had been asked to move.
    seek: u64,
    /// The consumer has the record, as far as it can know.
    is_held: bool,
    /// The record has come with a later delivery since, and the same was not heard before of this one.
    is_late: bool,
}

impl Ledger {
    /// A consumer says something of a record that it has, or had: consumer and delivery are given.
    pub(super) fn hear(&mut self, number: u64, unit: Unit, by: (u64, u64), word: Word) {
        let seek = self.seeks.get(&unit.partition).copied().unwrap_or(0);
        let Some(known) = self.units.get_mut(&unit) else {
            return;
        };
        let is_its = |held: Held| (held.consumer, held.delivery) == by;
        let its = known.held.filter(|held| is_its(*held));
        let is_repeated = known.heard.contains(&(by.1, word));
        let saying = Saying {
            unit,
            consumer: by.0,
            delivery: by.1,
            word,
            attempt: known.attempt,
            seek,
            is_held: its.is_some_and(|held| held.free_from_ms.is_none()),
            is_late: known.last_delivery != by.1 && known.letter.is_none() && !is_repeated,
        };
        self.sayings.insert(number, saying);
        match word {
            Word::Ack => {
                known.pending += 1;
                known.was_settled = true;
                if let Some(letter) = &mut known.letter {
                    letter.has_other_end = true;
                }
            }
            Word::Nack | Word::DeadLetter => {
                known.charges += 1;
                known.is_spent |= word == Word::DeadLetter;
                self.failures += 1;
            }
            Word::Release | Word::Start | Word::Extend => {}
        }
        match (word, &mut known.held) {
            (Word::Start, Some(held)) if is_its(*held) => held.has_begun = true,
            (Word::Start | Word::Extend, _) => {}
            (_, held) if its.is_some() => {
                *held = None;
                known.let_go_by = (word != Word::Ack).then_some(number);
                if word != Word::Ack {
                    known.heard.insert((by.1, word));
                }
            }
            _ => {}
        }
    }

    /// Rules 9, 10, 22 and 24 for an answer.
    pub(super) fn answer(&mut self, facts: &Facts, number: u64, is_expired: bool) -> Found {
        let mut found = Found::new();
        let Some(saying) = self.sayings.remove(&number) else {
            return found;
        };
        let unit = saying.unit;
        let is_recent = self.seeks.get(&unit.partition).copied().unwrap_or(0) == saying.seek;
        let place = Place {
            topic: self.topic,
            partition: unit.partition,
        };
        let Some(known) = self.units.get_mut(&unit) else {
            return found;
        };
        let is_only_one = known.pending == u32::from(saying.word == Word::Ack);
        let may_be_redriven = known.letter.as_ref().is_some_and(|it| it.is_asked_again);
        let is_open = known.state == State::Open && is_only_one && is_recent;
        if !is_expired && saying.is_late && is_open && !facts.is_trimmed(place, unit.offset) {
            let what = format!("{saying:?} came late and was heard: {known:?}");
            found.push((Rule::TwoOwners, what));
        }
        if is_expired {
            known.heard.remove(&(saying.delivery, saying.word));
        }
        if is_expired && saying.is_held {
            let what = format!("{saying:?} was answered as expired: {known:?}");
            found.push((Rule::Disowned, what));
        }
        match saying.word {
            Word::Ack => {
                known.pending = known.pending.saturating_sub(1);
                if !is_expired && is_recent {
                    self.failures = 0;
                    // Who says something of a record that is settled, also by its dead letter, is
                    // answered as if it had done that.
                    if known.is_open() {
                        known.state = State::Done;
                        found.extend(self.check_ack(facts, number, unit));
                    }
                }
            }
            Word::Nack
                if !is_expired
                    && is_recent
                    && saying.is_held
                    && !may_be_redriven
                    && self.failures < FAILURES_COUNTED_MAX =>
            {
                known.attempt_min = known.attempt_min.max(saying.attempt + 1);
            }
            _ => {}
        }
        found
    }

    /// Rule 22 for a record that is handled: who has given back one of its key before does not have it.
    fn check_ack(&mut self, facts: &Facts, number: u64, unit: Unit) -> Found {
        let place = Place {
            topic: self.topic,
            partition: unit.partition,
        };
        let key = self.units.get(&unit).and_then(|known| known.key);
        let Some(key) = key.filter(|_| self.is_ordered) else {
            return Found::new();
        };
        let mut found = Found::new();
        for earlier in self.before(unit, key) {
            let known = &self.units[&earlier];
            let is_back = known.let_go_by.is_some_and(|before| before < number);
            let is_gone = !unit.is_letter && facts.is_trimmed(place, earlier.offset);
            if is_back && !is_gone && known.state == State::Open && known.pending == 0 {
                let what = format!("{unit:?} was handled before {earlier:?}: {known:?}");
                found.push((Rule::Overtaken, what));
            }
        }
        found
    }

    /// A consumer was told that it has a record no more.
    pub(super) fn lose(&mut self, unit: Unit, consumer: u64) {
        self.excuse(|it| it.unit == unit && it.consumer == consumer);
        let Some(known) = self.units.get_mut(&unit) else {
            return;
        };
        let held = known.held.filter(|held| held.consumer == consumer);
        if held.is_some() {
            known.held = None;
        }
        // What it has said of it may not have been heard in time.
        if held.is_none_or(|held| held.has_begun || held.is_alone) {
            known.charges += 1;
            self.failures += 1;
        }
    }

    pub(super) fn stop(&mut self, consumer: u64) {
        self.excuse(|it| it.consumer == consumer);
        for known in self.units.values_mut() {
            let is_its = |held: &Held| held.consumer == consumer && !held.has_begun;
            if let Some(held) = known.held.filter(is_its) {
                known.held = None;
                known.charges += u32::from(held.is_alone);
            }
        }
    }

    /// Others may have what it has not begun with at once, the rest from then on.
    pub(super) fn part(&mut self, consumer: u64, free_from_ms: Option<i64>) {
        self.stop(consumer);
        let sayings = self.sayings.values().filter(|it| it.consumer == consumer);
        for saying in sayings.copied().collect::<Vec<_>>() {
            self.charge(&saying);
        }
        for known in self.units.values_mut() {
            let Some(held) = known.held.as_mut().filter(|it| it.consumer == consumer) else {
                continue;
            };
            match free_from_ms {
                // It has left, which is nobody's failure.
                Some(i64::MIN) => known.held = None,
                _ => {
                    // Others may have it since it went before, though it came back.
                    let before_ms = held.free_from_ms.unwrap_or(i64::MAX);
                    held.free_from_ms = Some(free_from_ms.unwrap_or(i64::MIN).min(before_ms));
                    known.charges += 1;
                    self.failures += 1;
                }
            }
        }
    }

    /// What was said may not be heard in time, which is a failure then.
    pub(super) fn charge(&mut self, saying: &Saying) {
        if let Some(known) = self.units.get_mut(&saying.unit) {
            known.charges += 1;
        }
    }

    /// From now on it may be answered that these records are not its own.
    pub(super) fn excuse(&mut self, which: impl Fn(&Saying) -> bool) {
        let sayings = self.sayings.values_mut().filter(|it| which(it));
        sayings.for_each(|it| it.is_held = false);
    }

    pub(super) fn excuse_partition(&mut self, partition: u32) {
        self.excuse(|it| it.unit.partition == partition && !it.unit.is_letter);
    }
}
