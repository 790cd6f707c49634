//! Passing over: a window must not stand still because of a few records in it.
//!
//! What queues behind a record that waits, and what a consumer keeps for long, gets rows of its own, so
//! that the window moves on. So does the floor, where nobody is to get what lies before it.

use towpath_storage::Offset;

use super::lease::{Held, Lease};
use super::leased::Found;
use super::partition::SubscriptionPartition;
use super::settled::{SettledDraft, bit_of, offsets_in, word_of};
use super::{Subscription, SubscriptionDecision};
use crate::core::row::RowId;

/// A window that is longer is made shorter.
const WINDOW_RECORDS_SOFT_MAX: u64 = 16 * 1024;
/// The last records of a window are left where they are.
const WINDOW_RECORDS_KEPT: u64 = 8 * 1024;
/// Records that get rows with one entry.
const PASSED_RECORDS_MAX: usize = 200;
/// So many records that nobody is to get are worth the row that moves the floor over them.
const SKIPPED_RECORDS_MIN: u64 = 1_024;
/// Records of a partition that may have rows: then it stands still until there are fewer.
pub(super) const WAITING_RECORDS_MAX: usize = 100_000;

impl Subscription {
    /// Gives rows to what holds up a long window.
    pub(super) fn pass_over(&mut self, decision: &mut SubscriptionDecision) {
        for number in (0..).take(self.partitions.len()) {
            let partition = self.partitions.get(number as usize);
            if partition.is_some_and(|it| it.window.span() > WINDOW_RECORDS_SOFT_MAX) {
                self.pass_over_in(number, decision);
            } else if partition.is_some_and(|it| it.skips(SKIPPED_RECORDS_MIN)) {
                self.move_floor(number, decision);
            }
            if !decision.rows.is_empty() {
                return;
            }
        }
    }

    fn pass_over_in(&mut self, number: u32, decision: &mut SubscriptionDecision) {
        let Some(partition) = self.partitions.get(number as usize) else {
            return;
        };
        if partition.skips(1) {
            self.move_floor(number, decision);
            return;
        }
        let room = WAITING_RECORDS_MAX.saturating_sub(partition.waiting.len());
        let blocked = partition.blocked(PASSED_RECORDS_MAX.min(room));
        for offset in blocked {
            self.pass_over_record(number, offset, decision);
            decision.note_done(number, word_of(offset), bit_of(offset));
        }
        self.write_settled(decision);
    }

    /// Moves a floor over what nobody is to get.
    fn move_floor(&self, number: u32, decision: &mut SubscriptionDecision) {
        let partition = self.partitions.get(number as usize);
        let open = partition.map(|it| it.first_open());
        let row = open.map(|open| self.partition_row(number, open));
        decision.rows.extend(row);
    }

    /// Gives a row to a record of the window. Who has it keeps it.
    fn pass_over_record(
        &mut self,
        number: u32,
        offset: Offset,
        decision: &mut SubscriptionDecision,
    ) {
        let (word, records) = (word_of(offset), bit_of(offset));
        let id = RowId::WaitingRecord(self.id, number, offset);
        let Some(partition) = self.partitions.get_mut(number as usize) else {
            return;
        };
        let row = partition.facts(Held::Window, offset);
        decision.rows.push(id.put(&row.to_row()));
        let Some(old) = partition.lease_of(&self.leases, offset) else {
            partition.window.remove_ready(word, records);
            return;
        };
        let Some(lease) = self.leases.get(old).copied() else {
            return;
        };
        let found = Found {
            lease: old,
            held: Held::Window,
            word,
            records,
        };
        partition.unlease(&mut self.leases, &found);
        partition.window.remove_leased(word, records);
        let new = self.leases.push(Lease {
            held: Held::Rows,
            records,
            started: lease.started & records,
            ..lease
        });
        self.leases.shorten(new, lease.deadline_ms);
        partition.waiting.keep_leased(offset, new);
    }
}

impl SubscriptionPartition {
    /// The first record that is neither settled nor one that nobody is to get.
    fn first_open(&self) -> Offset {
        let passed = |word| self.window.passed(word);
        SettledDraft::new(&self.settled).floor(self.window.end(), passed)
    }

    /// Whether so many records behind the floor need not be looked at any more.
    fn skips(&self, count: u64) -> bool {
        let floor = self.settled.floor();
        self.window.passed_count() > 0 && self.first_open().since(floor) >= count
    }

    /// Records near the floor that cannot be delivered now: with a consumer, or behind one of their key.
    fn blocked(&self, count_max: usize) -> Vec<Offset> {
        let first = word_of(self.settled.floor());
        let behind = self.window.end().get().saturating_sub(WINDOW_RECORDS_KEPT);
        let words = first..word_of(Offset::new(behind));
        let blocked = words.flat_map(|word| {
            let leased = offsets_in(word, self.window.leased(word));
            let ready = offsets_in(word, self.window.ready(word));
            leased.chain(ready.filter(|offset| self.is_behind_others(*offset)))
        });
        blocked.take(count_max).collect()
    }

    fn is_behind_others(&self, offset: Offset) -> bool {
        let key = self.window.key(offset);
        self.is_ordered && self.waiting.of_key(key).next().is_some()
    }
}
