//! The scheduled records that are due next, as far as memory goes: where they stand, and not what they hold.
//!
//! All that are due before the window's end are in it. The others are read from the disk when it runs low.

use std::collections::BTreeMap;

use towpath_storage::PartitionRef;

use super::rows::{ScheduleId, ScheduleKey};

/// More are read once half of the window is free, unless what is there is this long, bytes.
const REFILL_BYTES: u64 = 8 * 1024 * 1024;

/// What is known of a record in the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::core) struct WindowEntry {
    /// Where it goes.
    pub partition: PartitionRef,
    /// What names it.
    pub id: ScheduleId,
    /// What it counts for, bytes.
    pub size_bytes: u64,
}

/// Records that are due next.
#[derive(Debug)]
pub(super) struct Window {
    entries: BTreeMap<ScheduleKey, WindowEntry>,
    size_bytes: u64,
    /// All before it are here; none for all that there are.
    end: Option<ScheduleKey>,
    count_max: usize,
}

impl Window {
    /// A window of so many records at most, outside of which there is nothing.
    pub(super) fn new(count_max: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            size_bytes: 0,
            end: None,
            count_max,
        }
    }

    /// Where the window ends; none if it holds all that there are.
    pub(super) fn end(&self) -> Option<ScheduleKey> {
        self.end
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The entries in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ScheduleKey, &WindowEntry)> {
        self.entries.iter().map(|(key, entry)| (*key, entry))
    }

    pub(super) fn get(&self, key: ScheduleKey) -> Option<&WindowEntry> {
        self.entries.get(&key)
    }

    /// Whether it should be filled from the disk.
    pub(super) fn is_low(&self) -> bool {
        let is_half_free = self.entries.len() <= self.count_max / 2;
        self.end.is_some() && is_half_free && self.size_bytes < REFILL_BYTES
    }

    /// Says that nothing is known.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.size_bytes = 0;
        self.end = Some(ScheduleKey::FIRST);
    }

    /// Says that there is nothing behind the end.
    pub(super) fn end_is_all(&mut self) {
        self.end = None;
    }

    /// Takes a record that is new, if it comes before the end.
    pub(super) fn put(&mut self, key: ScheduleKey, entry: WindowEntry) {
        if self.end.is_some_and(|end| key >= end) {
            return;
        }
        self.size_bytes += entry.size_bytes;
        if let Some(before) = self.entries.insert(key, entry) {
            self.size_bytes -= before.size_bytes;
        }
        while self.entries.len() > self.count_max
            && let Some((last, entry)) = self.entries.pop_last()
        {
            self.size_bytes -= entry.size_bytes;
            self.end = Some(last);
        }
    }

    /// Lets go of a record that is not pending any more.
    pub(super) fn remove(&mut self, key: ScheduleKey) {
        if let Some(entry) = self.entries.remove(&key) {
            self.size_bytes -= entry.size_bytes;
        }
    }

    /// Lets go of those that do not go where `keeps` says.
    pub(super) fn retain(&mut self, keeps: impl Fn(&WindowEntry) -> bool) {
        self.entries.retain(|_, entry| keeps(entry));
        self.size_bytes = self.entries.values().map(|entry| entry.size_bytes).sum();
    }

    /// Takes all records from the end up to `until`, in order; none for all that there are.
    pub(super) fn extend(
        &mut self,
        rows: impl IntoIterator<Item = (ScheduleKey, WindowEntry)>,
        until: Option<ScheduleKey>,
    ) {
        for (key, entry) in rows {
            // One more than fits: the last goes, and the window ends there.
            if self.entries.len() >= self.count_max {
                self.end = Some(key);
                return;
            }
            self.size_bytes += entry.size_bytes;
            self.entries.insert(key, entry);
        }
        self.end = until;
    }
}
