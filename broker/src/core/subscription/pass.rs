//! Passing over: a window must not stand still because of a few records in it.
//!
//! What queues behind a record that waits, and what a consumer keeps for long, gets rows of its own, so
//! that the window moves on. So does the floor, where nobody is to get what lies before it.

use towpath_storage::Offset;

use super::lease::{Held, Lease, Leases};
use super::leased::Found;
use super::partition::SubscriptionPartition;
use super::settled::{SettledDraft, bit_of, offsets_in, word_of};
use super::{Subscription, SubscriptionDecision};
use crate::core::row::RowId;

/// A window that is longer is made shorter.
const WINDOW_RECORDS_SOFT_MAX: u64 = 16 * 1024;
/// The last records of a window are left where they are.
const WINDOW_RECORDS_KEPT: u64 = 8 * 1024;
/// What a consumer has had for less time than this, milliseconds, is likely to be settled soon.
const KEPT_MS_MIN: i64 = 1_000;
/// Records that get rows with one entry.
const PASSED_RECORDS_MAX: usize = 200;
/// So many records that nobody is to get are worth the row that moves the floor over them.
const SKIPPED_RECORDS_MIN: u64 = 1_024;
/// Records of a partition that may have rows: then it stands still until there are fewer.
pub(super) const WAITING_RECORDS_MAX: usize = 100_000;

impl Subscription {
    /// Gives rows to what holds up a long window.
    pub(super) fn pass_over(&mut self, now_ms: i64, decision: &mut SubscriptionDecision) {
        for number in (0..).take(self.partitions.len()) {
            let partition = self.partitions.get(number as usize);
            if partition.is_some_and(|it| it.is_long()) {
                self.pass_over_in(number, now_ms, decision);
            } else if partition.is_some_and(|it| it.skips(SKIPPED_RECORDS_MIN)) {
                self.move_floor(number, decision);
            }
            if !decision.rows.is_empty() {
                return;
            }
        }
    }

    /// When a long window is held up next by what a consumer has, broker time in milliseconds since the Unix
    /// epoch.
    pub(super) fn next_pass_ms(&self) -> Option<i64> {
        let long = self.partitions.iter().filter(|it| it.is_long());
        long.filter_map(|it| it.kept_from_ms(&self.leases)).min()
    }

    fn pass_over_in(&mut self, number: u32, now_ms: i64, decision: &mut SubscriptionDecision) {
        let Some(partition) = self.partitions.get(number as usize) else {
            return;
        };
        if partition.skips(1) {
            self.move_floor(number, decision);
            return;
        }
        if !partition.is_held_up(&self.leases, now_ms) {
            return;
        }
        let count_max = PASSED_RECORDS_MAX.min(partition.row_room());
        let blocked = partition.blocked(&self.leases, now_ms, count_max);
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

    /// Whether its window is to be made shorter.
    pub(super) fn is_long(&self) -> bool {
        self.window.span() > WINDOW_RECORDS_SOFT_MAX
    }

    /// Records that may still get rows.
    fn row_room(&self) -> usize {
        WAITING_RECORDS_MAX.saturating_sub(self.waiting.len())
    }

    /// When the first record is kept for long by the consumer that has it, broker time in milliseconds since
    /// the Unix epoch; none if it could not get a row.
    fn kept_from_ms(&self, leases: &Leases) -> Option<i64> {
        let lease = leases.get(self.lease_of(leases, self.settled.floor())?)?;
        (self.row_room() > 0).then(|| lease.kept_from_ms())
    }

    /// Whether the first record cannot be expected to be settled soon.
    fn is_held_up(&self, leases: &Leases, now_ms: i64) -> bool {
        let floor = self.settled.floor();
        match self.lease_of(leases, floor).and_then(|id| leases.get(id)) {
            Some(lease) => lease.kept_from_ms() <= now_ms,
            None => self.is_behind_others(floor),
        }
    }

    /// Records that cannot be expected to be settled soon: with a consumer for long, or behind one of their
    /// key that waits.
    fn blocked(&self, leases: &Leases, now_ms: i64, count_max: usize) -> Vec<Offset> {
        let first = word_of(self.settled.floor());
        let behind = self.window.end().get().saturating_sub(WINDOW_RECORDS_KEPT);
        let words = first..word_of(Offset::new(behind));
        let blocked = words.flat_map(|word| {
            let of_word = self.window.leases(word).iter();
            let of_word = of_word.filter_map(|id| leases.get(*id));
            let kept = of_word.filter(|lease| lease.kept_from_ms() <= now_ms);
            let kept = kept.fold(0, |bits, lease| bits | lease.records);
            let ready = offsets_in(word, self.window.ready(word));
            offsets_in(word, kept).chain(ready.filter(|offset| self.is_behind_others(*offset)))
        });
        blocked.take(count_max).collect()
    }

    /// Whether a record waits for others of its key: for one that has a row, or for its dead letters, which
    /// are on their way back or cannot be joined.
    fn is_behind_others(&self, offset: Offset) -> bool {
        let key = self.window.key(offset);
        let has_letters = self.parked.contains_key(&key) || self.behind.contains(&key);
        self.is_ordered && (has_letters || self.waiting.of_key(key).next().is_some())
    }
}

impl Lease {
    /// From when on its records are kept for long, broker time in milliseconds since the Unix epoch.
    fn kept_from_ms(&self) -> i64 {
        self.since_ms.saturating_add(KEPT_MS_MIN)
    }
}
