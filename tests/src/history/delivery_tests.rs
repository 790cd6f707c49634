//! The rules of subscriptions, each with a planted history that breaks it.

use super::*;

const PLACE: Place = Place {
    topic: 7,
    partition: 0,
};
const CONSUMER: u64 = 100;
const OTHER: u64 = 200;

fn record(offset: u64) -> Unit {
    Unit {
        partition: 0,
        is_letter: false,
        offset,
    }
}

fn letter(offset: u64) -> Unit {
    Unit {
        is_letter: true,
        ..record(offset)
    }
}

fn told(event: DeliveryEvent) -> Event {
    Event::Subscription {
        subscription: 1,
        event,
    }
}

/// Three records of one key, and an ordered subscription that parks and gives up after two failures.
fn begun() -> Vec<Event> {
    let keyed = (0..3).map(|offset| Event::Keyed {
        place: PLACE,
        offset,
        key: Some(5),
    });
    let began = [
        DeliveryEvent::Began {
            topic: PLACE.topic,
            is_ordered: true,
            parks: true,
            attempts_max: 2,
        },
        DeliveryEvent::Sought {
            partition: 0,
            offset: 0,
        },
    ];
    keyed.chain(began.map(told)).collect()
}

fn delivered(unit: Unit, consumer: u64, delivery: u64, attempt: u32) -> Event {
    told(DeliveryEvent::Delivered {
        unit,
        consumer,
        delivery,
        attempt,
        has_begun: true,
        is_alone: false,
        time_ms: 0,
    })
}

fn said(number: u64, unit: Unit, delivery: u64, word: Word) -> Event {
    told(DeliveryEvent::Said {
        number,
        unit,
        consumer: CONSUMER,
        delivery,
        word,
    })
}

fn answered(number: u64, is_expired: bool) -> Event {
    told(DeliveryEvent::Answered { number, is_expired })
}

fn buried(letter: u64, offset: u64, is_parked: bool) -> Event {
    told(DeliveryEvent::Buried {
        partition: 0,
        letter,
        offset,
        is_parked,
    })
}

fn asked(letter: u64, deed: Deed) -> Event {
    told(DeliveryEvent::Asked {
        partition: 0,
        letter,
        deed,
    })
}

fn seen(letter: u64, state: LetterState) -> Event {
    told(DeliveryEvent::Seen {
        partition: 0,
        letter,
        state,
    })
}

/// The first record is handled, the second is dead, and the third follows it.
fn with_letters() -> Vec<Event> {
    let mut history = begun();
    history.extend([
        delivered(record(0), CONSUMER, 1, 1),
        delivered(record(1), CONSUMER, 1, 1),
        delivered(record(2), CONSUMER, 1, 1),
        said(1, record(0), 1, Word::Ack),
        answered(1, false),
        said(2, record(1), 1, Word::DeadLetter),
        told(DeliveryEvent::Lost {
            unit: record(2),
            consumer: CONSUMER,
        }),
        answered(2, false),
        buried(0, 1, false),
        buried(1, 2, true),
    ]);
    history
}

#[track_caller]
fn check_that(history: Vec<Event>, more: &[Event], expected: &[Rule]) {
    let history: Vec<_> = history.into_iter().chain(more.iter().copied()).collect();
    let found = check(&history);
    let rules: Vec<_> = found.iter().map(|it| it.rule).collect();
    assert_eq!(rules, expected, "{found:#?}");
}

#[test]
fn what_is_dead_redriven_and_handled_breaks_nothing() {
    let mut history = with_letters();
    for offset in 0..2 {
        let number = 10 + offset;
        history.extend([
            asked(offset, Deed::Redrive),
            seen(offset, LetterState::Redriven),
            delivered(letter(offset), OTHER, number, 1),
            told(DeliveryEvent::Said {
                number,
                unit: letter(offset),
                consumer: OTHER,
                delivery: number,
                word: Word::Ack,
            }),
            answered(number, false),
            seen(offset, LetterState::Settled),
        ]);
    }
    check_that(history, &[told(DeliveryEvent::Finished)], &[]);
}

#[test]
fn what_was_confirmed_comes_again() {
    let again = delivered(record(0), CONSUMER, 9, 1);
    let rules = [Rule::SettledAgain, Rule::Overtaken, Rule::Overtaken];
    // Its key has dead letters as well.
    check_that(with_letters(), &[again], &rules);
}

#[test]
fn a_record_is_with_two_consumers() {
    let history = [
        delivered(record(0), CONSUMER, 1, 1),
        delivered(record(0), OTHER, 2, 1),
    ];
    check_that(begun(), &history, &[Rule::TwoOwners]);
}

#[test]
fn a_late_settlement_touches_the_new_attempt() {
    let history = [
        delivered(record(0), CONSUMER, 1, 1),
        told(DeliveryEvent::Lost {
            unit: record(0),
            consumer: CONSUMER,
        }),
        delivered(record(0), OTHER, 2, 2),
        said(1, record(0), 1, Word::Ack),
        answered(1, false),
    ];
    check_that(begun(), &history, &[Rule::TwoOwners]);
}

#[test]
fn only_what_was_heard_may_be_said_again() {
    let again = |first_is_expired, word| {
        [
            delivered(record(0), CONSUMER, 1, 1),
            said(1, record(0), 1, Word::Nack),
            answered(1, first_is_expired),
            delivered(record(0), OTHER, 2, 2),
            said(2, record(0), 1, word),
            answered(2, false),
        ]
    };
    check_that(begun(), &again(false, Word::Nack), &[]);
    check_that(begun(), &again(false, Word::Ack), &[Rule::TwoOwners]);
    let rules = [Rule::TwoOwners, Rule::Disowned];
    check_that(begun(), &again(true, Word::Nack), &rules);
}

#[test]
fn an_attempt_goes_back_or_is_counted_for_nothing() {
    let failed = [
        delivered(record(0), CONSUMER, 1, 1),
        said(1, record(0), 1, Word::Nack),
        answered(1, false),
    ];
    let back = delivered(record(0), OTHER, 2, 1);
    let history = [&failed[..], &[back]].concat();
    check_that(begun(), &history, &[Rule::Attempts]);
    let released = [
        delivered(record(0), CONSUMER, 1, 1),
        said(1, record(0), 1, Word::Release),
        answered(1, false),
        delivered(record(0), OTHER, 2, 2),
    ];
    check_that(begun(), &released, &[Rule::Attempts]);
}

#[test]
fn a_record_is_dead_twice_or_for_nothing() {
    check_that(begun(), &[buried(0, 0, false)], &[Rule::DeadLetters]);
    check_that(begun(), &[buried(0, 0, true)], &[Rule::DeadLetters]);
    let twice = [Rule::DeadLetters, Rule::Overtaken];
    // And behind another one of its key.
    check_that(with_letters(), &[buried(2, 1, false)], &twice);
}

#[test]
fn a_dead_letter_moves_by_itself() {
    for state in [LetterState::Redriven, LetterState::Settled] {
        check_that(with_letters(), &[seen(0, state)], &[Rule::DeadLetters]);
    }
    let discarded = [
        asked(0, Deed::Discard),
        seen(0, LetterState::Settled),
        seen(0, LetterState::Dead),
    ];
    let rules = [Rule::SettledAgain, Rule::DeadLetters];
    check_that(with_letters(), &discarded, &rules);
}

#[test]
fn a_record_overtakes_another_one_of_its_key() {
    let history = [
        delivered(record(0), CONSUMER, 1, 1),
        delivered(record(1), OTHER, 2, 1),
    ];
    check_that(begun(), &history, &[Rule::Overtaken]);
}

#[test]
fn nobody_has_handled_what_is_done_with() {
    let rules = [Rule::Unhandled; 3];
    check_that(begun(), &[told(DeliveryEvent::Finished)], &rules);
    // What was trimmed nobody has to handle.
    let trimmed = [
        Event::TrimSent {
            place: PLACE,
            below: 3,
        },
        told(DeliveryEvent::Finished),
    ];
    check_that(begun(), &trimmed, &[]);
}

#[test]
fn a_consumer_is_told_that_it_has_not_what_it_has() {
    let history = [
        delivered(record(0), CONSUMER, 1, 1),
        said(1, record(0), 1, Word::Ack),
        answered(1, true),
    ];
    check_that(begun(), &history, &[Rule::Disowned]);
}

#[test]
fn a_dead_letter_is_republished_without_being_settled() {
    let item = Item {
        producer: 1,
        place: PLACE,
        sequence: 0,
    };
    let history = [
        Event::Sent {
            item,
            value: 77,
            records: 1,
        },
        asked(0, Deed::Republish { value: 77 }),
        Event::Read {
            reader: 1,
            place: PLACE,
            offset: 3,
            value: 77,
            records: 1,
        },
        seen(0, LetterState::Dead),
    ];
    let found = check(&[with_letters(), history.to_vec()].concat());
    let is_torn = |it: &Violation| it.rule == Rule::TornRequest;
    assert!(found.iter().any(is_torn), "{found:#?}");
}
