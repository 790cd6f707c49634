//! What is with consumers and what waits: told page by page, with bounded work for each.

use std::iter::Peekable;
use std::ops::Range;

use towpath_storage::Offset;

use super::Subscription;
use super::consumer::ConsumerId;
use super::keys::KeyHash;
use super::lease::{Held, LeaseId};
use super::partition::{Lane, SubscriptionPartition};
use super::settled::{bit_of, offsets_in, word_of};
use super::waiting::{Failure, Handling};

/// Words and rows that are looked at for one page.
const LOOKS_PER_PAGE_MAX: usize = 8 * 1024;

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordPlace {
    /// Behind what was looked at.
    Ahead,
    /// In the window, and with nobody.
    Ready,
    /// With a consumer.
    InFlight,
    /// In a row of its own, and with nobody.
    Waiting,
    /// On its way to the dead letters, or meant to go there.
    Dying,
    /// Nobody is to get it, as its filter said.
    Filtered,
    /// Done with.
    Settled,
}

/// Who has a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordHolder {
    /// The consumer.
    pub consumer: ConsumerId,
    /// What it calls itself.
    pub client_name: String,
    /// The delivery that brought the record.
    pub delivery: u64,
    /// Broker time of that, milliseconds since the Unix epoch.
    pub since_ms: i64,
    /// Broker time at which the record is given to others, milliseconds since the Unix epoch.
    pub deadline_ms: i64,
    /// Whether a handler has begun with it.
    pub is_started: bool,
}

/// A record and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingRecord {
    /// Number of the partition.
    pub partition: u32,
    /// Its offset; of a dead letter that is delivered again, that among the dead letters.
    pub offset: Offset,
    /// Whether it is such a dead letter.
    pub is_redriven: bool,
    /// Where it is.
    pub place: RecordPlace,
    /// Number of the attempt that it is in, or that comes next; of a dying one how many it had.
    pub attempt: u32,
    /// Who has it.
    pub holder: Option<RecordHolder>,
    /// Broker time before which it is not delivered, milliseconds since the Unix epoch; 0 if it waits for no
    /// time.
    pub due_ms: i64,
    /// Its consumer went while it handled this one and others: it is delivered alone, and if it waits, then
    /// for a consumer that has nothing.
    pub is_suspect: bool,
    /// Failures in all.
    pub failure_count: u32,
    /// The last of them, oldest first; in a list only the last one.
    pub failures: Vec<Failure>,
    /// The record of its key that has to be done first.
    pub behind: Option<Offset>,
    /// Broker time of its append, milliseconds since the Unix epoch; 0 if that is not known.
    pub append_time_ms: i64,
    /// Length of the encoded record, bytes; 0 if that is not known.
    pub bytes: u32,
    /// Why it is dead.
    pub death: Option<String>,
}

/// Place of a record in the order of a list: number of the lane, and the offset in it.
pub type PendingPosition = (u32, Offset);

/// Which page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPending {
    /// Where it begins.
    pub from: PendingPosition,
    /// Numbers of the partitions; none for all.
    pub partitions: Vec<u32>,
    /// Only records that are there.
    pub place: Option<RecordPlace>,
    /// Most records.
    pub count_max: usize,
}

/// A page of what is with consumers and what waits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PendingPage {
    /// By partition and offset; dead letters that are delivered again come behind.
    pub records: Vec<PendingRecord>,
    /// Where the next page begins, if there may be one.
    pub next: Option<PendingPosition>,
}

impl Subscription {
    /// A page of what is with consumers and what waits. It may be short and not be the last.
    pub fn pending(&self, wish: &ListPending, now_ms: i64) -> PendingPage {
        let mut page = PendingPage::default();
        let mut looks = 0;
        let lanes = (0..).zip(&self.partitions);
        for (number, lane) in lanes.skip(wish.from.0 as usize) {
            let partition = self.source_of(number).unwrap_or(number);
            if !wish.partitions.is_empty() && !wish.partitions.contains(&partition) {
                continue;
            }
            let start = match number == wish.from.0 {
                true => wish.from.1,
                false => Offset::ZERO,
            };
            let words = lane.words_from(start);
            looks += 1 + usize::try_from(words.end - words.start).unwrap_or(usize::MAX);
            for offset in lane.open_from(start, words) {
                looks += 1;
                if looks > LOOKS_PER_PAGE_MAX || page.records.len() >= wish.count_max {
                    page.next = Some((number, offset));
                    return page;
                }
                let record = self.pending_record(number, lane, offset, now_ms);
                if wish.place.is_none_or(|place| record.place == place) {
                    page.records.push(record.for_list());
                }
            }
            if looks > LOOKS_PER_PAGE_MAX {
                page.next = Some((number + 1, Offset::ZERO));
                return page;
            }
        }
        page
    }

    /// What is known of a record of a lane.
    pub(super) fn pending_record(
        &self,
        number: u32,
        lane: &SubscriptionPartition,
        offset: Offset,
        now_ms: i64,
    ) -> PendingRecord {
        let (place, lease) = lane.place_of(offset, |held| lane.lease_at(self, held, offset));
        let record = PendingRecord {
            partition: self.source_of(number).unwrap_or(number),
            offset,
            is_redriven: lane.lane == Lane::DeadLetters,
            place,
            attempt: u32::from(place != RecordPlace::Dying),
            holder: lease.and_then(|lease| self.holder_of(lease, offset)),
            due_ms: 0,
            is_suspect: false,
            failure_count: 0,
            failures: Vec::new(),
            behind: None,
            append_time_ms: 0,
            bytes: 0,
            death: None,
        };
        let behind = |key| match place {
            RecordPlace::Settled | RecordPlace::Filtered => None,
            _ => lane.first_of_key_before(key, offset),
        };
        if let Some(row) = lane.waiting.get(offset) {
            let waits_for_time = place == RecordPlace::Waiting && row.due_ms > now_ms;
            return PendingRecord {
                attempt: row.attempts.saturating_add(record.attempt),
                due_ms: if waits_for_time { row.due_ms } else { 0 },
                is_suspect: row.is_suspect && place != RecordPlace::Dying,
                failure_count: row.failure_count,
                failures: row.failures.clone(),
                behind: behind(row.key),
                append_time_ms: row.append_time_ms,
                bytes: row.bytes,
                death: row.death.clone(),
                ..record
            };
        }
        match lane.window.holds(offset) {
            true => PendingRecord {
                behind: behind(lane.window.key(offset)),
                append_time_ms: lane.window.append_time_ms(offset),
                bytes: lane.window.bytes(offset),
                ..record
            },
            false => record,
        }
    }

    fn holder_of(&self, lease: LeaseId, offset: Offset) -> Option<RecordHolder> {
        let lease = self.leases.get(lease)?;
        let consumer = self.consumers.get(lease.consumer);
        Some(RecordHolder {
            consumer: lease.consumer,
            client_name: consumer.map_or_else(String::new, |it| it.client_name.clone()),
            delivery: lease.delivery,
            since_ms: lease.since_ms,
            deadline_ms: lease.deadline_ms,
            is_started: lease.started & bit_of(offset) != 0,
        })
    }
}

impl PendingRecord {
    fn for_list(mut self) -> Self {
        let all_but_last = self.failures.len().saturating_sub(1);
        self.failures.drain(..all_but_last);
        self
    }
}

impl SubscriptionPartition {
    /// Words of the window from an offset on.
    fn words_from(&self, start: Offset) -> Range<u64> {
        let first = word_of(start.max(self.settled.floor()));
        match self.lane {
            Lane::Source => first..(word_of(self.window.end()) + 1).max(first),
            Lane::DeadLetters => first..first,
        }
    }

    /// Records from an offset on that are with a consumer, on their way to the dead letters, or have rows.
    fn open_from(&self, start: Offset, words: Range<u64>) -> impl Iterator<Item = Offset> {
        let in_window = words.flat_map(|word| {
            let bits = self.window.leased(word) | self.window.moving(word);
            offsets_in(word, bits)
        });
        let in_window = in_window.filter(move |offset| *offset >= start).peekable();
        merged(in_window, self.waiting.offsets_from(start).peekable())
    }

    /// The lease of a record.
    fn lease_at(&self, of: &Subscription, held: Held, offset: Offset) -> Option<LeaseId> {
        match (held, self.waiting.handling(offset)) {
            (Held::Rows, Some(Handling::Leased(lease))) => Some(lease),
            (Held::Rows, _) => None,
            (Held::Window, _) => self.lease_of(&of.leases, offset),
        }
    }

    /// Where a record is, with its lease if a consumer has it.
    fn place_of(
        &self,
        offset: Offset,
        lease: impl Fn(Held) -> Option<LeaseId>,
    ) -> (RecordPlace, Option<LeaseId>) {
        if let Some(row) = self.waiting.get(offset) {
            let is_dying = row.death.is_some();
            return match self.waiting.handling(offset) {
                Some(Handling::Leased(_)) => (RecordPlace::InFlight, lease(Held::Rows)),
                Some(Handling::Moving) => (RecordPlace::Dying, None),
                _ if is_dying => (RecordPlace::Dying, None),
                _ => (RecordPlace::Waiting, None),
            };
        }
        if self.window.is_filtered(offset) {
            return (RecordPlace::Filtered, None);
        }
        if self.settled.contains(offset) {
            return (RecordPlace::Settled, None);
        }
        let (word, bit) = (word_of(offset), bit_of(offset));
        let is_in = |bits: u64| bits & bit != 0;
        if is_in(self.window.leased(word)) {
            (RecordPlace::InFlight, lease(Held::Window))
        } else if is_in(self.window.moving(word)) || self.is_doomed(offset) {
            (RecordPlace::Dying, None)
        } else if is_in(self.window.ready(word)) {
            (RecordPlace::Ready, None)
        } else if is_in(self.window.passed(word)) {
            (RecordPlace::Settled, None)
        } else {
            (RecordPlace::Ahead, None)
        }
    }

    /// The first record of a key, if it is before another one.
    pub(super) fn first_of_key_before(&self, key: KeyHash, offset: Offset) -> Option<Offset> {
        if !self.is_ordered {
            return None;
        }
        let row = self.waiting.of_key(key).next();
        let in_window = self.window.records_of(key).next();
        let first = row.into_iter().chain(in_window).min();
        first.filter(|first| *first < offset)
    }
}

/// Two ascending sequences as one; what is in both comes once.
fn merged(
    mut one: Peekable<impl Iterator<Item = Offset>>,
    mut other: Peekable<impl Iterator<Item = Offset>>,
) -> impl Iterator<Item = Offset> {
    std::iter::from_fn(move || match (one.peek().copied(), other.peek().copied()) {
        (Some(left), Some(right)) if left == right => {
            other.next();
            one.next()
        }
        (Some(left), Some(right)) if right < left => other.next(),
        (Some(_), _) => one.next(),
        (None, _) => other.next(),
    })
}
