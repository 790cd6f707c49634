//! A partition of a subscription: what of it is settled, what waits, and what can be delivered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use towpath_storage::{Offset, OffsetRange};

use super::dead::{Burials, ParkedKey};
use super::filter::FilterDoubt;
use super::inspected::Halt;
use super::keys::KeyHash;
use super::lease::Held;
use super::recently_dead::RecentlyDead;
use super::rows::SubscriptionPartitionRow;
use super::settled::Settled;
use super::unreadable::UnreadableRecords;
use super::waiting::{WaitingRecord, WaitingRecords};
use super::window::{Judged, Window};

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
    /// The wish by which somebody inspects the records behind the window.
    pub(super) asked: Option<u64>,
    /// Number of the next such wish.
    next_wish: u64,
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
    /// What could not be read on its way there: it stays for now.
    pub(super) unreadable: UnreadableRecords,
    pub(super) recently_dead: RecentlyDead,
    /// Keys that wait because they are delivered from the lane beside.
    pub(super) behind: BTreeSet<KeyHash>,
    /// Records of the window that go there because their filter cannot judge them, and have no rows yet.
    pub(super) doomed: VecDeque<(Offset, FilterDoubt)>,
    /// Records below the floor that a filter has sorted out.
    pub(super) judged: Judged,
}

impl SubscriptionPartition {
    pub(super) fn new(floor: Offset, is_ordered: bool, lane: Lane) -> Self {
        Self {
            settled: Settled::below(floor),
            waiting: WaitingRecords::default(),
            window: Window::new(floor, is_ordered),
            asked: None,
            next_wish: 0,
            halt: None,
            is_ordered,
            lane,
            skipped_count: 0,
            seek_count: 0,
            parked: BTreeMap::new(),
            burials: Burials::default(),
            unreadable: UnreadableRecords::default(),
            recently_dead: RecentlyDead::default(),
            behind: BTreeSet::new(),
            doomed: VecDeque::new(),
            judged: Judged::default(),
        }
    }

    /// Numbers a wish for the records behind the window.
    pub(super) fn ask(&mut self) -> u64 {
        let number = self.next_wish;
        (self.asked, self.next_wish) = (Some(number), number + 1);
        number
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

    /// Hash of the key of a record that is with a consumer.
    pub(super) fn key_of(&self, held: Held, offset: Offset) -> KeyHash {
        match held {
            Held::Window => self.window.key(offset),
            Held::Rows => self.waiting.get(offset).map_or(KeyHash(0), |row| row.key),
        }
    }

    /// What is known of a record that is with a consumer, as it would be written into a row.
    pub(super) fn facts(&self, held: Held, offset: Offset) -> WaitingRecord {
        let kept = match held {
            Held::Rows => self.waiting.get(offset).cloned(),
            Held::Window => None,
        };
        kept.unwrap_or_else(|| {
            let key = match self.is_ordered {
                true => self.window.key(offset),
                false => KeyHash(offset.get()),
            };
            let append_time_ms = self.window.append_time_ms(offset);
            WaitingRecord::untried(key, self.window.bytes(offset), append_time_ms)
        })
    }

    /// Takes its row. Returns the blocks and the records with rows that are gone by it.
    pub(super) fn take_row(&mut self, row: &SubscriptionPartitionRow) -> (Vec<u64>, Vec<Offset>) {
        self.skipped_count = row.skipped_count();
        self.judged = row.judged();
        let mut forgotten = Vec::new();
        let mut gone = Vec::new();
        if row.seek_count() != self.seek_count {
            self.seek_count = row.seek_count();
            let waiting = std::mem::take(&mut self.waiting);
            forgotten.extend(waiting.iter().map(|(offset, _, _)| offset));
            let settled = std::mem::replace(&mut self.settled, Settled::below(row.floor()));
            gone.extend(settled.block_numbers());
            // They may be delivered again.
            self.recently_dead = RecentlyDead::default();
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
        self.asked = None;
        self.halt = None;
        self.doomed.clear();
        self.waiting.look_at_all_dying();
        // What was on its way stays where it is: its move is refused.
        self.burials.call_back();
    }

    /// Records from the floor up to `end` that are not settled and that somebody was to get.
    pub(super) fn open_count(&self, end: Offset) -> u64 {
        let floor = self.settled.floor();
        let passed_count = self
            .window
            .passed_below(end)
            .saturating_sub(self.window.passed_below(floor));
        let done_count = self.settled.beyond_floor_below(end) + passed_count;
        end.get()
            .saturating_sub(floor.get())
            .saturating_sub(done_count)
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
