//! What handlers say of their records.

use std::collections::BTreeMap;
use std::sync::Arc;

use towpath_broker::core::{DeliveryOutcome, Settlement, SubscriptionId};
use towpath_broker::runtime::subscription_command::SubscriptionCommand;
use towpath_storage::{Offset, OffsetRange};

use super::World;
use crate::history::{DeliveryEvent, Word};
use crate::swarm::consumers::{Claim, Desk, Spot};

/// Records that one settlement names.
const NAMED_MAX: usize = 12;

impl World {
    /// A handler begins with a record: in an ordered mode with the first of its key.
    pub(super) fn begin_handling(&mut self, consumer: usize) {
        let known = &self.crowd.consumers[consumer];
        let Some((_, id)) = known.seat().filter(|_| !known.is_stalled) else {
            return;
        };
        let is_ordered = self.is_ordered(id);
        let mut firsts: BTreeMap<(u32, Option<u64>), Spot> = BTreeMap::new();
        let mut free = Vec::new();
        for (spot, holding) in &known.held {
            let is_first = holding.key.is_none()
                || !is_ordered
                || *firsts.entry((spot.0, holding.key)).or_insert(*spot) == *spot;
            if is_first && !holding.has_begun {
                free.push((*spot, holding.delivery));
            }
        }
        let Some((spot, delivery)) = free.get(self.random.usize(..free.len().max(1))).copied()
        else {
            return;
        };
        let time_ms = self.broker_time_ms();
        if let Some(holding) = self.crowd.consumers[consumer].held.get_mut(&spot) {
            holding.has_begun = true;
            holding.touched_ms = time_ms;
        }
        let number = self.crowd.consumers[consumer].number;
        self.say(id, number, delivery, &[spot], Word::Start);
    }

    fn is_ordered(&self, id: SubscriptionId) -> bool {
        let known = self.crowd.known.get(&id);
        known.is_some_and(|known| known.is_ordered)
    }

    /// Handlers end: of one delivery and lane, in the order of their records.
    pub(super) fn settle(&mut self, consumer: usize) {
        let known = &self.crowd.consumers[consumer];
        let Some((_, id)) = known.seat().filter(|_| !known.is_stalled) else {
            return;
        };
        let begun: Vec<_> = { known.held.iter() }
            .filter(|(_, holding)| holding.has_begun)
            .map(|(spot, holding)| (*spot, *holding))
            .collect();
        let Some((first, holding)) = begun.get(self.random.usize(..begun.len().max(1))).copied()
        else {
            return;
        };
        let word = match self.random.u32(..100) {
            0..75 => Word::Ack,
            75..88 => Word::Nack,
            88..95 => Word::Release,
            _ => Word::DeadLetter,
        };
        let count_max = match word {
            Word::Ack | Word::Release => self.random.usize(1..=NAMED_MAX),
            _ => 1,
        };
        let same = begun.iter().filter(|(spot, it)| {
            it.delivery == holding.delivery && spot.0 == first.0 && *spot >= first
        });
        let spots: Vec<Spot> = same.map(|(spot, _)| *spot).take(count_max).collect();
        let number = known.number;
        self.end_handling(consumer, id, &spots, word);
        self.say(id, number, holding.delivery, &spots, word);
    }

    /// A consumer has records no more, nor what is behind those that it does not ack.
    fn end_handling(&mut self, consumer: usize, id: SubscriptionId, spots: &[Spot], word: Word) {
        // Some forget that what comes behind is not theirs then: the broker does not.
        let is_careful = self.is_ordered(id) && self.random.u8(..4) != 0;
        for spot in spots {
            let known = &mut self.crowd.consumers[consumer];
            let Some(ended) = known.held.remove(spot) else {
                continue;
            };
            if word != Word::Ack && is_careful && ended.key.is_some() {
                let is_behind = |it: &Spot| it.0 == spot.0 && it.1 > spot.1;
                known
                    .held
                    .retain(|it, holding| !(is_behind(it) && holding.key == ended.key));
            }
            let claim = Claim {
                subscription: id,
                consumer: known.number,
                spot: *spot,
                delivery: ended.delivery,
            };
            self.crowd.keep(claim);
        }
    }

    pub(super) fn extend(&mut self, consumer: usize) {
        let time_ms = self.broker_time_ms();
        let count = self.crowd.consumers[consumer].held.len();
        let place = self.random.usize(..count.max(1));
        let known = &mut self.crowd.consumers[consumer];
        let Some((_, id)) = known.seat().filter(|_| !known.is_stalled) else {
            return;
        };
        let number = known.number;
        if let Some((spot, holding)) = known.held.iter_mut().nth(place) {
            holding.touched_ms = time_ms;
            let (spot, delivery) = (*spot, holding.delivery);
            self.say(id, number, delivery, &[spot], Word::Extend);
        }
    }

    /// Says something again that was said before, or of a delivery that the record was never in.
    pub(super) fn settle_late(&mut self) {
        let count = self.crowd.claims.len();
        if count == 0 {
            return;
        }
        let claim = self.crowd.claims[self.random.usize(..count)];
        let is_wrong = self.random.u8(..4) == 0;
        let delivery = claim.delivery + u64::from(is_wrong) * 1_000_000;
        let word = match self.random.u8(..4) {
            0 => Word::Nack,
            1 => Word::Release,
            _ => Word::Ack,
        };
        if self.crowd.known.contains_key(&claim.subscription) {
            let spots = [claim.spot];
            self.say(claim.subscription, claim.consumer, delivery, &spots, word);
        }
    }

    /// Says something of records of one lane.
    pub(super) fn say(
        &mut self,
        id: SubscriptionId,
        consumer: u64,
        delivery: u64,
        spots: &[Spot],
        word: Word,
    ) {
        let Some(lane) = spots.first().map(|spot| spot.0) else {
            return;
        };
        let mut said = Vec::new();
        for spot in spots {
            let number = self.crowd.next_number();
            said.push((number, spot.1));
            let unit = self.unit(id, *spot);
            self.note_delivery(
                id,
                DeliveryEvent::Said {
                    number,
                    unit,
                    consumer,
                    delivery,
                    word,
                },
            );
        }
        let ranges = spots.iter().map(|(_, offset)| OffsetRange {
            start: Offset::new(*offset),
            end: Offset::new(offset + 1),
        });
        let settlement = Settlement {
            delivery,
            partition: lane,
            ranges: ranges.collect(),
            outcome: self.outcome(word),
        };
        let sink = Arc::new(Desk {
            subscription: id,
            said: vec![said],
            mailbox: Arc::clone(&self.crowd.mailbox),
        });
        self.push_subscription(SubscriptionCommand::Settle {
            subscription: id,
            settlements: vec![settlement],
            sink,
        });
    }

    fn outcome(&mut self, word: Word) -> DeliveryOutcome {
        match word {
            Word::Ack => DeliveryOutcome::Ack,
            Word::Nack => DeliveryOutcome::Nack {
                delay_ms: (self.random.u8(..4) == 0).then(|| self.random.u64(..3_000)),
                reason: "billing is down".to_owned(),
            },
            Word::Release => DeliveryOutcome::Release,
            Word::DeadLetter => DeliveryOutcome::DeadLetter {
                reason: "no such customer".to_owned(),
            },
            Word::Start => DeliveryOutcome::Start,
            Word::Extend => DeliveryOutcome::Extend,
        }
    }
}
