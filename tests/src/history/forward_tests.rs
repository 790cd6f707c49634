//! Rules about commits that handle records: each fails on a planted history.

use super::tests::{PLACE, rules};
use super::*;

fn source(offset: u64) -> Source {
    Source {
        lane: 0,
        place: PLACE,
        offset,
    }
}

fn of(commit: u64, event: ForwardEvent) -> Event {
    Event::Forward { commit, event }
}

fn sent(commit: u64, offset: u64) -> Event {
    let source = source(offset);
    of(commit, ForwardEvent::Sent { source })
}

fn done(commit: u64, first: u64) -> Event {
    of(commit, ForwardEvent::Done { first })
}

fn read(commit: u64, handled: u64, offset: u64) -> Event {
    let event = ForwardEvent::Read {
        source: source(handled),
        place: PLACE,
        offset,
    };
    of(commit, event)
}

/// So many records were there to be handled.
fn end(end: u64) -> Event {
    let place = PLACE;
    Event::ForwardsEnd {
        lane: 0,
        place,
        end,
    }
}

#[test]
fn each_record_is_handled_once() {
    let first = [
        sent(1, 0),
        sent(1, 1),
        done(1, 0),
        read(1, 0, 0),
        read(1, 1, 1),
    ];
    let check = |then: &[Event], expected: &[Rule]| {
        assert_eq!(rules(&[&first[..], then].concat()), expected, "{then:?}");
    };
    check(&[end(2)], &[]);
    check(&[read(1, 0, 0), end(2)], &[]);
    check(&[end(3)], &[Rule::Once]);
    check(&[sent(2, 1), read(2, 1, 2), end(2)], &[Rule::Once]);
    check(&[done(1, 5), end(2)], &[Rule::InconsistentOffset]);
    check(&[read(2, 2, 2), end(3)], &[Rule::Phantom]);
}

#[test]
fn a_commit_is_there_as_it_was_answered() {
    let refused = of(1, ForwardEvent::Refused);
    assert_eq!(rules(&[sent(1, 0), refused, end(0)]), []);
    let there = [sent(1, 0), refused, read(1, 0, 0), end(1)];
    assert_eq!(rules(&there), [Rule::Dishonest]);
    let lost = [sent(1, 0), done(1, 0), sent(2, 0), read(2, 0, 0), end(1)];
    assert_eq!(rules(&lost), [Rule::LostWrite]);
    let again = [sent(2, 1), read(2, 1, 1)];
    let torn = [sent(1, 0), sent(1, 1), read(1, 0, 0), end(2)];
    assert_eq!(rules(&[&again[..], &torn].concat()), [Rule::TornRequest]);
}

#[test]
fn nobody_goes_on_below_what_was_handled() {
    let at = |offset| Event::ForwardsAt {
        lane: 0,
        place: PLACE,
        offset,
    };
    let sent = [sent(1, 0), sent(1, 1), at(0)];
    assert_eq!(rules(&[&sent[..], &[done(1, 0), at(2)]].concat()), []);
    let back = [&sent[..], &[done(1, 0), at(1)]].concat();
    assert_eq!(rules(&back), [Rule::CommitRegression]);
}
