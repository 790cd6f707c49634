//! Telling consumers that nothing can be handed out to them now.
//!
//! Looked at whenever a subscription is stepped, after it has delivered: nothing is ready, and nothing is
//! left to be looked at. What is known of that is counted where it changes; a look costs as much as a step
//! does anyway, and a subscription that is not stepped is not looked at.

use towpath_storage::Offset;

use super::consumer::ConsumerId;
use super::partition::{Lane, SubscriptionPartition};
use super::{Subscription, SubscriptionDecision, SubscriptionEvent, SubscriptionNotice};

/// So many consumers are told at once, each time. Where there are more, a record now and then would be told
/// of to hundreds, again and again: those that have nothing to do with it hear less often.
const CONSUMERS_TOLD_AT_ONCE_MAX: usize = 16;
/// How often such a one is told, milliseconds.
const TELL_INTERVAL_MS: i64 = 1_000;

/// Nothing can be handed out to a consumer now; and what is left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CaughtUp {
    /// Broker time of this, milliseconds since the Unix epoch.
    pub broker_time_ms: i64,
    /// Records that the consumer has.
    pub in_flight_count: u64,
    /// Records that others have.
    pub elsewhere_count: u64,
    /// Records that were looked at and are with nobody, but for dead letters.
    pub waiting_count: u64,
    /// Dead letters that are to be delivered again and are with nobody.
    pub redriven_count: u64,
    /// When the next of both is due, broker time in milliseconds since the Unix epoch.
    pub next_due_ms: Option<i64>,
    /// Keys of which something is among the dead letters.
    pub parked_count: u64,
    /// Partitions that are not gone on with since they could not be read.
    pub halted_count: u32,
    /// Partitions that are not gone on with until fewer of their records have rows.
    pub full_count: u32,
    /// Whether the subscription is paused.
    pub is_paused: bool,
    /// Whether something could last not be moved to the dead letters.
    pub has_dead_letter_problem: bool,
}

/// Times during which a subscription has nothing to hand out. Volatile.
#[derive(Debug, Default)]
pub(super) struct Spell {
    /// Number of the present one, or of the next one.
    number: u64,
    /// How much had been delivered when it was looked at last.
    delivered: u64,
    /// Whether it was paused then.
    is_paused: bool,
    /// When those are told that were told a moment ago, broker time in milliseconds since the Unix epoch.
    due_ms: Option<i64>,
}

/// What a consumer was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    /// During which time.
    spell: u64,
    /// When, broker time in milliseconds since the Unix epoch.
    at_ms: i64,
    /// Nobody had anything.
    is_idle: bool,
    /// None of the others had anything.
    is_alone: bool,
}

impl Told {
    /// Whether it is worth nothing more to be told `now`.
    fn covers(&self, now: Self) -> bool {
        let is_same = self.spell == now.spell;
        is_same && self.is_idle >= now.is_idle && self.is_alone >= now.is_alone
    }
}

impl Subscription {
    /// Tells those consumers to which nothing can be handed out now, unless they know. `end_of` tells where a
    /// partition ends.
    pub(super) fn tell_caught_up(
        &mut self,
        now_ms: i64,
        end_of: impl Fn(u32) -> Offset,
        decision: &mut SubscriptionDecision,
    ) {
        self.spell.due_ms = None;
        if self.consumers.connected().next().is_none() {
            return;
        }
        let now = (self.counts.delivered, self.is_paused);
        let is_over = now != (self.spell.delivered, self.spell.is_paused);
        (self.spell.delivered, self.spell.is_paused) = now;
        let has_nothing =
            self.is_paused || (self.is_looked_through(end_of) && !self.has_ready(now_ms));
        if is_over || !has_nothing {
            self.spell.number += 1;
        }
        if !has_nothing {
            return;
        }
        let in_flight_count: u64 = self.consumers.iter().map(|(_, it)| it.in_flight).sum();
        let mut rest = None;
        for (id, in_flight) in self.untold(in_flight_count, now_ms) {
            let rest = *rest.get_or_insert_with(|| self.rest(now_ms));
            let Some(consumer) = self.consumers.get_mut(id) else {
                continue;
            };
            consumer.told = Some(self.spell.told(in_flight, in_flight_count, now_ms));
            consumer.has_moved = false;
            let event = SubscriptionEvent::CaughtUp(CaughtUp {
                in_flight_count: in_flight,
                elsewhere_count: in_flight_count - in_flight,
                ..rest
            });
            let notice = consumer
                .session
                .map(|session| SubscriptionNotice { session, event });
            decision.notices.extend(notice);
        }
    }

    /// Consumers that are to be told, with how much each has.
    fn untold(&mut self, in_flight_count: u64, now_ms: i64) -> Vec<(ConsumerId, u64)> {
        // One that has nothing gets it, as soon as it allows that.
        let has_suspect = !self.is_paused && self.has_suspect();
        let is_crowd = self.consumers.connected().count() > CONSUMERS_TOLD_AT_ONCE_MAX;
        let mut untold = Vec::new();
        let mut due_ms: Option<i64> = None;
        for (id, it) in self.consumers.connected() {
            let now = self.spell.told(it.in_flight, in_flight_count, now_ms);
            let knows = it.told.is_some_and(|told| told.covers(now));
            if knows || has_suspect && it.in_flight == 0 {
                continue;
            }
            let again_ms = it.told.map(|told| told.at_ms + TELL_INTERVAL_MS);
            match again_ms.filter(|at_ms| is_crowd && !it.has_moved && now_ms < *at_ms) {
                Some(at_ms) => due_ms = Some(due_ms.map_or(at_ms, |due_ms| due_ms.min(at_ms))),
                None => untold.push((id, it.in_flight)),
            }
        }
        self.spell.due_ms = due_ms;
        untold
    }

    /// When somebody is told who was told a moment ago, broker time in milliseconds since the Unix epoch.
    pub(super) fn next_told_ms(&self) -> Option<i64> {
        self.spell.due_ms
    }

    /// Whether every partition was looked at to its end, but for those that stand still; and nothing is on its
    /// way to the dead letters, behind which something else may be ready.
    fn is_looked_through(&self, end_of: impl Fn(u32) -> Offset) -> bool {
        (0..).zip(self.sources()).all(|(number, partition)| {
            let stands_still = partition.halt.is_some() || !partition.has_row_room();
            let is_at_end = stands_still || partition.window.end() >= end_of(number);
            is_at_end && !partition.burials.has_moving()
        })
    }

    fn sources(&self) -> impl Iterator<Item = &SubscriptionPartition> {
        let partitions = self.partitions.iter();
        partitions.take_while(|it| it.lane == Lane::Source)
    }

    /// What is left that consumers do not have.
    fn rest(&self, now_ms: i64) -> CaughtUp {
        let mut rest = CaughtUp {
            broker_time_ms: now_ms,
            next_due_ms: self
                .partitions
                .iter()
                .filter_map(|it| it.waiting.next_due_ms())
                .min(),
            is_paused: self.is_paused,
            has_dead_letter_problem: self.burial_problems.reason().is_some(),
            ..CaughtUp::default()
        };
        for partition in &self.partitions {
            let waiting = &partition.waiting;
            let in_rows = (waiting.len() as u64).saturating_sub(waiting.leased_count());
            match partition.lane {
                Lane::DeadLetters => {
                    let dying_count = (waiting.len() as u64).saturating_sub(waiting.living_count());
                    rest.redriven_count += in_rows.saturating_sub(dying_count);
                }
                Lane::Source => {
                    let window = &partition.window;
                    rest.waiting_count += in_rows + window.ready_count() + window.moving_count();
                    rest.parked_count += partition.parked.len() as u64;
                    rest.halted_count += u32::from(partition.halt.is_some());
                    rest.full_count += u32::from(!partition.has_row_room());
                }
            }
        }
        rest
    }
}

impl Spell {
    /// What a consumer is told that has so much of what all have.
    fn told(&self, in_flight: u64, in_flight_count: u64, at_ms: i64) -> Told {
        Told {
            spell: self.number,
            at_ms,
            is_idle: in_flight_count == 0,
            is_alone: in_flight_count == in_flight,
        }
    }
}
