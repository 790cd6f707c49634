//! What is said again: what took effect has done so, and anything else of a lease that is over is too late.

use std::mem::{Discriminant, discriminant};

use super::*;

/// What consumers had and said of it, as far as it is over.
#[derive(Debug, Default)]
pub(super) struct Sayings {
    /// All that was delivered, with the delivery.
    delivered: BTreeSet<(Place, u64)>,
    /// What was said of that.
    said: BTreeMap<(Place, u64), Saying>,
}

#[derive(Debug, Clone, Copy)]
struct Saying {
    outcome: Discriminant<DeliveryOutcome>,
    /// It left no trace in a row.
    is_given_back: bool,
}

impl Sayings {
    pub(super) fn note_delivery(&mut self, place: Place, delivery: u64) {
        self.delivered.insert((place, delivery));
    }

    /// What was given back before a restart is not known any more.
    pub(super) fn note_restart(&mut self) {
        self.said.retain(|_, said| !said.is_given_back);
    }

    /// Records begin anew: their rows are not those of before.
    pub(super) fn note_fresh(&mut self, is_fresh: impl Fn(Place) -> bool) {
        self.said
            .retain(|(place, _), said| said.is_given_back || !is_fresh(*place));
    }
}

fn failed() -> DeliveryOutcome {
    DeliveryOutcome::Nack {
        delay_ms: None,
        reason: "no".to_owned(),
    }
}

fn range_of(offset: u64) -> OffsetRange {
    let start = Offset::new(offset);
    OffsetRange {
        start,
        end: start.advance(1),
    }
}

impl Bench {
    /// Notes what a consumer has said of records that it had of one delivery, ascending.
    pub(super) fn note_said(&mut self, places: &[Place], delivery: u64, outcome: &DeliveryOutcome) {
        let mut keys = BTreeSet::new();
        for place in places {
            let source = self.origin(*place);
            let is_first = keys.insert((source.0, self.key_of(source)));
            let is_given_back = match outcome {
                DeliveryOutcome::Release => true,
                DeliveryOutcome::Nack { .. } | DeliveryOutcome::DeadLetter { .. } => {
                    self.config.mode.is_ordered() && !is_first
                }
                DeliveryOutcome::Ack | DeliveryOutcome::Start | DeliveryOutcome::Extend => return,
            };
            let saying = Saying {
                outcome: discriminant(outcome),
                is_given_back,
            };
            self.sayings.said.insert((*place, delivery), saying);
        }
    }

    /// Says the same, a nack or a release, of all that a consumer has of a delivery.
    pub(super) fn say_of_all(&mut self, place: Place, outcome: DeliveryOutcome) {
        let Some(held) = self.held.get(&place).copied() else {
            return;
        };
        let of_delivery = self
            .held
            .iter()
            .filter(|(_, it)| it.delivery == held.delivery);
        let places: Vec<_> = of_delivery.map(|(place, _)| *place).collect();
        let offsets = places.iter().map(|(_, offset)| Offset::new(*offset));
        let settlement = Settlement {
            delivery: held.delivery,
            partition: place.0,
            ranges: partition::ranges(offsets),
            outcome,
        };
        let (id, now_ms) = (self.id, self.now_ms);
        let (expired, decision) = self.state.settle_deliveries(id, &settlement, now_ms);
        assert_eq!(expired, [], "{places:?} were with {held:?}");
        self.carry_out(decision);
        self.note_said(&places, held.delivery, &settlement.outcome);
        for place in &places {
            self.held.remove(place);
        }
        let unchanged = format!("{:?}", self.subscription());
        let (expired, decision) = self.state.settle_deliveries(id, &settlement, now_ms);
        assert_eq!(expired, [], "{settlement:?} is repeated");
        assert!(decision.is_empty());
        assert_eq!(format!("{:?}", self.subscription()), unchanged);
        self.step();
    }

    /// Says something of a lease that is over, and compares the answer with what was said of it.
    pub(super) fn say_of_old(&mut self, random: &mut fastrand::Rng) {
        let count = self.sayings.delivered.len();
        let chosen = (count > 0).then(|| random.usize(..count));
        let Some((place, delivery)) =
            chosen.and_then(|nth| self.sayings.delivered.iter().nth(nth).copied())
        else {
            return;
        };
        let outcomes = [
            DeliveryOutcome::Ack,
            DeliveryOutcome::Release,
            DeliveryOutcome::Start,
            DeliveryOutcome::Extend,
            dead(),
            failed(),
            failed(),
        ];
        let outcome = outcomes[random.usize(..outcomes.len())].clone();
        if let Some(is_known) = self.is_known(place, delivery, &outcome) {
            let unchanged = format!("{:?}", self.subscription());
            let expired = self.say_of(place, delivery, outcome.clone());
            assert_eq!(
                expired.is_empty(),
                is_known,
                "{outcome:?} of {place:?} in {delivery}"
            );
            assert_eq!(format!("{:?}", self.subscription()), unchanged);
        }
    }

    /// Whether what is said of a lease has taken effect before; none if the lease is not over, or if nobody
    /// can know.
    fn is_known(&self, place: Place, delivery: u64, outcome: &DeliveryOutcome) -> Option<bool> {
        let (number, offset) = (place.0, Offset::new(place.1));
        let subscription = self.subscription();
        let partition = &subscription.partitions[number as usize];
        let found = partition.find(&subscription.leases, range_of(place.1), delivery);
        if !found.is_empty() {
            return None;
        }
        let row = partition.waiting.get(offset);
        let is_dead = partition.recently_dead.failed(offset).is_some();
        if partition.settled.contains(offset) && row.is_none() && !is_dead {
            return Some(true);
        }
        let said = self.sayings.said.get(&(place, delivery));
        let is = |saying: &Saying, outcome| saying.outcome == discriminant(&outcome);
        match (said, outcome) {
            (None, _) => Some(false),
            // It may be the one after which the record was dead.
            (Some(said), DeliveryOutcome::DeadLetter { .. }) if is(said, failed()) => None,
            // It failed, and more than that.
            (Some(said), DeliveryOutcome::Nack { .. }) if is(said, dead()) => {
                (!said.is_given_back).then_some(true)
            }
            // Older failures than the last few are forgotten.
            (Some(said), DeliveryOutcome::Nack { .. })
                if is(said, failed()) && row.is_some_and(|it| it.failures.len() >= 8) =>
            {
                None
            }
            (Some(said), outcome) => Some(is(said, outcome.clone())),
        }
    }
}

/// Says something of an old lease, which must change nothing.
#[track_caller]
fn say_again(
    bench: &mut Bench,
    place: Place,
    delivery: u64,
    outcome: DeliveryOutcome,
) -> Vec<OffsetRange> {
    let unchanged = format!("{:?}", bench.subscription());
    let expired = bench.say_of(place, delivery, outcome);
    assert_eq!(format!("{:?}", bench.subscription()), unchanged);
    expired
}

#[test]
fn a_nack_that_is_repeated_has_taken_effect_and_changes_nothing() {
    for mode in [Mode::KeyShared, Mode::Shared] {
        let mut bench = Bench::new(config(mode), 1);
        bench.append(0, &[1]);
        bench.connect(1, 100);
        let first = bench.held[&(0, 0)].delivery;
        bench.nack((0, 0));
        assert_eq!(say_again(&mut bench, (0, 0), first, failed()), [], "waits");
        bench.pass(1_300);
        let second = bench.held[&(0, 0)].delivery;
        assert_eq!(say_again(&mut bench, (0, 0), first, failed()), [], "comes");
        let too_late = [
            DeliveryOutcome::Ack,
            DeliveryOutcome::Release,
            DeliveryOutcome::Extend,
            dead(),
        ];
        for outcome in too_late {
            let expired = say_again(&mut bench, (0, 0), first, outcome.clone());
            assert_eq!(expired, [range_of(0)], "{outcome:?}");
        }
        bench.nack((0, 0));
        for delivery in [first, second] {
            assert_eq!(say_again(&mut bench, (0, 0), delivery, failed()), []);
        }
        bench.restart();
        for delivery in [first, second] {
            let expired = say_again(&mut bench, (0, 0), delivery, failed());
            assert_eq!(expired, [], "{mode:?}: after a restart");
        }
        let expired = say_again(&mut bench, (0, 0), second + 1, failed());
        assert_eq!(expired, [range_of(0)], "never delivered");
    }
}

#[test]
fn a_nack_of_a_lease_that_has_expired_is_too_late_whatever_was_said_before_and_after() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[1]);
    bench.connect_as(1, 100, false);
    bench.nack((0, 0));
    bench.pass(1_300);
    let expired = bench.held[&(0, 0)];
    bench.pass(ACK_DEADLINE_MS as i64);
    bench.pass(3_000);
    assert_eq!(bench.held[&(0, 0)].attempt, 3);
    bench.nack((0, 0));
    for outcome in [failed(), DeliveryOutcome::Ack, dead()] {
        let told = say_again(&mut bench, (0, 0), expired.delivery, outcome.clone());
        assert_eq!(told, [range_of(0)], "{outcome:?}");
    }
}

#[test]
fn what_is_given_back_behind_a_record_that_failed_was_said_as_well() {
    for outcome in [failed(), dead()] {
        let mut bench = Bench::new(config(Mode::KeyShared), 1);
        bench.append(0, &[1, 1, 1]);
        bench.connect(1, 100);
        let delivery = bench.held[&(0, 0)].delivery;
        bench.say_of_all((0, 0), outcome.clone());
        let expired = say_again(&mut bench, (0, 1), delivery, DeliveryOutcome::Release);
        assert_eq!(expired, [range_of(1)], "{outcome:?}: that was not said");
    }
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[1, 1]);
    bench.connect(1, 100);
    let delivery = bench.held[&(0, 0)].delivery;
    bench.nack((0, 0));
    let expired = say_again(&mut bench, (0, 1), delivery, failed());
    assert_eq!(expired, [range_of(1)], "nobody has said so of it");
}

#[test]
fn a_release_that_is_repeated_has_taken_effect() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[1]);
    bench.connect(1, 1);
    let delivery = bench.held[&(0, 0)].delivery;
    bench.say((0, 0), DeliveryOutcome::Release);
    let release = || DeliveryOutcome::Release;
    assert_eq!(say_again(&mut bench, (0, 0), delivery, release()), []);
    bench.connect(2, 1);
    assert_eq!(bench.held(), [(0, 0)], "another one has it");
    assert_eq!(say_again(&mut bench, (0, 0), delivery, release()), []);
    for outcome in [failed(), DeliveryOutcome::Ack, dead()] {
        let expired = say_again(&mut bench, (0, 0), delivery, outcome.clone());
        assert_eq!(expired, [range_of(0)], "{outcome:?}");
    }
}

#[test]
fn the_nack_after_which_a_record_was_dead_may_be_repeated_and_no_other() {
    let retry = RetryPolicy {
        attempts_max: 2,
        ..RetryPolicy::default()
    };
    let config = SubscriptionConfig {
        retry,
        ..config(Mode::Shared)
    };
    let mut bench = Bench::new(config, 1);
    bench.append(0, &[1, 2]);
    bench.connect_as(1, 100, false);
    let both = bench.held[&(0, 0)].delivery;
    bench.ack((0, 1));
    bench.pass(ACK_DEADLINE_MS as i64);
    bench.pass(1_300);
    let last = bench.held[&(0, 0)].delivery;
    bench.nack((0, 0));
    bench.dead.insert((0, 0));
    for is_buried in [false, true] {
        if is_buried {
            bench.bury(true);
            assert_eq!(bench.letters[0], [0]);
        }
        assert_eq!(say_again(&mut bench, (0, 0), last, failed()), []);
        for outcome in [failed(), dead(), DeliveryOutcome::Ack] {
            let expired = say_again(&mut bench, (0, 0), both, outcome.clone());
            assert_eq!(expired, [range_of(0)], "{outcome:?} of the one before");
        }
    }
}
