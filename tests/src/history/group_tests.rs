//! Each rule of consumer groups fails on a planted history, and only that rule.

use super::tests::{PLACE, good, rules};
use super::*;

const GROUP: u64 = 1;
const GRACE_MS: i64 = 10_000;

fn at(event: GroupEvent) -> Event {
    Event::Group {
        group: GROUP,
        place: PLACE,
        event,
    }
}

fn assigned(member: u64, generation: u64, offset: u64, time_ms: i64) -> Event {
    at(GroupEvent::Assigned {
        member,
        generation,
        offset,
        time_ms,
    })
}

fn handled(start: u64, end: u64) -> Event {
    at(GroupEvent::Handled { start, end })
}

fn resumed(offset: u64) -> Event {
    at(GroupEvent::Resumed { offset })
}

fn seek(offset: u64) -> Event {
    at(GroupEvent::SeekSent { offset })
}

fn sought(offset: u64) -> Event {
    at(GroupEvent::Sought { offset })
}

fn revoking(member: u64, time_ms: i64) -> Event {
    at(GroupEvent::Revoking {
        member,
        deadline_ms: time_ms + GRACE_MS,
    })
}

fn lost(member: u64, time_ms: i64) -> Event {
    at(GroupEvent::Lost { member, time_ms })
}

fn returned(member: u64, generation: u64) -> Event {
    at(GroupEvent::Returned { member, generation })
}

/// Says that it commits, and what it is answered.
fn commit(number: u64, member: u64, generation: u64, offset: u64) -> [Event; 2] {
    [
        at(GroupEvent::CommitSent {
            commit: number,
            member,
            generation,
            offset,
        }),
        at(GroupEvent::Committed {
            commit: number,
            offset,
        }),
    ]
}

/// One member begins at 0, handles two records, commits, and the group is there.
fn begun() -> Vec<Event> {
    let mut history = good();
    history.extend([sought(0), assigned(1, 1, 0, 100), handled(0, 2)]);
    history.extend(commit(1, 1, 1, 2));
    history.push(resumed(2));
    history
}

/// What is broken when this follows.
fn after(events: impl IntoIterator<Item = Event>) -> Vec<Rule> {
    let mut history = begun();
    history.extend(events);
    rules(&history)
}

#[test]
fn a_good_group_breaks_no_rule() {
    assert_eq!(after([]), []);
    let handed_over = [
        revoking(1, 200),
        handled(2, 3),
        returned(1, 1),
        assigned(2, 2, 2, 300),
        handled(2, 4),
        resumed(2),
    ];
    assert_eq!(after(handed_over), []);
}

#[test]
fn a_group_never_goes_on_below_what_it_committed() {
    assert_eq!(after([resumed(1)]), [Rule::CommitRegression]);
    let told = [returned(1, 1), assigned(2, 2, 1, 300)];
    assert_eq!(after(told), [Rule::CommitRegression]);
    assert_eq!(after([seek(0), sought(0), resumed(0)]), []);
    let restart = Event::BrokerGone { free_from_ms: 0 };
    assert_eq!(after([seek(1), restart, resumed(1)]), [], "it was in doubt");
    let again = [seek(0), sought(0), seek(2), sought(2), resumed(1)];
    assert_eq!(after(again), [Rule::CommitRegression]);
    let mut answered_with_less = commit(2, 1, 1, 2);
    answered_with_less[1] = at(GroupEvent::Committed {
        commit: 2,
        offset: 1,
    });
    assert_eq!(after(answered_with_less), [Rule::CommitRegression]);
}

#[test]
fn a_partition_has_one_owner_in_a_generation() {
    let twice = [returned(1, 1), assigned(2, 1, 2, 300)];
    assert_eq!(after(twice), [Rule::TwoOwners]);
    let back = [
        returned(1, 1),
        assigned(2, 3, 2, 300),
        returned(2, 3),
        assigned(3, 2, 2, 400),
    ];
    assert_eq!(after(back), [Rule::TwoOwners]);
    assert_eq!(after([assigned(1, 1, 2, 300)]), [], "told again");
}

#[test]
fn a_group_never_goes_on_beyond_what_it_handled() {
    assert_eq!(after([resumed(3)]), [Rule::GroupSkip]);
    assert_eq!(after([handled(3, 4), resumed(4)]), [Rule::GroupSkip]);
    assert_eq!(after([handled(3, 4), handled(2, 3), resumed(4)]), []);
    assert_eq!(after([seek(4), sought(4), resumed(4)]), []);
}

#[test]
fn a_commit_of_an_old_generation_is_never_accepted() {
    let late = |history: &[Event]| {
        let events = history.iter().copied();
        after(events.chain([handled(2, 3)]).chain(commit(2, 1, 1, 3)))
    };
    assert_eq!(late(&[]), []);
    let replaced = [returned(1, 1), assigned(2, 2, 2, 300)];
    assert_eq!(late(&replaced), [Rule::StaleCommit]);
    assert_eq!(late(&[returned(1, 1)]), [Rule::StaleCommit]);
    let restart = Event::BrokerGone { free_from_ms: 0 };
    assert_eq!(late(&[returned(1, 1), restart]), [], "nobody has heard it");
    let overdue = [revoking(1, 200), lost(1, 10_200)];
    assert_eq!(late(&overdue), [Rule::StaleCommit]);
    let [sent, accepted] = commit(2, 1, 1, 2);
    let passed = [seek(1), sent, accepted, sought(1)];
    assert_eq!(after(passed), [Rule::StaleCommit]);
    assert_eq!(after([sent, seek(1), accepted, sought(1)]), []);
    let stranger = [handled(2, 3)].into_iter().chain(commit(2, 9, 1, 3));
    assert_eq!(after(stranger), [Rule::StaleCommit]);
}

#[test]
fn nobody_loses_a_partition_before_its_time() {
    assert_eq!(after([lost(1, 300)]), [Rule::TakenEarly]);
    assert_eq!(after([assigned(2, 2, 2, 300)]), [Rule::TakenEarly]);
    let early = [revoking(1, 200), assigned(2, 2, 2, 10_199)];
    assert_eq!(after(early), [Rule::TakenEarly]);
    let in_time = [revoking(1, 200), lost(1, 10_200), assigned(2, 2, 2, 10_200)];
    assert_eq!(after(in_time), []);
    let gone = Event::MemberGone {
        group: GROUP,
        member: 1,
        free_from_ms: 2_300,
    };
    assert_eq!(after([gone, assigned(2, 2, 2, 2_300)]), []);
    let impatient = [gone, assigned(2, 2, 2, 2_299)];
    assert_eq!(after(impatient), [Rule::TakenEarly]);
    let back = [gone, assigned(1, 1, 2, 400), assigned(2, 2, 2, 2_300)];
    assert_eq!(after(back), [Rule::TakenEarly]);
    let moved = [seek(1), lost(1, 300), sought(1), assigned(1, 2, 1, 300)];
    assert_eq!(after(moved), []);
    let restart = Event::BrokerGone {
        free_from_ms: 10_000,
    };
    let storm = [restart, assigned(2, 2, 2, 9_999)];
    assert_eq!(after(storm), [Rule::TakenEarly]);
}

#[test]
fn nobody_is_stopped_for_nothing() {
    let for_nothing = [revoking(1, 200), returned(1, 1), assigned(1, 2, 2, 300)];
    assert_eq!(after(for_nothing), [Rule::Disturbed]);
    let changed = Event::GroupChanged { group: GROUP };
    let for_one_that_left = [
        revoking(1, 200),
        changed,
        returned(1, 1),
        assigned(1, 2, 2, 300),
    ];
    assert_eq!(after(for_one_that_left), []);
}

#[test]
fn a_deleted_group_stays_away() {
    let deleted = Event::GroupDeleted { group: GROUP };
    assert_eq!(after([deleted]), []);
    assert_eq!(after([deleted, resumed(2)]), [Rule::Resurrected]);
}
