//! The rules of durable subscriptions, in one pass over the history: a naive model of each, which knows of
//! every record whether it is done with, and who has it.

mod known;
mod letters;
mod seeks;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use super::check::broken;
use super::{DeliveryEvent, Event, Place, Rule, Unit, Violation};
use known::{Held, Known, State};
use words::Saying;

/// Rules 9 to 12 and 22 to 24, and 21 for what is republished.
pub(super) fn check_deliveries(history: &[Event]) -> Vec<Violation> {
    let mut check = Check::default();
    for event in history {
        match *event {
            Event::Keyed { place, offset, key } => check.take_key(place, offset, key),
            Event::MayGo { place, .. } => {
                check.may_go.insert(place);
            }
            Event::Starts { place, log_start } => {
                check.facts.log_starts.insert(place, log_start);
            }
            Event::TrimSent { place, below } => {
                let known = check.facts.trimmed.entry(place).or_default();
                *known = below.max(*known);
            }
            Event::BrokerGone { .. } => check.ledgers.values_mut().for_each(Ledger::lose_broker),
            Event::Sent { item, value, .. } => {
                check.sent.insert(value, item.place);
            }
            Event::Read { value, .. } => {
                check.read.insert(value);
            }
            Event::Subscription {
                subscription,
                event,
            } => check.take(subscription, event),
            _ => {}
        }
    }
    check.check_republished();
    check.violations
}

#[derive(Default)]
struct Check {
    ledgers: BTreeMap<u64, Ledger>,
    facts: Facts,
    /// Where each item was sent to.
    sent: BTreeMap<u64, Place>,
    /// Where something may go.
    may_go: BTreeSet<Place>,
    /// What was read, ever.
    read: BTreeSet<u64>,
    violations: Vec<Violation>,
}

/// What is known of topics.
#[derive(Default)]
struct Facts {
    keys: BTreeMap<Place, BTreeMap<u64, Option<u64>>>,
    log_starts: BTreeMap<Place, u64>,
    /// One past the last that was to be trimmed.
    trimmed: BTreeMap<Place, u64>,
}

impl Facts {
    fn is_trimmed(&self, place: Place, offset: u64) -> bool {
        self.trimmed
            .get(&place)
            .is_some_and(|below| offset < *below)
    }
}

/// What is known of a subscription.
struct Ledger {
    topic: u64,
    is_ordered: bool,
    parks: bool,
    /// The fewest failures after which a record was ever dead.
    attempts_max: u32,
    units: BTreeMap<Unit, Known>,
    /// Records by key that may not be done with yet: their offsets in one lane of one partition.
    open: BTreeMap<(bool, u32, u64), BTreeSet<u64>>,
    last_delivery: (u64, u64),
    /// Where each partition was put last.
    begins: BTreeMap<u32, u64>,
    /// How often each partition was asked to move.
    seeks: BTreeMap<u32, u64>,
    /// The last dead letter of each key, by partition: its offset in the topic.
    last_buried: BTreeMap<(u32, u64), u64>,
    sayings: BTreeMap<u64, Saying>,
    /// Failures since something was handled, at most.
    failures: u32,
    is_over: bool,
}

impl Check {
    fn take_key(&mut self, place: Place, offset: u64, key: Option<u64>) {
        let keys = self.facts.keys.entry(place).or_default();
        keys.insert(offset, key);
        for ledger in self.ledgers.values_mut() {
            if ledger.topic == place.topic {
                ledger.add_record(place.partition, offset, key);
            }
        }
    }

    fn take(&mut self, subscription: u64, event: DeliveryEvent) {
        if let DeliveryEvent::Began {
            topic,
            is_ordered,
            parks,
            attempts_max,
        } = event
        {
            let mut ledger = Ledger::new(topic, is_ordered, parks, attempts_max);
            for (place, keys) in &self.facts.keys {
                if place.topic == topic {
                    let mut records = keys.iter();
                    records.by_ref().for_each(|(offset, key)| {
                        ledger.add_record(place.partition, *offset, *key);
                    });
                }
            }
            self.ledgers.insert(subscription, ledger);
            return;
        }
        let Some(ledger) = self.ledgers.get_mut(&subscription) else {
            return;
        };
        if ledger.is_over {
            return;
        }
        let found = ledger.take(&self.facts, event);
        let found = found.into_iter().map(|(rule, what)| {
            let what = format!("subscription {subscription}: {what}");
            broken(rule, what)
        });
        self.violations.extend(found);
    }
}

/// Broken rules of one event.
type Found = Vec<(Rule, String)>;

impl Ledger {
    fn new(topic: u64, is_ordered: bool, parks: bool, attempts_max: u32) -> Self {
        Self {
            topic,
            is_ordered,
            parks,
            attempts_max,
            units: BTreeMap::new(),
            open: BTreeMap::new(),
            last_delivery: (0, 0),
            begins: BTreeMap::new(),
            seeks: BTreeMap::new(),
            last_buried: BTreeMap::new(),
            sayings: BTreeMap::new(),
            failures: 0,
            is_over: false,
        }
    }

    fn add_record(&mut self, partition: u32, offset: u64, key: Option<u64>) {
        let unit = Unit {
            partition,
            is_letter: false,
            offset,
        };
        let mut known = Known::new(key);
        if self.begins.get(&partition).is_some_and(|it| offset < *it) {
            known.state = State::Done;
        }
        self.add(unit, known);
    }

    fn add(&mut self, unit: Unit, known: Known) {
        if let Some(key) = known.key {
            let of_key = self.open.entry((unit.is_letter, unit.partition, key));
            of_key.or_default().insert(unit.offset);
        }
        self.units.insert(unit, known);
    }

    fn take(&mut self, facts: &Facts, event: DeliveryEvent) -> Found {
        match event {
            DeliveryEvent::Delivered {
                unit,
                consumer,
                delivery,
                attempt,
                has_begun,
                is_alone,
                time_ms,
            } => {
                let held = Held {
                    consumer,
                    delivery,
                    has_begun,
                    is_alone,
                    free_from_ms: None,
                };
                self.deliver(facts, unit, held, attempt, time_ms)
            }
            DeliveryEvent::Answered { number, is_expired } => {
                self.answer(facts, number, is_expired)
            }
            DeliveryEvent::Buried {
                partition,
                letter,
                offset,
                is_parked,
            } => self.bury(facts, partition, letter, offset, is_parked),
            DeliveryEvent::Seen {
                partition,
                letter,
                state,
            } => self.see(partition, letter, state),
            DeliveryEvent::Finished => self.finish(facts),
            other => {
                self.note(facts, other);
                Found::new()
            }
        }
    }

    /// Takes an event that can break no rule.
    fn note(&mut self, facts: &Facts, event: DeliveryEvent) {
        match event {
            DeliveryEvent::AttemptsMax { attempts_max } => {
                self.attempts_max = attempts_max.min(self.attempts_max);
            }
            DeliveryEvent::SeekSent { partition, offset } => self.send_seek(partition, offset),
            DeliveryEvent::Sought { partition, offset } => self.seek(facts, partition, offset),
            DeliveryEvent::Lost { unit, consumer } => self.lose(unit, consumer),
            DeliveryEvent::Said {
                number,
                unit,
                consumer,
                delivery,
                word,
            } => self.hear(number, unit, (consumer, delivery), word),
            DeliveryEvent::Stopped { consumer } => self.stop(consumer),
            DeliveryEvent::Parted {
                consumer,
                free_from_ms,
            } => self.part(consumer, free_from_ms),
            DeliveryEvent::Asked {
                partition,
                letter,
                deed,
            } => self.ask(partition, letter, deed),
            DeliveryEvent::Done {
                partition,
                letter,
                deed,
            } => self.finish_deed(partition, letter, deed),
            DeliveryEvent::Ended => self.is_over = true,
            _ => {}
        }
    }

    /// Rules 9 to 12 and 22 for a record that comes to a consumer.
    fn deliver(
        &mut self,
        facts: &Facts,
        unit: Unit,
        held: Held,
        attempt: u32,
        time_ms: i64,
    ) -> Found {
        let Some(known) = self.units.get_mut(&unit) else {
            let what = format!("{unit:?} was delivered, and there is no such record");
            return vec![(Rule::Phantom, what)];
        };
        let mut found = known.take_delivery(unit, held, attempt, time_ms);
        let delivery = (held.delivery, held.consumer);
        let is_new = delivery.0 > self.last_delivery.0 || delivery == self.last_delivery;
        if !is_new {
            let before = self.last_delivery;
            let what = format!("{unit:?}: delivery and consumer {delivery:?} behind {before:?}");
            found.push((Rule::TwoOwners, what));
        }
        self.last_delivery = delivery;
        found.extend(self.check_order(facts, unit, Some(held.consumer)));
        found
    }

    /// Rule 22: what of its key is before a record is done with, or with the same consumer.
    fn check_order(&mut self, facts: &Facts, unit: Unit, consumer: Option<u64>) -> Found {
        let key = self.units.get(&unit).and_then(|known| known.key);
        let Some(key) = key.filter(|_| self.is_ordered) else {
            return Found::new();
        };
        if unit.is_letter && !self.parks {
            // Then order is given up for what died.
            return Found::new();
        }
        let mut before = self.before(unit, key);
        if self.parks && !unit.is_letter && consumer.is_some() {
            // A key that has dead letters stands.
            let letters = self.before(
                Unit {
                    is_letter: true,
                    offset: u64::MAX,
                    ..unit
                },
                key,
            );
            before.extend(letters);
        }
        let place = Place {
            topic: self.topic,
            partition: unit.partition,
        };
        let mut found = Found::new();
        for earlier in before {
            let Some(known) = self.units.get_mut(&earlier) else {
                continue;
            };
            let is_with = known.held.is_some() && known.held.map(|it| it.consumer) == consumer;
            let is_beside = is_with && earlier.is_letter == unit.is_letter;
            let is_free = known.held.is_none_or(|held| held.free_from_ms.is_some());
            if known.is_doubtful() && is_free {
                // Now it is known.
                known.state = State::Done;
            } else if !is_beside && (earlier.is_letter || !facts.is_trimmed(place, earlier.offset))
            {
                let what = format!("{unit:?} has overtaken {earlier:?} of its key: {known:?}");
                found.push((Rule::Overtaken, what));
            }
        }
        found
    }

    /// What of a key is before a record in its lane and not known to be done with.
    fn before(&mut self, unit: Unit, key: u64) -> Vec<Unit> {
        let Self { open, units, .. } = self;
        let Some(open) = open.get_mut(&(unit.is_letter, unit.partition, key)) else {
            return Vec::new();
        };
        let at = |offset| Unit { offset, ..unit };
        let is_open = |offset| units.get(&at(offset)).is_some_and(Known::is_open);
        let before: Vec<u64> = open.range(..unit.offset).copied().collect();
        let (left, done): (Vec<_>, Vec<_>) = before.into_iter().partition(|it| is_open(*it));
        open.retain(|offset| !done.contains(offset));
        left.into_iter().map(at).collect()
    }

    /// The broker is gone: no lease is known any more, and what was not answered is in doubt.
    fn lose_broker(&mut self) {
        for saying in std::mem::take(&mut self.sayings).into_values() {
            self.charge(&saying);
        }
        for known in self.units.values_mut() {
            known.lose_broker();
        }
    }

    /// Rules 12 and 23 at the end: everything was handled that somebody had to handle.
    fn finish(&self, facts: &Facts) -> Found {
        let mut found = Found::new();
        for (unit, known) in &self.units {
            let place = Place {
                topic: self.topic,
                partition: unit.partition,
            };
            let is_gone = !unit.is_letter && facts.is_trimmed(place, unit.offset);
            if known.state == State::Open && !is_gone {
                let what = format!("{unit:?} was never settled: {known:?}");
                found.push((Rule::Unhandled, what));
            }
        }
        found
    }
}
