//! The end of a run for subscriptions: everything is delivered, handled, redriven, and settled.

use std::time::Duration;

use towpath_broker::core::{ConsumerDeparture, Credit, SubscriptionId};

use super::World;
use crate::history::{DeliveryEvent, LetterState, Rule, Word, check};
use crate::swarm::consumers::{Consumer, Spot};

/// Consumers of each subscription in the end.
const CONSUMERS: usize = 2;
/// How often they look until everything must be done.
const LOOKS: u32 = 200;
/// Longer than a pause after a dead letter had no room, and the longest back-off.
const LOOK: Duration = Duration::from_millis(6_500);
/// Dead letters that are sent back at once.
const LETTERS: usize = 100;

impl World {
    /// Whatever is not settled is handled, dead letters included.
    pub(super) fn finish_subscriptions(&mut self) {
        if self.crowd.is_absent() {
            return;
        }
        self.settle_down();
        self.crowd.jobs.clear();
        for consumer in 0..self.crowd.consumers.len() {
            self.disconnect(consumer, ConsumerDeparture::Left);
        }
        self.settle_down();
        self.crowd.consumers.clear();
        for id in self.crowd.known.keys().copied().collect::<Vec<_>>() {
            self.pause(id, false);
            for _ in 0..CONSUMERS {
                let name = self.crowd.known[&id].name.clone();
                let number = self.crowd.next_number();
                let consumer = Consumer::new(name, number, true);
                self.crowd.consumers.push(consumer);
                let credit = Credit {
                    records: u64::MAX,
                    bytes: i64::MAX,
                };
                self.connect_with(self.crowd.consumers.len() - 1, credit, false);
            }
        }
        let is_done = (0..LOOKS).any(|_| {
            self.work_for_subscriptions();
            let mut ids = self.crowd.known.keys();
            ids.all(|id| self.is_all_settled(*id))
        });
        let left = self
            .crowd
            .known
            .keys()
            .filter(|id| !self.is_all_settled(**id));
        let left: Vec<_> = left.filter_map(|id| self.subscription(*id)).collect();
        let broken = || {
            let mut broken = check(&self.history);
            // Nothing was read to its end yet.
            broken.retain(|it| !matches!(it.rule, Rule::LostWrite | Rule::VanishedRead));
            broken
        };
        assert!(is_done, "not settled: {left:?}, {:#?}", broken());
        for id in self.crowd.known.keys().copied().collect::<Vec<_>>() {
            self.note_delivery(id, DeliveryEvent::Finished);
        }
    }

    fn work_for_subscriptions(&mut self) {
        self.clock.advance(LOOK);
        self.drive(|engine| engine.sequencer.idle());
        self.take_answers();
        self.settle_down();
        while (0..self.crowd.consumers.len()).any(|consumer| self.handle_held(consumer)) {}
        for id in self.crowd.known.keys().copied().collect::<Vec<_>>() {
            self.redrive_all(id);
        }
        self.settle_down();
    }

    /// Handles what a consumer has, in the order of the offsets; returns whether that was anything.
    fn handle_held(&mut self, consumer: usize) -> bool {
        self.hear_delivery(consumer, true);
        let Some((_, id)) = self.crowd.consumers[consumer].seat() else {
            return false;
        };
        let number = self.crowd.consumers[consumer].number;
        let held = std::mem::take(&mut self.crowd.consumers[consumer].held);
        let is_any = !held.is_empty();
        for (spot, holding) in held {
            self.say(id, number, holding.delivery, &[spot], Word::Ack);
        }
        self.settle_down();
        is_any
    }

    fn redrive_all(&mut self, id: SubscriptionId) {
        let known = &self.crowd.known[&id];
        for partition in 0..known.partition_count {
            let of_partition = (partition, 0)..=(partition, u64::MAX);
            let letters = self.crowd.known[&id].letters.range(of_partition);
            let dead = letters.filter(|(_, letter)| letter.state == LetterState::Dead);
            let dead: Vec<Spot> = dead.map(|(spot, _)| *spot).collect();
            for spots in dead.chunks(LETTERS) {
                let letters = self.known_letters(id, spots);
                self.move_some(id, partition, letters, true);
            }
        }
    }

    fn is_all_settled(&self, id: SubscriptionId) -> bool {
        let known = &self.crowd.known[&id];
        let is_settled = |it: &LetterState| *it == LetterState::Settled;
        let Some(subscription) = self.subscription(id) else {
            return false;
        };
        let engine = self.engine.as_ref().expect("it runs");
        let topics = engine.shared.published.topics();
        let Some(view) = topics.with_id(subscription.topic()) else {
            return false;
        };
        let described = subscription.describe().partitions;
        let mut described = described.iter().zip(view.partitions());
        known.letters.values().all(|it| is_settled(&it.state))
            && described.all(|(partition, handle)| {
                partition.floor == handle.log().end()
                    && partition.in_flight_count == 0
                    && partition.waiting_count == 0
                    && partition.parked_count == 0
            })
    }
}
