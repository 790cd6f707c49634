//! What is said of records and when, whose turn it is, and what a broken connection means.

use towpath_proto::batch::Records;

use super::*;
use crate::{ErrorKind, ErrorReason};

const SAME: [(u64, Option<&str>); 4] = [(0, Some("a")), (1, Some("b")), (2, Some("a")), (3, None)];

#[test]
fn only_what_is_taken_is_begun() {
    let mut receiving = open();
    hear(&mut receiving, [delivered(1, 0, &SAME)]);
    assert!(settlements(&mut receiving).is_empty(), "all of it waits");
    let Taken::Record(record, _ticket) = receiving.take(Instant::now()) else {
        panic!("there are four");
    };
    assert_eq!((record.offset().get(), record.attempt()), (0, 1), "first");
    assert_eq!(settlements(&mut receiving), ["1: start 0..1"]);
}

/// The same records, as dead letters that were redriven.
fn redriven(delivery: u64, records: &[(u64, Option<&str>)]) -> Response {
    match delivered(delivery, 0, records) {
        Response::Delivered(delivered) => Response::Delivered(Delivered {
            is_dead_letter: true,
            ..delivered
        }),
        other => other,
    }
}

#[test]
fn a_dead_letter_is_another_record_than_the_one_at_its_offset() {
    let mut receiving = open();
    hear(
        &mut receiving,
        [delivered(1, 0, &SAME[..1]), redriven(2, &SAME[..1])],
    );
    let mut taken = Vec::new();
    while let Taken::Record(record, ticket) = receiving.take(Instant::now()) {
        taken.push((record.topic().to_string(), record.is_redriven(), ticket));
    }
    let names: Vec<_> = taken
        .iter()
        .map(|(topic, is_redriven, _)| (topic.as_str(), *is_redriven))
        .collect();
    assert_eq!(names, [("orders", false), ("billing.dlq", true)], "both");
    hear(&mut receiving, [lost(0, 1)]);
    for (_, _, ticket) in taken {
        receiving.settle(ticket, DeliveryOutcome::Ack, None);
    }
    let said = requests(&mut receiving)
        .into_iter()
        .filter_map(|it| match it {
            Request::Settle(settle) => Some(settle.settlements),
            _ => None,
        });
    let said: Vec<_> = said
        .flatten()
        .map(|it| (it.delivery, it.is_dead_letter))
        .collect();
    assert!(
        said.contains(&(2, true)),
        "only the other one was lost: {said:?}"
    );
    assert!(
        !said.contains(&(2, false)) && !said.contains(&(1, true)),
        "{said:?}"
    );
}

#[test]
fn what_is_said_at_once_is_one_request_of_few_ranges() {
    let mut receiving = open();
    hear(&mut receiving, [delivered(1, 0, &SAME)]);
    let mut tickets = take_all(&mut receiving);
    for offset in [2, 0, 1] {
        let ticket = tickets.remove(&offset).unwrap();
        receiving.settle(ticket, DeliveryOutcome::Ack, None);
    }
    let said = settlements(&mut receiving);
    assert_eq!(
        said,
        ["1: start 3..4, 1: ack 0..3"],
        "no start of the acked"
    );
}

#[test]
fn the_same_word_of_several_records_is_said_once() {
    let mut receiving = open();
    hear(&mut receiving, [delivered(1, 0, &SAME)]);
    for (offset, ticket) in take_all(&mut receiving) {
        let reason = if offset < 2 { "down" } else { "broken" };
        receiving.settle(ticket, DeliveryOutcome::nack(reason), None);
    }
    assert_eq!(settlements(&mut receiving), ["1: nack 0..2, 1: nack 2..4"]);
}

#[test]
fn more_is_gathered_while_the_broker_confirms() {
    let mut receiving = open();
    let records: Vec<_> = (0..10).map(|offset| (offset, None)).collect();
    hear(&mut receiving, [delivered(1, 0, &records)]);
    let tickets = take_all(&mut receiving);
    let mut sent = settlements(&mut receiving);
    for ticket in tickets.into_values() {
        receiving.settle(ticket, DeliveryOutcome::Ack, None);
        sent.extend(settlements(&mut receiving));
    }
    assert_eq!(sent[1..], ["1: ack 0..1", "1: ack 1..2", "1: ack 2..3"]);
    hear(&mut receiving, [settled(1)]);
    assert_eq!(settlements(&mut receiving), ["1: ack 3..10"], "the rest");
}

#[test]
fn credit_comes_back_for_what_is_settled_or_lost() {
    let mut receiving = receiving();
    let credit = |said: Vec<Request>| -> (u64, u64) {
        let credits = said.iter().map(|it| match it {
            Request::Credit(credit) => (credit.records, credit.bytes),
            _ => (0, 0),
        });
        credits.fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1))
    };
    let said = connect(&mut receiving, opened());
    assert_eq!(credit(said), (RECORDS_MAX, 1 << 20), "at first");
    let delivery = delivered(1, 0, &SAME);
    let Response::Delivered(batch) = &delivery else {
        unreachable!()
    };
    let records = Records::new(&batch.batch).map(Result::unwrap);
    let bytes = records.map(|it| it.bytes().len() as u64).sum::<u64>();
    hear(&mut receiving, [delivery]);
    let tickets = take_all(&mut receiving);
    assert_eq!(credit(requests(&mut receiving)), (0, 0), "all are held");
    hear(&mut receiving, [lost(3, 4)]);
    for ticket in tickets.into_values() {
        receiving.settle(ticket, DeliveryOutcome::Ack, None);
    }
    let back = credit(requests(&mut receiving));
    assert_eq!(back, (4, bytes), "each once, to the last byte");
}

#[test]
fn what_waits_is_gone_with_its_connection_and_what_was_begun_is_not() {
    let mut receiving = open();
    hear(&mut receiving, [delivered(1, 0, &SAME)]);
    let Taken::Record(_, ticket) = receiving.take(Instant::now()) else {
        panic!("there are four");
    };
    requests(&mut receiving);
    receiving.disconnect();
    assert!(take_all(&mut receiving).is_empty(), "others get it");
    let mut answer = ack(&mut receiving, ticket);
    let said = connect(&mut receiving, opened());
    let Request::Open(open) = &said[0] else {
        panic!("{said:?}")
    };
    let consumer = (open.consumer_id.as_ref(), open.subscription_id);
    assert_eq!(consumer, ([1; 16].as_slice(), 3), "the same one");
    let settles = said.iter().filter_map(|it| match it {
        Request::Settle(settle) => Some(describe(settle)),
        _ => None,
    });
    // The start was not confirmed: it comes again, and first.
    assert_eq!(
        settles.collect::<Vec<_>>(),
        ["1: start 0..1", "1: ack 0..1"]
    );
    hear(&mut receiving, [settled(1)]);
    answer.try_recv().expect_err("not known yet");
    hear(&mut receiving, [settled(1)]);
    answer.try_recv().unwrap().unwrap();
}

#[test]
fn what_a_new_broker_does_not_know_is_expired() {
    let mut receiving = open();
    hear(&mut receiving, [delivered(1, 0, &SAME)]);
    let mut tickets = take_all(&mut receiving);
    requests(&mut receiving);
    hear(&mut receiving, [settled(1)]);
    let mut said_before = ack(&mut receiving, tickets.remove(&0).unwrap());
    receiving.disconnect();
    connect(&mut receiving, opened());
    // The ack of the first was not sent before, the start of the others says whose they are.
    let results = vec![
        v1::SettleResult {
            expired: vec![v1::OffsetRange { start: 1, end: 4 }],
        },
        v1::SettleResult {
            expired: vec![v1::OffsetRange { start: 0, end: 1 }],
        },
    ];
    hear(&mut receiving, [Response::Settled(v1::Settled { results })]);
    let mut said_after = ack(&mut receiving, tickets.remove(&1).unwrap());
    for answer in [&mut said_before, &mut said_after] {
        let error = answer.try_recv().unwrap().unwrap_err();
        assert_eq!(error.reason(), Some(ErrorReason::LeaseExpired), "{error}");
    }
}

#[test]
fn what_is_lost_is_not_handed_out_and_settling_it_is_in_vain() {
    let mut receiving = open();
    hear(&mut receiving, [delivered(1, 0, &SAME)]);
    let Taken::Record(_, ticket) = receiving.take(Instant::now()) else {
        panic!("there are four");
    };
    hear(&mut receiving, [lost(0, 1), lost(3, 4)]);
    // Behind the first one of its key the third is lost, too, although that was not told yet.
    assert_eq!(offsets(&take_all(&mut receiving)), [1]);
    let mut answer = ack(&mut receiving, ticket);
    let error = answer.try_recv().unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::LeaseExpired), "{error}");
    let said = settlements(&mut receiving);
    assert_eq!(said, ["1: start 0..2"], "nothing of an ack");
}

#[test]
fn an_earlier_delivery_of_a_record_settles_nothing() {
    let mut receiving = open();
    hear(&mut receiving, [delivered(1, 0, &[(3, None)])]);
    let earlier = take_all(&mut receiving).remove(&3).unwrap();
    hear(&mut receiving, [delivered(2, 0, &[(3, None)])]);
    let later = take_all(&mut receiving).remove(&3).unwrap();
    requests(&mut receiving);
    let mut answer = ack(&mut receiving, earlier);
    answer.try_recv().unwrap().unwrap_err();
    receiving.settle(later, DeliveryOutcome::Ack, None);
    assert_eq!(settlements(&mut receiving), ["2: ack 3..4"]);
}

/// What may be begun with after the first record of `SAME` was given back, before and after that is
/// confirmed.
fn after_giving_back(receiving: &mut Receiving) -> (Vec<u64>, Vec<u64>) {
    hear(receiving, [delivered(1, 0, &SAME)]);
    let Taken::Record(_, ticket) = receiving.take(Instant::now()) else {
        panic!("there are four");
    };
    receiving.settle(ticket, DeliveryOutcome::nack("failed"), None);
    assert_eq!(settlements(receiving), ["1: nack 0..1"]);
    let before = take_all(receiving);
    hear(receiving, [settled(1)]);
    (offsets(&before), offsets(&take_all(receiving)))
}

#[test]
fn nothing_overtakes_a_record_of_its_key_that_was_given_back() {
    let mut receiving = open();
    let (before, after) = after_giving_back(&mut receiving);
    assert_eq!(
        (before, after),
        (vec![1, 3], vec![2]),
        "until it is confirmed"
    );
    let mut receiving = super::receiving();
    let Response::Opened(mut shared) = opened() else {
        unreachable!()
    };
    shared.mode = v1::SubscriptionMode::Shared.into();
    connect(&mut receiving, Response::Opened(shared));
    let (before, after) = after_giving_back(&mut receiving);
    assert_eq!((before, after), (vec![1, 2, 3], vec![]), "no order there");
}

#[test]
fn by_key_a_record_waits_until_the_one_before_is_settled() {
    let mut receiving = open();
    receiving.go_by_key();
    hear(&mut receiving, [delivered(1, 0, &SAME)]);
    hear(
        &mut receiving,
        [delivered(2, 0, &[(4, None), (5, Some("a"))])],
    );
    let mut tickets = take_all(&mut receiving);
    assert_eq!(offsets(&tickets), [0, 1, 3, 4], "without a key at any time");
    for (settled, next) in [(0, 2), (2, 5)] {
        let ticket = tickets.remove(&settled).unwrap();
        receiving.settle(ticket, DeliveryOutcome::Ack, None);
        let more = take_all(&mut receiving);
        assert_eq!(offsets(&more), [next], "behind {settled}");
        tickets.extend(more);
    }
}

#[test]
fn leases_are_extended_every_third_of_the_deadline_for_an_hour() {
    let mut receiving = open();
    let start = Instant::now();
    hear(&mut receiving, [delivered(1, 0, &SAME)]);
    let Taken::Record(_, _ticket) = receiving.take(start) else {
        panic!("there are four");
    };
    requests(&mut receiving);
    hear(&mut receiving, [settled(1)]);
    let mut extended = Vec::new();
    while let Some(at) = receiving
        .next_time()
        .filter(|at| *at < start + Duration::from_hours(2))
    {
        receiving.pass_time(at);
        for said in settlements(&mut receiving) {
            extended.push((at, said));
            hear(&mut receiving, [settled(1)]);
        }
    }
    assert!(extended.iter().all(|(_, said)| said == "1: extend 0..4"));
    let third = Duration::from_secs(10);
    let waits = extended.windows(2).map(|pair| pair[1].0 - pair[0].0);
    assert!({ waits }.all(|wait| wait == third), "{extended:?}");
    let last = extended.last().unwrap().0 - start;
    let hour = Duration::from_hours(1);
    assert!(
        (Duration::from_secs(3_590)..=hour).contains(&last),
        "{last:?}"
    );
}

#[test]
fn all_that_was_said_is_confirmed_before_the_wait_for_it_ends() {
    let mut receiving = open();
    let wait = |receiving: &mut Receiving| {
        let (sender, answer) = oneshot::channel();
        receiving.wait_for_confirmations(sender);
        answer
    };
    wait(&mut receiving).try_recv().unwrap().unwrap();
    hear(&mut receiving, [delivered(1, 0, &SAME)]);
    let mut tickets = take_all(&mut receiving);
    let mut next = |receiving: &mut Receiving| {
        let ticket = tickets.pop_first().unwrap().1;
        receiving.settle(ticket, DeliveryOutcome::Ack, None);
    };
    next(&mut receiving);
    requests(&mut receiving);
    let mut sent = wait(&mut receiving);
    next(&mut receiving);
    let mut gathered = wait(&mut receiving);
    requests(&mut receiving);
    next(&mut receiving);
    hear(&mut receiving, [settled(2)]);
    sent.try_recv().unwrap().unwrap();
    gathered.try_recv().expect_err("not yet");
    hear(&mut receiving, [settled(1)]);
    gathered.try_recv().unwrap().unwrap();
}

#[test]
fn a_stream_that_drains_hands_out_no_more_and_still_confirms() {
    let mut receiving = open();
    hear(&mut receiving, [delivered(1, 0, &SAME)]);
    let Taken::Record(_, ticket) = receiving.take(Instant::now()) else {
        panic!("there are four");
    };
    requests(&mut receiving);
    hear(
        &mut receiving,
        [Response::Draining(v1::Draining::default())],
    );
    assert!(
        take_all(&mut receiving).is_empty(),
        "it could not be settled"
    );
    assert_eq!(settlements(&mut receiving), ["1: release 1..4"]);
    let mut answer = ack(&mut receiving, ticket);
    assert_eq!(settlements(&mut receiving), ["1: ack 0..1"]);
    hear(&mut receiving, [settled(1), settled(1), settled(1)]);
    answer.try_recv().unwrap().unwrap();
}

#[test]
fn another_life_of_the_subscription_ends_the_consumer() {
    let change: [fn(&mut v1::ReceiveOpened); 3] = [
        |it| it.subscription_id += 1,
        |it| it.topic_id += 1,
        |it| it.broker_id = "ff".to_owned(),
    ];
    for change in change {
        let mut receiving = open();
        receiving.disconnect();
        receiving.begin();
        let Response::Opened(mut other) = opened() else {
            unreachable!()
        };
        change(&mut other);
        let heard = receiving.hear(Some(Response::Opened(other)), Instant::now());
        let Heard::Over(error) = heard else {
            panic!("{heard:?}")
        };
        let reason = error.reason();
        assert_eq!(reason, Some(ErrorReason::SubscriptionNotFound), "{error}");
    }
}

#[test]
fn what_arrives_damaged_twice_is_the_brokers_fault() {
    let damage: [fn(&mut Delivered); 4] = [
        |it| it.crc ^= 1,
        |it| {
            it.batch = it.batch.slice(..it.batch.len() - 1);
            it.crc = batch::crc(&it.batch);
        },
        |it| it.spans[0].record_count += 1,
        |it| it.spans.swap(0, 1),
    ];
    for damage in damage {
        let Response::Delivered(mut delivered) = delivered(1, 0, &SAME) else {
            unreachable!()
        };
        damage(&mut delivered);
        let mut receiving = open();
        let mut hear = || {
            let response = Response::Delivered(delivered.clone());
            receiving.hear(Some(response), Instant::now())
        };
        assert!(matches!(hear(), Heard::Broken(_)), "the way here");
        let Heard::Over(error) = hear() else {
            panic!("a second time")
        };
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
}

#[test]
fn a_limit_may_be_as_large_as_a_number_can_be() {
    let mut receiving = receiving();
    receiving.options.records_max = u64::MAX;
    receiving.options.bytes_max = u64::MAX;
    let mut receiving = Receiving::new(receiving.options, [7; 16]);
    connect(&mut receiving, opened());
    hear(&mut receiving, [delivered(1, 0, &SAME)]);
    for ticket in take_all(&mut receiving).into_values() {
        receiving.settle(ticket, DeliveryOutcome::Ack, None);
    }
    assert!(!settlements(&mut receiving).is_empty(), "it goes on");
}

#[test]
fn what_is_told_of_gone_records_waits_to_be_taken() {
    let mut receiving = open();
    let gap = |start, end| {
        Response::Gap(v1::DeliveryGap {
            partition: 1,
            range: Some(v1::OffsetRange { start, end }),
            records: 4,
            reason: v1::GapReason::Trimmed.into(),
        })
    };
    hear(&mut receiving, (0..1_001).map(|it| gap(it, it + 5)));
    let gaps = receiving.take_gaps();
    assert_eq!(gaps.len(), 1_000, "bounded");
    assert_eq!(gaps[0].range.start().get(), 1, "the oldest is forgotten");
    assert_eq!((gaps[0].partition.get(), gaps[0].records), (1, 4));
    assert_eq!(gaps[0].reason, crate::GapReason::Trimmed);
    assert_eq!(receiving.take_gaps(), []);
    let odd = receiving.hear(Some(gap(3, 2)), Instant::now());
    assert!(matches!(odd, Heard::Broken(_)), "{odd:?}");
}
