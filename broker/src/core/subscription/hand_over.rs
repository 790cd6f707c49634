//! Handing records of a partition over to a consumer: any, or those of a key one after the other.

use towpath_storage::Offset;

use super::consumer::Credit;
use super::keys::KeyHash;
use super::lease::{Held, Lease, Leases};
use super::partition::SubscriptionPartition;
use super::settled::{bit_of, offsets_in, word_of};
use super::waiting::Handling;

/// Most records of one key that are with a consumer at once.
const KEY_RUN_RECORDS_MAX: usize = 32;

/// A record that is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Delivered {
    pub(super) offset: Offset,
    /// Number of this attempt, from 1.
    pub(super) attempt: u32,
}

/// What of a key is to be delivered next.
#[derive(Debug, Clone, Copy)]
enum Turn {
    /// Records that have rows, those before this one of the window.
    Rows(Option<Offset>),
    /// Records of the window, those before this one.
    Run(Offset),
}

impl SubscriptionPartition {
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
            match self.is_ordered && !self.is_next_suspect(offset) {
                true => self.line_up(offset),
                false => self.waiting.make_ready(offset),
            }
        }
    }

    /// Whether a record is to be delivered alone and is the first of its key: it need not stand in line.
    fn is_next_suspect(&self, offset: Offset) -> bool {
        let Some(record) = self.waiting.get(offset).filter(|it| it.is_suspect) else {
            return false;
        };
        let key = record.key;
        let is_parked = self.parked.contains_key(&key);
        self.has_come_to(offset) && !is_parked && self.is_next_of_key(key, offset)
    }

    /// Whether a record that has a row is the first of its key, and none of the key is with a consumer.
    pub(super) fn is_next_of_key(&self, key: KeyHash, offset: Offset) -> bool {
        let in_window = self.window.records_of(key).next();
        !self.window.keys.is_locked(key)
            && self.waiting.of_key(key).next() == Some(offset)
            && in_window.is_none_or(|first| offset < first)
    }

    /// Looks at the key of a record that has a row.
    pub(super) fn line_up(&mut self, offset: Offset) {
        if let Some(record) = self.waiting.get(offset) {
            let key = record.key;
            self.window.keys.line_up(key);
        }
    }

    /// Lines up keys that had to wait because they were delivered from `beside`.
    pub(super) fn line_up_beside(&mut self, beside: &Self) {
        if !self.behind.is_empty() {
            let keys = &mut self.window.keys;
            self.behind.retain(|key| {
                let is_locked = beside.window.keys.is_locked(*key);
                if !is_locked {
                    keys.line_up(*key);
                }
                is_locked
            });
        }
    }

    /// Gives what can be delivered to a consumer, within its credit. `beside` is the lane of its dead letters
    /// that are delivered again, or for that lane the partition: a key is delivered from one of them at a
    /// time.
    pub(super) fn deliver(
        &mut self,
        leases: &mut Leases,
        to: &Lease,
        credit: &mut Credit,
        beside: &Self,
        now_ms: i64,
    ) -> Vec<Delivered> {
        let mut delivered = match self.is_ordered {
            true => self.deliver_keys(leases, to, credit, beside, now_ms),
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
        beside: &Self,
        now_ms: i64,
    ) -> Vec<Delivered> {
        let mut delivered = Vec::new();
        while credit.is_open()
            && let Some((key, turn)) = self.next_turn(beside, now_ms)
        {
            match turn {
                Turn::Rows(end) => {
                    self.deliver_rows(key, end, leases, to, credit, now_ms, &mut delivered);
                }
                Turn::Run(end) => self.deliver_run(key, end, leases, to, credit, &mut delivered),
            }
        }
        delivered
    }

    /// Whether anything can be delivered, to somebody who allows it. What stands in line for nothing is done
    /// with, as when it is delivered.
    pub(super) fn has_ready(&mut self, beside: &Self, now_ms: i64) -> bool {
        if !self.is_ordered {
            return self.may_deliver();
        }
        let turn = self.next_turn(beside, now_ms);
        if let Some((key, _)) = turn {
            self.window.keys.put_back(key);
        }
        turn.is_some()
    }

    /// Takes the first key of the line of which something can be delivered.
    fn next_turn(&mut self, beside: &Self, now_ms: i64) -> Option<(KeyHash, Turn)> {
        while let Some(key) = self.window.keys.next() {
            if self.window.keys.is_locked(key) {
                // Lined up again when its consumer is done with it.
                continue;
            }
            if self.parked.contains_key(&key) {
                // While its dead letters are delivered again, it waits for the last of them instead.
                if !beside.waiting.has_living(key) {
                    self.park(key);
                }
                continue;
            }
            if beside.window.keys.is_locked(key) {
                self.behind.insert(key);
                continue;
            }
            let row = self.waiting.of_key(key).next();
            let in_window = self.window.records_of(key).next();
            match (row, in_window) {
                (Some(row), first) if first.is_none_or(|first| row < first) => {
                    if !self.can_deliver_row(row, now_ms) {
                        // Lined up again when it is due, or when one before it is gone.
                        continue;
                    }
                    if self.waiting.get(row).is_some_and(|it| it.is_suspect) {
                        self.waiting.make_ready(row);
                        continue;
                    }
                    return Some((key, Turn::Rows(first)));
                }
                (row, Some(_)) => {
                    return Some((key, Turn::Run(row.unwrap_or(self.window.end()))));
                }
                (_, None) => self.window.keys.forget_idle(key),
            }
        }
        None
    }

    /// Whether a record that has a row can be delivered, if it is the next one of its key.
    fn can_deliver_row(&self, offset: Offset, now_ms: i64) -> bool {
        let is_free = self.waiting.handling(offset) == Some(Handling::None);
        // Until the window has come so far, there may be others of its key before it.
        let is_next = self.has_come_to(offset);
        let row = self.waiting.get(offset);
        let is_due = row.is_some_and(|row| row.due_ms <= now_ms && row.death.is_none());
        is_free && is_next && is_due
    }

    /// Delivers the first records of a key that have rows and are due, those before `end`: one that has
    /// failed before alone, of others a run.
    #[expect(
        clippy::too_many_arguments,
        reason = "what it changes is in several places"
    )]
    fn deliver_rows(
        &mut self,
        key: KeyHash,
        end: Option<Offset>,
        leases: &mut Leases,
        to: &Lease,
        credit: &mut Credit,
        now_ms: i64,
        delivered: &mut Vec<Delivered>,
    ) {
        let rows = self.waiting.of_key(key).take(KEY_RUN_RECORDS_MAX);
        let rows: Vec<_> = rows
            .take_while(|it| end.is_none_or(|end| *it < end))
            .collect();
        for (place, offset) in rows.into_iter().enumerate() {
            let Some(record) = self.waiting.get(offset) else {
                return;
            };
            let is_fresh = record.failure_count == 0 && !record.is_suspect;
            let may_follow = place == 0 || is_fresh;
            if !may_follow || !self.can_deliver_row(offset, now_ms) || !credit.is_open() {
                // Lined up again when it is due, or when one before it is gone.
                return;
            }
            delivered.push(self.lease_row(offset, leases, to, credit));
            if !is_fresh {
                return;
            }
        }
    }

    /// Delivers the next records of a key in the window, those before `end`.
    #[expect(
        clippy::too_many_arguments,
        reason = "what it changes is in several places"
    )]
    fn deliver_run(
        &mut self,
        key: KeyHash,
        end: Offset,
        leases: &mut Leases,
        to: &Lease,
        credit: &mut Credit,
        delivered: &mut Vec<Delivered>,
    ) {
        let mut run = [Offset::ZERO; KEY_RUN_RECORDS_MAX];
        let records = self.window.records_of(key);
        let records = records.take_while(|offset| *offset < end);
        let places = run.iter_mut().zip(records);
        let count = places.map(|(place, offset)| *place = offset).count();
        for offset in run.into_iter().take(count) {
            if !credit.is_open() {
                break;
            }
            credit.spend(self.window.bytes(offset));
            self.lease_window(word_of(offset), bit_of(offset), leases, to);
            delivered.push(Delivered { offset, attempt: 1 });
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
            self.window.keys.lock(key);
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
}
