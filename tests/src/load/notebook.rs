//! What everybody notes.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;
use towpath_client::{Error, Position};

use super::{Counts, Verdict};
use crate::history::{Event, Item, Place, check};

/// Complaints and failures that are kept; the rest is more of the same.
const COMPLAINTS_MAX: usize = 100;

/// The one observer of everybody's doing.
#[derive(Debug, Default)]
pub(super) struct Notebook {
    pages: Mutex<Pages>,
    /// Wakes who waits for an acknowledgement or a complaint.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Pages {
    history: Vec<Event>,
    counts: Counts,
    complaints: Vec<String>,
    /// Why records failed that should not have.
    failures: Vec<String>,
    /// By place and offset, 0 where it is not known.
    lsns: BTreeMap<Place, Vec<u64>>,
    first_ack: Option<Instant>,
}

/// A record as a reader got it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sight {
    pub(super) offset: u64,
    pub(super) value: u64,
}

/// What became of a record that was not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    Refused,
    InDoubt,
}

impl Notebook {
    pub(super) fn note_sent(&self, item: Item, value: u64) {
        let mut pages = self.open();
        pages.counts.sent += 1;
        pages.history.push(Event::Sent {
            item,
            value,
            records: 1,
        });
    }

    /// Notes that an item is written with others or not at all.
    pub(super) fn note_together(&self, request: u64, item: Item) {
        self.open().history.push(Event::Together { request, item });
    }

    pub(super) fn note_accepted(&self, item: Item, offset: u64, lsn: u64) {
        let mut pages = self.open();
        pages.counts.acknowledged += 1;
        pages.history.push(Event::Accepted { item, offset });
        pages.note_lsn(item.place, offset, lsn);
        pages.first_ack.get_or_insert_with(Instant::now);
        self.changed.notify_all();
    }

    /// Notes where a record was written, and complains if that is not its partition.
    pub(super) fn note_position(&self, item: Item, position: Position) {
        let partition = position.partition.get();
        if partition != item.place.partition {
            self.complain(format!("{item:?} was written to {partition}"));
        }
        self.note_accepted(item, position.offset.get(), position.lsn.get());
    }

    /// Notes that a record failed; that one of a patient producer does, it should not.
    pub(super) fn note_error(&self, item: Item, error: &Error, is_patient: bool) {
        let failure = match error.has_no_side_effects() {
            true => Failure::Refused,
            false => Failure::InDoubt,
        };
        let reason = is_patient.then(|| format!("{item:?}: {failure:?}: {error}"));
        self.note_failed(item, failure, reason);
    }

    /// Notes that a record failed, and why, if it should not have.
    fn note_failed(&self, item: Item, failure: Failure, reason: Option<String>) {
        let mut pages = self.open();
        pages.counts.unexpected_failures += u64::from(reason.is_some());
        if pages.failures.len() < COMPLAINTS_MAX {
            pages.failures.extend(reason);
        }
        match failure {
            Failure::Refused => {
                pages.counts.refused += 1;
                pages.history.push(Event::Refused { item });
            }
            Failure::InDoubt => pages.counts.in_doubt += 1,
        }
    }

    pub(super) fn note_start(&self, reader: u64, starts: impl Iterator<Item = (Place, u64)>) {
        let mut pages = self.open();
        pages.counts.sessions += 1;
        let events = starts.map(|(place, offset)| Event::ReadFrom {
            reader,
            place,
            offset,
        });
        pages.history.extend(events);
    }

    pub(super) fn note_batch(&self, reader: u64, place: Place, lsn: u64, sights: &[Sight]) {
        let mut pages = self.open();
        pages.counts.read += sights.len() as u64;
        for &Sight { offset, value } in sights {
            pages.note_lsn(place, offset, lsn);
            pages.history.push(Event::Read {
                reader,
                place,
                offset,
                value,
                records: 1,
            });
        }
    }

    /// Notes a gap or the bounds of a partition.
    pub(super) fn note(&self, event: Event) {
        let mut pages = self.open();
        pages.counts.gaps += u64::from(matches!(event, Event::Gap { .. }));
        pages.history.push(event);
    }

    /// Notes what is no part of the history and should not be.
    pub(super) fn complain(&self, complaint: String) {
        self.open().complain(complaint);
        self.changed.notify_all();
    }

    /// One past the highest offset of a partition that somebody knows of.
    pub(super) fn known_end(&self, place: Place) -> u64 {
        self.open()
            .lsns
            .get(&place)
            .map_or(0, |lsns| lsns.len() as u64)
    }

    pub(super) fn counts(&self) -> Counts {
        self.open().counts
    }

    pub(super) fn complaints(&self) -> Vec<String> {
        self.open().complaints.clone()
    }

    pub(super) fn failures(&self) -> Vec<String> {
        self.open().failures.clone()
    }

    pub(super) fn forget_acks(&self) {
        self.open().first_ack = None;
    }

    pub(super) fn await_ack(&self, patience: Duration) -> Option<Instant> {
        self.wait(patience, |pages| pages.first_ack)
    }

    pub(super) fn await_complaint(&self, patience: Duration) -> Option<String> {
        self.wait(patience, |pages| pages.complaints.first().cloned())
    }

    /// Checks everything that was noted.
    pub(super) fn judge(&self) -> Verdict {
        let mut pages = self.open();
        pages.check_lsns();
        Verdict {
            violations: check(&pages.history),
            complaints: pages.complaints.clone(),
            failures: pages.failures.clone(),
            counts: pages.counts,
        }
    }

    fn wait<T>(&self, patience: Duration, look: impl Fn(&Pages) -> Option<T>) -> Option<T> {
        let is_missing = |pages: &mut Pages| look(pages).is_none();
        let (pages, _) = self
            .changed
            .wait_timeout_while(self.open(), patience, is_missing)
            .expect("nobody panics in here");
        look(&pages)
    }

    fn open(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().expect("nobody panics in here")
    }
}

impl Pages {
    /// A record has one LSN, whoever tells it and however often.
    fn note_lsn(&mut self, place: Place, offset: u64, lsn: u64) {
        let index = usize::try_from(offset).expect("an offset of a test");
        let lsns = self.lsns.entry(place).or_default();
        if lsns.len() <= index {
            lsns.resize(index + 1, 0);
        }
        let before = std::mem::replace(&mut lsns[index], lsn);
        if before != 0 && before != lsn {
            self.complain(format!("{place:?}@{offset} has LSN {before} and {lsn}"));
        }
    }

    /// LSNs never fall from one offset to the next.
    fn check_lsns(&mut self) {
        let mut falls = Vec::new();
        for (place, lsns) in &self.lsns {
            let known = lsns.iter().filter(|lsn| **lsn != 0);
            let pairs = known.clone().zip(known.skip(1));
            falls.extend(
                pairs
                    .filter(|(one, next)| one > next)
                    .map(|(one, next)| format!("{place:?}: LSN {next} behind {one}")),
            );
        }
        falls.into_iter().for_each(|fall| self.complain(fall));
    }

    fn complain(&mut self, complaint: String) {
        if self.complaints.len() < COMPLAINTS_MAX {
            self.complaints.push(complaint);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place {
        topic: 1,
        partition: 0,
    };

    fn complaints(notes: &[(u64, u64)]) -> usize {
        let notebook = Notebook::default();
        for &(offset, lsn) in notes {
            let sight = Sight { offset, value: 0 };
            notebook.note_batch(7, PLACE, lsn, &[sight]);
        }
        notebook.judge().complaints.len()
    }

    #[test]
    fn an_offset_has_one_lsn_and_lsns_rise() {
        assert_eq!(complaints(&[(0, 5), (1, 5), (4, 6), (1, 5)]), 0);
        assert_eq!(complaints(&[(0, 5), (0, 6)]), 1, "two LSNs");
        assert_eq!(complaints(&[(0, 5), (9, 4)]), 1, "a lower one behind");
    }

    #[test]
    fn who_waits_sees_only_what_came_since() {
        let notebook = Notebook::default();
        let item = Item {
            producer: 1,
            place: PLACE,
            sequence: 0,
        };
        assert_eq!(notebook.await_ack(Duration::ZERO), None);
        notebook.note_accepted(item, 0, 5);
        assert!(notebook.await_ack(Duration::ZERO).is_some());
        notebook.forget_acks();
        assert_eq!(notebook.await_ack(Duration::ZERO), None);
        assert_eq!(notebook.known_end(PLACE), 1);
    }
}
