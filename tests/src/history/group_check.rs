//! The rules of consumer groups, in one pass over the history.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::check::broken;
use super::{Event, GroupEvent, Place, Rule, Violation};

/// Rules 8, 10 and 17 to 20, and 16 for groups.
pub(super) fn check_groups(history: &[Event]) -> Vec<Violation> {
    let mut check = Check::default();
    for event in history {
        match *event {
            Event::Group {
                group,
                place,
                event,
            } => check.take(group, place, event),
            Event::GroupChanged { group } => *check.changes.entry(group).or_default() += 1,
            Event::MemberGone {
                group,
                member,
                free_from_ms,
            } => check.part(group, member, free_from_ms),
            Event::BrokerGone { free_from_ms } => {
                let seats = check.seats.values_mut();
                seats.for_each(|seat| seat.lose_broker(free_from_ms));
                check.changes.values_mut().for_each(|count| *count += 1);
            }
            Event::GroupDeleted { group } => drop(check.deleted.insert(group)),
            _ => {}
        }
    }
    check.violations
}

#[derive(Default)]
struct Check {
    seats: BTreeMap<(u64, Place), Seat>,
    /// How often members or partitions of a group became others.
    changes: BTreeMap<u64, u64>,
    deleted: BTreeSet<u64>,
    commits: BTreeMap<u64, SentCommit>,
    violations: Vec<Violation>,
}

#[derive(Default, Clone, Copy)]
struct SentCommit {
    offset: u64,
    /// Its sender did not own the partition any more, and could know that.
    is_late: bool,
    /// The seek that was sent last before it, and not answered.
    behind: Option<u64>,
}

struct SentSeek {
    number: u64,
    offset: u64,
    /// A commit that was sent behind it was accepted.
    has_been_passed: bool,
}

/// What is known of one partition of one group.
#[derive(Default)]
struct Seat {
    /// Member by generation, as they were told.
    owners: BTreeMap<u64, u64>,
    /// The last one and its generation.
    last: Option<(u64, u64)>,
    /// Generations below are over.
    generation_min: u64,
    /// The last owner has said that it gives the partition back.
    is_returned: bool,
    hold: Hold,
    /// Whether a seek was sent since the last one was told.
    is_sought: bool,
    /// When it was asked to give the partition back: how often the group had changed.
    revoked_at: Option<u64>,
    /// The group is at least here, seeks without an answer aside.
    committed: u64,
    /// Those, oldest first.
    seeks: VecDeque<SentSeek>,
    seek_count: u64,
    handled: Ranges,
}

/// Whether others may get the partition.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Hold {
    #[default]
    Free,
    Held,
    /// From this broker time on.
    Until(i64),
}

impl Hold {
    fn ends_by(self, time_ms: i64) -> bool {
        match self {
            Self::Free => true,
            Self::Held => false,
            Self::Until(end_ms) => end_ms <= time_ms,
        }
    }

    /// Ends then, if not before.
    fn until(self, end_ms: i64) -> Self {
        match self {
            Self::Free => Self::Free,
            Self::Held => Self::Until(end_ms),
            Self::Until(before_ms) => Self::Until(end_ms.min(before_ms)),
        }
    }
}

impl Check {
    fn take(&mut self, group: u64, place: Place, event: GroupEvent) {
        let is_overlapping = self.is_overlapping(group);
        let seat = self.seats.entry((group, place)).or_default();
        let changes = *self.changes.entry(group).or_default();
        let mut found = Vec::new();
        match event {
            GroupEvent::SeekSent { offset } => {
                seat.send_seek(offset);
            }
            GroupEvent::Sought { offset } => found.extend(seat.put(offset)),
            GroupEvent::Resumed { offset } => {
                found.extend(seat.check_offset(offset));
                if seat.seeks.is_empty() {
                    seat.committed = offset.max(seat.committed);
                }
            }
            GroupEvent::Assigned { offset, .. } => {
                found.extend(seat.check_offset(offset));
                found.extend(seat.assign(event, changes));
            }
            GroupEvent::Revoking { deadline_ms, .. } => {
                // Who has given it back already is not stopped by that.
                if seat.hold != Hold::Free && !is_overlapping {
                    seat.revoked_at.get_or_insert(changes);
                }
                seat.hold = seat.hold.until(deadline_ms);
            }
            GroupEvent::Lost { member, time_ms } => found.extend(seat.lose(member, time_ms)),
            GroupEvent::Returned { member, generation } => seat.give_back(member, generation),
            GroupEvent::Handled { start, end } => seat.handled.add(start, end),
            GroupEvent::CommitSent {
                commit,
                member,
                generation,
                offset,
            } => {
                let is_owner = seat.owners.get(&generation) == Some(&member);
                let sent = SentCommit {
                    offset,
                    is_late: generation < seat.generation_min || !is_owner,
                    behind: seat.seeks.back().map(|it| it.number),
                };
                self.commits.insert(commit, sent);
            }
            GroupEvent::Committed { commit, offset } => {
                let sent = self.commits.get(&commit).copied().unwrap_or_default();
                found.extend(seat.take_committed(sent, offset));
            }
        }
        let is_back = self.deleted.contains(&group);
        let is_sign = matches!(
            event,
            GroupEvent::Assigned { .. } | GroupEvent::Committed { .. } | GroupEvent::Resumed { .. }
        );
        if is_back && is_sign {
            found.push((Rule::Resurrected, "the group was deleted".to_owned()));
        }
        let found = found.into_iter().map(|(rule, what)| {
            let what = format!("group {group}, {place:?}: {what}, {event:?}");
            broken(rule, what)
        });
        self.violations.extend(found);
    }

    /// Whether something is to be given back for an earlier change: then what is best now may be another
    /// thing than what is under way.
    fn is_overlapping(&self, group: u64) -> bool {
        let changes = self.changes.get(&group);
        let mut seats = self.seats.iter().filter(|((its, _), _)| *its == group);
        seats.any(|(_, seat)| seat.revoked_at.is_some_and(|it| Some(&it) != changes))
    }

    fn part(&mut self, group: u64, member: u64, free_from_ms: i64) {
        *self.changes.entry(group).or_default() += 1;
        for ((its_group, _), seat) in &mut self.seats {
            if *its_group == group && seat.last.is_some_and(|(last, _)| last == member) {
                seat.hold = seat.hold.until(free_from_ms);
            }
        }
    }
}

impl Seat {
    /// Rules 8 and 17.
    fn check_offset(&self, offset: u64) -> Option<(Rule, String)> {
        let sought = self.seeks.iter().map(|it| it.offset).min();
        let sought = sought.unwrap_or(u64::MAX);
        let (low, high) = (self.committed.min(sought), self.handled.first_missing());
        if offset < low {
            return Some((Rule::CommitRegression, format!("it had committed {low}")));
        }
        (offset > high).then(|| (Rule::GroupSkip, format!("nobody handled {high}")))
    }

    fn send_seek(&mut self, offset: u64) {
        self.seek_count += 1;
        self.seeks.push_back(SentSeek {
            number: self.seek_count,
            offset,
            has_been_passed: false,
        });
        self.is_sought = true;
        self.handled.add(0, offset);
    }

    /// Rule 18: what was sent behind the seek was sent in the generation before it.
    fn put(&mut self, offset: u64) -> Option<(Rule, String)> {
        self.handled.add(0, offset);
        self.committed = offset;
        while let Some(sent) = self.seeks.pop_front() {
            if sent.offset == offset {
                let what = || "a commit behind the seek was accepted".to_owned();
                return sent.has_been_passed.then(|| (Rule::StaleCommit, what()));
            }
        }
        None
    }

    /// Rules 8 and 18.
    fn take_committed(&mut self, sent: SentCommit, offset: u64) -> Option<(Rule, String)> {
        let passed = self.seeks.iter_mut();
        for seek in passed.filter(|it| Some(it.number) == sent.behind) {
            seek.has_been_passed = true;
        }
        self.committed = self.committed.max(sent.offset);
        if sent.is_late {
            return Some((Rule::StaleCommit, format!("commit of {}", sent.offset)));
        }
        let what = || format!("commit of {} was answered with {offset}", sent.offset);
        (offset < sent.offset).then(|| (Rule::CommitRegression, what()))
    }

    /// Rules 10, 19 and 20.
    fn assign(&mut self, event: GroupEvent, changes: u64) -> Vec<(Rule, String)> {
        let GroupEvent::Assigned {
            member,
            generation,
            time_ms,
            ..
        } = event
        else {
            return Vec::new();
        };
        let mut found = Vec::new();
        let known = *self.owners.entry(generation).or_insert(member);
        let last = self.last.unwrap_or((member, 0));
        if known != member || generation < last.1 {
            found.push((Rule::TwoOwners, format!("{known} was told, then {last:?}")));
        }
        let is_told_again = last == (member, generation);
        if !is_told_again && !self.is_sought && !self.hold.ends_by(time_ms) {
            let what = format!("{last:?} has it: {:?}", self.hold);
            found.push((Rule::TakenEarly, what));
        }
        let is_same = last.0 == member && !is_told_again;
        if is_same && !self.is_sought && self.revoked_at == Some(changes) {
            found.push((Rule::Disturbed, format!("{member} gave it back")));
        }
        if !is_told_again {
            self.revoked_at = None;
            self.is_sought = !self.seeks.is_empty();
        }
        self.last = Some((member, generation));
        self.is_returned = false;
        // Told again: that it was given back was not heard.
        self.generation_min = generation;
        self.hold = Hold::Held;
        found
    }

    /// Rule 19.
    fn lose(&mut self, member: u64, time_ms: i64) -> Option<(Rule, String)> {
        let (last, generation) = self.last?;
        if last != member {
            return None;
        }
        let is_early = !self.is_sought && !self.hold.ends_by(time_ms);
        let found = is_early.then(|| (Rule::TakenEarly, format!("{:?}", self.hold)));
        self.hold = Hold::Free;
        self.is_returned = false;
        self.generation_min = self.generation_min.max(generation + 1);
        found
    }

    fn give_back(&mut self, member: u64, generation: u64) {
        if self.last == Some((member, generation)) {
            self.hold = Hold::Free;
            self.is_returned = self.generation_min <= generation;
            self.generation_min = self.generation_min.max(generation + 1);
        }
    }

    fn lose_broker(&mut self, free_from_ms: i64) {
        self.hold = self.hold.until(free_from_ms);
        if std::mem::take(&mut self.is_returned) {
            // Maybe nobody has heard it.
            self.generation_min = self.last.map_or(0, |(_, generation)| generation);
        }
        // One of them may have happened, and what is seen next tells.
        let sought = self.seeks.drain(..).map(|it| it.offset).min();
        self.committed = self.committed.min(sought.unwrap_or(u64::MAX));
    }
}

/// Ranges of offsets that do not touch each other: end by start.
#[derive(Default)]
struct Ranges {
    ends: BTreeMap<u64, u64>,
}

impl Ranges {
    fn add(&mut self, mut start: u64, mut end: u64) {
        if start >= end {
            return;
        }
        while let Some((&other, &other_end)) = self.ends.range(..=end).next_back()
            && other_end >= start
        {
            self.ends.remove(&other);
            (start, end) = (start.min(other), end.max(other_end));
        }
        self.ends.insert(start, end);
    }

    /// The lowest offset that is in none of them.
    fn first_missing(&self) -> u64 {
        self.ends.get(&0).copied().unwrap_or(0)
    }
}
