//! Records that a consumer has, as far as it knows.

use std::collections::{BTreeMap, HashMap};
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use towpath_proto::ids::{Offset, OffsetRange};

use super::ticket::{DeliveryId, Place, Source, Ticket};
use crate::flow::Cost;
use crate::subscriber::delivery::DeliveredRecord;

/// A record is kept for so long after it came, and once more after it was begun with.
pub(super) const KEPT_MAX: Duration = Duration::from_hours(1);

/// Records that came and are neither settled nor lost.
#[derive(Debug, Default)]
pub(super) struct Held {
    by_place: BTreeMap<Place, HeldRecord>,
    /// Those that wait to be begun with.
    waiting_count: usize,
}

#[derive(Debug)]
struct HeldRecord {
    delivery: DeliveryId,
    key: Option<Bytes>,
    cost: Cost,
    stage: Stage,
    /// When it came to this stage.
    since: Instant,
}

#[derive(Debug)]
enum Stage {
    // Boxed, since the map moves its neighbours when one is removed.
    Waiting(Box<DeliveredRecord>),
    Begun,
}

impl Held {
    /// A record came. Returns what an earlier delivery of it took, which is over.
    pub(super) fn insert(
        &mut self,
        ticket: &Ticket,
        record: DeliveredRecord,
        cost: Cost,
        now: Instant,
    ) -> Option<Cost> {
        let held = HeldRecord {
            delivery: ticket.delivery,
            key: ticket.lane.as_ref().map(|lane| lane.key.clone()),
            cost,
            stage: Stage::Waiting(Box::new(record)),
            since: now,
        };
        self.waiting_count += 1;
        let earlier = self.by_place.insert(ticket.place, held)?;
        self.waiting_count -= usize::from(earlier.is_waiting());
        Some(earlier.cost)
    }

    /// Whether a record waits to be begun with.
    pub(super) const fn has_waiting(&self) -> bool {
        self.waiting_count > 0
    }

    /// Whether this delivery waits to be begun with.
    pub(super) fn is_waiting(&self, ticket: &Ticket) -> bool {
        let held = self.by_place.get(&ticket.place);
        held.is_some_and(|it| it.delivery == ticket.delivery && it.is_waiting())
    }

    /// A handler begins with a record that waits.
    pub(super) fn begin(&mut self, ticket: &Ticket, now: Instant) -> Option<DeliveredRecord> {
        let held = self.by_place.get_mut(&ticket.place)?;
        if held.delivery != ticket.delivery || !held.is_waiting() {
            return None;
        }
        held.since = now;
        match std::mem::replace(&mut held.stage, Stage::Begun) {
            Stage::Waiting(record) => {
                self.waiting_count -= 1;
                Some(*record)
            }
            Stage::Begun => None,
        }
    }

    /// A record is settled. Returns what it took; none if it is not held any more.
    pub(super) fn remove(&mut self, ticket: &Ticket) -> Option<Cost> {
        let held = self.by_place.get(&ticket.place);
        held.filter(|it| it.delivery == ticket.delivery)?;
        let removed = self.by_place.remove(&ticket.place)?;
        self.waiting_count -= usize::from(removed.is_waiting());
        Some(removed.cost)
    }

    /// Records are lost. Returns what they took. Of each of their keys, `keys` holds the first one then.
    pub(super) fn lose(
        &mut self,
        source: Source,
        range: OffsetRange,
        keys: &mut HashMap<Bytes, Offset>,
    ) -> Cost {
        let mut total = Cost::default();
        let lost = self.by_place.extract_if(places(source, range), |_, _| true);
        for (place, it) in lost {
            total.add(it.cost);
            self.waiting_count -= usize::from(it.is_waiting());
            if let Some(key) = it.key {
                let first = keys.entry(key).or_insert(place.offset);
                *first = place.offset.min(*first);
            }
        }
        total
    }

    /// Records that wait are lost behind others of their key. Returns what they took.
    pub(super) fn lose_behind(&mut self, source: Source, keys: &HashMap<Bytes, Offset>) -> Cost {
        let Some(first) = keys.values().min().copied() else {
            return Cost::default();
        };
        let is_behind = |place: &Place, it: &mut HeldRecord| {
            let first = it.key.as_ref().and_then(|key| keys.get(key));
            it.is_waiting() && first.is_some_and(|first| *first < place.offset)
        };
        let behind = places_from(source, first);
        let mut total = Cost::default();
        for (_, it) in self.by_place.extract_if(behind, is_behind) {
            total.add(it.cost);
            self.waiting_count -= 1;
        }
        total
    }

    /// Records of one delivery are lost. Returns what they took.
    pub(super) fn lose_delivered(
        &mut self,
        delivery: DeliveryId,
        source: Source,
        range: OffsetRange,
    ) -> Cost {
        let mut total = Cost::default();
        let is_lost = |_: &Place, it: &mut HeldRecord| it.delivery == delivery;
        for (_, it) in self.by_place.extract_if(places(source, range), is_lost) {
            total.add(it.cost);
            self.waiting_count -= usize::from(it.is_waiting());
        }
        total
    }

    /// Drops what waits. Returns which records those are, and what they took.
    pub(super) fn drop_waiting(&mut self) -> (Vec<(DeliveryId, Place)>, Cost) {
        let mut total = Cost::default();
        let waiting = self.by_place.extract_if(.., |_, it| it.is_waiting());
        let dropped = waiting.map(|(place, it)| {
            total.add(it.cost);
            (it.delivery, place)
        });
        let dropped = dropped.collect();
        self.waiting_count = 0;
        (dropped, total)
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        self.by_place.clear();
        self.waiting_count = 0;
    }

    /// Checks that all that is known twice agrees.
    #[cfg(test)]
    pub(super) fn audit(&self) {
        let waiting = self.by_place.values().filter(|it| it.is_waiting());
        assert_eq!(waiting.count(), self.waiting_count);
    }

    /// Records that a handler has begun with.
    pub(super) fn begun(&self) -> impl Iterator<Item = (DeliveryId, Place)> {
        let begun = self.by_place.iter().filter(|(_, it)| !it.is_waiting());
        begun.map(|(place, it)| (it.delivery, *place))
    }

    /// Records that are not held for too long already.
    pub(super) fn extendable(&self, now: Instant) -> impl Iterator<Item = (DeliveryId, Place)> {
        let is_recent = move |it: &HeldRecord| now < it.since + KEPT_MAX;
        let recent = self.by_place.iter().filter(move |(_, it)| is_recent(it));
        recent.map(|(place, it)| (it.delivery, *place))
    }
}

impl HeldRecord {
    const fn is_waiting(&self) -> bool {
        matches!(self.stage, Stage::Waiting(_))
    }
}

fn places(source: Source, range: OffsetRange) -> Range<Place> {
    let place = |offset| Place { source, offset };
    place(range.start())..place(range.end())
}

fn places_from(source: Source, offset: Offset) -> RangeInclusive<Place> {
    let last = Offset::new(u64::MAX);
    let place = |offset| Place { source, offset };
    place(offset)..=place(last)
}
