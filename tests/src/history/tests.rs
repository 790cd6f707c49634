//! Each rule fails on a planted history, and only that rule.

use super::*;

pub(super) const PLACE: Place = Place {
    topic: 1,
    partition: 0,
};

fn item(sequence: u64) -> Item {
    Item {
        producer: 1,
        place: PLACE,
        sequence,
    }
}

fn sent(sequence: u64) -> Event {
    Event::Sent {
        item: item(sequence),
        value: 100 + sequence,
        records: 2,
    }
}

fn accepted(sequence: u64) -> Event {
    Event::Accepted {
        item: item(sequence),
        offset: 2 * sequence,
    }
}

fn read(reader: u64, offset: u64, value: u64) -> Event {
    Event::Read {
        reader,
        place: PLACE,
        offset,
        value,
        records: 2,
    }
}

fn start(reader: u64, offset: u64) -> Event {
    Event::ReadFrom {
        reader,
        place: PLACE,
        offset,
    }
}

fn end(log_start: u64, end: u64) -> Event {
    Event::Final {
        place: PLACE,
        log_start,
        end,
    }
}

/// Two batches sent, acknowledged, read by one reader, and read at the end.
pub(super) fn good() -> Vec<Event> {
    vec![
        sent(0),
        sent(1),
        start(7, 0),
        accepted(0),
        read(7, 0, 100),
        accepted(1),
        read(7, 2, 101),
        start(FINAL_READER, 0),
        read(FINAL_READER, 0, 100),
        read(FINAL_READER, 2, 101),
        end(0, 4),
    ]
}

pub(super) fn rules(history: &[Event]) -> Vec<Rule> {
    let mut rules: Vec<_> = check(history)
        .into_iter()
        .map(|violation| violation.rule)
        .collect();
    rules.dedup();
    rules
}

#[test]
fn a_good_history_breaks_no_rule() {
    assert_eq!(check(&good()), []);
    let mut in_doubt = good();
    in_doubt.insert(0, sent(9));
    assert_eq!(check(&in_doubt), [], "a batch in doubt may be absent");
    in_doubt.retain(|event| *event != accepted(1));
    assert_eq!(check(&in_doubt), [], "or present");
}

#[test]
fn an_acknowledged_item_must_be_there_at_the_end() {
    let mut history = good();
    history.retain(|event| !matches!(event, Event::Read { offset: 2, .. }));
    history.retain(|event| !matches!(event, Event::Final { .. }));
    history.push(end(0, 2));
    assert_eq!(rules(&history), [Rule::LostWrite]);
    history.push(Event::Gap {
        reader: FINAL_READER,
        place: PLACE,
        start: 2,
        end: 4,
        reason: GapReason::DataLoss,
    });
    assert_eq!(rules(&history), [], "loss that was told is not silent");
}

#[test]
fn nothing_may_be_read_that_was_not_sent() {
    let mut history = good();
    history.retain(|event| *event != sent(1) && *event != accepted(1));
    assert_eq!(rules(&history), [Rule::Phantom]);
}

#[test]
fn one_item_may_not_lie_at_two_offsets() {
    let mut history = good();
    let last = history.len() - 1;
    history.splice(last.., [read(FINAL_READER, 4, 101), end(0, 6)]);
    assert_eq!(rules(&history), [Rule::Duplicate]);
}

#[test]
fn an_offset_may_not_change_its_value() {
    let mut history = good();
    history.splice(2..2, [sent(2), start(8, 2), read(8, 2, 102)]);
    assert_eq!(rules(&history), [Rule::InconsistentOffset]);
}

#[test]
fn what_was_read_may_not_vanish() {
    let mut history = good();
    history.retain(|event| *event != accepted(1) && *event != read(FINAL_READER, 2, 101));
    history.retain(|event| !matches!(event, Event::Final { .. }));
    history.push(end(0, 2));
    assert_eq!(rules(&history), [Rule::VanishedRead]);
    history.push(Event::MayGo {
        place: PLACE,
        below: 4,
    });
    assert_eq!(rules(&history), [], "unless it may go");
}

#[test]
fn items_of_one_producer_keep_their_order() {
    let swapped = [
        sent(0),
        sent(1),
        start(FINAL_READER, 0),
        read(FINAL_READER, 0, 101),
        read(FINAL_READER, 2, 100),
        end(0, 4),
    ];
    assert_eq!(rules(&swapped), [Rule::Order]);
}

#[test]
fn a_session_may_neither_skip_nor_repeat() {
    let mut skipped = good();
    skipped.retain(|event| *event != read(7, 0, 100));
    skipped.insert(2, sent(3));
    assert_eq!(rules(&skipped), [Rule::PollSkip]);
    let mut repeated = good();
    repeated.insert(5, read(7, 0, 100));
    assert_eq!(rules(&repeated), [Rule::PollSkip]);
    let mut restarted = good();
    restarted.splice(5..5, [start(7, 1), read(7, 0, 100)]);
    assert_eq!(
        rules(&restarted),
        [],
        "a new session may begin inside a batch"
    );
}

#[test]
fn the_log_start_may_not_pass_what_may_go() {
    let mut history = good();
    history.push(end(2, 4));
    assert_eq!(rules(&history), [Rule::RetainedTooLittle]);
}

#[test]
fn the_final_read_reaches_the_end() {
    let mut history = good();
    history.push(end(0, 5));
    assert_eq!(rules(&history), [Rule::Liveness]);
}

#[test]
fn a_refused_item_never_becomes_visible() {
    let mut history = good();
    history.retain(|event| *event != accepted(1));
    history.push(Event::Refused { item: item(1) });
    assert_eq!(rules(&history), [Rule::Dishonest]);
}

#[test]
fn what_was_let_go_of_stays_away() {
    let starts = |log_start| Event::Starts {
        place: PLACE,
        log_start,
    };
    let gone = Event::MayGo {
        place: PLACE,
        below: 4,
    };
    let history = vec![
        sent(0),
        sent(1),
        gone,
        starts(2),
        start(7, 0),
        Event::Gap {
            reader: 7,
            place: PLACE,
            start: 0,
            end: 2,
            reason: GapReason::Trimmed,
        },
        start(FINAL_READER, 2),
        read(FINAL_READER, 2, 101),
        end(2, 4),
    ];
    assert_eq!(rules(&history), [], "it stays away");
    let mut read_again = history.clone();
    read_again.extend([start(7, 0), read(7, 0, 100)]);
    assert_eq!(rules(&read_again), [Rule::Resurrected]);
    let mut moved_back = history.clone();
    moved_back.push(starts(1));
    assert_eq!(rules(&moved_back), [Rule::Resurrected]);
    let mut not_allowed = history;
    not_allowed.retain(|event| *event != gone);
    assert_eq!(rules(&not_allowed), [Rule::RetainedTooLittle]);
}

#[test]
fn a_torn_request() {
    let together = |sequence| Event::Together {
        request: 9,
        item: item(sequence),
    };
    let whole = [&[together(0), together(1)], &good()[..]].concat();
    assert_eq!(rules(&whole), []);
    // The second was never acknowledged, and is not there in the end.
    let torn = [
        sent(0),
        sent(1),
        together(0),
        together(1),
        start(FINAL_READER, 0),
        read(FINAL_READER, 0, 100),
        end(0, 2),
    ];
    assert_eq!(rules(&torn), [Rule::TornRequest]);
    let may_go = Event::MayGo {
        place: PLACE,
        below: 2,
    };
    let trimmed = [&torn[..], &[may_go]].concat();
    assert_eq!(rules(&trimmed), []);
}

#[test]
fn a_request_that_is_torn_between_partitions() {
    let other = Item {
        producer: 2,
        place: Place {
            topic: 1,
            partition: 1,
        },
        sequence: 0,
    };
    let sent_to_other = Event::Sent {
        item: other,
        value: 200,
        records: 2,
    };
    let together = |item| Event::Together { request: 9, item };
    let other_ends = |end| Event::Final {
        place: other.place,
        log_start: 0,
        end,
    };
    let sent = [
        sent(0),
        sent_to_other,
        together(item(0)),
        together(other),
        start(FINAL_READER, 0),
        end(0, 2),
        read(FINAL_READER, 0, 100),
    ];
    let torn = [&sent[..], &[other_ends(0)]].concat();
    assert_eq!(rules(&torn), [Rule::TornRequest]);
    let read_other = Event::Read {
        reader: FINAL_READER,
        place: other.place,
        offset: 0,
        value: 200,
        records: 2,
    };
    let whole = [&sent[..], &[read_other, other_ends(2)]].concat();
    assert_eq!(rules(&whole), []);
    let damage = |place| Event::Gap {
        reader: FINAL_READER,
        place,
        start: 0,
        end: 2,
        reason: GapReason::DataLoss,
    };
    let damaged = [&sent[..], &[damage(other.place), other_ends(2)]].concat();
    assert!(
        !rules(&damaged).contains(&Rule::TornRequest),
        "it was there"
    );
}
