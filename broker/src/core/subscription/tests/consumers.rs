//! What consumers on the bench are told and say, and what is checked of it.

use super::*;

impl Bench {
    pub(super) fn hear(&mut self, consumer: ConsumerId, event: SubscriptionEvent) {
        match event {
            SubscriptionEvent::Delivered(delivery) => {
                self.told.clear();
                for span in delivery.spans {
                    for offset in span.range.start.get()..span.range.end.get() {
                        let held = Held {
                            consumer,
                            delivery: delivery.number,
                            attempt: span.attempt,
                        };
                        self.take_delivery((delivery.partition, offset), held);
                    }
                }
            }
            SubscriptionEvent::Lost { partition, ranges } => {
                for offset in ranges.iter().flat_map(|it| it.start.get()..it.end.get()) {
                    let place = (partition, offset);
                    let lost = self.held.remove(&place).map(|it| it.consumer);
                    let is_forgotten = lost.is_none() && self.orphans.contains(&place);
                    assert!(lost == Some(consumer) || is_forgotten, "{place:?}");
                }
            }
            SubscriptionEvent::CaughtUp(told) => self.hear_caught_up(consumer, told),
            SubscriptionEvent::Skipped(_)
            | SubscriptionEvent::Replaced
            | SubscriptionEvent::Deleted => {}
        }
    }

    pub(super) fn take_delivery(&mut self, place: Place, held: Held) {
        let source = self.origin(place);
        let (partition, offset) = source;
        assert!(!self.done.contains(&source), "{place:?} was handled");
        assert!(!self.dead.contains(&place), "{place:?} is dead");
        assert!(!self.gone.contains(&source), "{place:?} is gone");
        let is_unwanted = self.unwanted.contains(&source);
        assert!(!is_unwanted, "{place:?} was filtered out");
        self.sayings.note_delivery(place, held.delivery);
        let other = self.held.insert(place, held);
        assert_eq!(other, None, "{place:?} is with two consumers");
        self.orphans.remove(&place);
        let seen = self.attempts.insert(place, held.attempt).unwrap_or(1);
        assert!(
            held.attempt >= seen,
            "{place:?}: attempt {seen} before {held:?}"
        );
        if !self.config.mode.is_ordered() {
            return;
        }
        let key = self.key_of(source);
        for (other, held) in &self.held {
            let (of_partition, of_offset) = self.origin(*other);
            let is_beside = of_partition == partition && other.0 != place.0;
            let is_of_key = is_beside && self.key_of((of_partition, of_offset)) == key;
            assert!(
                !is_of_key,
                "{place:?} runs beside {other:?} of its key, which {held:?} has"
            );
        }
        if place == source && self.config.on_dead_letter == OnDeadLetter::Park {
            let mut letters = self.unsettled_letters.iter();
            let letter = letters.find(|it| it.0 == partition && self.key_of(**it) == key);
            assert_eq!(letter, None, "{place:?}: its key has a dead letter");
        }
        if self.config.on_dead_letter == OnDeadLetter::Skip && !self.unsettled_letters.is_empty() {
            // Then order is given up for what died.
            return;
        }
        for earlier in self.open[&(partition, key)].range(..offset) {
            let before = (partition, *earlier);
            if place != source && !self.unsettled_letters.contains(&before) {
                // A seek brings it again, when the key is free.
                continue;
            }
            let mut with = self
                .held
                .iter()
                .filter(|(it, _)| self.origin(**it) == before);
            assert_eq!(
                with.next().map(|(_, it)| it.consumer),
                Some(held.consumer),
                "{place:?} has overtaken {before:?} of its key"
            );
        }
    }

    /// Says something about one record that a consumer has.
    pub(super) fn say(&mut self, place: Place, outcome: DeliveryOutcome) {
        self.say_only(place, outcome);
        self.step();
    }

    /// The same, and nothing else happens yet.
    pub(super) fn say_only(&mut self, place: Place, outcome: DeliveryOutcome) {
        let Some(held) = self.held.get(&place).copied() else {
            return;
        };
        let expired = self.say_of(place, held.delivery, outcome.clone());
        assert_eq!(expired, Vec::new(), "{place:?} was with {held:?}");
        self.note_said(&[place], held.delivery, &outcome);
        match outcome {
            DeliveryOutcome::Ack => {
                self.held.remove(&place);
                let source = self.origin(place);
                self.unsettled_letters.remove(&source);
                if !self.again.remove(&source) {
                    self.note_done(source);
                }
            }
            DeliveryOutcome::Nack { .. } | DeliveryOutcome::Release => {
                self.held.remove(&place);
            }
            DeliveryOutcome::DeadLetter { .. } => {
                self.held.remove(&place);
                self.dead.insert(place);
                let (partition, offset) = self.origin(place);
                let comes_again = self.again.contains(&(partition, offset));
                if (partition, offset) != place && !comes_again {
                    // It is a dead letter again, where it is.
                    let key = self.key_of((partition, offset));
                    self.open
                        .get_mut(&(partition, key))
                        .unwrap()
                        .remove(&offset);
                }
            }
            DeliveryOutcome::Start | DeliveryOutcome::Extend => {}
        }
    }

    pub(super) fn say_of(
        &mut self,
        (partition, offset): Place,
        delivery: u64,
        outcome: DeliveryOutcome,
    ) -> Vec<OffsetRange> {
        let start = Offset::new(offset);
        let settlement = Settlement {
            delivery,
            partition,
            ranges: vec![OffsetRange {
                start,
                end: start.advance(1),
            }],
            outcome,
        };
        let said = self
            .state
            .settle_deliveries(self.id, &settlement, self.now_ms);
        self.carry_out(said.1);
        said.0
    }

    pub(super) fn note_done(&mut self, place: Place) {
        let (partition, offset) = place;
        let key = self.logs[partition as usize][offset as usize];
        self.open
            .get_mut(&(partition, key))
            .unwrap()
            .remove(&offset);
        self.done.insert(place);
    }

    pub(super) fn ack(&mut self, place: Place) {
        self.say(place, DeliveryOutcome::Ack);
    }

    pub(super) fn nack(&mut self, place: Place) {
        let reason = "no".to_owned();
        let outcome = DeliveryOutcome::Nack {
            delay_ms: None,
            reason,
        };
        self.say(place, outcome);
    }
}
