//! The checks, each a pass over the history.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Event, FINAL_READER, GapReason, Item, Place, Rule, Violation, delivery_check, entity, forward,
    group_check, schedule,
};

/// Returns every broken rule, in the order of the rules.
pub fn check(history: &[Event]) -> Vec<Violation> {
    let facts = Facts::gather(history);
    let mut violations = Vec::new();
    violations.extend(facts.check_offsets(history));
    violations.extend(facts.check_reads());
    violations.extend(facts.check_final());
    violations.extend(facts.check_requests());
    violations.extend(check_sessions(history));
    violations.extend(group_check::check_groups(history));
    violations.extend(delivery_check::check_deliveries(history));
    violations.extend(schedule::check_schedules(history));
    violations.extend(entity::check_entities(history));
    violations.extend(forward::check_forwards(history));
    violations.extend(check_starts(history));
    violations.sort_by_key(|violation| violation.rule);
    violations
}

pub(super) fn broken(rule: Rule, what: String) -> Violation {
    Violation { rule, what }
}

fn raise(offsets: &mut BTreeMap<Place, u64>, place: Place, to: u64) {
    let known = offsets.entry(place).or_default();
    *known = to.max(*known);
}

struct Sent {
    item: Item,
    records: u64,
    is_refused: bool,
}

#[derive(Default)]
struct Facts {
    /// By value, which is different for every item.
    sent: BTreeMap<u64, Sent>,
    values: BTreeMap<Item, u64>,
    accepted: BTreeMap<Item, u64>,
    /// What belongs together.
    requests: BTreeMap<u64, Vec<Item>>,
    /// Everything that any reader got: value and number of records by place and offset.
    read: BTreeMap<(Place, u64), (u64, u64)>,
    /// What the final reader got.
    last_read: BTreeMap<(Place, u64), (u64, u64)>,
    bounds: BTreeMap<Place, (u64, u64)>,
    may_go: BTreeMap<Place, u64>,
    lost: Vec<(Place, u64, u64)>,
    /// One past the last offset that some reader was told had been trimmed.
    trimmed: BTreeMap<Place, u64>,
}

impl Facts {
    fn gather(history: &[Event]) -> Self {
        let mut facts = Self::default();
        for event in history {
            facts.take(event);
        }
        facts
    }

    fn take(&mut self, event: &Event) {
        match *event {
            Event::Sent {
                item,
                value,
                records,
            } => {
                self.sent.insert(
                    value,
                    Sent {
                        item,
                        records,
                        is_refused: false,
                    },
                );
                self.values.insert(item, value);
            }
            Event::Together { request, item } => {
                self.requests.entry(request).or_default().push(item);
            }
            Event::Accepted { item, offset } => {
                self.accepted.entry(item).or_insert(offset);
            }
            Event::Refused { item } => {
                let sent = self
                    .values
                    .get(&item)
                    .and_then(|value| self.sent.get_mut(value));
                sent.into_iter().for_each(|sent| sent.is_refused = true);
            }
            Event::Read {
                reader,
                place,
                offset,
                value,
                records,
            } => {
                self.read.entry((place, offset)).or_insert((value, records));
                if reader == FINAL_READER {
                    self.last_read
                        .entry((place, offset))
                        .or_insert((value, records));
                }
            }
            Event::Gap {
                place,
                start,
                end,
                reason,
                ..
            } => match reason {
                GapReason::DataLoss => self.lost.push((place, start, end)),
                GapReason::Trimmed => raise(&mut self.trimmed, place, end),
            },
            Event::MayGo { place, below } => raise(&mut self.may_go, place, below),
            Event::Final {
                place,
                log_start,
                end,
            } => {
                self.bounds.insert(place, (log_start, end));
            }
            // Those of groups have checks of their own.
            _ => {}
        }
    }

    /// Rule 4, over everything that was ever read or acknowledged.
    fn check_offsets(&self, history: &[Event]) -> Vec<Violation> {
        let mut held: BTreeMap<(Place, u64), u64> = BTreeMap::new();
        let mut violations = Vec::new();
        for event in history {
            let (place, offset, value) = match *event {
                Event::Read {
                    place,
                    offset,
                    value,
                    ..
                } => (place, offset, value),
                Event::Accepted { item, offset } => match self.values.get(&item) {
                    Some(value) => (item.place, offset, *value),
                    None => continue,
                },
                _ => continue,
            };
            let before = *held.entry((place, offset)).or_insert(value);
            if before != value {
                let what = format!("{place:?}@{offset} held {before:x} and {value:x}");
                violations.push(broken(Rule::InconsistentOffset, what));
            }
        }
        violations
    }

    /// Rules 2, 3, 6 and 15.
    fn check_reads(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        let mut places: BTreeMap<Item, u64> = BTreeMap::new();
        let mut last: BTreeMap<(Place, u64), (u64, u64)> = BTreeMap::new();
        for (&(place, offset), &(value, records)) in &self.read {
            let at = format!("{place:?}@{offset}");
            let Some(sent) = self.sent.get(&value) else {
                violations.push(broken(
                    Rule::Phantom,
                    format!("{at} holds {value:x}, never sent"),
                ));
                continue;
            };
            if sent.item.place != place || sent.records != records {
                let what = format!("{at} holds {:?} with {records} records", sent.item);
                violations.push(broken(Rule::Phantom, what));
            }
            if sent.is_refused {
                let what = format!("{at} holds {:?}, which was refused", sent.item);
                violations.push(broken(Rule::Dishonest, what));
            }
            if let Some(other) = places.insert(sent.item, offset) {
                let what = format!("{:?} at {other} and {offset}", sent.item);
                violations.push(broken(Rule::Duplicate, what));
            }
            let key = (place, sent.item.producer);
            if let Some((before, sequence)) = last.insert(key, (offset, sent.item.sequence))
                && sequence > sent.item.sequence
            {
                let what = format!("{:?} at {offset} behind {sequence} at {before}", sent.item);
                violations.push(broken(Rule::Order, what));
            }
        }
        violations
    }

    /// Rules 1, 5, 13 and 14.
    fn check_final(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        for (item, offset) in &self.accepted {
            let value = self.values.get(item);
            let found = self
                .last_read
                .get(&(item.place, *offset))
                .map(|(value, _)| value);
            if self.must_be_there(item.place, *offset) && found != value {
                let what = format!("{item:?} acknowledged at {offset}, found {found:x?}");
                violations.push(broken(Rule::LostWrite, what));
            }
        }
        for ((place, offset), (value, _)) in &self.read {
            if self.must_be_there(*place, *offset)
                && !self.last_read.contains_key(&(*place, *offset))
            {
                let what = format!("{place:?}@{offset} held {value:x}");
                violations.push(broken(Rule::VanishedRead, what));
            }
        }
        for (place, end) in &self.trimmed {
            let may_go = self.may_go.get(place).copied().unwrap_or_default();
            if *end > may_go {
                let what = format!("{place:?} was trimmed to {end}, {may_go} was allowed");
                violations.push(broken(Rule::RetainedTooLittle, what));
            }
        }
        for (place, (log_start, end)) in &self.bounds {
            let may_go = self.may_go.get(place).copied().unwrap_or_default();
            if *log_start > may_go {
                let what = format!("{place:?} starts at {log_start}, {may_go} was allowed");
                violations.push(broken(Rule::RetainedTooLittle, what));
            }
            let first = (*place, 0);
            let reached = self
                .last_read
                .range(first..=(*place, u64::MAX))
                .next_back()
                .map_or(*log_start, |((_, offset), (_, records))| offset + records);
            let is_lost = self
                .lost
                .iter()
                .any(|lost| lost.0 == *place && lost.2 == *end);
            if reached != *end && !is_lost {
                let what = format!("{place:?} ends at {end}, the final read at {reached}");
                violations.push(broken(Rule::Liveness, what));
            }
        }
        violations
    }

    /// Rule 21. Where something may have gone, nobody can tell what was never there.
    fn check_requests(&self) -> Vec<Violation> {
        let last_read = self.last_read.values();
        let there: BTreeSet<u64> = last_read.map(|(value, _)| *value).collect();
        let is_there = |item: &&Item| self.values.get(item).is_some_and(|it| there.contains(it));
        let is_whole = |place: &Place| {
            !self.may_go.contains_key(place) && self.lost.iter().all(|lost| lost.0 != *place)
        };
        let mut violations = Vec::new();
        for (request, items) in &self.requests {
            let certain = items.iter().filter(|item| is_whole(&item.place));
            let (found, missing): (Vec<&Item>, Vec<&Item>) = certain.partition(is_there);
            if let (Some(found), Some(missing)) = (found.first(), missing.first()) {
                let what = format!("request {request}: {found:?} is there, {missing:?} is not");
                violations.push(broken(Rule::TornRequest, what));
            }
        }
        violations
    }

    /// Whether an offset may be expected in the final read.
    fn must_be_there(&self, place: Place, offset: u64) -> bool {
        let is_lost = self
            .lost
            .iter()
            .any(|(lost, start, end)| *lost == place && (*start..*end).contains(&offset));
        let may_go = self.may_go.get(&place).copied().unwrap_or_default();
        !is_lost && offset >= may_go
    }
}

/// Rule 7.
fn check_sessions(history: &[Event]) -> Vec<Violation> {
    let mut next: BTreeMap<(u64, Place), u64> = BTreeMap::new();
    let mut fresh: BTreeSet<(u64, Place)> = BTreeSet::new();
    let mut violations = Vec::new();
    for event in history {
        match *event {
            Event::ReadFrom {
                reader,
                place,
                offset,
            } => {
                next.insert((reader, place), offset);
                fresh.insert((reader, place));
            }
            Event::Read {
                reader,
                place,
                offset,
                records,
                ..
            } => {
                let Some(expected) = next.insert((reader, place), offset + records) else {
                    continue;
                };
                // The first item, and the one behind a gap, may begin below the offset that was next.
                let is_first = fresh.remove(&(reader, place));
                let is_right = match is_first {
                    true => (offset..offset + records).contains(&expected),
                    false => offset == expected,
                };
                if !is_right {
                    let what =
                        format!("reader {reader} of {place:?}: {expected} was next, got {offset}");
                    violations.push(broken(Rule::PollSkip, what));
                }
            }
            Event::Gap {
                reader,
                place,
                start,
                end,
                ..
            } => {
                let expected = next.insert((reader, place), end);
                fresh.insert((reader, place));
                if expected.is_some_and(|expected| expected != start) {
                    let what = format!(
                        "reader {reader} of {place:?}: gap {start}..{end}, {expected:?} was next"
                    );
                    violations.push(broken(Rule::PollSkip, what));
                }
            }
            _ => {}
        }
    }
    violations
}

/// Rule 16.
fn check_starts(history: &[Event]) -> Vec<Violation> {
    let mut starts: BTreeMap<Place, u64> = BTreeMap::new();
    let mut violations = Vec::new();
    for event in history {
        match *event {
            Event::Starts { place, log_start }
            | Event::Final {
                place, log_start, ..
            } => {
                let known = starts.entry(place).or_default();
                if log_start < *known {
                    let what = format!("{place:?} starts at {log_start}, before at {known}");
                    violations.push(broken(Rule::Resurrected, what));
                }
                *known = log_start.max(*known);
            }
            Event::Read {
                reader,
                place,
                offset,
                records,
                ..
            } => {
                let known = starts.get(&place).copied().unwrap_or_default();
                if offset + records <= known {
                    let what =
                        format!("reader {reader} got {place:?}@{offset}, it starts at {known}");
                    violations.push(broken(Rule::Resurrected, what));
                }
            }
            _ => {}
        }
    }
    violations
}
