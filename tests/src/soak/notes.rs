//! What was sent, acknowledged and seen, as counts by key.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use towpath_client::ReceivedRecord;

/// How many records the slowest may be behind the reader of their lane: retention must not overtake
/// anyone.
const BEHIND_MAX: u64 = 10_000;

/// Who sees the records of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Observer {
    /// A reader that follows: each record once.
    Tail,
    /// A group: no record left out.
    Group,
    /// A subscription: no record left out.
    Subscription,
    /// A reader of what workers made of each record with a commit: each once.
    Results,
}

/// A topic, and how it is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    Plain,
    /// With a dedupe window.
    Lz4,
    /// With a subscription and workers that commit.
    Zstd,
}

/// One key of one life of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) lane: Lane,
    pub(super) life: u64,
    pub(super) number: u64,
}

/// What everybody did and saw. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Notes(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    keys: BTreeMap<Key, Counts>,
    /// Of each lane, all keys together.
    seen: BTreeMap<(Lane, Observer), u64>,
    complaints: Vec<String>,
    /// Those that are not in the counts: of schedules, of the compacted topic and of topics that go.
    others: BTreeMap<&'static str, u64>,
}

/// Of one key; a count is the number of the next record.
#[derive(Debug, Default)]
struct Counts {
    sent: u64,
    acked: u64,
    seen: BTreeMap<Observer, u64>,
}

/// Over all keys.
#[derive(Debug, Default)]
pub(super) struct Totals {
    acked: u64,
    seen: BTreeMap<Observer, u64>,
    others: BTreeMap<&'static str, u64>,
}

impl Lane {
    pub(super) const ALL: [Self; 3] = [Self::Plain, Self::Lz4, Self::Zstd];

    pub(super) const fn topic(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    fn observers(self) -> &'static [Observer] {
        match self {
            Self::Plain | Self::Lz4 => &[Observer::Tail, Observer::Group],
            Self::Zstd => &[
                Observer::Tail,
                Observer::Group,
                Observer::Subscription,
                Observer::Results,
            ],
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lane, life, number } = self;
        write!(f, "{}/{life}/{number}", lane.topic())
    }
}

impl Key {
    /// The key and number of a record.
    pub(super) fn of(record: &ReceivedRecord) -> Option<(Self, u64)> {
        let mut parts = record.key_str()?.split('/');
        let lane = parts.next()?;
        let key = Self {
            lane: Lane::ALL.into_iter().find(|it| it.topic() == lane)?,
            life: parts.next()?.parse().ok()?,
            number: parts.next()?.parse().ok()?,
        };
        let number = record.value_str()?.split(' ').next()?.parse().ok()?;
        Some((key, number))
    }
}

impl Notes {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn complain(&self, what: impl fmt::Display) {
        self.lock().complaints.push(what.to_string());
    }

    pub(super) fn complaints(&self) -> Vec<String> {
        self.lock().complaints.clone()
    }

    /// A record is about to be sent.
    pub(super) fn note_sent(&self, key: Key, number: u64) {
        self.lock().keys.entry(key).or_default().sent = number + 1;
    }

    /// A record is on disk.
    pub(super) fn note_acked(&self, key: Key, number: u64) {
        let mut inner = self.lock();
        let counts = inner.keys.entry(key).or_default();
        counts.acked = counts.acked.max(number + 1);
    }

    /// Something else has gone well.
    pub(super) fn note_other(&self, what: &'static str) {
        *self.lock().others.entry(what).or_default() += 1;
    }

    /// Somebody has seen a record, who must see each once and in order.
    pub(super) fn see_once(&self, observer: Observer, record: &ReceivedRecord) {
        self.see(observer, record, true);
    }

    /// Somebody has handled a record, who may do so again, and must leave none out.
    pub(super) fn see_again(&self, observer: Observer, record: &ReceivedRecord) {
        self.see(observer, record, false);
    }

    fn see(&self, observer: Observer, record: &ReceivedRecord, is_once: bool) {
        let Some((key, number)) = Key::of(record) else {
            return self.complain(format_args!("{observer:?}: no such record: {record:?}"));
        };
        let mut inner = self.lock();
        let counts = inner.keys.entry(key).or_default();
        let (sent, seen) = (counts.sent, counts.seen.entry(observer).or_default());
        let expected = *seen;
        *seen = expected.max(number + 1);
        let more = *seen - expected;
        let is_right = match is_once {
            true => number == expected,
            false => number <= expected,
        };
        *inner.seen.entry((key.lane, observer)).or_default() += more;
        if !is_right || number >= sent {
            let place = record.address();
            inner.complaints.push(format!(
                "{observer:?} sees {number} of {key} at {place}, expected {expected}, sent are {sent}"
            ));
        }
    }

    /// Whether somebody is so far behind that no more should be written.
    pub(super) fn is_far_behind(&self, lane: Lane) -> bool {
        let inner = self.lock();
        let seen = |observer| inner.seen.get(&(lane, observer)).copied().unwrap_or(0);
        let mut observers = lane.observers().iter();
        observers.any(|it| seen(*it) + BEHIND_MAX < seen(Observer::Tail))
    }

    /// Whether all that was acknowledged, and all that the reader of its lane has seen, was seen by everybody;
    /// if not, an example.
    pub(super) fn unsettled(&self) -> Option<String> {
        let inner = self.lock();
        inner.keys.iter().find_map(|(key, counts)| {
            let at = |observer| counts.seen.get(&observer).copied().unwrap_or(0);
            let expected = counts.acked.max(at(Observer::Tail));
            let behind = key.lane.observers().iter().find(|it| at(**it) < expected)?;
            Some(format!(
                "{behind:?} has seen {} of {key}, {} were acknowledged, {} were read",
                at(*behind),
                counts.acked,
                at(Observer::Tail),
            ))
        })
    }

    pub(super) fn counts(&self) -> Totals {
        let inner = self.lock();
        let mut totals = Totals {
            others: inner.others.clone(),
            ..Totals::default()
        };
        for counts in inner.keys.values() {
            totals.acked += counts.acked;
            for (observer, seen) in &counts.seen {
                *totals.seen.entry(*observer).or_default() += seen;
            }
        }
        totals
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "acked {}", self.acked)?;
        for (observer, seen) in &self.seen {
            write!(f, ", {} {seen}", format!("{observer:?}").to_lowercase())?;
        }
        for (what, count) in &self.others {
            write!(f, ", {what} {count}")?;
        }
        Ok(())
    }
}
