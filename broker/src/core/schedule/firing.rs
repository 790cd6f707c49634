//! Which records are due, and what becomes of them.

use std::collections::BTreeMap;

use bytes::Bytes;
use towpath_storage::{PartitionRef, Row, RowKey, TopicId};

use super::rows::TABLE_SCHEDULED;
use super::window::{Window, WindowEntry};
use super::{ScheduleCounts, ScheduleKey, ScheduledRecord, gone};
use crate::core::{AppendRefusal, State};

/// Records that one entry delivers at most, and the bytes after which it has enough. One such entry is on its
/// way at a time, so however many are overdue, others have their turn between.
const FIRE_COUNT_MAX: usize = 512;
const FIRE_BYTES: u64 = 512 * 1024;
/// After how long due records are tried again when there was no room for them.
const FULL_PAUSE_MS: i64 = 1_000;
/// After how long those are tried again that cannot be read, or not be appended.
const SET_ASIDE_MS: i64 = 60_000;

/// A record that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueRecord {
    /// Where it stands.
    pub key: ScheduleKey,
    /// Where it goes.
    pub partition: PartitionRef,
    /// Its row, if that changed of late; otherwise it is on disk.
    pub row: Option<Bytes>,
}

/// What scheduled records need now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScheduleStep {
    /// These are due, in this order, and are to be made ready.
    pub due: Vec<DueRecord>,
    /// Those from here on are to be read from the disk.
    pub refill: Option<ScheduleKey>,
}

/// Why due records were not appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FireFailure {
    /// Some of them are not pending any more: the others are tried at once.
    Changed,
    /// They have no place.
    Refused(AppendRefusal),
}

/// A scheduled record on disk, without what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundSchedule {
    /// Where it stands.
    pub key: ScheduleKey,
    entry: WindowEntry,
}

impl FoundSchedule {
    /// What a row says.
    pub fn new(key: ScheduleKey, record: &ScheduledRecord) -> Self {
        let entry = WindowEntry::of(record);
        Self { key, entry }
    }
}

/// What was read from the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refill {
    /// From where on.
    pub from: ScheduleKey,
    /// Up to where; none for all that there are.
    pub until: Option<ScheduleKey>,
    /// All that were there, in order.
    pub found: Vec<FoundSchedule>,
}

impl State {
    /// What is to be done for scheduled records at broker time `now_ms`.
    pub fn step_schedules(&mut self, now_ms: i64) -> ScheduleStep {
        let schedules = &mut self.schedules;
        if schedules.window.len() as u64 == schedules.total.count {
            schedules.window.end_is_all();
        }
        if now_ms >= schedules.retry_at_ms {
            schedules.set_aside.clear();
        }
        let mut step = ScheduleStep::default();
        if schedules.window.is_low() && !schedules.is_refilling && now_ms >= schedules.refill_at_ms
        {
            schedules.is_refilling = true;
            step.refill = schedules.window.end();
        }
        if !schedules.is_firing && now_ms >= schedules.fire_at_ms {
            step.due = self.due_records(now_ms);
            self.schedules.is_firing = !step.due.is_empty();
        }
        step
    }

    /// When the next record is due, as far as is known, milliseconds since the Unix epoch.
    pub fn next_due_ms(&self) -> Option<i64> {
        self.schedules
            .window
            .iter()
            .next()
            .map(|(key, _)| key.due_ms)
    }

    /// How many due records cannot be delivered now.
    pub fn set_aside_count(&self) -> usize {
        self.schedules.set_aside.len()
    }

    fn due_records(&self, now_ms: i64) -> Vec<DueRecord> {
        let schedules = &self.schedules;
        let mut due = Vec::new();
        let mut bytes = 0;
        for (key, entry) in schedules.window.iter() {
            if key.due_ms > now_ms || due.len() >= FIRE_COUNT_MAX || bytes >= FIRE_BYTES {
                break;
            }
            if schedules.set_aside.contains(&key) {
                continue;
            }
            bytes += entry.size_bytes;
            due.push(DueRecord {
                key,
                partition: entry.partition,
                row: self.index.get(&key.row_key()).flatten().cloned(),
            });
        }
        due
    }

    /// Whether all of these are still pending: none was delivered, cancelled or rescheduled meanwhile.
    pub fn are_pending(&self, keys: &[ScheduleKey]) -> bool {
        keys.iter()
            .all(|key| self.schedules.window.get(*key).is_some())
    }

    /// The rows that take away records which are appended with the same entry. They are pending.
    pub fn fire(&mut self, keys: &[ScheduleKey]) -> Vec<Row> {
        let schedules = &mut self.schedules;
        schedules.is_firing = false;
        let mut rows = Vec::with_capacity(2 * keys.len() + 1);
        let mut fired: BTreeMap<TopicId, ScheduleCounts> = BTreeMap::new();
        for key in keys {
            let Some(entry) = schedules.window.get(*key) else {
                continue;
            };
            rows.extend([gone(key.row_key()), gone(entry.id.row_key())]);
            let of_topic = fired.entry(entry.partition.topic).or_default();
            of_topic.add(entry.size_bytes);
        }
        rows.extend(fired.into_iter().map(|(topic, fired)| {
            let mut left = schedules.counts(topic);
            left.take(fired);
            left.to_row(topic)
        }));
        rows
    }

    /// Notes that due records were not appended at broker time `now_ms`.
    pub fn fire_failed(&mut self, keys: &[ScheduleKey], failure: &FireFailure, now_ms: i64) {
        self.schedules.is_firing = false;
        match failure {
            FireFailure::Changed => {}
            FireFailure::Refused(AppendRefusal::StorageFull) => {
                self.schedules.fire_at_ms = now_ms + FULL_PAUSE_MS;
            }
            // All but these have gone with their topic.
            FireFailure::Refused(AppendRefusal::TopicNotFound { .. }) => {}
            FireFailure::Refused(_) => self.set_aside(keys, now_ms),
        }
    }

    /// Notes that due records cannot be delivered now: those behind them do not wait for them.
    pub fn set_aside(&mut self, keys: &[ScheduleKey], now_ms: i64) {
        let schedules = &mut self.schedules;
        if schedules.set_aside.is_empty() {
            schedules.retry_at_ms = now_ms + SET_ASIDE_MS;
        }
        let window = &schedules.window;
        let pending = keys.iter().filter(|key| window.get(**key).is_some());
        schedules.set_aside.extend(pending);
    }

    /// Takes what was read from the disk, and what has changed since; none if it could not be read.
    pub fn take_refill(&mut self, refill: Option<Refill>, now_ms: i64) {
        self.schedules.is_refilling = false;
        let Some(Refill { from, until, found }) = refill else {
            self.schedules.refill_at_ms = now_ms + FULL_PAUSE_MS;
            return;
        };
        // Else it ends elsewhere by now, and what is behind that is asked for again.
        if self.schedules.window.end() != Some(from) {
            return;
        }
        let empty = Window::new(0);
        let mut window = std::mem::replace(&mut self.schedules.window, empty);
        let mut changed = self.schedule_rows_between(from, until).peekable();
        let mut on_disk = found.into_iter().peekable();
        let topics = &self.topics;
        let merged = std::iter::from_fn(|| {
            loop {
                let next_changed = changed.peek().map(|(key, _)| *key);
                let next_found = on_disk.peek().map(|found| found.key);
                let is_changed = match (next_changed, next_found) {
                    (None, None) => return None,
                    (Some(changed), Some(found)) => changed <= found,
                    (changed, _) => changed.is_some(),
                };
                let (key, entry) = if is_changed {
                    on_disk.next_if(|found| Some(found.key) == next_changed);
                    let (key, value) = changed.next()?;
                    let record = value.and_then(ScheduledRecord::from_value);
                    (key, record.map(|record| WindowEntry::of(&record)))
                } else {
                    let found = on_disk.next()?;
                    (found.key, Some(found.entry))
                };
                // Those of a deleted topic are there until runs are merged.
                let entry = entry.filter(|it| topics.contains_key(&it.partition.topic));
                if let Some(entry) = entry {
                    return Some((key, entry));
                }
            }
        });
        window.extend(merged, until);
        drop(changed);
        self.schedules.window = window;
    }

    /// What became of scheduled records of late, in order: their rows, or that they are gone.
    pub fn schedule_rows_between(
        &self,
        from: ScheduleKey,
        until: Option<ScheduleKey>,
    ) -> impl Iterator<Item = (ScheduleKey, Option<&Bytes>)> {
        let start = from.row_key();
        let end = match until {
            Some(until) => until.row_key(),
            None => RowKey {
                table: TABLE_SCHEDULED + 1,
                key: Bytes::new(),
            },
        };
        let rows = self.index.changes(&start, &end);
        rows.filter_map(|(key, value)| Some((ScheduleKey::of_row(key)?, value)))
    }
}
