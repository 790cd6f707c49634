//! Moving a subscription: what was settled comes again, and what is among the dead letters stays there.

use super::*;

impl Bench {
    /// Goes on at `to` in a partition, which lies behind everything that is gone.
    pub(super) fn seek(&mut self, partition: u32, to: u64) {
        let wish = SeekSubscription {
            name: "billing".parse().unwrap(),
            positions: vec![(partition, Offset::new(to))],
        };
        let sought = self.state.seek_subscription(&wish, false);
        let (_, _, decision) = sought.unwrap();
        self.carry_out(decision);
        for offset in 0..self.logs[partition as usize].len() as u64 {
            let place = (partition, offset);
            let is_letter = self.unsettled_letters.contains(&place);
            let key = self.key_of(place);
            self.orphans.remove(&place);
            if offset >= to {
                assert!(!self.gone.contains(&place), "{place:?} is gone");
                self.done.remove(&place);
                self.dead.remove(&place);
                self.unwanted.remove(&place);
                self.attempts.remove(&place);
                self.open
                    .entry((partition, key))
                    .or_default()
                    .insert(offset);
                if is_letter {
                    self.again.insert(place);
                }
            } else {
                self.again.remove(&place);
                if !is_letter && !self.gone.contains(&place) {
                    self.note_done(place);
                }
            }
        }
        self.letters_since[partition as usize] = self.letters[partition as usize].len();
        self.has_sought = true;
        self.sayings.note_fresh(|(number, _)| number == partition);
        self.step();
    }
}

#[test]
fn a_seek_back_over_dead_letters_begins_anew_with_each_key_when_it_is_free() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[1, 1, 1, 1, 2]);
    bench.connect(1, 100);
    bench.ack((0, 0));
    bench.ack((0, 1));
    bench.say((0, 2), dead());
    bench.bury(true);
    bench.bury(true);
    assert_eq!(bench.letters[0], [2, 3]);
    bench.seek(0, 0);
    bench.bury(true);
    assert_eq!(bench.letters[0], [2, 3], "nothing is copied");
    assert_eq!(bench.held(), [(0, 4)], "other keys go on");
    bench.restart();
    bench.connect(1, 100);
    bench.append(0, &[1]);
    bench.bury(true);
    assert_eq!(bench.letters[0], [2, 3], "what is new stays in line");
    let all = bench.letters_of(0, |_| true);
    bench.redrive(0, &all[..1]);
    bench.ack((1, 0));
    assert_eq!(bench.held(), [(0, 4)], "one dead letter is left");
    bench.discard(0, &all[1..]);
    let again = [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (0, 5)];
    assert_eq!(bench.held(), again, "all from there on");
}

#[test]
fn a_dead_record_without_a_key_holds_nothing_and_comes_again_with_a_seek() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    let alone = |offset| HashKey::default().of_keyless(0, Offset::new(offset)).0;
    bench.append(0, &[alone(0), alone(1)]);
    bench.connect(1, 100);
    bench.say((0, 0), dead());
    bench.bury(true);
    assert_eq!(bench.letters[0], [0]);
    assert_eq!(bench.subscription().partitions[0].parked.len(), 0);
    bench.ack((0, 1));
    let all = bench.letters_of(0, |_| true);
    bench.discard(0, &all);
    bench.seek(0, 0);
    assert_eq!(bench.held(), [(0, 0), (0, 1)]);
}

/// Has everything acked that is delivered, until nothing is.
fn ack_all(bench: &mut Bench) {
    while !bench.held.is_empty() {
        let held = std::mem::take(&mut bench.held);
        let places: Vec<_> = held.keys().map(|it| bench.origin(*it)).collect();
        bench.done.extend(places);
        let mut by_delivery: BTreeMap<(u32, u64), Vec<Offset>> = BTreeMap::new();
        for ((partition, offset), held) in &held {
            let of_delivery = by_delivery.entry((*partition, held.delivery));
            of_delivery.or_default().push(Offset::new(*offset));
        }
        for ((partition, delivery), offsets) in by_delivery {
            let settlement = Settlement {
                delivery,
                partition,
                ranges: partition::ranges(offsets),
                outcome: DeliveryOutcome::Ack,
            };
            let (id, now_ms) = (bench.id, bench.now_ms);
            let (expired, decision) = bench.state.settle_deliveries(id, &settlement, now_ms);
            assert_eq!(expired, []);
            bench.carry_out(decision);
        }
        bench.credit(1, held.len() as u64);
    }
}

#[test]
fn nothing_waits_for_a_key_whose_dead_letters_do() {
    const OTHERS: u64 = 80_000;
    for (case, kept_count) in [("redriven and waiting", 1), ("full", 0), ("sought back", 2)] {
        let mut bench = Bench::new(config(Mode::KeyShared), 1);
        bench.append(0, &[0]);
        bench.connect(1, 1_000);
        bench.say((0, 0), dead());
        bench.bury(true);
        match case {
            "redriven and waiting" => {
                let all = bench.letters_of(0, |_| true);
                bench.redrive(0, &all);
                let (delay_ms, reason) = (Some(3_600_000), "later".to_owned());
                bench.say((1, 0), DeliveryOutcome::Nack { delay_ms, reason });
            }
            "sought back" => bench.seek(0, 0),
            _ => {}
        }
        bench.append(0, &[0]);
        bench.step();
        bench.append(0, &(1..=OTHERS).collect::<Vec<_>>());
        // Where something is on its way, it fails.
        bench.bury(false);
        ack_all(&mut bench);
        assert_eq!(bench.done.len() as u64, OTHERS, "{case}");
        bench.pass(10_000);
        bench.bury(true);
        let waiting_count = bench.subscription().partitions[0].waiting.len();
        assert_eq!(waiting_count, kept_count, "{case}");
    }
}

#[test]
fn what_waits_behind_a_key_that_could_not_be_joined_follows_in_batches() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[0]);
    bench.connect(1, 1_000);
    bench.say((0, 0), dead());
    bench.bury(true);
    bench.append(0, &[0; 100]);
    bench.step();
    bench.append(0, &(1..=20_000).collect::<Vec<_>>());
    bench.bury(false);
    ack_all(&mut bench);
    let waiting_count = bench.subscription().partitions[0].waiting.len();
    assert_eq!(waiting_count, 100, "they have rows");
    bench.pass(10_000);
    let mut sizes = Vec::new();
    while !bench.burials.is_empty() {
        sizes.extend(bench.burials.iter().map(|it| it.records.len()));
        bench.bury(true);
    }
    assert_eq!(sizes, [64, 36]);
    bench.check_letters(0);
}
