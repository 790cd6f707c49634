//! Leases that end without a word from their consumer.

use std::collections::BTreeMap;

use super::consumer::ConsumerId;
use super::lease::{Held, Lease, LeaseId};
use super::leased::Found;
use super::settle::{Failed, Told};
use super::settled::{offset_of, offsets_in};
use super::{Subscription, SubscriptionDecision};

/// Records whose leases one entry ends: with a row for each it stays small.
const EXPIRED_RECORDS_MAX: usize = 20;

/// What is noted of a record whose consumer has said nothing of it in time.
const EXPIRED_REASON: &str = "ack deadline passed";

impl Subscription {
    /// Takes records from consumers that have kept them for too long. What no handler had begun with is
    /// ready again. A record that was being handled has failed, if it was the only one: of several it is
    /// not known which one is to blame, so that each is tried again alone.
    pub(super) fn expire(&mut self, now_ms: i64, decision: &mut SubscriptionDecision) {
        let is_over = |deadline_ms: i64| deadline_ms <= now_ms;
        if self
            .leases
            .first()
            .is_none_or(|(_, it)| !is_over(it.deadline_ms))
        {
            return;
        }
        self.mark_crowds(now_ms);
        let mut left = EXPIRED_RECORDS_MAX;
        while left > 0
            && let Some((id, lease)) = self.leases.first()
            && is_over(lease.deadline_ms)
        {
            let number = lease.partition;
            let begun = lease.records & lease.started;
            let not_begun = lease.records & !lease.started;
            let is_one_of_many = lease.is_one_of_many && !self.is_suspect(lease);
            let found = |records| Found {
                lease: id,
                held: lease.held,
                word: lease.word,
                records,
            };
            let (begun, not_begun) = (found(first_bits(begun, left)), found(not_begun));
            left -= begun.records.count_ones() as usize;
            if not_begun.records != 0 {
                self.give_back(number, &[not_begun], Told::Now, decision);
            }
            match is_one_of_many {
                true => self.suspect(number, &begun, now_ms, decision),
                false => {
                    let failed = Failed {
                        reason: EXPIRED_REASON,
                        delay_ms: None,
                        is_dead: false,
                        said_of: None,
                        now_ms,
                    };
                    self.fail(number, &[begun], &failed, decision);
                }
            }
        }
        self.consumers.forget_absent();
        self.write_settled(decision);
    }

    /// Marks the leases of each consumer of which several records that were being handled have expired.
    fn mark_crowds(&mut self, now_ms: i64) {
        let expired = self.leases.iter();
        let expired = expired.take_while(|(_, it)| it.deadline_ms <= now_ms);
        let mut by_consumer: BTreeMap<ConsumerId, (u32, Vec<LeaseId>)> = BTreeMap::new();
        for (id, lease) in expired {
            let begun = (lease.records & lease.started).count_ones();
            let (count, ids) = by_consumer.entry(lease.consumer).or_default();
            *count += begun;
            ids.push(id);
        }
        let crowds = by_consumer.into_values().filter(|(count, _)| *count > 1);
        for id in crowds.flat_map(|(_, ids)| ids) {
            if let Some(lease) = self.leases.get_mut(id) {
                lease.is_one_of_many = true;
            }
        }
    }

    /// Whether a record was to be delivered alone: it has been with one that went before.
    fn is_suspect(&self, lease: &Lease) -> bool {
        let partition = self.partitions.get(lease.partition as usize);
        let row = partition
            .filter(|_| lease.held == Held::Rows)
            .and_then(|it| {
                it.waiting
                    .get(offset_of(lease.word, lease.records.trailing_zeros()))
            });
        row.is_some_and(|row| row.is_suspect)
    }

    /// Has records tried again alone, without an attempt that counts.
    fn suspect(
        &mut self,
        number: u32,
        found: &Found,
        now_ms: i64,
        decision: &mut SubscriptionDecision,
    ) {
        for offset in offsets_in(found.word, found.records) {
            let records = super::settled::bit_of(offset);
            let one = self.still_leased(&Found { records, ..*found });
            let Some(partition) = self.partitions.get(number as usize) else {
                return;
            };
            if one.records == 0 {
                continue;
            }
            let mut row = partition.facts(one.held, offset);
            row.is_suspect = true;
            self.counts.expired += 1;
            row.due_ms = now_ms;
            self.give_back_behind(number, one.held, offset, decision);
            self.put_row(number, &one, offset, &row, Told::Now, decision);
        }
    }
}

/// The lowest bits that are set, at most `count` of them.
fn first_bits(bits: u64, count: usize) -> u64 {
    let mut left = bits;
    for _ in 0..count {
        left &= left.wrapping_sub(1);
    }
    bits & !left
}
