//! Rules about scheduled records: each fails on a planted history.

use super::tests::{PLACE, rules};
use super::*;

fn of(record: u64, event: ScheduleEvent) -> Event {
    Event::Schedule { record, event }
}

fn sent(record: u64) -> Event {
    of(record, ScheduleEvent::Sent { request: record })
}

fn due(record: u64, due_ms: i64) -> Event {
    let number = record;
    of(record, ScheduleEvent::Due { due_ms, number })
}

fn came(record: u64, offset: u64, due_ms: i64) -> Event {
    came_at(record, offset, due_ms, due_ms)
}

fn came_at(record: u64, offset: u64, due_ms: i64, append_time_ms: i64) -> Event {
    let event = ScheduleEvent::Came {
        place: PLACE,
        offset,
        due_ms,
        append_time_ms,
        time_ms: 1_000,
    };
    of(record, event)
}

#[test]
fn what_is_scheduled_comes_when_it_is_due() {
    let late = came_at(1, 0, 100, 150);
    let kept = [
        sent(1),
        due(1, 100),
        sent(2),
        due(2, 200),
        late,
        came(2, 1, 200),
    ];
    assert_eq!(rules(&kept), []);
    assert_eq!(rules(&[&kept[..], &[late]].concat()), [], "read again");
}

#[test]
fn what_comes_early() {
    let early = came_at(1, 0, 100, 99);
    assert_eq!(rules(&[sent(1), due(1, 100), early]), [Rule::Early]);
    let before_its_time = came_at(1, 0, 100, 1_001);
    assert_eq!(
        rules(&[sent(1), due(1, 100), before_its_time]),
        [Rule::Early]
    );
}

#[test]
fn what_never_comes_or_twice_or_for_another_time() {
    let scheduled = [sent(1), due(1, 100)];
    let check = |then: &[Event], expected: &[Rule]| {
        assert_eq!(
            rules(&[&scheduled[..], then].concat()),
            expected,
            "{then:?}"
        );
    };
    check(&[], &[Rule::Unkept]);
    check(&[came(1, 0, 100), came(1, 1, 100)], &[Rule::Unkept]);
    check(&[came(1, 0, 101)], &[Rule::Unkept]);
    check(&[of(1, ScheduleEvent::MoveSent), came(1, 0, 101)], &[]);
    let moved = [of(1, ScheduleEvent::MoveSent), due(1, 300)];
    check(&[&moved[..], &[came(1, 0, 300)]].concat(), &[]);
    check(&[&moved[..], &[came(1, 0, 100)]].concat(), &[Rule::Unkept]);
}

#[test]
fn what_was_cancelled_does_not_come() {
    let cancel = of(1, ScheduleEvent::CancelSent);
    let begun = [sent(1), due(1, 100), cancel];
    let check = |then: &[Event], expected: &[Rule]| {
        assert_eq!(rules(&[&begun[..], then].concat()), expected, "{then:?}");
    };
    let cancelled = of(1, ScheduleEvent::Cancelled);
    check(&[], &[]);
    check(&[came(1, 0, 100)], &[]);
    check(&[cancelled], &[]);
    check(&[cancelled, came(1, 0, 100)], &[Rule::Unkept]);
    let not_found = |time_ms| of(1, ScheduleEvent::NotFound { time_ms });
    check(&[not_found(100), came(1, 0, 100)], &[]);
    check(&[not_found(100)], &[Rule::Unkept]);
    check(&[not_found(99), came(1, 0, 100)], &[Rule::Unkept]);
}

#[test]
fn what_was_refused_does_not_come() {
    let refused = [sent(1), of(1, ScheduleEvent::Refused)];
    assert_eq!(rules(&refused), []);
    let there = [&refused[..], &[came(1, 0, 100)]].concat();
    assert_eq!(rules(&there), [Rule::Unkept]);
}

#[test]
fn what_comes_out_of_due_order() {
    let scheduled = |first, second| [sent(1), due(1, first), sent(2), due(2, second)];
    let swapped = |first, second| {
        let came = [came(2, 0, second), came(1, 1, first)];
        [&scheduled(first, second)[..], &came].concat()
    };
    assert_eq!(rules(&swapped(200, 100)), []);
    assert_eq!(rules(&swapped(100, 200)), [Rule::DueOrder]);
    assert_eq!(rules(&swapped(100, 100)), [Rule::DueOrder], "as accepted");
    let set_aside = |time_ms| [Event::SchedulesSetAside { time_ms }];
    let excused = |time_ms| [&swapped(100, 200)[..], &set_aside(time_ms)].concat();
    assert_eq!(rules(&excused(100)), []);
    assert_eq!(rules(&excused(99)), [Rule::DueOrder]);
}

#[test]
fn a_part_of_what_was_scheduled_together() {
    let together = |record| of(record, ScheduleEvent::Sent { request: 7 });
    let torn = [together(1), together(2), came(1, 0, 100)];
    assert_eq!(rules(&torn), [Rule::TornRequest]);
    assert_eq!(rules(&[&torn[..], &[came(2, 1, 100)]].concat()), []);
}
