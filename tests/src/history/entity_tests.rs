//! Rules about keys: each fails on a planted history.

use super::tests::{PLACE, rules};
use super::*;

/// Append time of the record at an offset.
fn time_ms(offset: u64) -> i64 {
    100 * offset.cast_signed()
}

fn of(record: u64, event: EntityEvent) -> Event {
    Event::Entity {
        place: PLACE,
        record,
        event,
    }
}

fn sent_as(record: u64, is_tombstone: bool, expected: Option<u64>) -> Event {
    let event = EntityEvent::Sent {
        request: record,
        key: 1,
        is_tombstone,
        expected,
    };
    of(record, event)
}

fn sent(record: u64) -> Event {
    sent_as(record, false, None)
}

fn accepted(record: u64, offset: u64) -> Event {
    let append_time_ms = time_ms(offset);
    let event = EntityEvent::Accepted {
        offset,
        append_time_ms,
    };
    of(record, event)
}

fn read(record: u64, offset: u64) -> Event {
    let event = EntityEvent::Read {
        pass: 7,
        offset,
        append_time_ms: time_ms(offset),
    };
    of(record, event)
}

fn pass(event: PassEvent) -> Event {
    Event::Pass {
        pass: 7,
        place: PLACE,
        event,
    }
}

/// A pass that finds these at 1,000, where tombstones stay for so long.
fn passed(read: &[Event], is_at_once: bool, grace_ms: Option<u64>) -> Vec<Event> {
    let ended = PassEvent::Ended {
        is_at_once,
        time_ms: 1_000,
        grace_ms,
    };
    [&[pass(PassEvent::Begun)], read, &[pass(ended)]].concat()
}

#[test]
fn the_last_record_of_a_key_is_found() {
    let written = [sent(1), accepted(1, 0), sent(2), accepted(2, 1)];
    let check = |found: &[Event], expected: &[Rule]| {
        let history = [&written[..], &passed(found, false, Some(100))].concat();
        assert_eq!(rules(&history), expected, "{found:?}");
    };
    check(&[read(1, 0), read(2, 1)], &[]);
    check(&[read(2, 1)], &[]);
    check(&[sent(3), read(3, 2)], &[]);
    check(&[read(1, 0)], &[Rule::KeyLost]);
    check(&[], &[Rule::KeyLost]);
}

#[test]
fn a_tombstone_stays_for_its_grace_and_goes_with_what_it_stands_for() {
    let tombstone = sent_as(2, true, None);
    let written = [sent(1), accepted(1, 0), tombstone, accepted(2, 5)];
    let check = |found: &[Event], is_at_once, grace_ms, expected: &[Rule]| {
        let history = [&written[..], &passed(found, is_at_once, Some(grace_ms))].concat();
        assert_eq!(rules(&history), expected, "{found:?}");
    };
    check(&[read(2, 5)], true, 600, &[]);
    check(&[], true, 501, &[Rule::KeyLost]);
    check(&[], true, 500, &[]);
    check(&[read(1, 0)], true, 500, &[Rule::KeyBack]);
    check(&[read(1, 0)], false, 500, &[]);
}

#[test]
fn a_tombstone_in_doubt_may_have_let_go_of_its_key() {
    let tombstone = sent_as(2, true, None);
    let refused = of(2, EntityEvent::Refused { current: None });
    let check = |then: &[Event], found: &[Event], expected: &[Rule]| {
        let written = [sent(1), accepted(1, 0), sent(3), accepted(3, 1), tombstone];
        let passed = passed(found, true, Some(100));
        let history = [&written[..], then, &passed].concat();
        assert_eq!(rules(&history), expected, "{then:?} {found:?}");
    };
    check(&[], &[], &[]);
    check(&[], &[read(3, 1)], &[]);
    check(&[], &[read(1, 0)], &[Rule::KeyBack]);
    check(&[refused], &[], &[Rule::KeyLost]);
}

#[test]
fn where_all_records_stay_each_is_found() {
    let written = [sent(1), accepted(1, 0), sent(2), accepted(2, 1)];
    let history = [&written[..], &passed(&[read(2, 1)], true, None)].concat();
    assert_eq!(rules(&history), [Rule::LostWrite]);
}

#[test]
fn records_at_other_places_than_told() {
    let written = [sent(1), accepted(1, 0)];
    let check = |then: &[Event], expected: &[Rule]| {
        assert_eq!(rules(&[&written[..], then].concat()), expected, "{then:?}");
    };
    check(&[read(1, 0)], &[]);
    check(&[read(1, 1)], &[Rule::Duplicate]);
    check(&[sent(2), read(2, 0)], &[Rule::InconsistentOffset]);
    check(&[read(3, 1)], &[Rule::Phantom]);
    let refused = of(2, EntityEvent::Refused { current: None });
    check(&[sent(2), refused, read(2, 1)], &[Rule::Dishonest]);
}

#[test]
fn a_part_of_a_request() {
    let event = |record| EntityEvent::Sent {
        request: 9,
        key: record,
        is_tombstone: false,
        expected: None,
    };
    let together = [of(1, event(1)), of(2, event(2))];
    let torn = [&together[..], &passed(&[read(1, 0)], true, None)].concat();
    assert_eq!(rules(&torn), [Rule::TornRequest]);
}

#[test]
fn expected_versions_hold_or_are_refused() {
    let expecting = |record, expected| sent_as(record, false, Some(expected));
    let first = [expecting(1, 0), accepted(1, 0)];
    let check = |then: &[Event], expected: &[Rule]| {
        assert_eq!(rules(&[&first[..], then].concat()), expected, "{then:?}");
    };
    check(&[expecting(2, 1), accepted(2, 1)], &[]);
    check(&[expecting(2, 0), accepted(2, 1)], &[Rule::Versions]);
    check(&[expecting(2, 2), accepted(2, 1)], &[Rule::Versions]);
    let refused = |current| of(2, EntityEvent::Refused { current });
    check(&[expecting(2, 0), refused(Some(1))], &[]);
    check(&[expecting(2, 1), refused(Some(1))], &[Rule::Versions]);
    // One that is in doubt may have been before it.
    check(&[sent(3), expecting(2, 2), accepted(2, 1)], &[]);
}

#[test]
fn versions_in_the_index_are_dense() {
    let found = passed(&[read(1, 0), read(2, 1)], true, None);
    let written = [sent(1), accepted(1, 0), sent(2), accepted(2, 1)];
    let history = [&written[..], &found].concat();
    let version = |record, version| of(record, EntityEvent::Version { version });
    let last = |record, version| of(record, EntityEvent::Last { version });
    let check = |then: &[Event], expected: &[Rule]| {
        assert_eq!(rules(&[&history[..], then].concat()), expected, "{then:?}");
    };
    check(&[version(1, 1), version(2, 2), last(2, 2)], &[]);
    check(&[version(1, 1)], &[Rule::Versions]);
    check(&[version(1, 1), version(2, 3)], &[Rule::Versions]);
    check(&[last(2, 3)], &[Rule::Versions]);
    check(&[last(1, 1)], &[Rule::Versions]);
}
