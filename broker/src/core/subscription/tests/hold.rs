//! Letting go: what is trimmed, and what is held no longer.

use super::*;
use crate::core::HoldEnd;

impl Bench {
    /// Trims a partition of the topic as a user would.
    pub(super) fn trim(&mut self, partition: u32, log_start: u64) {
        let place = PartitionRef {
            topic: self.topic,
            partition,
        };
        let trim = self.state.trim(place, Offset::new(log_start), 0);
        self.apply(trim.map(|trim| trim.rows).unwrap_or_default());
        self.step();
        self.note_gone(partition, log_start);
        for offset in 0..log_start {
            let rows = &self.subscription().partitions[partition as usize].waiting;
            assert_eq!(rows.get(Offset::new(offset)), None, "{partition}/{offset}");
        }
    }

    /// Holds nothing below an offset any longer.
    pub(super) fn end_hold(&mut self, partition: u32, below: u64) {
        self.begin_end_of_hold(partition, below);
        self.step();
        self.finish_end_of_hold(partition, below);
    }

    /// The same, and stops the broker after so many entries.
    fn end_hold_until(&mut self, partition: u32, below: u64, entry_count: usize) {
        self.begin_end_of_hold(partition, below);
        for _ in 0..entry_count {
            let decision = self.state.step_subscription(self.id, self.now_ms);
            self.carry_out(decision);
        }
        self.restart();
    }

    fn begin_end_of_hold(&mut self, partition: u32, below: u64) {
        self.state.end_hold(HoldEnd {
            subscription: self.id,
            partition,
            below: Offset::new(below),
        });
        // What is with a consumer dies.
        let held = self.held.keys().copied();
        let dying = held.filter(|(number, offset)| *number == partition && *offset < below);
        self.dead.extend(dying.collect::<Vec<_>>());
    }

    fn finish_end_of_hold(&mut self, partition: u32, below: u64) {
        let rows = &self.subscription().partitions[partition as usize].waiting;
        let rows = rows.rows_in(Offset::ZERO, Offset::new(below));
        let dead: Vec<_> = rows
            .map(|(offset, row)| {
                assert!(row.death.is_some(), "{partition}/{offset} waits still");
                (partition, offset.get())
            })
            .collect();
        self.dead.extend(dead);
        self.note_gone(partition, below);
    }

    /// Notes what is gone below an offset, and that it was counted.
    pub(super) fn note_gone(&mut self, partition: u32, below: u64) {
        let known = &self.subscription().partitions[partition as usize];
        assert!(known.settled.floor().get() >= below, "the floor moved");
        let is_gone = |offset: &u64| {
            let place = (partition, *offset);
            let has_row = known.waiting.get(Offset::new(*offset)).is_some();
            let is_letter = self.unsettled_letters.contains(&place);
            !self.done.contains(&place) && !has_row && !is_letter
        };
        let gone: Vec<_> = (0..below).filter(is_gone).collect();
        for offset in gone {
            let place = (partition, offset);
            assert!(!self.held.contains_key(&place), "{place:?} was delivered");
            self.orphans.remove(&place);
            self.dead.remove(&place);
            let key = self.key_of(place);
            let open = self.open.get_mut(&(partition, key)).unwrap();
            open.remove(&offset);
            self.gone.insert(place);
        }
        let of_partition = self.gone.iter().filter(|(it, _)| *it == partition);
        let count = of_partition.clone().count() as u64;
        let wanted = of_partition.filter(|place| !self.unwanted.contains(place));
        // What a filter had sorted out is counted only if that is not known any more.
        let possible = wanted.count() as u64..=count;
        let counted = self.subscription().partitions[partition as usize].skipped_count;
        assert!(
            possible.contains(&counted),
            "{counted} let go of, not {possible:?}"
        );
    }
}

fn skipped(bench: &Bench) -> Vec<(u64, u64, u64)> {
    let skipped = bench.skipped.iter();
    let told = skipped.map(|it| (it.range.start.get(), it.range.end.get(), it.count));
    told.collect()
}

#[test]
fn what_is_trimmed_is_gone_and_its_keys_go_on() {
    for mode in [Mode::KeyShared, Mode::Shared, Mode::Exclusive] {
        let mut bench = Bench::new(config(mode), 1);
        bench.append(0, &[1, 2, 3, 4, 1, 5]);
        bench.connect(1, 4);
        bench.nack((0, 0));
        bench.ack((0, 1));
        bench.trim(0, 4);
        assert_eq!(skipped(&bench), [(0, 4, 3)], "{mode:?}: all but the acked");
        bench.credit(1, 100);
        assert_eq!(bench.held(), [(0, 4), (0, 5)], "{mode:?}");
        bench.restart();
        bench.connect(1, 100);
        assert_eq!(bench.held(), [(0, 4), (0, 5)], "{mode:?}");
        assert_eq!(bench.subscription().partitions[0].skipped_count, 3);
    }
}

#[test]
fn a_trim_that_a_crash_has_cut_short_is_finished_after_the_start() {
    let mut bench = Bench::new(config(Mode::Shared), 1);
    bench.append(0, &vec![1; 500]);
    bench.connect(1, 500);
    for place in bench.held() {
        let outcome = DeliveryOutcome::Nack {
            delay_ms: Some(3_600_000),
            reason: "later".to_owned(),
        };
        bench.say(place, outcome);
    }
    let place = PartitionRef {
        topic: bench.topic,
        partition: 0,
    };
    let trim = bench.state.trim(place, Offset::new(450), 0).unwrap();
    bench.apply(trim.rows);
    let decision = bench.state.step_subscription(bench.id, bench.now_ms);
    bench.carry_out(decision);
    bench.restart();
    assert_eq!(bench.subscription().partitions[0].waiting.len(), 300);
    bench.step();
    assert_eq!(bench.subscription().partitions[0].waiting.len(), 50);
    assert_eq!(bench.subscription().partitions[0].skipped_count, 450);
}

#[test]
fn what_was_delivered_is_dead_before_it_is_let_go_of_and_the_rest_is_counted() {
    for mode in [Mode::KeyShared, Mode::Shared, Mode::Exclusive] {
        let mut bench = Bench::new(config(mode), 1);
        // Keys of their own, so that what is dead parks nothing.
        bench.append(0, &(0..300).collect::<Vec<_>>());
        bench.connect(1, 60);
        bench.nack((0, 7));
        bench.ack((0, 8));
        bench.end_hold(0, 200);
        assert_eq!(bench.held(), [], "{mode:?}: it has lost what it had");
        assert_eq!(skipped(&bench), [(60, 200, 140)], "{mode:?}");
        let first_needed = bench.subscription().first_needed(0);
        assert_eq!(first_needed, Some(Offset::ZERO), "the dead hold the log");
        bench.bury(true);
        let letters: BTreeSet<_> = bench.letters[0].iter().copied().collect();
        let expected: BTreeSet<_> = (0..60).filter(|it| *it != 8).collect();
        assert_eq!(letters, expected, "{mode:?}");
        let first_needed = bench.subscription().first_needed(0);
        assert_eq!(first_needed, Some(Offset::new(200)), "{mode:?}");
        bench.credit(1, 1_000);
        assert_eq!(bench.held().first(), Some(&(0, 200)), "{mode:?}");
    }
}

#[test]
fn a_run_of_a_key_that_was_delivered_dies_whole_and_in_order() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &vec![1; 40]);
    bench.connect(1, 100);
    assert_eq!(bench.held().len(), 32);
    bench.end_hold(0, 30);
    for _ in 0..40 {
        bench.bury(true);
    }
    let expected: Vec<_> = (0..40).collect();
    assert_eq!(bench.letters[0], expected, "the rest of the key is parked");
    assert_eq!(bench.subscription().partitions[0].skipped_count, 0);
}

#[test]
fn what_cannot_be_moved_to_the_dead_letters_is_held() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[1, 2, 3, 4]);
    bench.connect(1, 2);
    bench.end_hold(0, 4);
    bench.bury(false);
    bench.end_hold(0, 4);
    assert_eq!(bench.subscription().first_needed(0), Some(Offset::ZERO));
    bench.pass(5_000);
    bench.bury(true);
    assert_eq!(bench.letters[0], [0, 1]);
    assert_eq!(bench.subscription().first_needed(0), Some(Offset::new(4)));
}

#[test]
fn letters_on_their_way_are_called_back_and_come_too_late() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[1, 1, 1, 2]);
    bench.connect(1, 100);
    bench.say((0, 0), dead());
    let late = std::mem::take(&mut bench.burials);
    assert_eq!(late.len(), 1);
    bench.trim(0, 2);
    for wish in late {
        let rows = bench.state.bury(bench.id, &wish, Offset::ZERO);
        assert_eq!(rows, None, "it is gone");
    }
    assert_eq!(bench.held(), [(0, 2), (0, 3)], "its key is free");
}

#[test]
fn a_crash_amid_letting_go_loses_nothing_that_was_delivered() {
    for entry_count in 0..12 {
        let mut bench = Bench::new(config(Mode::KeyShared), 1);
        bench.append(0, &(0..150).collect::<Vec<_>>());
        bench.connect(1, 100);
        for offset in 0..30 {
            bench.nack((0, offset));
        }
        bench.end_hold_until(0, 120, entry_count);
        // Only what has a row is known to have been delivered after a restart.
        bench.connect(1, 0);
        bench.end_hold(0, 120);
        for _ in 0..10 {
            bench.bury(true);
        }
        let letters: BTreeSet<_> = bench.letters[0].iter().copied().collect();
        let nacked: BTreeSet<_> = (0..30).collect();
        assert!(letters.is_superset(&nacked), "{entry_count}: {letters:?}");
        let skipped = bench.subscription().partitions[0].skipped_count;
        assert_eq!(skipped + letters.len() as u64, 120, "{entry_count}");
    }
}
