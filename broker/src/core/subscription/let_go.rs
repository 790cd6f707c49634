//! Letting go of records that a subscription has not settled: somebody trimmed its topic, or it has held
//! them for as long as it may.
//!
//! What was trimmed is gone: whoever has it loses it, and what waited does not any more. Retention takes
//! away nothing that was delivered and not settled: that becomes dead first, and holds the log until it is
//! among the dead letters. In both cases nobody gets the rest, and it is counted.

use std::collections::BTreeMap;

use towpath_storage::{Offset, OffsetRange, Row};

use super::leased::Found;
use super::settle::Told;
use super::settled::{bit_of, offset_of, offsets_in, words_in};
use super::waiting::WaitingRecord;
use super::{
    SkippedRecords, Subscription, SubscriptionDecision, SubscriptionEvent, SubscriptionNotice,
};
use crate::core::row::RowId;

/// Records that become dead with one entry: with a row for each it stays small.
const DYING_RECORDS_MAX: usize = 20;
/// Rows that one entry forgets.
const FORGOTTEN_RECORDS_MAX: usize = 200;

/// Why a record is dead that was held for as long as it may be.
const HELD_REASON: &str = "not settled for as long as its subscription may hold it";

/// What is to be let go of, and how far that has come. Volatile.
#[derive(Debug)]
pub(super) struct Leaving {
    /// Whether somebody may have trimmed what is not settled.
    pub(super) looks_for_trims: bool,
    /// What is held no longer, by partition.
    limits: BTreeMap<u32, Limit>,
    /// What was let go of and not told yet, by partition: where it began, and how many records it was.
    untold: BTreeMap<u32, (Offset, u64)>,
}

impl Leaving {
    /// Before a start somebody may have trimmed what the subscription did not come to let go of.
    pub(super) fn at_start() -> Self {
        Self {
            looks_for_trims: true,
            limits: BTreeMap::new(),
            untold: BTreeMap::new(),
        }
    }
}

/// Where holding ends in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit {
    /// Nothing below is held any longer.
    end: Offset,
    /// All rows before are of dead records.
    next: Offset,
}

/// What becomes of records that were delivered and not settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivered {
    /// They are gone like all others.
    Lost,
    /// They are dead.
    Die,
}

impl WaitingRecord {
    /// Whether a consumer has had it.
    fn was_delivered(&self) -> bool {
        self.failure_count > 0 || self.is_suspect || self.death.is_some()
    }
}

impl Subscription {
    /// Notes that nothing below `end` is held any longer in a partition.
    pub(in crate::core) fn limit(&mut self, number: u32, end: Offset) {
        let known = self.leaving.limits.get(&number);
        if known.is_none_or(|known| known.end < end) {
            let next = Offset::ZERO;
            self.leaving.limits.insert(number, Limit { end, next });
        }
    }

    /// Lets go of what was trimmed, as `log_start_of` tells of each partition, and of what is held no
    /// longer: a part of it, so that the entry stays small.
    pub(super) fn let_go(
        &mut self,
        log_start_of: impl Fn(u32) -> Offset,
        decision: &mut SubscriptionDecision,
    ) {
        if self.leaving.looks_for_trims {
            for number in 0..self.topic_partition_count {
                let end = log_start_of(number);
                let next = Offset::ZERO;
                self.let_go_in(number, Limit { end, next }, Delivered::Lost, decision);
                if !decision.is_empty() {
                    return;
                }
            }
            self.leaving.looks_for_trims = false;
        }
        while let Some((number, limit)) = self.leaving.limits.first_key_value() {
            let (number, limit) = (*number, *limit);
            self.let_go_in(number, limit, Delivered::Die, decision);
            if !decision.is_empty() {
                return;
            }
            self.leaving.limits.remove(&number);
        }
    }

    /// Lets go of a part of what lies below `end` in a partition.
    fn let_go_in(
        &mut self,
        number: u32,
        limit: Limit,
        delivered: Delivered,
        decision: &mut SubscriptionDecision,
    ) {
        let Some(partition) = self.partitions.get_mut(number as usize) else {
            return;
        };
        let stays = |record: &WaitingRecord| delivered == Delivered::Die && record.death.is_some();
        let mut rows = partition.waiting.rows_in(limit.next, limit.end);
        let is_done = partition.settled.floor() >= limit.end && rows.all(|(_, it)| stays(it));
        drop(rows);
        if is_done && !self.leaving.untold.contains_key(&number) {
            return;
        }
        partition.call_burials_back();
        self.let_go_of_leased(number, limit.end, delivered, decision);
        self.write_settled(decision);
        if decision.rows.is_empty() {
            self.let_go_of_rows(number, limit, delivered, decision);
        }
        if decision.rows.is_empty() {
            self.let_go_of_rest(number, limit.end, decision);
        }
    }

    /// Takes what consumers have. Of each key the last record first: what lies behind one that is taken is
    /// given back, and would count as never delivered.
    fn let_go_of_leased(
        &mut self,
        number: u32,
        end: Offset,
        delivered: Delivered,
        decision: &mut SubscriptionDecision,
    ) {
        let mut leased: Vec<(Offset, Found)> = Vec::new();
        for (id, lease) in self.leases.iter().filter(|(_, it)| it.partition == number) {
            let of_lease = offsets_in(lease.word, lease.records).filter(|offset| *offset < end);
            leased.extend(of_lease.map(|offset| {
                let found = Found {
                    lease: id,
                    held: lease.held,
                    word: lease.word,
                    records: bit_of(offset),
                };
                (offset, found)
            }));
        }
        leased.sort_unstable_by_key(|(offset, _)| std::cmp::Reverse(*offset));
        if delivered == Delivered::Die {
            leased.truncate(DYING_RECORDS_MAX);
        }
        for (offset, found) in leased {
            match delivered {
                Delivered::Die => {
                    self.give_back_behind(number, found.held, offset, decision);
                    let Some(partition) = self.partitions.get(number as usize) else {
                        return;
                    };
                    let mut row = partition.facts(found.held, offset);
                    row.death = Some(HELD_REASON.to_owned());
                    self.put_row(number, &found, offset, &row, Told::Now, decision);
                }
                Delivered::Lost => {
                    let consumer = self.take_off(number, &found);
                    self.tell_taken(consumer, number, &found, Told::Now, decision);
                    if let Some(partition) = self.partition_mut(number) {
                        partition.release(&found);
                    }
                }
            }
        }
        self.consumers.forget_absent();
    }

    /// Forgets rows of records that nobody has, or has those records dead.
    fn let_go_of_rows(
        &mut self,
        number: u32,
        limit: Limit,
        delivered: Delivered,
        decision: &mut SubscriptionDecision,
    ) {
        let id = self.id;
        let Some(partition) = self.partitions.get_mut(number as usize) else {
            return;
        };
        let (mut dying, mut gone) = (Vec::new(), Vec::new());
        let mut next = limit.next;
        for (offset, record) in partition.waiting.rows_in(limit.next, limit.end) {
            if dying.len() == DYING_RECORDS_MAX || gone.len() == FORGOTTEN_RECORDS_MAX {
                break;
            }
            match (delivered, &record.death) {
                (Delivered::Die, Some(_)) => {}
                (Delivered::Die, None) if record.was_delivered() => {
                    let mut row = record.clone();
                    row.death = Some(HELD_REASON.to_owned());
                    dying.push((offset, row));
                }
                (Delivered::Die, None) | (Delivered::Lost, _) => gone.push((offset, record.key)),
            }
            next = offset;
        }
        if delivered == Delivered::Die
            && let Some(known) = self.leaving.limits.get_mut(&number)
        {
            known.next = next;
        }
        let rows = dying
            .iter()
            .map(|(offset, row)| RowId::WaitingRecord(id, number, *offset).put(&row.to_row()));
        decision.rows.extend(rows);
        let rows = gone
            .iter()
            .map(|(offset, _)| RowId::WaitingRecord(id, number, *offset).gone());
        decision.rows.extend(rows);
        for (_, key) in &gone {
            // What comes behind it may be delivered.
            partition.window.keys.line_up(*key);
        }
        if let Some((first, _)) = gone.first() {
            let count = gone.len() as u64;
            self.note_untold(number, *first, count);
            // They are counted in the entry in which their rows are gone.
            decision.rows.extend(self.skipping_row(number, None, count));
        }
    }

    /// Moves the floor, and tells what of all that was not settled.
    fn let_go_of_rest(&mut self, number: u32, end: Offset, decision: &mut SubscriptionDecision) {
        let Some(partition) = self.partitions.get_mut(number as usize) else {
            return;
        };
        let start = partition.settled.floor();
        if start < end {
            let count = partition.open_count(end);
            for (word, bits) in words_in(OffsetRange { start, end }) {
                let ready = partition.window.ready(word) & bits;
                partition.window.remove_ready(word, ready);
                if offset_of(word, 0) >= partition.window.end() {
                    break;
                }
            }
            if count > 0 {
                self.note_untold(number, start, count);
            }
            let row = self.skipping_row(number, Some(end), count);
            decision.rows.extend(row);
        }
        if let Some((start, count)) = self.leaving.untold.remove(&number) {
            let range = OffsetRange { start, end };
            self.tell_skipped(number, range, count, decision);
        }
    }

    /// The row of a partition in which `count` more records are gone, and whose floor may be moved.
    fn skipping_row(&self, number: u32, floor: Option<Offset>, count: u64) -> Option<Row> {
        let partition = self.partitions.get(number as usize)?;
        let mut row = partition.to_row();
        row.skip(count);
        if let Some(end) = floor {
            let start = partition.settled.floor();
            row.add_judged(partition.window.judged_in(OffsetRange { start, end }));
            row.set_floor(end);
        }
        Some(RowId::SubscriptionPartition(self.id, number).put(&row))
    }

    fn note_untold(&mut self, number: u32, start: Offset, count: u64) {
        let known = self.leaving.untold.entry(number).or_insert((start, 0));
        known.0 = known.0.min(start);
        known.1 += count;
    }

    /// Tells all consumers that records are gone: any of them might have had them.
    fn tell_skipped(
        &self,
        partition: u32,
        range: OffsetRange,
        count: u64,
        decision: &mut SubscriptionDecision,
    ) {
        let skipped = SkippedRecords {
            partition,
            range,
            count,
        };
        decision.skipped.push(skipped);
        let sessions = self.consumers.connected();
        let sessions = sessions.filter_map(|(_, consumer)| consumer.session);
        decision
            .notices
            .extend(sessions.map(|session| SubscriptionNotice {
                session,
                event: SubscriptionEvent::Skipped(skipped),
            }));
    }
}
