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
