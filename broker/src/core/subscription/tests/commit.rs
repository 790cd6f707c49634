//! Settlements that are part of a commit: all of them hold, or none is made.

use towpath_storage::Lsn;

use super::*;
use crate::core::{CommitDecision, CommitRefusalCause, CommitSettlement, CommitWish};

impl Bench {
    /// Settles records that consumers have, as a commit does: what was decided together holds together.
    pub(super) fn commit(&mut self, outcomes: &[(Place, DeliveryOutcome)]) {
        let mut settlements: Vec<CommitSettlement> = Vec::new();
        for (operation, (place, outcome)) in outcomes.iter().enumerate() {
            let delivery = self.held[place].delivery;
            let one = self.settlement(operation, *place, delivery, outcome.clone());
            let is_alike = |it: &&mut CommitSettlement| {
                let (it, one) = (&it.settlement, &one.settlement);
                (it.delivery, it.partition, &it.outcome)
                    == (one.delivery, one.partition, &one.outcome)
            };
            // What is said alike of one delivery is said at once, neighbours as one range.
            match settlements.iter_mut().find(is_alike) {
                Some(known) => known.settlement.ranges.extend(one.settlement.ranges),
                None => settlements.push(one),
            }
        }
        for CommitSettlement { settlement, .. } in &mut settlements {
            let mut offsets: Vec<_> = settlement.ranges.iter().map(|it| it.start).collect();
            offsets.sort_unstable();
            settlement.ranges = partition::ranges(offsets);
        }
        let wish = CommitWish {
            settlements,
            ..CommitWish::default()
        };
        let decision = self.state.decide_commit(&wish, Lsn::new(1), self.now_ms);
        assert_eq!(decision, Ok(CommitDecision::Commit(Vec::new())), "{wish:?}");
        for (_, settlement) in wish.settlements_in_order() {
            for range in &settlement.ranges {
                let mut offsets: Vec<_> = (range.start.get()..range.end.get()).collect();
                if settlement.outcome == DeliveryOutcome::Release {
                    // One by one the first would take those behind it along.
                    offsets.reverse();
                }
                for offset in offsets {
                    let place = (settlement.partition, offset);
                    assert!(self.held.contains_key(&place), "{place:?} of {wish:?}");
                    self.say_only(place, settlement.outcome.clone());
                }
            }
        }
        self.step();
    }

    /// Settles some of what consumers have, and tries to settle something beside it that does not hold.
    pub(super) fn commit_some(&mut self, random: &mut fastrand::Rng, held: Vec<Place>) {
        let place = held[random.usize(..held.len())];
        self.commit(&outcomes(random, held.clone()));
        let is_left = |it: &Place| self.held.contains_key(it);
        let left: Vec<_> = held.into_iter().filter(is_left).take(2).collect();
        self.commit_stale(place, 1 << 50, &left);
    }

    /// Tries to settle a record of a delivery that it is not in, beside others that hold.
    pub(super) fn commit_stale(&mut self, place: Place, delivery: u64, others: &[Place]) {
        let stale = self.settlement(0, place, delivery, DeliveryOutcome::Ack);
        let others = others.iter().filter(|other| **other != place);
        let others = others.map(|other| {
            let delivery = self.held[other].delivery;
            self.settlement(1, *other, delivery, DeliveryOutcome::Ack)
        });
        let wish = CommitWish {
            settlements: others.chain([stale.clone()]).collect(),
            ..CommitWish::default()
        };
        let refused = self.state.decide_commit(&wish, Lsn::new(1), self.now_ms);
        let refused = refused.expect_err("it is in no such delivery");
        let expired = stale.settlement.ranges.clone();
        assert_eq!(refused.operation, 0);
        assert_eq!(refused.cause, CommitRefusalCause::LeaseExpired { expired });
    }

    fn settlement(
        &self,
        operation: usize,
        (partition, offset): Place,
        delivery: u64,
        outcome: DeliveryOutcome,
    ) -> CommitSettlement {
        let start = Offset::new(offset);
        CommitSettlement {
            operation,
            subscription: self.id,
            settlement: Settlement {
                delivery,
                partition,
                ranges: vec![OffsetRange {
                    start,
                    end: start.advance(1),
                }],
                outcome,
            },
        }
    }
}

/// Some of what consumers have, with what is said of it.
fn outcomes(random: &mut fastrand::Rng, held: Vec<Place>) -> Vec<(Place, DeliveryOutcome)> {
    let count = random.usize(1..=held.len().min(6));
    let mut chosen = held;
    random.shuffle(&mut chosen);
    let chosen = chosen.into_iter().take(count);
    let outcomes = chosen.map(|place| {
        let reason = "no".to_owned();
        let outcome = match random.u8(..7) {
            0 => DeliveryOutcome::Nack {
                delay_ms: None,
                reason,
            },
            1 => DeliveryOutcome::DeadLetter { reason },
            2 => DeliveryOutcome::Release,
            _ => DeliveryOutcome::Ack,
        };
        (place, outcome)
    });
    outcomes.collect()
}

#[test]
fn a_failure_takes_nothing_from_others_of_its_commit() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[1, 1, 1, 1]);
    bench.connect(1, 100);
    assert_eq!(bench.held().len(), 4);
    let reason = "no".to_owned();
    let dead = DeliveryOutcome::DeadLetter { reason };
    bench.commit(&[
        ((0, 0), dead.clone()),
        ((0, 1), dead),
        ((0, 2), DeliveryOutcome::Ack),
    ]);
    let row = |offset| {
        let waiting = &bench.subscription().partitions[0].waiting;
        waiting
            .get(Offset::new(offset))
            .map(|it| it.death.is_some())
    };
    assert_eq!([row(0), row(1), row(2)], [Some(true), Some(true), None]);
    assert!(bench.held().is_empty(), "the last is behind them");
}

#[test]
fn a_release_takes_nothing_from_others_of_its_commit() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[1, 1, 1, 1]);
    bench.connect(1, 100);
    assert_eq!(bench.held().len(), 4);
    let reason = "no".to_owned();
    let dead = DeliveryOutcome::DeadLetter { reason };
    bench.commit(&[
        ((0, 0), DeliveryOutcome::Ack),
        ((0, 1), dead.clone()),
        ((0, 2), DeliveryOutcome::Release),
        ((0, 3), dead),
    ]);
    let waiting = &bench.subscription().partitions[0].waiting;
    let has_row = |offset| waiting.get(Offset::new(offset)).is_some();
    assert_eq!([1, 2, 3].map(has_row), [true, false, true], "rows");
}

#[test]
fn what_is_settled_or_was_given_back_is_part_of_no_commit() {
    let mut bench = Bench::new(config(Mode::Shared), 1);
    bench.append(0, &[1, 2, 3]);
    bench.connect(1, 100);
    let delivery = bench.held[&(0, 0)].delivery;
    bench.ack((0, 0));
    bench.commit_stale((0, 0), delivery, &[(0, 1)]);
    bench.commit_stale((0, 1), delivery + 1, &[(0, 2)]);
    bench.commit_stale((0, 7), delivery, &[(0, 2)]);
    bench.nack((0, 1));
    bench.commit_stale((0, 1), delivery, &[(0, 2)]);
    bench.disconnect(1, ConsumerDeparture::Left);
    bench.commit_stale((0, 2), delivery, &[]);
}
