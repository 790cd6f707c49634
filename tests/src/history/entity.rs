//! What happens to records of keys, in topics that keep the last one of each or count their versions, and the
//! rules that it must keep.

mod passes;
mod versions;

use std::collections::{BTreeMap, BTreeSet};

use super::check::broken;
use super::{Event, Place, Rule, Violation};
use passes::Passes;

/// What happens to one record of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntityEvent {
    /// It is about to be sent, with the others of its request or not at all.
    Sent {
        /// Which request.
        request: u64,
        /// Its key, which belongs to one partition.
        key: u64,
        /// Whether it lets go of its key.
        is_tombstone: bool,
        /// How many records its key is to have before it.
        expected: Option<u64>,
    },
    /// It was acknowledged.
    Accepted {
        /// Its offset.
        offset: u64,
        /// When it was appended, broker time in milliseconds.
        append_time_ms: i64,
    },
    /// It was refused, with all of its request.
    Refused {
        /// How many records its key had, if that is why.
        current: Option<u64>,
    },
    /// A reader got it.
    Read {
        /// Which pass.
        pass: u64,
        /// Its offset.
        offset: u64,
        /// When it was appended, as its batch says.
        append_time_ms: i64,
    },
    /// The index says at the end which version of its key it is.
    Version {
        /// The version, from 1.
        version: u64,
    },
    /// The index says at the end that it is the last record of its key.
    Last {
        /// How many records its key had.
        version: u64,
    },
}

/// A reader that goes through a partition, from its first record to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PassEvent {
    /// It begins.
    Begun,
    /// It is at the end.
    Ended {
        /// Whether nothing happened since it began.
        is_at_once: bool,
        /// When, broker time in milliseconds.
        time_ms: i64,
        /// For how long tombstones stay, milliseconds; none if all records stay.
        grace_ms: Option<u64>,
    },
}

/// What is known of one record.
#[derive(Debug, Clone)]
struct Known {
    number: u64,
    request: u64,
    place: Place,
    key: u64,
    is_tombstone: bool,
    expected: Option<u64>,
    is_refused: bool,
    is_accepted: bool,
    /// Where it is, as was acknowledged or read.
    found: Option<(u64, i64)>,
    /// Which version the index says.
    version: Option<u64>,
    /// How many records its key has, as the index says, if it is the last one.
    last: Option<u64>,
}

impl Known {
    /// Whether it may have been written, and nobody knows.
    fn is_in_doubt(&self) -> bool {
        !self.is_refused && !self.is_accepted && self.found.is_none()
    }
}

#[derive(Default)]
struct Records {
    by_number: BTreeMap<u64, Known>,
    /// What each offset holds.
    places: BTreeMap<(Place, u64), u64>,
    /// Partitions in which all records stay.
    whole: BTreeSet<Place>,
    violations: Vec<Violation>,
}

/// Rules 28 to 30; and 1, 2, 3, 4, 15 and 21 for these records.
pub(super) fn check_entities(history: &[Event]) -> Vec<Violation> {
    let mut records = Records::default();
    let mut passes = Passes::default();
    for event in history {
        match *event {
            Event::Entity {
                place,
                record,
                event,
            } => {
                records.take(place, record, event);
                passes.take(place, &records.by_number, record, event);
            }
            Event::Pass { pass, place, event } => {
                if matches!(event, PassEvent::Ended { grace_ms: None, .. }) {
                    records.whole.insert(place);
                }
                let found = passes.turn(pass, place, &records.by_number, event);
                records.violations.extend(found);
            }
            _ => {}
        }
    }
    records.check_requests();
    let versions = versions::check(records.by_number.values(), &records.whole);
    records.violations.extend(versions);
    records.violations
}

impl Records {
    fn take(&mut self, place: Place, number: u64, event: EntityEvent) {
        if let EntityEvent::Sent {
            request,
            key,
            is_tombstone,
            expected,
        } = event
        {
            let known = Known {
                number,
                request,
                place,
                key,
                is_tombstone,
                expected,
                is_refused: false,
                is_accepted: false,
                found: None,
                version: None,
                last: None,
            };
            self.by_number.insert(number, known);
            return;
        }
        let Some(known) = self.by_number.get_mut(&number) else {
            let what = format!("record {number} at {place:?} was never sent: {event:?}");
            self.violations.push(broken(Rule::Phantom, what));
            return;
        };
        match event {
            EntityEvent::Sent { .. } => {}
            EntityEvent::Accepted {
                offset,
                append_time_ms,
            } => {
                known.is_accepted = true;
                self.find(place, number, (offset, append_time_ms));
            }
            EntityEvent::Refused { current } => {
                known.is_refused = true;
                if current.is_some() && current == known.expected {
                    let what = format!("{known:?} was refused for its version, which held");
                    self.violations.push(broken(Rule::Versions, what));
                }
            }
            EntityEvent::Read {
                offset,
                append_time_ms,
                ..
            } => self.find(place, number, (offset, append_time_ms)),
            EntityEvent::Version { version } => known.version = Some(version),
            EntityEvent::Last { version } => known.last = Some(version),
        }
    }

    fn find(&mut self, place: Place, number: u64, found: (u64, i64)) {
        let Some(known) = self.by_number.get_mut(&number) else {
            return;
        };
        let before = *known.found.get_or_insert(found);
        let holds = *self.places.entry((place, found.0)).or_insert(number);
        let rule = match () {
            () if known.is_refused => Rule::Dishonest,
            () if holds != number => Rule::InconsistentOffset,
            () if before != found => Rule::Duplicate,
            () if known.place != place => Rule::Phantom,
            () => return,
        };
        let what = format!("{known:?} at {place:?} {found:?}, where {holds} was");
        self.violations.push(broken(rule, what));
    }

    /// Rule 21, where all records stay.
    fn check_requests(&mut self) {
        let mut requests: BTreeMap<u64, BTreeSet<bool>> = BTreeMap::new();
        let of_whole = self.by_number.values();
        for known in of_whole.filter(|known| self.whole.contains(&known.place)) {
            let found = requests.entry(known.request).or_default();
            found.insert(known.found.is_some());
        }
        let torn = requests.into_iter().filter(|(_, found)| found.len() > 1);
        let violation =
            |(request, _)| broken(Rule::TornRequest, format!("a part of request {request}"));
        self.violations.extend(torn.map(violation));
    }
}
