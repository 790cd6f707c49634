//! The rules one by one.

use super::*;

fn nack_reason() -> DeliveryOutcome {
    DeliveryOutcome::Nack {
        delay_ms: None,
        reason: "no".to_owned(),
    }
}

#[test]
fn a_key_is_with_one_consumer_at_a_time_in_runs() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &vec![7; 100]);
    bench.connect(1, 1_000);
    bench.connect(2, 1_000);
    let held = bench.held();
    assert_eq!(held.len(), 32, "one run");
    let consumers: BTreeSet<_> = bench.held.values().map(|it| it.consumer).collect();
    assert_eq!(consumers.len(), 1);
    for place in held {
        assert!(
            bench.held.len() <= 32,
            "the next run comes with the last ack"
        );
        bench.ack(place);
    }
    assert_eq!(bench.held(), (32..64).map(|it| (0, it)).collect::<Vec<_>>());
}

#[test]
fn many_keys_are_shared_among_consumers() {
    let mut bench = Bench::new(config(Mode::KeyShared), 2);
    for partition in 0..2 {
        bench.append(partition, &(0..1_000).collect::<Vec<_>>());
    }
    bench.connect(1, 600);
    bench.connect(2, 600);
    for number in [1, 2] {
        let of_consumer = bench.held.values();
        let count = of_consumer.filter(|it| it.consumer == consumer_id(number));
        assert_eq!(count.count(), 600, "consumer {number}");
    }
}

#[test]
fn a_failed_record_holds_its_key_and_nothing_else() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[1, 2, 1, 1, 2]);
    bench.connect(1, 100);
    bench.nack((0, 0));
    assert_eq!(
        bench.held(),
        [(0, 1), (0, 4)],
        "what is behind it was given back"
    );
    bench.ack((0, 1));
    bench.ack((0, 4));
    bench.pass(700);
    assert_eq!(bench.held(), [], "it waits for about a second");
    bench.pass(600);
    assert_eq!(bench.held(), [(0, 0)], "alone: it may fail again");
    assert_eq!(bench.held[&(0, 0)].attempt, 2);
    bench.ack((0, 0));
    assert_eq!(bench.held(), [(0, 2), (0, 3)]);
}

#[test]
fn in_shared_mode_a_failed_record_holds_nothing() {
    let mut bench = Bench::new(config(Mode::Shared), 1);
    bench.append(0, &[1, 1, 1]);
    bench.connect(1, 100);
    bench.nack((0, 0));
    assert_eq!(bench.held(), [(0, 1), (0, 2)]);
    bench.pass(1_300);
    assert_eq!(bench.held(), [(0, 0), (0, 1), (0, 2)]);
}

#[test]
fn attempts_survive_a_restart_and_what_was_in_flight_counts_none() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[1, 2]);
    bench.connect(1, 100);
    bench.nack((0, 0));
    bench.say((0, 1), DeliveryOutcome::Start);
    bench.restart();
    bench.connect(1, 100);
    assert_eq!(bench.held(), [(0, 1)], "the other one waits still");
    assert_eq!(bench.held[&(0, 1)].attempt, 1, "a restart is not its fault");
    bench.pass(1_300);
    assert_eq!(bench.held[&(0, 0)].attempt, 2);
}

#[test]
fn a_settlement_of_an_expired_lease_has_no_effect_on_the_new_attempt() {
    let mut bench = Bench::new(config(Mode::Shared), 1);
    bench.append(0, &[1]);
    bench.connect_as(1, 100, false);
    let old = bench.held[&(0, 0)];
    bench.pass(ACK_DEADLINE_MS as i64 - 1);
    assert_eq!(bench.held[&(0, 0)], old, "one millisecond is left");
    bench.pass(1);
    assert_eq!(bench.held(), [], "it has expired, and waits");
    bench.pass(1_300);
    let new = bench.held[&(0, 0)];
    assert_eq!(new.attempt, 2);
    let whole = OffsetRange {
        start: Offset::ZERO,
        end: Offset::new(1),
    };
    for outcome in [
        DeliveryOutcome::Ack,
        nack_reason(),
        DeliveryOutcome::Release,
    ] {
        let expired = bench.say_of((0, 0), old.delivery, outcome.clone());
        assert_eq!(expired, [whole], "{outcome:?}");
    }
    bench.step();
    assert_eq!(bench.held[&(0, 0)], new);
    bench.ack((0, 0));
    let again = bench.say_of((0, 0), new.delivery, DeliveryOutcome::Ack);
    assert_eq!(again, [], "what was settled may be settled again");
}

#[test]
fn the_lease_of_a_handler_that_goes_on_is_extended() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[1]);
    bench.connect(1, 100);
    for _ in 0..20 {
        bench.pass(ACK_DEADLINE_MS as i64 - 1);
        bench.say((0, 0), DeliveryOutcome::Extend);
    }
    assert_eq!(bench.held[&(0, 0)].attempt, 1);
    bench.pass(ACK_DEADLINE_MS as i64);
    assert_eq!(
        bench.held[&(0, 0)].attempt,
        1,
        "no handler had begun with it"
    );
}

#[test]
fn who_dies_gives_back_at_once_what_it_had_not_begun_with() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[1, 2, 3]);
    bench.connect(1, 100);
    bench.say((0, 0), DeliveryOutcome::Start);
    bench.connect(2, 100);
    bench.disconnect(1, ConsumerDeparture::CutOff);
    assert_eq!(bench.held(), [(0, 1), (0, 2)]);
    bench.pass(RECONNECT_GRACE_MS);
    bench.pass(1_300);
    assert_eq!(
        bench.held[&(0, 0)].attempt,
        2,
        "it was the only one begun with"
    );
    assert_eq!(bench.held[&(0, 1)].attempt, 1);
}

#[test]
fn who_stops_keeps_what_it_has_begun_with_and_gets_no_more() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[1, 2, 3, 4]);
    bench.connect(1, 100);
    bench.say((0, 1), DeliveryOutcome::Start);
    bench.stop(1);
    assert_eq!(bench.held(), [(0, 1)], "the rest is given back");
    bench.connect(2, 100);
    let others = bench
        .held
        .values()
        .filter(|it| it.consumer == consumer_id(2));
    assert_eq!(others.count(), 3, "others have it at once");
    bench.ack((0, 1));
    bench.disconnect(2, ConsumerDeparture::Left);
    assert_eq!(bench.held(), [], "nobody is there who wants more");
}

#[test]
fn who_leaves_pays_nothing_however_often() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[1, 2, 2, 2, 3]);
    for _ in 0..50 {
        bench.connect(1, 100);
        for place in bench.held() {
            bench.say(place, DeliveryOutcome::Start);
        }
        bench.disconnect(1, ConsumerDeparture::Left);
    }
    bench.connect(1, 100);
    assert_eq!(bench.held.len(), 5);
    assert!(
        bench.held.values().all(|it| it.attempt == 1),
        "{:?}",
        bench.held
    );
}

#[test]
fn the_record_that_kills_its_consumer_is_found_and_its_neighbours_do_not_pay() {
    for mode in [Mode::KeyShared, Mode::Shared, Mode::Exclusive] {
        let retry = RetryPolicy {
            attempts_max: 3,
            ..RetryPolicy::default()
        };
        let mut bench = Bench::new(
            SubscriptionConfig {
                retry,
                ..config(mode)
            },
            1,
        );
        bench.append(0, &[1, 2, 3, 4, 5, 6]);
        let poison = (0, 3);
        let mut attempts = BTreeMap::new();
        for _ in 0..20 {
            bench.connect(1, 100);
            for _ in 0..100 {
                let held = bench.held();
                for place in &held {
                    bench.say(*place, DeliveryOutcome::Start);
                    attempts.insert(*place, bench.held[place].attempt);
                }
                if held.contains(&poison) {
                    break;
                }
                held.iter().for_each(|place| bench.ack(*place));
                bench.pass(500);
            }
            bench.disconnect(1, ConsumerDeparture::CutOff);
            bench.pass(RECONNECT_GRACE_MS);
        }
        assert_eq!(bench.done.len(), 5, "{mode:?}: {:?}", bench.done);
        attempts.remove(&poison);
        assert!(
            attempts.values().all(|it| *it == 1),
            "{mode:?}: {attempts:?}"
        );
        let dead = bench.subscription().partitions[0]
            .waiting
            .get(Offset::new(3));
        let dead = dead.expect("it has a row");
        assert_eq!((dead.attempts, dead.death.is_some()), (3, true), "{mode:?}");
    }
}

#[test]
fn while_everything_fails_no_attempt_is_counted() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &(0..100).collect::<Vec<_>>());
    bench.connect(1, u64::MAX);
    for _ in 0..40 {
        for place in bench.held() {
            bench.nack(place);
        }
        bench.pass(400_000);
    }
    let attempts: Vec<_> = bench.held.values().map(|it| it.attempt).collect();
    assert_eq!(attempts.len(), 100, "nothing is dead");
    assert!(attempts.iter().all(|it| *it <= 2), "{attempts:?}");
}

#[test]
fn a_long_wait_of_one_key_does_not_hold_up_others() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[0]);
    bench.connect(1, 1_000);
    let outcome = DeliveryOutcome::Nack {
        delay_ms: Some(3_600_000),
        reason: "later".to_owned(),
    };
    bench.say((0, 0), outcome);
    let count = 100_000;
    let keys: Vec<_> = (1..=count)
        .map(|it| match it % 1_000 {
            0 => 0,
            _ => it,
        })
        .collect();
    bench.append(0, &keys);
    bench.step();
    let outcome = DeliveryOutcome::Ack;
    while !bench.held.is_empty() {
        let places = std::mem::take(&mut bench.held);
        for (place, held) in &places {
            bench.say_of(*place, held.delivery, outcome.clone());
            bench.note_done(*place);
        }
        bench.credit(1, places.len() as u64);
    }
    assert_eq!(bench.done.len(), 99_900, "all others");
    let partition = &bench.subscription().partitions[0];
    assert!(partition.window.span() <= 64 * 1024);
    assert!(
        partition.settled.floor().get() > 80_000,
        "the window moved on"
    );
}

#[test]
fn a_long_window_gives_rows_only_to_what_is_kept_for_long() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &vec![7; 20_000]);
    bench.connect(1, 1_000);
    let rows = |bench: &Bench| bench.subscription().partitions[0].waiting.len();
    assert!(!bench.held().is_empty(), "delivered");
    assert_eq!(rows(&bench), 0, "a moment ago");
    let due_ms = bench.subscription().next_due_ms();
    assert_eq!(
        due_ms,
        Some(bench.now_ms + 1_000),
        "looked at again by then"
    );
    bench.pass(999);
    assert_eq!(rows(&bench), 0, "not for long");
    bench.pass(1);
    assert!(rows(&bench) >= bench.held().len(), "for long");
}

#[test]
fn an_exclusive_subscription_has_one_consumer_and_the_next_one_waits() {
    let mut bench = Bench::new(config(Mode::Exclusive), 1);
    bench.append(0, &[1, 2, 3]);
    bench.connect(1, 1);
    bench.connect(2, 100);
    assert_eq!(
        bench.held(),
        [(0, 0)],
        "the first one has all that it allows"
    );
    bench.disconnect(1, ConsumerDeparture::Left);
    assert_eq!(bench.held(), [(0, 0), (0, 1), (0, 2)]);
    let wish = Connect {
        consumer: consumer_id(3),
        session: SessionId(99),
        client_name: String::new(),
        credit: Credit::default(),
        reports_start: true,
        refuses_to_wait: true,
    };
    let refused = bench.state.connect_consumer(bench.id, &wish, bench.now_ms);
    assert_eq!(refused, Err(ConnectRefusal::Busy));
}

#[test]
fn an_exclusive_subscription_waits_for_who_is_away_and_has_records() {
    for departure in [ConsumerDeparture::CutOff, ConsumerDeparture::Detached] {
        let mut bench = Bench::new(config(Mode::Exclusive), 1);
        bench.append(0, &[1, 2, 3]);
        bench.connect_as(1, 1, false);
        bench.connect(2, 100);
        bench.disconnect(1, departure);
        let next = consumer_id(2);
        let is_next = |bench: &Bench| bench.held.values().any(|it| it.consumer == next);
        assert!(!is_next(&bench), "{departure:?}: {:?}", bench.held);
        let wish = Connect {
            consumer: consumer_id(3),
            session: SessionId(99),
            client_name: String::new(),
            credit: Credit::default(),
            reports_start: true,
            refuses_to_wait: true,
        };
        let refused = bench.state.connect_consumer(bench.id, &wish, bench.now_ms);
        assert_eq!(refused, Err(ConnectRefusal::Busy), "{departure:?}");
        bench.pass(40_000);
        assert!(is_next(&bench), "{departure:?}: {:?}", bench.held);
    }
}

#[test]
fn a_suspect_of_an_ordered_mode_comes_as_soon_as_somebody_may_have_it() {
    for mode in [Mode::KeyShared, Mode::Exclusive] {
        let mut bench = Bench::new(config(mode), 1);
        bench.append(0, &[1, 2]);
        bench.connect_as(1, 100, false);
        bench.disconnect(1, ConsumerDeparture::CutOff);
        bench.pass(RECONNECT_GRACE_MS);
        assert_eq!(bench.held(), [], "nobody is there");
        bench.connect(2, 100);
        assert_eq!(bench.held(), [(0, 0)], "{mode:?}: nothing else happens");
    }
}

#[test]
fn who_gives_everything_back_gets_it_more_and_more_slowly() {
    for mode in [Mode::KeyShared, Mode::Shared, Mode::Exclusive] {
        let mut bench = Bench::new(config(mode), 1);
        bench.append(0, &[1]);
        bench.connect(1, u64::MAX);
        let begun_ms = bench.now_ms;
        let mut deliveries = 0;
        while bench.now_ms < begun_ms + 60_000 && deliveries < 1_000 {
            if bench.held.contains_key(&(0, 0)) {
                deliveries += 1;
                bench.say((0, 0), DeliveryOutcome::Release);
            } else {
                let due_ms = bench.subscription().next_due_ms();
                let due_ms = due_ms.expect("it is looked at again");
                assert!(due_ms > bench.now_ms, "and not at once");
                let wait_ms = due_ms - bench.now_ms;
                bench.pass(wait_ms);
            }
        }
        assert!((60..=72).contains(&deliveries), "{mode:?}: {deliveries}");
        bench.pass(1_000);
        assert_eq!(bench.held[&(0, 0)].attempt, 1, "nothing has failed");
        bench.ack((0, 0));
        bench.append(0, &[2]);
        bench.step();
        bench.say((0, 1), DeliveryOutcome::Release);
        assert_eq!(bench.held(), [(0, 1)], "{mode:?}: it works again");
    }
}

#[test]
fn what_one_gives_back_others_get_at_once() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[1]);
    bench.connect(1, 100);
    for _ in 0..10 {
        bench.say((0, 0), DeliveryOutcome::Release);
        bench.pass(1_000);
    }
    bench.say((0, 0), DeliveryOutcome::Release);
    assert_eq!(bench.held(), []);
    bench.connect(2, 100);
    assert_eq!(bench.held[&(0, 0)].consumer, consumer_id(2));
}

#[test]
fn a_consumer_that_takes_nothing_is_not_waited_for_with_a_suspect() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[1, 2]);
    bench.connect_as(1, 100, false);
    bench.disconnect(1, ConsumerDeparture::CutOff);
    bench.pass(RECONNECT_GRACE_MS);
    bench.connect(2, 0);
    bench.connect(3, 100);
    assert_eq!(bench.held(), [(0, 0)], "the other one has it");
}

#[test]
fn what_becomes_of_records_is_counted() {
    let mut bench = Bench::new(config(Mode::Shared), 1);
    bench.append(0, &[1, 2, 3, 4, 5, 6]);
    bench.connect(1, 100);
    bench.ack((0, 0));
    bench.ack((0, 1));
    bench.nack((0, 2));
    bench.nack((0, 3));
    bench.say((0, 4), dead());
    bench.say((0, 5), DeliveryOutcome::Start);
    bench.bury(true);
    bench.pass(i64::try_from(ACK_DEADLINE_MS).unwrap() + 1);
    let counts = bench.subscription().counts;
    let found = (counts.acked, counts.nacked, counts.expired, counts.died);
    assert_eq!(found, (2, 2, 1, 1));
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[7, 7]);
    bench.connect(1, 100);
    bench.nack((0, 0));
    let counts = bench.subscription().counts;
    let found = (counts.delivered, counts.nacked, counts.released);
    assert_eq!(found, (2, 1, 1), "what is behind it is given back");
}

#[test]
fn a_record_that_fails_when_it_is_too_old_is_dead() {
    let mut with_age = config(Mode::Shared);
    with_age.retry.age_ms_max = Some(5_000);
    for (age_ms, is_dead) in [(0, false), (5_000, false), (5_001, true)] {
        let mut bench = Bench::new(with_age.clone(), 1);
        bench.append(0, &[1]);
        bench.connect(1, 100);
        bench.pass(age_ms);
        bench.nack((0, 0));
        let burial_count = bench.burials.len();
        assert_eq!(burial_count, usize::from(is_dead), "age_ms={age_ms}");
    }
}
