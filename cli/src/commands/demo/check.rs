//! Whether what is read back is what was acknowledged.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use towpath_client::{Client, Offset, PartitionId, Position};

use super::events::Event;
use crate::failure::Failure;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Check {
    /// Events that were sent and acknowledged.
    pub(super) acknowledged: u64,
    /// Records that were read back.
    pub(super) read: u64,
    /// Keys among them.
    pub(super) keys: u64,
    /// Acknowledged events that are not where the acknowledgement said.
    pub(super) missing: u64,
    /// Records of an event that was read before.
    pub(super) doubled: u64,
    /// Records that nobody sent.
    pub(super) foreign: u64,
    /// Keys whose events are not in the order in which they were sent.
    pub(super) keys_out_of_order: u64,
}

impl Check {
    /// Whether every promise was kept.
    pub(super) const fn is_ok(&self) -> bool {
        let Self {
            acknowledged,
            read,
            missing,
            doubled,
            foreign,
            keys_out_of_order,
            ..
        } = self;
        *acknowledged == *read
            && *missing == 0
            && *doubled == 0
            && *foreign == 0
            && *keys_out_of_order == 0
    }
}

/// A record as it was read.
#[derive(Debug, Clone)]
struct Found {
    place: (PartitionId, Offset),
    key: Option<Bytes>,
    value: Option<Bytes>,
}

/// Reads everything and compares it with what was acknowledged.
///
/// # Errors
///
/// The topic cannot be read.
pub(super) async fn read_back(
    client: &Client,
    topic: &str,
    events: &[Event],
    positions: &[Position],
) -> Result<Check, Failure> {
    let mut reader = client.reader([topic]).build();
    let mut found = Vec::with_capacity(events.len());
    while let Some(record) = reader.next_record().await? {
        found.push(Found {
            place: (record.partition(), record.offset()),
            key: record.key_bytes(),
            value: record.value_bytes(),
        });
    }
    let places = positions
        .iter()
        .map(|position| (position.partition, position.offset));
    Ok(compare(events, &places.collect::<Vec<_>>(), &found))
}

/// Compares what was found, in the order of each partition, with the events and the places that
/// were acknowledged for them. The values of all events differ.
fn compare(events: &[Event], places: &[(PartitionId, Offset)], found: &[Found]) -> Check {
    let numbers: HashMap<&Bytes, usize> = events
        .iter()
        .enumerate()
        .map(|(number, event)| (&event.value, number))
        .collect();
    let mut place_of: HashMap<usize, (PartitionId, Offset)> = HashMap::new();
    let mut last_of_key: HashMap<&Bytes, usize> = HashMap::new();
    let mut out_of_order = HashSet::new();
    let (mut doubled, mut foreign) = (0, 0);
    for record in found {
        let number = record.value.as_ref().and_then(|value| numbers.get(value));
        let sent = number.and_then(|number| Some((*number, events.get(*number)?)));
        let Some((number, event)) = sent.filter(|(_, it)| record.key.as_ref() == Some(&it.key))
        else {
            foreign += 1;
            continue;
        };
        if place_of.contains_key(&number) {
            doubled += 1;
            continue;
        }
        place_of.insert(number, record.place);
        if last_of_key
            .insert(&event.key, number)
            .is_some_and(|last| last > number)
        {
            out_of_order.insert(&event.key);
        }
    }
    let is_missing =
        |(number, place): &(usize, &(PartitionId, Offset))| place_of.get(number) != Some(place);
    Check {
        acknowledged: places.len() as u64,
        read: found.len() as u64,
        keys: last_of_key.len() as u64,
        missing: places.iter().enumerate().filter(is_missing).count() as u64,
        doubled,
        foreign,
        keys_out_of_order: out_of_order.len() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three events of two keys, all in one partition.
    fn sent() -> (Vec<Event>, Vec<(PartitionId, Offset)>) {
        let event = |key: &'static str, value: &'static str| Event {
            key: Bytes::from_static(key.as_bytes()),
            value: Bytes::from_static(value.as_bytes()),
        };
        let events = vec![event("a", "1"), event("b", "2"), event("a", "3")];
        (events, (0..3).map(place).collect())
    }

    fn place(offset: u64) -> (PartitionId, Offset) {
        (PartitionId::new(0), Offset::new(offset))
    }

    fn found(records: &[(&'static str, &'static str)]) -> Vec<Found> {
        let record = |(offset, (key, value)): (u64, &(&'static str, &'static str))| Found {
            place: place(offset),
            key: Some(Bytes::from_static(key.as_bytes())),
            value: Some(Bytes::from_static(value.as_bytes())),
        };
        (0..).zip(records).map(record).collect()
    }

    fn check(records: &[(&'static str, &'static str)]) -> Check {
        let (events, places) = sent();
        compare(&events, &places, &found(records))
    }

    #[test]
    fn everything_where_it_should_be_is_ok() {
        let check = check(&[("a", "1"), ("b", "2"), ("a", "3")]);
        assert!(check.is_ok(), "{check:?}");
        assert_eq!((check.keys, check.read), (2, 3), "figures");
    }

    #[test]
    fn every_broken_promise_is_seen() {
        let missing = check(&[("a", "1"), ("b", "2")]);
        assert_eq!(
            (missing.missing, missing.is_ok()),
            (1, false),
            "{missing:?}"
        );
        let doubled = check(&[("a", "1"), ("b", "2"), ("a", "3"), ("a", "3")]);
        assert_eq!(
            (doubled.doubled, doubled.is_ok()),
            (1, false),
            "{doubled:?}"
        );
        let swapped = check(&[("a", "3"), ("b", "2"), ("a", "1")]);
        assert_eq!(
            (swapped.keys_out_of_order, swapped.is_ok()),
            (1, false),
            "{swapped:?}"
        );
        let foreign = check(&[("a", "1"), ("b", "2"), ("a", "3"), ("a", "4")]);
        assert_eq!(
            (foreign.foreign, foreign.is_ok()),
            (1, false),
            "{foreign:?}"
        );
        let other_key = check(&[("a", "1"), ("a", "2"), ("a", "3")]);
        assert_eq!(
            (other_key.foreign, other_key.missing),
            (1, 1),
            "{other_key:?}"
        );
        let elsewhere = check(&[("b", "2"), ("a", "1"), ("a", "3")]);
        assert_eq!(
            (elsewhere.missing, elsewhere.is_ok()),
            (2, false),
            "{elsewhere:?}"
        );
    }
}
