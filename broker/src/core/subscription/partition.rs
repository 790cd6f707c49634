//! A partition of a subscription: what of it is settled, what waits, and what can be delivered.

use std::collections::BTreeMap;

use towpath_storage::{Offset, OffsetRange};

use super::consumer::Credit;
use super::dead::{Burials, ParkedKey};
use super::keys::KeyHash;
use super::lease::{Held, Lease, LeaseId, Leases};
use super::rows::SubscriptionPartitionRow;
use super::settled::{Settled, bit_of, offsets_in, word_of, words_in};
use super::subscriptions::Inspected;
use super::waiting::{Handling, WaitingRecord, WaitingRecords};
use super::window::Window;

/// Most records of one key that are with a consumer at once.
const KEY_RUN_RECORDS_MAX: usize = 32;

/// A record that is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Delivered {
    pub(super) offset: Offset,
    /// Number of this attempt, from 1.
    pub(super) attempt: u32,
}

/// Records of one word that a settlement has found with whom it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) lease: LeaseId,
    pub(super) held: Held,
    pub(super) word: u64,
    pub(super) records: u64,
}

/// Why inspecting found nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InspectFailure {
    /// These records are damaged.
    Lost(OffsetRange),
    /// The operating system could not read; nothing is known to be lost.
    Disk,
}

/// Why nothing more is delivered from a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Halt {
    /// These records are damaged: a seek behind them lets it go on.
    Lost(OffsetRange),
    /// The operating system could not read: it is tried again.
    Disk {
        /// When, broker time in milliseconds since the Unix epoch.
        until_ms: i64,
    },
}

/// How long reading rests after the operating system could not, milliseconds.
const DISK_PAUSE_MS: i64 = 1_000;

/// What a lane of records brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// The records of a partition of the topic.
    Source,
    /// Dead letters of one, of those that are delivered again: all have rows, and it has no window.
    DeadLetters,
}

/// A partition of a subscription.
#[derive(Debug)]
pub(super) struct SubscriptionPartition {
    /// Those that need not be looked at any more: settled, or kept in a row.
    pub(super) settled: Settled,
    pub(super) waiting: WaitingRecords,
    pub(super) window: Window,
    /// Whether somebody inspects the records behind the window.
    pub(super) is_inspected: bool,
    /// Why nothing behind the window is inspected.
    pub(super) halt: Option<Halt>,
    /// Whether the records of a key are handled in their order.
    pub(super) is_ordered: bool,
    pub(super) lane: Lane,
    /// Records that were gone before they were settled.
    pub(super) skipped_count: u64,
    /// How often it was moved.
    pub(super) seek_count: u64,
    /// Keys of which something is among the dead letters.
    pub(super) parked: BTreeMap<KeyHash, ParkedKey>,
    /// What is on its way there.
    pub(super) burials: Burials,
}

impl SubscriptionPartition {
    pub(super) fn new(floor: Offset, is_ordered: bool, lane: Lane) -> Self {
        Self {
            settled: Settled::below(floor),
            waiting: WaitingRecords::default(),
            window: Window::new(floor, is_ordered),
            is_inspected: false,
            halt: None,
            is_ordered,
            lane,
            skipped_count: 0,
            seek_count: 0,
            parked: BTreeMap::new(),
            burials: Burials::default(),
        }
    }

    /// Whether there may be something to deliver.
    pub(super) fn may_deliver(&self) -> bool {
        match self.is_ordered {
            true => self.window.keys.has_line(),
            false => self.window.ready_count() > 0 || !self.waiting.ready.is_empty(),
        }
    }

    /// Lets records that have become due be delivered.
    pub(super) fn take_due(&mut self, now_ms: i64) {
        while let Some(offset) = self.waiting.take_due(now_ms) {
            match self.is_ordered {
                true => self.line_up(offset),
                false => self.waiting.make_ready(offset),
            }
        }
    }

    /// Looks at the key of a record that has a row.
    fn line_up(&mut self, offset: Offset) {
        if let Some(record) = self.waiting.get(offset) {
            let key = record.key;
            self.window.keys.line_up(key);
        }
    }

    /// Gives what can be delivered to a consumer, within its credit. `letters` are its dead letters that are
    /// delivered again.
    pub(super) fn deliver(
        &mut self,
        leases: &mut Leases,
        to: &Lease,
        credit: &mut Credit,
        letters: Option<&WaitingRecords>,
        now_ms: i64,
    ) -> Vec<Delivered> {
        let mut delivered = match self.is_ordered {
            true => self.deliver_keys(leases, to, credit, letters, now_ms),
            false => self.deliver_any(leases, to, credit),
        };
        delivered.sort_unstable();
        delivered
    }

    fn deliver_any(
        &mut self,
        leases: &mut Leases,
        to: &Lease,
        credit: &mut Credit,
    ) -> Vec<Delivered> {
        let mut delivered = Vec::new();
        while credit.is_open()
            && let Some(offset) = self.waiting.ready.first().copied()
        {
            delivered.push(self.lease_row(offset, leases, to, credit));
        }
        while credit.is_open()
            && let Some((word, ready)) = self.window.first_ready()
        {
            let mut bits = 0;
            for offset in offsets_in(word, ready) {
                if !credit.is_open() {
                    break;
                }
                credit.spend(self.window.bytes(offset));
                bits |= bit_of(offset);
                delivered.push(Delivered { offset, attempt: 1 });
            }
            self.lease_window(word, bits, leases, to);
        }
        delivered
    }

    fn deliver_keys(
        &mut self,
        leases: &mut Leases,
        to: &Lease,
        credit: &mut Credit,
        letters: Option<&WaitingRecords>,
        now_ms: i64,
    ) -> Vec<Delivered> {
        let mut delivered = Vec::new();
        while credit.is_open()
            && let Some(key) = self.window.keys.next()
        {
            if self.window.keys.get(key).leased_count > 0 {
                // Lined up again when its consumer is done with it.
                continue;
            }
            if self.parked.contains_key(&key) {
                // While its dead letters are delivered again, it waits for the last of them instead.
                if !letters.is_some_and(|letters| letters.has_living(key)) {
                    self.park(key);
                }
                continue;
            }
            let row = self.waiting.of_key(key).next();
            let in_window = self.window.records_of(key).next();
            match (row, in_window) {
                (Some(row), None) => {
                    delivered.extend(self.deliver_row(row, leases, to, credit, now_ms));
                }
                (Some(row), Some(first)) if row < first => {
                    delivered.extend(self.deliver_row(row, leases, to, credit, now_ms));
                }
                (row, Some(_)) => {
                    let end = row.unwrap_or(self.window.end());
                    self.deliver_run(key, end, leases, to, credit, &mut delivered);
                }
                (None, None) => self.window.keys.forget_idle(key),
            }
        }
        delivered
    }

    /// Delivers the first record of a key that has rows, if it is due.
    fn deliver_row(
        &mut self,
        offset: Offset,
        leases: &mut Leases,
        to: &Lease,
        credit: &mut Credit,
        now_ms: i64,
    ) -> Option<Delivered> {
        let record = self.waiting.get(offset)?;
        let is_free = self.waiting.handling(offset) == Some(Handling::None);
        // Until the window has come so far, there may be others of its key before it.
        let is_first = self.has_come_to(offset);
        if !is_free || !is_first || record.due_ms > now_ms || record.death.is_some() {
            // Lined up again when it is due, or when it is gone.
            return None;
        }
        if record.is_suspect {
            self.waiting.make_ready(offset);
            return None;
        }
        Some(self.lease_row(offset, leases, to, credit))
    }

    /// Delivers the next records of a key in the window, those before `end`.
    fn deliver_run(
        &mut self,
        key: KeyHash,
        end: Offset,
        leases: &mut Leases,
        to: &Lease,
        credit: &mut Credit,
        delivered: &mut Vec<Delivered>,
    ) {
        let run: Vec<_> = self
            .window
            .records_of(key)
            .take_while(|offset| *offset < end)
            .take(KEY_RUN_RECORDS_MAX)
            .collect();
        for offset in run {
            if !credit.is_open() {
                break;
            }
            credit.spend(self.window.bytes(offset));
            self.lease_window(word_of(offset), bit_of(offset), leases, to);
            delivered.push(Delivered { offset, attempt: 1 });
        }
    }

    /// Whether everything before a record was looked at.
    pub(super) fn has_come_to(&self, offset: Offset) -> bool {
        self.lane == Lane::DeadLetters || offset < self.window.end()
    }

    /// Where everything may be settled at most.
    pub(super) fn settled_end(&self) -> Offset {
        match self.lane {
            Lane::Source => self.window.end(),
            // No bit is set behind the last of them.
            Lane::DeadLetters => Offset::new(u64::MAX),
        }
    }

    /// Gives a record that has a row to a consumer.
    pub(super) fn lease_row(
        &mut self,
        offset: Offset,
        leases: &mut Leases,
        to: &Lease,
        credit: &mut Credit,
    ) -> Delivered {
        let record = self.waiting.get(offset);
        let attempt = record.map_or(0, |record| record.attempts) + 1;
        let key = record.map(|record| record.key);
        credit.spend(record.map_or(0, |record| record.bytes));
        if self.is_ordered
            && let Some(key) = key
        {
            self.window.keys.entry(key).leased_count += 1;
        }
        let records = bit_of(offset);
        let lease = leases.push(Lease {
            word: word_of(offset),
            held: Held::Rows,
            records,
            started: to.started & records,
            ..*to
        });
        self.waiting.set_handling(offset, Handling::Leased(lease));
        Delivered { offset, attempt }
    }

    /// Gives ready records of a word to a consumer: with those that came with the same delivery.
    fn lease_window(&mut self, word: u64, records: u64, leases: &mut Leases, to: &Lease) {
        let last = self.window.leases(word).last().copied();
        if let Some(id) = last
            && let Some(lease) = leases.get_mut(id)
            && lease.delivery == to.delivery
        {
            lease.records |= records;
            lease.started |= to.started & records;
            self.window.lease(word, records, None);
            return;
        }
        let lease = leases.push(Lease {
            word,
            held: Held::Window,
            records,
            started: to.started & records,
            ..*to
        });
        self.window.lease(word, records, Some(lease));
    }

    /// The records of a range that were delivered with `delivery` and are with its consumer still.
    pub(super) fn find(&self, leases: &Leases, range: OffsetRange, delivery: u64) -> Vec<Found> {
        let mut found = Vec::new();
        let is_of_delivery = |id| leases.get(id).is_some_and(|it| it.delivery == delivery);
        for offset in self.waiting.offsets_in(range) {
            if let Some(Handling::Leased(lease)) = self.waiting.handling(offset)
                && is_of_delivery(lease)
            {
                found.push(Found {
                    lease,
                    held: Held::Rows,
                    word: word_of(offset),
                    records: bit_of(offset),
                });
            }
        }
        let known = OffsetRange {
            start: range.start.max(self.settled.floor()),
            end: range.end.min(self.window.end()),
        };
        for (word, bits) in words_in(known) {
            for id in self.window.leases(word).iter().copied() {
                let records = leases.get(id).map_or(0, |it| it.records & bits);
                if records != 0 && is_of_delivery(id) {
                    found.push(Found {
                        lease: id,
                        held: Held::Window,
                        word,
                        records,
                    });
                }
            }
        }
        found
    }

    /// Those of a range that are neither found nor settled.
    pub(super) fn not_found(&self, range: OffsetRange, found: &[Found]) -> Vec<OffsetRange> {
        let known = OffsetRange {
            start: range.start.max(self.settled.floor()),
            end: range.end,
        };
        let missing = words_in(known).flat_map(|(word, bits)| {
            let of_word = found.iter().filter(|it| it.word == word);
            let have = of_word.fold(0, |have, it| have | it.records);
            offsets_in(word, bits & !have & !self.settled.word(word))
        });
        let mut missing: Vec<_> = missing.collect();
        // What has a row is not settled.
        let rows = self.waiting.offsets_in(range);
        missing.extend(rows.filter(|row| {
            let is_found = |it: &Found| it.word == word_of(*row) && it.records & bit_of(*row) != 0;
            !found.iter().any(is_found)
        }));
        missing.sort_unstable();
        ranges(missing)
    }

    /// Hash of the key of a record that is with a consumer.
    pub(super) fn key_of(&self, held: Held, offset: Offset) -> KeyHash {
        match held {
            Held::Window => self.window.key(offset),
            Held::Rows => self.waiting.get(offset).map_or(KeyHash(0), |row| row.key),
        }
    }

    /// The lease of a record of the window.
    pub(super) fn lease_of(&self, leases: &Leases, offset: Offset) -> Option<LeaseId> {
        let mut ids = self.window.leases(word_of(offset)).iter().copied();
        ids.find(|id| {
            let lease = leases.get(*id);
            lease.is_some_and(|lease| lease.records & bit_of(offset) != 0)
        })
    }

    /// What is known of a record that is with a consumer, as it would be written into a row.
    pub(super) fn facts(&self, held: Held, offset: Offset) -> WaitingRecord {
        let kept = match held {
            Held::Rows => self.waiting.get(offset).cloned(),
            Held::Window => None,
        };
        kept.unwrap_or_else(|| WaitingRecord {
            key: match self.is_ordered {
                true => self.window.key(offset),
                false => KeyHash(offset.get()),
            },
            bytes: self.window.bytes(offset),
            append_time_ms: self.window.append_time_ms(offset),
            attempts: 0,
            failure_count: 0,
            due_ms: 0,
            is_suspect: false,
            death: None,
            failures: Vec::new(),
        })
    }

    /// Takes records off their lease; their consumer has them no more. Returns how many.
    pub(super) fn unlease(&mut self, leases: &mut Leases, found: &Found) -> u64 {
        let Some(lease) = leases.get_mut(found.lease) else {
            return 0;
        };
        lease.records &= !found.records;
        lease.started &= !found.records;
        if lease.records == 0 {
            leases.remove(found.lease);
            if found.held == Held::Window {
                self.window.forget_lease(found.word, found.lease);
            }
        }
        u64::from(found.records.count_ones())
    }

    /// Makes records that were taken off their lease ready for others.
    pub(super) fn release(&mut self, found: &Found) {
        match found.held {
            Held::Window => self.window.release(found.word, found.records),
            Held::Rows => {
                for offset in offsets_in(found.word, found.records) {
                    self.waiting.set_handling(offset, Handling::None);
                    self.unlock_row(offset);
                }
            }
        }
    }

    /// A record that has a row is not with a consumer any more.
    pub(super) fn unlock_row(&mut self, offset: Offset) {
        if self.is_ordered
            && let Some(record) = self.waiting.get(offset)
        {
            let key = record.key;
            self.window.unlock_key(key);
        }
    }

    /// The records of the key of `offset` behind it that are with a consumer.
    pub(super) fn leased_behind(
        &self,
        leases: &Leases,
        offset: Offset,
        key: KeyHash,
    ) -> Vec<Found> {
        if !self.is_ordered {
            return Vec::new();
        }
        let rows = self.waiting.of_key(key).filter(|it| *it > offset);
        let rows = rows.filter_map(|it| match self.waiting.handling(it) {
            Some(Handling::Leased(lease)) => Some(Found {
                lease,
                held: Held::Rows,
                word: word_of(it),
                records: bit_of(it),
            }),
            _ => None,
        });
        let in_window = self.window.records_of(key).filter(|it| *it > offset);
        let in_window = in_window.filter_map(|it| {
            self.lease_of(leases, it).map(|lease| Found {
                lease,
                held: Held::Window,
                word: word_of(it),
                records: bit_of(it),
            })
        });
        rows.chain(in_window).collect()
    }

    /// Takes its row. Returns the blocks and the records with rows that are gone by it.
    pub(super) fn take_row(&mut self, row: &SubscriptionPartitionRow) -> (Vec<u64>, Vec<Offset>) {
        self.skipped_count = row.skipped_count();
        let mut forgotten = Vec::new();
        let mut gone = Vec::new();
        if row.seek_count() != self.seek_count {
            self.seek_count = row.seek_count();
            let waiting = std::mem::take(&mut self.waiting);
            forgotten.extend(waiting.iter().map(|(offset, _, _)| offset));
            let settled = std::mem::replace(&mut self.settled, Settled::below(row.floor()));
            gone.extend(settled.block_numbers());
            self.begin_window(row.floor());
        }
        gone.extend(self.settled.set_floor(row.floor()));
        if self.lane == Lane::Source {
            if row.floor() > self.window.end() {
                self.begin_window(row.floor());
            }
            self.window.set_floor(row.floor());
        }
        (gone, forgotten)
    }

    fn begin_window(&mut self, floor: Offset) {
        self.window = Window::new(floor, self.is_ordered);
        self.is_inspected = false;
        self.halt = None;
        // What was on its way stays where it is: its move is refused.
        self.burials = Burials::default();
    }

    /// Takes what was found behind the window.
    pub(super) fn take_inspected(&mut self, inspected: Inspected, now_ms: i64) {
        self.halt = inspected.failure.map(|failure| match failure {
            InspectFailure::Lost(lost) => Halt::Lost(lost),
            InspectFailure::Disk => Halt::Disk {
                until_ms: now_ms + DISK_PAUSE_MS,
            },
        });
        if let Some(until) = inspected.gone_until {
            self.window.pass_to(until);
        }
        for (offset, append_time_ms) in inspected.append_times {
            self.window.note_time(offset, append_time_ms);
        }
        for found in inspected.records {
            let offset = self.window.end();
            self.window.push(found, &self.settled);
            if self.is_ordered {
                self.line_up(offset);
            }
        }
    }

    /// Whether the records behind the window can be inspected now.
    pub(super) fn can_go_on(&self, now_ms: i64) -> bool {
        match self.halt {
            None => true,
            Some(Halt::Disk { until_ms }) => until_ms <= now_ms,
            Some(Halt::Lost(_)) => false,
        }
    }

    /// The lowest offset whose record may still be needed.
    pub(super) fn first_needed(&self) -> Offset {
        let floor = self.settled.floor();
        self.waiting.first().map_or(floor, |first| first.min(floor))
    }
}

/// Adjacent records as ranges.
pub(super) fn ranges(offsets: impl IntoIterator<Item = Offset>) -> Vec<OffsetRange> {
    let mut ranges: Vec<OffsetRange> = Vec::new();
    for offset in offsets {
        let end = offset.advance(1);
        match ranges.last_mut() {
            Some(last) if last.end == offset => last.end = end,
            _ => ranges.push(OffsetRange { start: offset, end }),
        }
    }
    ranges
}
