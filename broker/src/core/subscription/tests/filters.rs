//! What filters sort out. In the expressions here the first number says of how many records one is not
//! wanted, the second of how many one cannot be judged.

use super::*;

fn filtered(expression: &str, mode: Mode) -> SubscriptionConfig {
    SubscriptionConfig {
        filter: Some(expression.to_owned()),
        ..config(mode)
    }
}

fn floor(bench: &Bench) -> u64 {
    bench.subscription().partitions[0].settled.floor().get()
}

fn offsets(bench: &Bench) -> Vec<u64> {
    bench.held().into_iter().map(|(_, offset)| offset).collect()
}

#[test]
fn a_changed_filter_holds_for_what_was_not_looked_at() {
    let mut bench = Bench::new(filtered("2 99", Mode::Shared), 1);
    bench.append(0, &[1; 6]);
    bench.connect(1, 100);
    assert_eq!(offsets(&bench), [1, 3, 5]);
    assert!(bench.filter(Some("3 99"), OnFilterError::Deliver));
    bench.append(0, &[1; 6]);
    bench.step();
    assert_eq!(offsets(&bench), [1, 3, 5, 7, 8, 10, 11]);
    bench.restart();
    bench.connect(1, 100);
    assert_eq!(offsets(&bench), [1, 3, 5, 7, 8, 10, 11], "as before");
    for place in bench.held() {
        bench.ack(place);
    }
    let former = &bench.subscription().superseded;
    assert!(former.is_empty(), "the former one holds for nothing more");
}

#[test]
fn what_is_being_looked_at_is_looked_at_again_with_a_changed_filter() {
    let mut bench = Bench::new(filtered("2 99", Mode::Shared), 1);
    bench.connect(1, 100);
    bench.append(0, &[1; 6]);
    let decision = bench.state.step_subscription(bench.id, bench.now_ms);
    let found = bench.look(decision.inspections[0]);
    bench.filter(Some("3 99"), OnFilterError::Deliver);
    bench.take_look(found);
    assert_eq!(offsets(&bench), [0; 0], "that comes too late");
    bench.step();
    assert_eq!(offsets(&bench), [1, 2, 4, 5]);
}

#[test]
fn after_a_restart_nothing_comes_before_what_was_settled_behind_it() {
    let mut bench = Bench::new(filtered("2 99", Mode::Shared), 1);
    bench.append(0, &[1; 6]);
    bench.connect(1, 100);
    bench.ack((0, 3));
    bench.restart();
    bench.filter(None, OnFilterError::Deliver);
    bench.connect(1, 100);
    assert_eq!(
        offsets(&bench),
        [1, 4, 5],
        "0 and 2 are settled as they were"
    );
}

#[test]
fn a_long_stretch_that_nobody_wants_is_passed_with_few_rows_and_a_short_window() {
    let mut bench = Bench::new(filtered("1 99", Mode::KeyShared), 1);
    bench.connect(1, 100);
    let before = bench.journal.len();
    for _ in 0..100 {
        bench.append(0, &[7; 1_000]);
        bench.step();
        let window = &bench.subscription().partitions[0].window;
        assert!(window.span() < 4_096, "{}", window.span());
    }
    assert!(floor(&bench) > 98_000, "{}", floor(&bench));
    let rows = bench.journal.len() - before;
    assert!(rows <= 100, "{rows}");
    let described = bench.subscription().describe().partitions[0];
    assert_eq!(described.filtered_count, 100_000);
    let beyond = 100_000 - floor(&bench);
    assert_eq!(described.beyond_floor_count, beyond, "none of it is lag");
    bench.restart();
    bench.connect(1, 100);
    let described = bench.subscription().describe().partitions[0];
    assert_eq!(described.filtered_count, 100_000, "each counts once");
}

#[test]
fn a_seek_has_everything_judged_with_the_filter_of_now() {
    let mut bench = Bench::new(filtered("2 99", Mode::Shared), 1);
    bench.append(0, &[1; 6]);
    bench.connect(1, 100);
    bench.filter(Some("3 99"), OnFilterError::Deliver);
    bench.held.clear();
    let seek = SeekSubscription {
        name: "billing".parse().unwrap(),
        positions: vec![(0, Offset::ZERO)],
    };
    let (_, _, decision) = bench.state.seek_subscription(&seek, false).unwrap();
    bench.apply(decision.rows);
    bench.credit(1, 100);
    assert_eq!(offsets(&bench), [1, 2, 4, 5]);
    bench.restart();
    bench.connect(1, 100);
    assert_eq!(offsets(&bench), [1, 2, 4, 5], "also then");
}

#[test]
fn what_cannot_be_judged_is_delivered_or_follows_its_key_to_the_dead_letters() {
    let mut bench = Bench::new(filtered("99 3", Mode::KeyShared), 1);
    bench.append(0, &[7, 7, 7, 8, 7]);
    bench.connect(1, 100);
    assert_eq!(offsets(&bench), [1, 2, 3, 4], "the first one is not wanted");
    bench.held().into_iter().for_each(|place| bench.ack(place));
    bench.filter(Some("99 3"), OnFilterError::DeadLetter);
    bench.append(0, &[7, 7, 7, 8, 7]);
    bench.step();
    assert_eq!(
        offsets(&bench),
        [5, 8],
        "the next one of its key is doubtful"
    );
    bench.bury(true);
    assert!(bench.letters[0].is_empty(), "one of its key is before it");
    bench.ack((0, 5));
    for _ in 0..3 {
        bench.bury(true);
    }
    assert_eq!(bench.letters[0], [6, 7, 9], "its key is parked");
    let described = bench.subscription().describe().partitions[0];
    assert_eq!(described.unjudged_count, 3, "{described:?}");
    let death = "the filter cannot judge it: its body is not JSON";
    let row = bench.journal.iter().filter_map(|row| row.value.as_ref());
    let is_said = { row }.any(|it| String::from_utf8_lossy(it).contains(death));
    assert!(is_said, "why it is dead");
}

#[test]
fn what_was_let_go_of_before_its_verdict_is_carried_out_gets_no_row() {
    let doubtful = SubscriptionConfig {
        on_filter_error: OnFilterError::DeadLetter,
        ..filtered("999 1", Mode::Shared)
    };
    let mut bench = Bench::new(doubtful, 1);
    bench.connect(1, 100);
    // More than one entry carries out.
    bench.append(0, &(0..500).collect::<Vec<_>>());
    bench.step_once();
    let wish = bench.wishes.pop().expect("it asks what they are");
    bench.inspect(wish);
    bench.step_once();
    let rows = |bench: &Bench| {
        let waiting = &bench.subscription().partitions[0].waiting;
        let rows = waiting.rows_in(Offset::ZERO, Offset::new(500));
        rows.map(|(offset, _)| offset.get()).collect::<Vec<_>>()
    };
    let begun = rows(&bench).len() as u64;
    assert!((1..400).contains(&begun), "some are dead: {begun}");
    bench.trim(0, 450);
    let expected: Vec<_> = (450..500).collect();
    assert_eq!(rows(&bench), expected, "what is gone is not dead");
    bench.restart();
    assert_eq!(rows(&bench), expected, "also not after a restart");
}

#[test]
fn what_a_filter_sorts_out_is_not_parked_with_its_key() {
    let mut bench = Bench::new(filtered("3 99", Mode::KeyShared), 1);
    bench.append(0, &[7; 7]);
    bench.connect(1, 100);
    let reason = "never".to_owned();
    bench.say((0, 1), DeliveryOutcome::DeadLetter { reason });
    bench.bury(true);
    bench.bury(true);
    assert_eq!(bench.letters[0], [1, 2, 4, 5]);
    assert_eq!(floor(&bench), 7);
}

#[test]
fn filters_that_still_hold_for_something_are_few() {
    let mut bench = Bench::new(filtered("3 99", Mode::Shared), 1);
    bench.connect(1, 100);
    for number in 0..8 {
        bench.append(0, &[1; 3]);
        bench.step();
        assert!(bench.filter(Some(&format!("{} 99", 4 + number)), OnFilterError::Deliver));
    }
    bench.append(0, &[1; 3]);
    bench.step();
    assert!(
        !bench.filter(Some("20 99"), OnFilterError::Deliver),
        "refused"
    );
    bench.held().into_iter().for_each(|place| bench.ack(place));
    assert!(bench.filter(Some("20 99"), OnFilterError::Deliver));
    for _ in 0..20 {
        // Nothing was looked at in between.
        assert!(bench.filter(Some("21 99"), OnFilterError::Deliver));
        assert!(bench.filter(Some("22 99"), OnFilterError::Deliver));
    }
}

#[test]
fn what_a_filter_sorts_out_is_no_lag_for_anybody() {
    let mut bench = Bench::new(filtered("2 99", Mode::Shared), 1);
    bench.append(0, &[1; 6]);
    bench.connect(1, 100);
    assert_eq!((floor(&bench), offsets(&bench)), (0, vec![1, 3, 5]));
    let described = bench.subscription().describe().partitions[0].beyond_floor_count;
    let watched = bench.subscription().progress(Hold::default());
    let watched = watched.partitions[0].beyond_floor_count;
    assert_eq!((described, watched), (3, 3), "every other one");
}
