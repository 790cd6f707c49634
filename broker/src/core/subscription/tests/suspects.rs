//! Records that are delivered alone, and how long others wait for that.

use super::super::suspects::RESERVED_MS_MAX;
use super::*;

/// Two suspects, the first of partition 0, while consumer 1 handles another record for long.
fn with_suspects() -> Bench {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[1, 2, 3]);
    bench.connect(1, 1);
    bench.say((0, 0), DeliveryOutcome::Start);
    bench.connect_as(2, 2, false);
    assert_eq!(bench.held(), [(0, 0), (0, 1), (0, 2)]);
    bench.disconnect(2, ConsumerDeparture::CutOff);
    bench.pass(RECONNECT_GRACE_MS);
    bench.append(0, &[4, 5, 6]);
    bench.credit(1, 1_000);
    bench
}

/// Lets time pass in which consumer 1 goes on with what it handles.
fn handle_on(bench: &mut Bench, places: &[Place], ms: i64) {
    let step_ms = 10_000;
    for _ in 0..ms / step_ms {
        bench.pass(step_ms);
        for place in places {
            bench.say(*place, DeliveryOutcome::Extend);
        }
    }
}

#[test]
fn a_suspect_that_finds_no_idle_consumer_holds_nothing_up_for_long() {
    let mut bench = with_suspects();
    assert_eq!(bench.held(), [(0, 0)], "first it waits for the consumer");
    handle_on(&mut bench, &[(0, 0)], RESERVED_MS_MAX);
    assert_eq!(bench.held(), [(0, 0), (0, 3), (0, 4), (0, 5)]);
    for offset in 3..6 {
        bench.ack((0, offset));
    }
    bench.ack((0, 0));
    assert_eq!(bench.held(), [(0, 1)], "alone, as soon as somebody is idle");
    bench.ack((0, 1));
    assert_eq!(bench.held(), [(0, 2)]);
}

#[test]
fn a_suspect_that_is_handled_for_long_gets_company_and_is_still_the_one_to_blame() {
    let mut bench = with_suspects();
    bench.ack((0, 0));
    assert_eq!(bench.held(), [(0, 1)], "alone");
    handle_on(&mut bench, &[(0, 1)], RESERVED_MS_MAX);
    let all = [(0, 1), (0, 3), (0, 4), (0, 5)];
    assert_eq!(bench.held(), all, "with others, but no other suspect");
    for offset in 3..6 {
        bench.say((0, offset), DeliveryOutcome::Start);
    }
    bench.disconnect(1, ConsumerDeparture::CutOff);
    bench.pass(RECONNECT_GRACE_MS);
    let waiting = &bench.subscription().partitions[0].waiting;
    let attempts = |offset| waiting.get(Offset::new(offset)).unwrap().attempts;
    assert_eq!((attempts(1), attempts(2), attempts(3)), (1, 0, 0));
}

#[test]
fn a_suspect_has_its_turn_though_a_consumer_has_much_ahead() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[1, 2]);
    bench.connect_as(2, 2, false);
    bench.append(0, &(3..303).collect::<Vec<_>>());
    bench.connect(1, 100);
    bench.say((0, 5), DeliveryOutcome::Start);
    bench.disconnect(2, ConsumerDeparture::CutOff);
    bench.pass(RECONNECT_GRACE_MS);
    let held = bench.held();
    assert_eq!(held, [(0, 5)], "what it has not begun with it gives back");
    bench.ack((0, 5));
    bench.credit(1, 1);
    assert_eq!(bench.held(), [(0, 0)]);
}

#[test]
fn an_idle_consumer_gets_a_suspect_though_a_busy_one_is_reserved() {
    let mut bench = with_suspects();
    assert_eq!(bench.held(), [(0, 0)], "consumer 1 is reserved and busy");
    bench.connect(3, 1);
    let suspect = bench.held.get(&(0, 1)).map(|it| it.consumer);
    assert_eq!(suspect, Some(consumer_id(3)), "it has nothing");
    assert_eq!(bench.held().len(), 5, "and the other one goes on");
}

/// Nothing is due that is not done: the broker would look again and again.
#[track_caller]
fn check_due(bench: &Bench) {
    let due_ms = bench.subscription().next_due_ms();
    let now_ms = bench.now_ms;
    assert!(
        due_ms.is_none_or(|due_ms| due_ms > now_ms),
        "{due_ms:?} at {now_ms}"
    );
}

#[test]
fn a_suspect_that_nobody_can_have_is_not_looked_at_all_the_time() {
    let gone = |bench: &mut Bench| {
        handle_on(bench, &[(0, 0)], RESERVED_MS_MAX);
        bench.disconnect(1, ConsumerDeparture::Left);
    };
    let paused = |bench: &mut Bench| {
        let name = "billing".parse().unwrap();
        let rows = bench.state.pause_subscription(&name, true).unwrap();
        bench.apply(rows);
        bench.ack((0, 0));
    };
    let without_credit = |bench: &mut Bench| bench.stop(1);
    for begin in [gone, paused, without_credit] as [fn(&mut Bench); 3] {
        let mut bench = with_suspects();
        begin(&mut bench);
        for _ in 0..20 {
            bench.pass(RESERVED_MS_MAX / 2);
            check_due(&bench);
        }
    }
}
