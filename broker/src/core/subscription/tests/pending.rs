//! What is told of single records.

use super::*;

fn listed(bench: &Bench, count_max: usize, place: Option<RecordPlace>) -> Vec<PendingRecord> {
    let mut wish = ListPending {
        from: (0, Offset::ZERO),
        partitions: Vec::new(),
        place,
        count_max,
    };
    let mut records = Vec::new();
    loop {
        let page = bench.subscription().pending(&wish, bench.now_ms);
        assert!(page.records.len() <= count_max);
        records.extend(page.records);
        match page.next {
            Some(next) => {
                assert!(next > wish.from, "{next:?} behind {:?}", wish.from);
                wish.from = next;
            }
            None => return records,
        }
    }
}

fn place_of(record: &PendingRecord) -> (bool, u32, u64) {
    (record.is_redriven, record.partition, record.offset.get())
}

fn nack_for(bench: &mut Bench, place: Place, delay_ms: u64) {
    let outcome = DeliveryOutcome::Nack {
        delay_ms: Some(delay_ms),
        reason: "no".to_owned(),
    };
    bench.say(place, outcome);
}

fn explain(bench: &Bench, offset: u64) -> RecordExplanation {
    let key = ExplainedKey::Unknown;
    let subscription = bench.subscription();
    let explained = subscription.explain(0, Offset::new(offset), &key, bench.now_ms);
    explained.unwrap()
}

fn letter_of(bench: &Bench, offset: Offset) -> (DeadLetterState, Option<PendingRecord>) {
    bench.subscription().explain_letter(0, offset, bench.now_ms)
}

#[test]
fn a_list_holds_what_is_in_flight_and_what_waits_in_order_on_pages_of_any_size() {
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mode = [Mode::KeyShared, Mode::Shared][random.usize(..2)];
        let mut bench = Bench::new(config(mode), 3);
        for partition in 0..3 {
            let keys: Vec<_> = (0..300).map(|_| random.u64(..40)).collect();
            bench.append(partition, &keys);
        }
        bench.connect(1, 400);
        for _ in 0..60 {
            let held = bench.held();
            let place = held[random.usize(..held.len())];
            match random.bool() {
                true => nack_for(&mut bench, place, 1_000_000),
                false => bench.ack(place),
            }
        }
        let rows = (0..).zip(&bench.subscription().partitions[..3]);
        let rows = rows.flat_map(|(number, it)| {
            let rows = it.waiting.iter();
            rows.map(move |(offset, ..)| (number, offset.get()))
        });
        let expected: BTreeSet<Place> = bench.held().into_iter().chain(rows).collect();
        let expected: Vec<_> = expected.into_iter().map(|it| (false, it.0, it.1)).collect();
        for count_max in [1, 7, 1_000] {
            let places: Vec<_> = listed(&bench, count_max, None)
                .iter()
                .map(place_of)
                .collect();
            assert_eq!(places, expected, "seed {seed}, {count_max} a page");
        }
        let in_flight = listed(&bench, 9, Some(RecordPlace::InFlight));
        let places: Vec<_> = in_flight
            .iter()
            .map(|it| (it.partition, it.offset.get()))
            .collect();
        assert_eq!(places, bench.held(), "seed {seed}");
        for record in &in_flight {
            let held = bench.held[&(record.partition, record.offset.get())];
            let holder = record.holder.as_ref().unwrap();
            assert_eq!(holder.consumer, held.consumer);
            assert_eq!(holder.delivery, held.delivery);
            assert_eq!(record.attempt, held.attempt);
            assert_eq!(
                holder.deadline_ms,
                bench.now_ms.saturating_add_unsigned(ACK_DEADLINE_MS)
            );
        }
        let waiting = listed(&bench, 9, Some(RecordPlace::Waiting));
        assert_eq!(
            waiting.len() + in_flight.len(),
            expected.len(),
            "seed {seed}"
        );
    }
}

#[test]
fn the_work_for_a_page_is_bounded() {
    let mut bench = Bench::new(config(Mode::Shared), 1);
    bench.append(0, &vec![1; 10_000]);
    bench.connect(1, 10_000);
    let wish = ListPending {
        from: (0, Offset::ZERO),
        partitions: Vec::new(),
        place: Some(RecordPlace::Waiting),
        count_max: 10,
    };
    let page = bench.subscription().pending(&wish, bench.now_ms);
    assert_eq!(page.records, []);
    let (lane, offset) = page.next.expect("there is more to look at");
    assert!(lane == 0 && offset.get() < 10_000, "{offset}");
    assert_eq!(listed(&bench, 10, Some(RecordPlace::Waiting)), []);
}

#[test]
fn a_record_is_explained_wherever_it_is() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[7, 7, 8, 9]);
    let ahead = explain(&bench, 0);
    assert_eq!(ahead.record.place, RecordPlace::Ahead);
    assert_eq!(ahead.obstacles, [Obstacle::NoConsumers]);
    bench.connect(1, 3);
    let held = explain(&bench, 1);
    assert_eq!(held.record.place, RecordPlace::InFlight);
    assert_eq!(
        held.record.behind,
        Some(Offset::ZERO),
        "one after the other"
    );
    assert_eq!(held.obstacles, []);
    let ready = explain(&bench, 3);
    assert_eq!(ready.record.place, RecordPlace::Ready);
    assert_eq!(ready.obstacles, [Obstacle::NoCredit(None)]);
    nack_for(&mut bench, (0, 0), 5_000);
    let waiting = explain(&bench, 0);
    assert_eq!(waiting.record.place, RecordPlace::Waiting);
    assert_eq!(
        (waiting.record.attempt, waiting.record.failure_count),
        (2, 1)
    );
    assert_eq!(waiting.record.failures[0].reason, "no");
    let due_ms = bench.now_ms + 5_000;
    let obstacles = [Obstacle::BackOff(due_ms), Obstacle::NoCredit(None)];
    assert_eq!(waiting.obstacles, obstacles);
    let behind = explain(&bench, 1);
    assert_eq!(behind.record.place, RecordPlace::Ready);
    assert_eq!(behind.obstacles[0], Obstacle::Key(Offset::ZERO));
    bench.ack((0, 2));
    assert_eq!(explain(&bench, 2).record.place, RecordPlace::Settled);
    assert_eq!(explain(&bench, 2).obstacles, []);
    let none = bench
        .subscription()
        .explain(1, Offset::ZERO, &ExplainedKey::None, 0);
    assert_eq!(none, None, "lanes of dead letters are no partitions");
}

#[test]
fn a_dead_record_and_what_is_parked_behind_it_are_explained() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[7, 7, 7]);
    bench.connect(1, 100);
    let reason = "never".to_owned();
    bench.say((0, 0), DeliveryOutcome::DeadLetter { reason });
    let dying = explain(&bench, 0);
    assert_eq!(dying.record.place, RecordPlace::Dying);
    assert_eq!(dying.record.death.as_deref(), Some("never"));
    assert_eq!(dying.record.attempt, 1, "the one that was its last");
    bench.bury(false);
    let dying = explain(&bench, 0);
    assert_eq!(
        dying.obstacles,
        [Obstacle::DeadLetters("the disk is full".to_owned())]
    );
    bench.pass(10_000);
    bench.bury(true);
    let dead = explain(&bench, 0);
    assert_eq!(dead.record.place, RecordPlace::Settled);
    let letters = bench.letters_of(0, |_| true);
    let parked = explain(&bench, 1);
    assert_eq!(parked.record.place, RecordPlace::Dying, "on its way");
    assert_eq!(parked.record.attempt, 0, "it was never tried");
    bench.bury(true);
    let (state, record) = letter_of(&bench, letters[0].offset);
    assert_eq!((state, record), (DeadLetterState::Dead, None));
    bench.redrive(0, &letters[..1]);
    let (state, record) = letter_of(&bench, letters[0].offset);
    assert_eq!(state, DeadLetterState::Redriven);
    let record = record.unwrap();
    assert_eq!(record.place, RecordPlace::InFlight);
    assert!(record.is_redriven);
    assert!(listed(&bench, 5, None)[0].is_redriven, "it is listed");
}

#[test]
fn what_stops_everything_is_told() {
    let mut bench = Bench::new(config(Mode::Exclusive), 1);
    bench.append(0, &[7, 8]);
    bench.connect(1, 1);
    bench.connect(2, 100);
    let standby = explain(&bench, 1);
    assert_eq!(standby.obstacles, [Obstacle::NoCredit(Some(String::new()))]);
    let name = "billing".parse().unwrap();
    let rows = bench.state.pause_subscription(&name, true).unwrap();
    bench.apply(rows);
    assert_eq!(explain(&bench, 1).obstacles, [Obstacle::Paused]);
}

#[test]
fn a_record_that_waits_for_no_time_any_more_says_so() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[7]);
    bench.connect(1, 1);
    nack_for(&mut bench, (0, 0), 5_000);
    let due_ms = |bench: &Bench| listed(bench, 5, None)[0].due_ms;
    assert_eq!(due_ms(&bench), bench.now_ms + 5_000);
    bench.pass(5_000);
    assert_eq!(due_ms(&bench), 0, "nobody takes it");
    bench.credit(1, 1);
    assert_eq!(bench.held(), [(0, 0)]);
    assert_eq!(due_ms(&bench), 0, "somebody has it");
}

#[test]
fn a_suspect_waits_for_a_consumer_that_has_nothing_and_says_so() {
    for mode in [Mode::KeyShared, Mode::Shared] {
        let mut bench = Bench::new(config(mode), 1);
        bench.append(0, &[1, 2, 3]);
        bench.connect(1, 1);
        bench.say((0, 0), DeliveryOutcome::Start);
        bench.connect_as(2, 2, false);
        bench.disconnect(2, ConsumerDeparture::CutOff);
        bench.pass(RECONNECT_GRACE_MS);
        bench.credit(1, 100);
        for offset in [1, 2] {
            let record = &listed(&bench, 5, Some(RecordPlace::Waiting))[offset as usize - 1];
            assert!(record.is_suspect, "{mode:?}");
            assert_eq!((record.offset.get(), record.due_ms), (offset, 0));
            assert_eq!(
                explain(&bench, offset).obstacles,
                [Obstacle::NoIdleConsumer]
            );
        }
        bench.ack((0, 0));
        assert_eq!(bench.held(), [(0, 1)], "{mode:?}");
        let alone = explain(&bench, 1);
        assert!(alone.record.is_suspect);
        assert_eq!(alone.obstacles, []);
        let other = Obstacle::Suspect(0, Offset::new(1));
        let obstacles = [Obstacle::NoIdleConsumer, other];
        assert_eq!(explain(&bench, 2).obstacles, obstacles, "{mode:?}");
        bench.ack((0, 1));
        assert!(explain(&bench, 2).record.holder.is_some());
    }
}

/// What is said of a record whose key is known.
fn parking_of(bench: &Bench, offset: u64, key: u64) -> Option<(u64, Parking)> {
    let subscription = bench.subscription();
    let partition = &subscription.partitions[0];
    let record = subscription.pending_record(0, partition, Offset::new(offset), bench.now_ms);
    let obstacles = subscription.obstacles(0, partition, &record, Some(KeyHash(key)));
    obstacles.into_iter().find_map(|it| match it {
        Obstacle::Parked(count, parking) => Some((count, parking)),
        _ => None,
    })
}

#[test]
fn what_becomes_of_a_record_behind_dead_letters_is_told_as_it_is() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[7, 7, 8, 7]);
    bench.connect(1, 100);
    bench.ack((0, 0));
    bench.say((0, 1), dead());
    bench.bury(true);
    assert_eq!(parking_of(&bench, 3, 7), Some((1, Parking::Follows)));
    bench.bury(true);
    assert_eq!(bench.letters[0], [1, 3]);
    bench.append(0, &[7]);
    bench.bury(false);
    assert_eq!(parking_of(&bench, 4, 7), Some((2, Parking::Follows)));
    let all = bench.letters_of(0, |_| true);
    bench.redrive(0, &all[..1]);
    assert_eq!(parking_of(&bench, 4, 7), Some((2, Parking::AwaitsRedriven)));
    bench.seek(0, 0);
    for offset in [0, 1, 3, 4] {
        let parking = parking_of(&bench, offset, 7);
        assert_eq!(parking, Some((2, Parking::AwaitsAll)), "offset {offset}");
    }
    assert_eq!(parking_of(&bench, 2, 8), None);
    bench.ack((1, 0));
    bench.pass(10_000);
    bench.bury(true);
    assert_eq!(parking_of(&bench, 0, 7), Some((1, Parking::AwaitsAll)));
    bench.discard(0, &all[1..]);
    assert_eq!(parking_of(&bench, 0, 7), None);
    assert_eq!(bench.held(), [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4)]);
}
