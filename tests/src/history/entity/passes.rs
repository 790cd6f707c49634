//! What readers find of each key.

use std::collections::{BTreeMap, BTreeSet};

use super::{EntityEvent, Known, PassEvent, broken};
use crate::history::{Place, Rule, Violation};

/// The last record of a key: its offset, and when it was appended.
#[derive(Debug, Clone, Copy)]
struct Newest {
    offset: u64,
    append_time_ms: i64,
    is_tombstone: bool,
}

#[derive(Debug, Default)]
struct Pass {
    /// The last record of each key when it began, and of any record where all stay.
    owed: BTreeMap<u64, Newest>,
    owed_records: Vec<u64>,
    /// What it found: of each key the highest offset.
    found: BTreeMap<u64, u64>,
    found_records: Vec<u64>,
}

/// Those that are under way, and what they have to find.
#[derive(Debug, Default)]
pub(super) struct Passes {
    /// The last record of each key, as was acknowledged or read.
    newest: BTreeMap<Place, BTreeMap<u64, Newest>>,
    under_way: BTreeMap<(u64, Place), Pass>,
}

impl Passes {
    pub(super) fn take(
        &mut self,
        place: Place,
        records: &BTreeMap<u64, Known>,
        number: u64,
        event: EntityEvent,
    ) {
        let Some(known) = records.get(&number) else {
            return;
        };
        let (offset, append_time_ms) = match event {
            EntityEvent::Accepted {
                offset,
                append_time_ms,
            } => (offset, append_time_ms),
            EntityEvent::Read {
                pass,
                offset,
                append_time_ms,
            } => {
                let pass = self.under_way.entry((pass, place)).or_default();
                let highest = pass.found.entry(known.key).or_default();
                *highest = offset.max(*highest);
                pass.found_records.push(number);
                (offset, append_time_ms)
            }
            _ => return,
        };
        let newest = Newest {
            offset,
            append_time_ms,
            is_tombstone: known.is_tombstone,
        };
        let of_key = self.newest.entry(place).or_default();
        let before = of_key.entry(known.key).or_insert(newest);
        if before.offset < offset {
            *before = newest;
        }
    }

    /// A pass begins or ends. Rules 1, 28 and 29.
    pub(super) fn turn(
        &mut self,
        number: u64,
        place: Place,
        records: &BTreeMap<u64, Known>,
        event: PassEvent,
    ) -> Vec<Violation> {
        let PassEvent::Ended {
            is_at_once,
            time_ms,
            grace_ms,
        } = event
        else {
            let of_place = records.values().filter(|it| it.place == place);
            let pass = Pass {
                owed: self.newest.get(&place).cloned().unwrap_or_default(),
                owed_records: of_place
                    .filter(|it| it.found.is_some())
                    .map(|it| it.number)
                    .collect(),
                ..Pass::default()
            };
            self.under_way.insert((number, place), pass);
            return Vec::new();
        };
        let pass = self.under_way.remove(&(number, place));
        let pass = pass.unwrap_or_default();
        match grace_ms {
            Some(grace_ms) => {
                let times = (time_ms, i64::try_from(grace_ms).unwrap_or(i64::MAX));
                // Of an in-doubt tombstone nobody knows when its grace is over.
                let in_doubt = records.values().filter(|it| it.place == place);
                let in_doubt = in_doubt.filter(|it| it.is_tombstone && it.is_in_doubt());
                let doubtful = in_doubt.map(|it| it.key).collect();
                pass.check_keys(place, is_at_once, times, &doubtful)
            }
            None => pass.check_records(place),
        }
    }
}

impl Pass {
    /// `doubtful` keys may have been let go of by a tombstone that nobody knows of.
    fn check_keys(
        &self,
        place: Place,
        is_at_once: bool,
        times: (i64, i64),
        doubtful: &BTreeSet<u64>,
    ) -> Vec<Violation> {
        let (time_ms, grace_ms) = times;
        let mut violations = Vec::new();
        for (key, newest) in &self.owed {
            let found = self.found.get(key).copied();
            if found.is_some_and(|found| found >= newest.offset) {
                continue;
            }
            let is_past_grace = newest.append_time_ms.saturating_add(grace_ms) <= time_ms;
            let may_be_gone = newest.is_tombstone && is_past_grace || doubtful.contains(key);
            let rule = match found {
                _ if !may_be_gone => Rule::KeyLost,
                // What it stood for has to be gone with it. A slow reader may have seen it before.
                Some(_) if is_at_once => Rule::KeyBack,
                _ => continue,
            };
            let what = format!("{place:?}: key {key} had {newest:?}, found {found:?} at {time_ms}");
            violations.push(broken(rule, what));
        }
        violations
    }

    fn check_records(&self, place: Place) -> Vec<Violation> {
        let found: BTreeSet<_> = self.found_records.iter().collect();
        let lost = self.owed_records.iter().filter(|it| !found.contains(it));
        let violation = |number| {
            let what = format!("{place:?}: record {number} was there, and is not any more");
            broken(Rule::LostWrite, what)
        };
        lost.map(violation).collect()
    }
}
