//! Dead letters: when a record becomes one, what follows it, and how it comes back.

use super::*;

#[test]
fn what_comes_behind_a_dead_letter_of_its_key_is_parked_in_order() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[1, 2, 1, 2, 1]);
    bench.connect(1, 100);
    bench.say((0, 2), dead());
    bench.bury(true);
    assert!(bench.letters[0].is_empty(), "one of its key is before it");
    bench.ack((0, 0));
    bench.bury(true);
    bench.bury(true);
    assert_eq!(bench.letters[0], [2, 4]);
    assert_eq!(bench.held(), [(0, 1), (0, 3)], "other keys go on");
    bench.append(0, &[1, 1]);
    bench.step();
    bench.bury(true);
    assert_eq!(bench.letters[0], [2, 4, 5, 6], "also what comes later");
    bench.restart();
    bench.append(0, &[1, 3]);
    bench.connect(1, 100);
    bench.bury(true);
    assert_eq!(bench.letters[0], [2, 4, 5, 6, 7], "and after a restart");
    assert_eq!(bench.held(), [(0, 1), (0, 3), (0, 8)]);
}

#[test]
fn a_dead_letter_that_cannot_be_moved_stays_and_is_tried_again() {
    for mode in [Mode::KeyShared, Mode::Shared] {
        let mut bench = Bench::new(config(mode), 1);
        bench.append(0, &[1, 2]);
        bench.connect(1, 100);
        bench.say((0, 0), dead());
        bench.bury(false);
        assert_eq!((bench.letters[0].len(), bench.held()), (0, vec![(0, 1)]));
        bench.bury(true);
        assert_eq!(bench.letters[0].len(), 0, "not at once");
        bench.pass(5_000);
        bench.bury(true);
        assert_eq!(bench.letters[0], [0], "{mode:?}");
    }
}

#[test]
fn what_could_not_be_moved_and_is_gone_is_no_problem_any_more() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[1, 2]);
    bench.connect(1, 100);
    bench.say((0, 0), dead());
    bench.bury(false);
    let problem = |bench: &Bench| bench.subscription().summary().dead_letter_problem;
    assert_eq!(problem(&bench).as_deref(), Some("the disk is full"));
    bench.pass(1_000);
    assert_eq!(problem(&bench).as_deref(), Some("the disk is full"));
    bench.trim(0, 1);
    assert_eq!(problem(&bench), None);
}

#[test]
fn a_record_is_dead_after_so_many_attempts_and_nobody_waits_for_it() {
    let retry = RetryPolicy {
        attempts_max: 3,
        ..RetryPolicy::default()
    };
    let skipping = SubscriptionConfig {
        retry,
        on_dead_letter: OnDeadLetter::Skip,
        ..config(Mode::KeyShared)
    };
    let mut bench = Bench::new(skipping, 1);
    bench.append(0, &[1, 1]);
    bench.connect(1, 100);
    for attempt in 1..=3 {
        assert_eq!(bench.held[&(0, 0)].attempt, attempt);
        bench.nack((0, 0));
        bench.pass(10_000);
    }
    bench.dead.insert((0, 0));
    bench.bury(true);
    assert_eq!(bench.letters[0], [0]);
    assert_eq!(bench.held(), [(0, 1)], "the next one of its key goes on");
}

#[test]
fn a_key_that_is_redriven_comes_back_in_order_and_is_free_with_its_last_dead_letter() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[1, 1, 1, 2]);
    bench.connect(1, 1_000);
    bench.say((0, 0), dead());
    bench.bury(true);
    bench.bury(true);
    assert_eq!(bench.letters[0], [0, 1, 2]);
    let all = bench.letters_of(0, |_| true);
    bench.redrive(0, &all);
    bench.append(0, &[1]);
    bench.step();
    bench.bury(true);
    assert_eq!(
        bench.letters[0].len(),
        3,
        "what is new waits for the last one"
    );
    let run = [(0, 3), (1, 0), (1, 1), (1, 2)];
    assert_eq!(bench.held(), run, "what has not failed since in a run");
    bench.ack((1, 0));
    bench.restart();
    bench.connect(1, 1_000);
    assert_eq!(bench.held(), [(0, 3), (1, 1), (1, 2)]);
    bench.ack((1, 1));
    bench.ack((1, 2));
    assert_eq!(bench.held(), [(0, 3), (0, 4)], "the key is free");
}

#[test]
fn a_key_stays_parked_while_one_of_its_dead_letters_is_left() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[1, 1, 1]);
    bench.connect(1, 1_000);
    bench.say((0, 0), dead());
    bench.bury(true);
    bench.bury(true);
    let all = bench.letters_of(0, |_| true);
    bench.redrive(0, &all);
    assert_eq!(bench.held(), [(1, 0), (1, 1), (1, 2)]);
    bench.ack((1, 0));
    bench.ack((1, 1));
    bench.say((1, 2), dead());
    bench.bury(true);
    bench.append(0, &[1]);
    bench.step();
    bench.bury(true);
    assert_eq!(bench.held(), []);
    assert_eq!(
        bench.letters[0],
        [0, 1, 2, 3],
        "it follows the one that is left"
    );
}

#[test]
fn a_redriven_record_that_fails_for_good_is_dead_where_it_is() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[1, 1]);
    bench.connect(1, 1_000);
    bench.say((0, 0), dead());
    bench.bury(true);
    bench.bury(true);
    let all = bench.letters_of(0, |_| true);
    bench.redrive(0, &all);
    bench.say((1, 0), dead());
    bench.bury(true);
    assert_eq!((bench.letters[0].len(), bench.held()), (2, vec![]));
    let state = |bench: &Bench, offset| {
        let subscription = bench.subscription();
        subscription.dead_letter_state(0, Offset::new(offset))
    };
    assert_eq!(state(&bench, 0), DeadLetterState::Dead);
    bench.discard(0, &all[..1]);
    assert_eq!(state(&bench, 0), DeadLetterState::Settled);
    assert_eq!(bench.held(), [(1, 1)], "the next one of its key goes on");
    bench.ack((1, 1));
    bench.append(0, &[1]);
    bench.step();
    assert_eq!(bench.held(), [(0, 2)], "no dead letter of the key is left");
}

#[test]
fn where_keys_are_not_parked_what_is_redriven_runs_beside_nothing_of_its_key() {
    let skipping = SubscriptionConfig {
        on_dead_letter: OnDeadLetter::Skip,
        ..config(Mode::KeyShared)
    };
    let mut bench = Bench::new(skipping, 1);
    bench.append(0, &[1, 1, 2]);
    bench.connect(1, 100);
    bench.connect(2, 100);
    bench.say((0, 0), dead());
    bench.bury(true);
    assert_eq!(bench.held(), [(0, 1), (0, 2)]);
    let all = bench.letters_of(0, |_| true);
    bench.redrive(0, &all);
    assert_eq!(bench.held(), [(0, 1), (0, 2)], "its key is with a consumer");
    bench.ack((0, 1));
    assert_eq!(bench.held(), [(0, 2), (1, 0)]);
    bench.append(0, &[1]);
    bench.step();
    assert_eq!(bench.held(), [(0, 2), (1, 0)], "and the other way round");
    bench.ack((1, 0));
    assert_eq!(bench.held(), [(0, 2), (0, 3)]);
}

#[test]
fn only_dead_letters_become_records_of_a_topic_and_all_or_none() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[1, 1, 2]);
    bench.connect(1, 100);
    bench.say((0, 0), dead());
    bench.bury(true);
    bench.bury(true);
    let all = bench.letters_of(0, |_| true);
    assert_eq!(all.len(), 2, "with the one behind it");
    bench.redrive(0, &all[1..]);
    let refused = bench.state.republish(bench.id, 0, &all);
    assert_eq!(refused, None, "one of them is on its way back");
    let settled = bench.state.republish(bench.id, 0, &all[..1]);
    assert!(
        settled.is_some_and(|rows| !rows.is_empty()),
        "the other one"
    );
}

/// Two keys with a dead letter each, and so many records behind them that they go with two wishes.
fn with_two_wishes() -> Bench {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[1, 2]);
    bench.connect(1, 1_000);
    bench.say((0, 0), dead());
    bench.say((0, 1), dead());
    bench.bury(true);
    bench.bury(true);
    assert_eq!(bench.letters[0], [0, 1]);
    let keys: Vec<_> = [vec![1; 10], vec![2; 64]].concat();
    bench.append(0, &keys);
    bench.step();
    let wished: Vec<_> = bench.burials.iter().map(|it| it.records.len()).collect();
    assert_eq!(wished, [10, 64], "a key is in one of them");
    bench
}

#[test]
fn a_key_that_is_freed_meanwhile_takes_none_of_another_one_along() {
    let mut bench = with_two_wishes();
    let one = bench.letters_of(0, |place| place == (0, 0));
    bench.discard(0, &one);
    for _ in 0..3 {
        bench.bury(true);
    }
    let of_second = bench.letters_of(0, |(_, offset)| offset == 1 || offset >= 12);
    assert_eq!(of_second.len(), 65, "all of the other key");
    bench.check_letters(0);
}

#[test]
fn behind_a_wish_that_fails_nothing_overtakes() {
    let mut bench = with_two_wishes();
    let wishes = std::mem::take(&mut bench.burials);
    let (id, now_ms) = (bench.id, bench.now_ms);
    let failure = BurialFailure::of_all("the disk is full");
    bench.state.burial_failed(id, &wishes[0], failure, now_ms);
    bench.bury_now(&wishes[1]);
    bench.step();
    assert_eq!(bench.letters[0], [0, 1], "it is called back");
    for _ in 0..5 {
        bench.pass(6_000);
        bench.bury(true);
    }
    assert_eq!(bench.letters[0].len(), 76, "all of them");
    bench.check_letters(0);
}

#[test]
fn large_records_go_in_batches_that_every_reader_takes() {
    let buried = |offset: u64, bytes: u32| BuriedRecord {
        offset: Offset::new(offset),
        key: KeyHash(offset),
        record: WaitingRecord::untried(KeyHash(offset), bytes, 0),
    };
    let lengths = |sizes: &[u32]| {
        let records = (0..)
            .zip(sizes)
            .map(|(offset, bytes)| buried(offset, *bytes));
        let batches = dead::batches(records.collect());
        batches.iter().map(Vec::len).collect::<Vec<_>>()
    };
    assert_eq!(lengths(&[600_000, 400_000, 100_000]), [2, 1]);
    assert_eq!(lengths(&[1_100_000, 1_100_000, 1]), [1, 1, 1]);
    assert_eq!(lengths(&[100; 130]), [64, 64, 2]);
    assert_eq!(lengths(&[]), [0; 0]);
}

#[test]
fn what_comes_behind_a_dead_letter_goes_in_batches_of_whole_runs() {
    let buried = |offset: u64, key: u64| BuriedRecord {
        offset: Offset::new(offset),
        key: KeyHash(key),
        record: WaitingRecord::untried(KeyHash(key), 10_000, 0),
    };
    let keys = [vec![1; 40], vec![2; 24], vec![3], vec![4; 64], vec![5]].concat();
    let records = (0..).zip(keys).map(|(offset, key)| buried(offset, key));
    let lengths: Vec<_> = dead::batches(records.collect())
        .iter()
        .map(Vec::len)
        .collect();
    assert_eq!(lengths, [64, 1, 64, 1], "none is in two");
}

#[test]
fn a_late_ack_of_a_dead_record_is_refused() {
    for mode in [Mode::KeyShared, Mode::Shared] {
        let mut bench = Bench::new(config(mode), 1);
        bench.append(0, &[1, 2, 3]);
        bench.connect(1, 100);
        let late = bench.held[&(0, 0)].delivery;
        bench.ack((0, 1));
        bench.say((0, 0), dead());
        bench.bury(true);
        assert_eq!(bench.letters[0], [0]);
        let start = Offset::ZERO;
        let settlement = Settlement {
            delivery: late,
            partition: 0,
            ranges: vec![OffsetRange {
                start,
                end: Offset::new(2),
            }],
            outcome: DeliveryOutcome::Ack,
        };
        let (id, now_ms) = (bench.id, bench.now_ms);
        let (expired, decision) = bench.state.settle_deliveries(id, &settlement, now_ms);
        let end = Offset::new(1);
        assert_eq!(expired, [OffsetRange { start, end }], "not what was acked");
        assert!(decision.is_empty());
    }
}

#[test]
fn there_is_an_end_to_keys_that_have_dead_letters() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    let parked = dead::ParkedKey {
        count: 1,
        highest: Offset::ZERO,
        first_dead: Offset::ZERO,
        last_dead: Offset::ZERO,
    };
    let id = bench.id;
    let row = |key: u64| crate::core::row::RowId::ParkedKey(id, 0, key).put(&parked.to_row());
    for key in 1..dead::PARKED_KEYS_MAX as u64 {
        bench.state.apply_row(row(key));
    }
    let (known, fresh, other) = (1, u64::MAX - 1, u64::MAX);
    let alone = HashKey::default().of_keyless(0, Offset::new(4)).0;
    bench.append(0, &[0, fresh, other]);
    bench.connect(1, 100);
    for place in bench.held() {
        bench.say(place, dead());
        bench.bury(true);
    }
    assert_eq!(bench.letters[0], [0], "the last one");
    let problem = bench.subscription().summary().dead_letter_problem;
    assert!(problem.is_some_and(|it| it.starts_with("1000000 keys of a partition")));
    bench.append(0, &[known]);
    bench.bury(true);
    bench.bury(true);
    assert_eq!(bench.letters[0], [0, 3], "those follow that have some");
    let first = bench.letters_of(0, |place| place == (0, 0));
    bench.discard(0, &first);
    bench.bury(true);
    assert_eq!(bench.letters[0], [0, 3, 1], "one is free");
    bench.append(0, &[alone]);
    bench.step();
    bench.say((0, 4), dead());
    bench.bury(true);
    assert_eq!(bench.letters[0], [0, 3, 1, 4], "it parks nothing");
    bench.bury(true);
    assert_eq!(bench.letters[0].len(), 4, "another key has no place");
}

#[test]
fn a_dead_record_goes_when_what_was_before_it_is_gone_whoever_is_there() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[1, 1]);
    bench.connect(1, 2);
    bench.say((0, 1), dead());
    bench.say((0, 0), DeliveryOutcome::Release);
    bench.bury(true);
    assert_eq!(bench.letters[0].len(), 0, "one of its key is before it");
    bench.trim(0, 1);
    bench.bury(true);
    assert_eq!(bench.letters[0], [1]);
}

#[test]
fn a_dead_record_that_nobody_has_come_to_goes_when_it_is_passed() {
    for mode in [Mode::KeyShared, Mode::Shared] {
        let mut bench = Bench::new(config(mode), 1);
        bench.append(0, &[1, 2, 3]);
        bench.connect(1, 3);
        bench.say((0, 2), dead());
        bench.restart();
        bench.pass(1);
        bench.bury(true);
        assert_eq!(bench.letters[0].len(), 0, "{mode:?}");
        bench.end_hold(0, 3);
        bench.bury(true);
        assert_eq!(bench.letters[0], [2], "{mode:?}");
    }
}

#[test]
fn what_is_on_its_way_behind_a_key_that_is_redriven_stays_and_waits_for_it() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[1, 1, 2]);
    bench.connect(1, 100);
    bench.say((0, 0), dead());
    bench.bury(true);
    assert_eq!(bench.letters[0], [0]);
    assert_eq!(bench.burials.len(), 1, "the next one of its key");
    let all = bench.letters_of(0, |_| true);
    bench.redrive(0, &all);
    bench.bury(true);
    assert_eq!(bench.letters[0], [0], "it is called back");
    assert_eq!(bench.held(), [(0, 2), (1, 0)]);
    bench.ack((1, 0));
    assert_eq!(bench.held(), [(0, 1), (0, 2)], "the key is free");
}

#[test]
fn behind_a_key_that_is_redriven_goes_what_was_parked_ever_since() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[1, 2, 1]);
    bench.connect(1, 100);
    bench.say((0, 0), dead());
    bench.bury(true);
    bench.bury(true);
    bench.say((0, 1), dead());
    bench.bury(true);
    assert_eq!(bench.letters[0], [0, 2, 1]);
    let all = bench.letters_of(0, |_| true);
    let before = Offset::new(1);
    let (counts, decision) = bench.state.redrive_behind(bench.id, 0, &all, before);
    assert_eq!(
        (counts.done, counts.passed),
        (2, 1),
        "the other key died since"
    );
    assert!(!decision.rows.is_empty());
}

#[test]
fn what_waits_for_one_of_its_key_that_is_dead_again_says_so() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[1, 1, 2]);
    bench.connect(1, 100);
    bench.say((0, 0), dead());
    bench.bury(true);
    bench.bury(true);
    let all = bench.letters_of(0, |_| true);
    bench.redrive(0, &all);
    let behind = |bench: &Bench| {
        let range = OffsetRange {
            start: Offset::ZERO,
            end: Offset::new(2),
        };
        let open = bench.subscription().open_dead_letters(0, range, 10);
        let letters = open.letters.iter();
        letters
            .map(|it| it.behind.map(Offset::get))
            .collect::<Vec<_>>()
    };
    assert_eq!(behind(&bench), [None, None], "it is its turn soon");
    bench.say((1, 0), dead());
    assert_eq!(behind(&bench), [None, Some(0)]);
    bench.redrive(0, &all[..1]);
    assert_eq!(behind(&bench), [None, None], "both go on");
}

#[test]
fn what_becomes_of_dead_letters_is_counted() {
    let mut bench = Bench::new(config(Mode::Shared), 1);
    bench.append(0, &[1, 2, 3, 4, 5, 6]);
    bench.connect(1, 100);
    for offset in 0..6 {
        bench.say((0, offset), dead());
    }
    bench.bury(true);
    let all = bench.letters_of(0, |_| true);
    bench.redrive(0, &all[..3]);
    bench.redrive(0, &all[..3]);
    bench.discard(0, &all[3..5]);
    bench.discard(0, &all[3..5]);
    let refused = bench.state.republish(bench.id, 0, &all);
    assert_eq!(refused, None);
    let rows = bench.state.republish(bench.id, 0, &all[5..]);
    bench.apply(rows.unwrap());
    let SubscriptionCounts {
        redriven,
        republished,
        discarded,
        ..
    } = bench.subscription().counts;
    assert_eq!((redriven, republished, discarded), (3, 1, 2));
}

#[test]
fn an_outcome_of_death_that_is_repeated_has_taken_effect() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[1, 2]);
    bench.connect(1, 100);
    let delivery = bench.held[&(0, 0)].delivery;
    bench.say((0, 0), dead());
    assert_eq!(bench.say_of((0, 0), delivery, dead()), [], "on its way");
    bench.bury(true);
    assert_eq!(bench.say_of((0, 0), delivery, dead()), [], "there");
    assert_eq!(bench.letters[0], [0], "once");
}
