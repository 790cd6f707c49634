//! What happens to scheduled records, and the rules that it must keep.

use std::collections::{BTreeMap, BTreeSet};

use super::check::broken;
use super::{Event, Place, Rule, Violation};

/// What happens to one scheduled record. Times are broker time in milliseconds; of one record only one thing
/// is asked at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScheduleEvent {
    /// It is about to be scheduled, with the others of its request or not at all.
    Sent {
        /// Which request; each has a number of its own.
        request: u64,
    },
    /// It is about to become due at another time.
    MoveSent,
    /// It is about to be cancelled.
    CancelSent,
    /// It was acknowledged when it is due, at first or from now on.
    Due {
        /// When.
        due_ms: i64,
        /// Where it stands among those that are due at that time.
        number: u64,
    },
    /// That it is cancelled was acknowledged.
    Cancelled,
    /// What was asked for last was refused.
    Refused,
    /// What was asked for last was refused, since no such record is waiting.
    NotFound {
        /// When.
        time_ms: i64,
    },
    /// A reader got it.
    Came {
        /// Where.
        place: Place,
        /// Its offset.
        offset: u64,
        /// When it was due, as it says.
        due_ms: i64,
        /// When it was appended, as its batch says.
        append_time_ms: i64,
        /// When it was read.
        time_ms: i64,
    },
}

/// What is known of one record.
#[derive(Debug, Default)]
struct Known {
    request: u64,
    is_accepted: bool,
    is_refused: bool,
    is_cancelled: bool,
    /// A cancellation is in doubt.
    may_be_cancelled: bool,
    /// Whether something asked for is in doubt after which it is due at a time that nobody was told.
    has_any_due: bool,
    /// What the two were before what was asked for last.
    before: (bool, bool),
    /// When it is due as was told, and where it stands then.
    due: Option<(i64, u64)>,
    /// It was delivered by then.
    came_by_ms: Option<i64>,
    came: Option<Delivered>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Delivered {
    place: Place,
    offset: u64,
    due_ms: i64,
    append_time_ms: i64,
}

/// Rules 25 to 27, and 21 for records that were scheduled together.
pub(super) fn check_schedules(history: &[Event]) -> Vec<Violation> {
    let mut known: BTreeMap<u64, Known> = BTreeMap::new();
    let mut set_aside_ms = None;
    let mut violations = Vec::new();
    for event in history {
        match *event {
            Event::Schedule { record, event } => {
                let known = known.entry(record).or_default();
                violations.extend(known.take(record, event));
            }
            Event::SchedulesSetAside { time_ms } => set_aside_ms = set_aside_ms.max(Some(time_ms)),
            _ => {}
        }
    }
    for (record, known) in &known {
        violations.extend(known.check(*record));
    }
    violations.extend(check_order(&known, set_aside_ms));
    violations.extend(check_requests(&known));
    violations
}

impl Known {
    fn take(&mut self, record: u64, event: ScheduleEvent) -> Option<Violation> {
        match event {
            ScheduleEvent::Sent { request } => {
                (self.request, self.has_any_due) = (request, true);
            }
            ScheduleEvent::MoveSent => {
                self.before = (self.has_any_due, self.may_be_cancelled);
                self.has_any_due = true;
            }
            ScheduleEvent::CancelSent => {
                self.before = (self.has_any_due, self.may_be_cancelled);
                self.may_be_cancelled = true;
            }
            ScheduleEvent::Due { due_ms, number } => {
                // It waited just now, so what was in doubt before has not delivered or cancelled it.
                self.is_accepted = true;
                (self.has_any_due, self.may_be_cancelled) = (false, false);
                self.due = Some((due_ms, number));
            }
            ScheduleEvent::Cancelled => self.is_cancelled = true,
            ScheduleEvent::Refused if !self.is_accepted => self.is_refused = true,
            ScheduleEvent::Refused => (self.has_any_due, self.may_be_cancelled) = self.before,
            ScheduleEvent::NotFound { time_ms } => {
                (self.has_any_due, self.may_be_cancelled) = self.before;
                self.came_by_ms.get_or_insert(time_ms);
            }
            ScheduleEvent::Came {
                place,
                offset,
                due_ms,
                append_time_ms,
                time_ms,
            } => {
                let came = Delivered {
                    place,
                    offset,
                    due_ms,
                    append_time_ms,
                };
                let before = *self.came.get_or_insert(came);
                if before != came {
                    let what =
                        format!("scheduled record {record} came twice: {before:?}, {came:?}");
                    return Some(broken(Rule::Unkept, what));
                }
                if append_time_ms < due_ms || time_ms < append_time_ms {
                    let what = format!("scheduled record {record} came early: {event:?}");
                    return Some(broken(Rule::Early, what));
                }
            }
        }
        None
    }

    fn check(&self, record: u64) -> Option<Violation> {
        let fault = match self.came {
            None if self.is_accepted && !self.is_cancelled && !self.may_be_cancelled => {
                "never came"
            }
            None => return None,
            Some(_) if self.is_cancelled => "was cancelled, and came",
            Some(_) if self.is_refused => "was refused, and came",
            Some(came) if !self.may_be_due(came.due_ms) => "came for another time than told",
            Some(came) if self.came_by_ms.is_some_and(|by| by < came.append_time_ms) => {
                "was not found, and came later"
            }
            Some(_) => return None,
        };
        let what = format!("scheduled record {record} {fault}: {self:?}");
        Some(broken(Rule::Unkept, what))
    }

    fn may_be_due(&self, due_ms: i64) -> bool {
        self.has_any_due || self.due.is_none_or(|(told, _)| told == due_ms)
    }

    /// Where it stands, if that is certain.
    fn certain_number(&self) -> Option<u64> {
        let due = self.due.filter(|_| !self.has_any_due);
        due.map(|(_, number)| number)
    }
}

/// Rule 27. What could not be read for a while comes behind what was due after it.
fn check_order(known: &BTreeMap<u64, Known>, set_aside_ms: Option<i64>) -> Vec<Violation> {
    let mut delivered: Vec<_> = known
        .iter()
        .filter_map(|(record, known)| {
            let came = known.came?;
            let number = known.certain_number();
            Some((came.place, came.offset, came.due_ms, number, *record))
        })
        .collect();
    delivered.sort_unstable();
    let mut violations = Vec::new();
    for pair in delivered.windows(2) {
        let [
            (place, _, due_ms, number, record),
            (next_place, _, next_due_ms, next_number, next),
        ] = *pair
        else {
            continue;
        };
        let is_swapped = match due_ms == next_due_ms {
            true => number.zip(next_number).is_some_and(|(it, next)| next < it),
            false => next_due_ms < due_ms,
        };
        let is_excused = set_aside_ms.is_some_and(|time_ms| next_due_ms <= time_ms);
        if place == next_place && is_swapped && !is_excused {
            let what = format!(
                "{place:?}: scheduled record {next}, due {next_due_ms}, behind {record}, due {due_ms}"
            );
            violations.push(broken(Rule::DueOrder, what));
        }
    }
    violations
}

/// Rule 21. Of what was cancelled, perhaps, nobody can tell whether it was there.
fn check_requests(known: &BTreeMap<u64, Known>) -> Vec<Violation> {
    let mut requests: BTreeMap<u64, BTreeSet<bool>> = BTreeMap::new();
    for known in known.values() {
        if !known.is_cancelled && !known.may_be_cancelled {
            let came = requests.entry(known.request).or_default();
            came.insert(known.came.is_some());
        }
    }
    let torn = requests.into_iter().filter(|(_, came)| came.len() > 1);
    let violation = |(request, _)| {
        let what = format!("a part of the schedules of request {request}");
        broken(Rule::TornRequest, what)
    };
    torn.map(violation).collect()
}
