//! Records that wait until they are due.
//!
//! A scheduled record is an index row in due order; it counts for its topic, and is found by its id. When it
//! is due by broker time, one entry appends it to its partition and takes the row away, so it is delivered
//! exactly once. Decided here; the records are read, and put into batches, before they come here again.

mod firing;
mod rows;
#[cfg(test)]
mod tests;
mod window;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message;
use towpath_proto::limits;
use towpath_storage::{PartitionRef, Row, RowKey, TopicId};

use super::State;
use super::append::AppendRefusal;
use super::commit::{CommitRefusalCause, CommitRefused};
use super::row::{RowId, decode};
pub use firing::{DueRecord, FireFailure, FoundSchedule, Refill, ScheduleStep};
use rows::ScheduleIdRow;
pub use rows::{ScheduleId, ScheduleKey, ScheduledRecord, is_schedule_row_needed, schedule_of_id};
use window::{Window, WindowEntry};

/// When a record is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScheduleTime {
    /// At this broker time, milliseconds since the Unix epoch.
    At(i64),
    /// So many milliseconds after it was accepted.
    After(u64),
}

/// A record that a commit schedules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitSchedule {
    /// Number of the operation.
    pub operation: usize,
    /// Where it goes.
    pub partition: PartitionRef,
    /// When.
    pub when: ScheduleTime,
    /// The id that it was given, if any. No two of a commit are the same.
    pub name: Option<ScheduleName>,
    /// The encoded record.
    pub record: Bytes,
}

/// An id that a scheduled record was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleName {
    /// The id.
    pub text: String,
    /// Hash of it and its topic.
    pub hash: [u8; 16],
    /// What is on disk under it.
    pub on_disk: Option<Bytes>,
}

/// A scheduled record that is looked for by its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindSchedule {
    /// Its topic.
    pub topic: TopicId,
    /// What names it.
    pub id: ScheduleId,
    /// What is on disk under the id.
    pub on_disk: Option<Bytes>,
    /// The record on disk that this finds.
    pub record_on_disk: Option<Bytes>,
}

/// What scheduled records add up to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScheduleCounts {
    /// How many.
    pub count: u64,
    /// Records and ids, bytes.
    pub size_bytes: u64,
}

/// A bound that is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScheduleLimit {
    /// Records of a topic.
    TopicCount,
    /// Their bytes.
    TopicBytes,
    /// Records of all topics.
    Count,
    /// Their bytes.
    Bytes,
}

/// Why a record is not scheduled. Nothing changes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleRefusal {
    /// Its time has passed.
    #[error("the time is {} ms in the past", .now_ms.saturating_sub(*.due_ms))]
    InPast {
        /// When it was to be due.
        due_ms: i64,
        /// Broker time.
        now_ms: i64,
    },
    /// It is too far ahead.
    #[error("the time is further ahead than {} ms", limits::SCHEDULE_AHEAD_MS_MAX)]
    TooFar {
        /// When it was to be due.
        due_ms: i64,
        /// Broker time.
        now_ms: i64,
    },
    /// Another one of the topic has the id and is not due yet.
    #[error("schedule id \"{name}\" is pending already")]
    Exists {
        /// The id.
        name: String,
        /// When that one is due.
        due_ms: i64,
    },
    /// Too many are scheduled, or too much.
    #[error("the limit of {limit_max} scheduled {} is reached", .limit.unit())]
    Full {
        /// Which bound.
        limit: ScheduleLimit,
        /// How much it is.
        limit_max: u64,
    },
}

impl ScheduleLimit {
    /// What it counts.
    pub fn unit(self) -> &'static str {
        match self {
            Self::TopicCount => "records of the topic",
            Self::TopicBytes => "bytes of the topic",
            Self::Count => "records",
            Self::Bytes => "bytes",
        }
    }
}

/// Nothing of that id is pending: it was delivered or cancelled, or never was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no record of this schedule id is pending")]
pub struct ScheduleNotFound;

/// Why a scheduled record is not moved. Nothing changes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RescheduleRefusal {
    /// There is none.
    #[error(transparent)]
    NotFound(#[from] ScheduleNotFound),
    /// It cannot be due then.
    #[error(transparent)]
    Refused(#[from] ScheduleRefusal),
    /// The disk is nearly full.
    #[error("the disk is full")]
    StorageFull,
}

/// Scheduled records, without what they hold.
#[derive(Debug)]
pub(super) struct Schedules {
    window: Window,
    /// Of topics that have any.
    topics: BTreeMap<TopicId, ScheduleCounts>,
    total: ScheduleCounts,
    /// Number of the next acceptance.
    pub(super) next_number: u64,
    /// Whether due records are on their way.
    is_firing: bool,
    /// Broker time before which nothing is fired, milliseconds since the Unix epoch.
    fire_at_ms: i64,
    /// Whether the window is being filled from the disk.
    is_refilling: bool,
    /// Broker time before which that is not tried, milliseconds since the Unix epoch.
    refill_at_ms: i64,
    /// Due records that cannot be delivered now.
    set_aside: BTreeSet<ScheduleKey>,
    /// Broker time at which they are tried again, milliseconds since the Unix epoch.
    retry_at_ms: i64,
}

/// Value of the row of what a topic has scheduled.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct TopicSchedulesRow {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(uint64, tag = "2")]
    size_bytes: u64,
}

impl ScheduleCounts {
    fn add(&mut self, size_bytes: u64) {
        self.count += 1;
        self.size_bytes += size_bytes;
    }

    fn take(&mut self, other: Self) {
        self.count = self.count.saturating_sub(other.count);
        self.size_bytes = self.size_bytes.saturating_sub(other.size_bytes);
    }

    fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// The row of a topic.
    fn to_row(self, topic: TopicId) -> Row {
        let row = TopicSchedulesRow {
            count: self.count,
            size_bytes: self.size_bytes,
        };
        match self.count {
            0 => RowId::TopicSchedules(topic).gone(),
            _ => RowId::TopicSchedules(topic).put(&row),
        }
    }
}

impl Schedules {
    /// Nothing is scheduled. So many records are in memory at most.
    pub(super) fn new(window_max: usize) -> Self {
        Self {
            window: Window::new(window_max),
            topics: BTreeMap::new(),
            total: ScheduleCounts::default(),
            next_number: 0,
            is_firing: false,
            fire_at_ms: 0,
            is_refilling: false,
            refill_at_ms: 0,
            set_aside: BTreeSet::new(),
            retry_at_ms: 0,
        }
    }

    /// Takes what a topic has scheduled from its row.
    pub(super) fn take_row(&mut self, topic: TopicId, value: Option<&Bytes>) {
        let row = value.map(decode::<TopicSchedulesRow>).unwrap_or_default();
        let counts = ScheduleCounts {
            count: row.count,
            size_bytes: row.size_bytes,
        };
        self.put_counts(topic, counts);
    }

    fn put_counts(&mut self, topic: TopicId, after: ScheduleCounts) {
        let before = match after.is_empty() {
            true => self.topics.remove(&topic),
            false => self.topics.insert(topic, after),
        };
        self.total.take(before.unwrap_or_default());
        self.total.count += after.count;
        self.total.size_bytes += after.size_bytes;
    }

    /// The row of what a topic has scheduled.
    pub(super) fn counts_row(&self, topic: TopicId) -> Row {
        self.counts(topic).to_row(topic)
    }

    fn counts(&self, topic: TopicId) -> ScheduleCounts {
        self.topics.get(&topic).copied().unwrap_or_default()
    }

    /// Takes an index row, if it is one of a scheduled record.
    pub(super) fn note_row(&mut self, key: &RowKey, value: Option<&Bytes>) {
        let Some(key) = ScheduleKey::of_row(key) else {
            return;
        };
        match value.map(ScheduledRecord::from_value) {
            Some(Some(record)) => self.window.put(key, WindowEntry::of(&record)),
            Some(None) => tracing::error!("scheduled record of an unknown kind left out"),
            None => {
                self.window.remove(key);
                self.set_aside.remove(&key);
            }
        }
    }

    /// Forgets what a deleted topic has scheduled. Returns whether there was anything.
    pub(super) fn forget_topic(&mut self, topic: TopicId) -> bool {
        let had_any = self.topics.contains_key(&topic);
        if had_any {
            self.put_counts(topic, ScheduleCounts::default());
            self.window.retain(|entry| entry.partition.topic != topic);
            let window = &self.window;
            self.set_aside.retain(|key| window.get(*key).is_some());
        }
        had_any
    }

    /// Notes that a checkpoint was loaded: what its runs hold is not known yet.
    pub(super) fn checkpoint_loaded(&mut self) {
        if !self.total.is_empty() {
            self.window.clear();
        }
    }
}

impl WindowEntry {
    pub(super) fn of(record: &ScheduledRecord) -> Self {
        Self {
            partition: record.partition,
            id: record.id,
            size_bytes: record.size_bytes(),
        }
    }
}

impl State {
    /// What is scheduled in all topics.
    pub fn schedule_counts(&self) -> ScheduleCounts {
        self.schedules.total
    }

    /// What is scheduled in a topic.
    pub fn topic_schedule_counts(&self, topic: TopicId) -> ScheduleCounts {
        self.schedules.counts(topic)
    }

    /// When a record is due that is accepted at `now_ms`.
    ///
    /// # Errors
    /// [`ScheduleRefusal::InPast`], [`ScheduleRefusal::TooFar`].
    fn due_ms(when: ScheduleTime, now_ms: i64) -> Result<i64, ScheduleRefusal> {
        let due_ms = match when {
            ScheduleTime::At(due_ms) => due_ms,
            ScheduleTime::After(delay_ms) => {
                now_ms.saturating_add(i64::try_from(delay_ms).unwrap_or(i64::MAX))
            }
        };
        let ahead_ms = due_ms.saturating_sub(now_ms);
        if ahead_ms < -limits::SCHEDULE_PAST_MS_MAX {
            return Err(ScheduleRefusal::InPast { due_ms, now_ms });
        }
        if ahead_ms > limits::SCHEDULE_AHEAD_MS_MAX {
            return Err(ScheduleRefusal::TooFar { due_ms, now_ms });
        }
        Ok(due_ms.max(now_ms).max(0))
    }

    /// Decides on what a commit schedules at broker time `now_ms`.
    ///
    /// # Errors
    /// [`CommitRefused`] for the first that is not scheduled.
    pub(super) fn check_schedules(
        &self,
        wishes: &[CommitSchedule],
        now_ms: i64,
    ) -> Result<(), CommitRefused> {
        let mut added = BTreeMap::new();
        for wish in wishes {
            self.check_schedule(wish, &mut added, now_ms)
                .map_err(|cause| CommitRefused {
                    operation: wish.operation,
                    cause,
                })?;
        }
        Ok(())
    }

    /// `added` is what those before it add to their topics.
    fn check_schedule(
        &self,
        wish: &CommitSchedule,
        added: &mut BTreeMap<TopicId, ScheduleCounts>,
        now_ms: i64,
    ) -> Result<(), CommitRefusalCause> {
        let topic = wish.partition.topic;
        self.find_target(wish.partition)
            .and_then(|()| self.takes_records(topic))
            .map_err(CommitRefusalCause::Append)?;
        if self.is_space_low {
            return Err(CommitRefusalCause::Append(AppendRefusal::StorageFull));
        }
        Self::due_ms(wish.when, now_ms).map_err(CommitRefusalCause::Schedule)?;
        if let Some(name) = &wish.name
            && let Some(row) = self.id_row(&ScheduleId::Named(name.hash), name.on_disk.as_ref())
        {
            return Err(CommitRefusalCause::Schedule(ScheduleRefusal::Exists {
                name: name.text.clone(),
                due_ms: row.due_ms,
            }));
        }
        added.entry(topic).or_default().add(wish.size_bytes());
        self.check_schedule_limits(topic, added)
            .map_err(CommitRefusalCause::Schedule)
    }

    fn find_target(&self, target: PartitionRef) -> Result<(), AppendRefusal> {
        let PartitionRef { topic, partition } = target;
        let found = self.topic(topic);
        let found = found.ok_or(AppendRefusal::TopicNotFound { topic })?;
        match found.partition(partition) {
            Some(_) => Ok(()),
            None => Err(AppendRefusal::PartitionNotFound {
                partition,
                partition_count: u32::try_from(found.partitions.len()).unwrap_or(u32::MAX),
            }),
        }
    }

    fn check_schedule_limits(
        &self,
        topic: TopicId,
        added: &BTreeMap<TopicId, ScheduleCounts>,
    ) -> Result<(), ScheduleRefusal> {
        let limits = &self.limits;
        let of_topic = self.schedules.counts(topic);
        let more = added.get(&topic).copied().unwrap_or_default();
        let (mut count, mut size_bytes) =
            (self.schedules.total.count, self.schedules.total.size_bytes);
        for more in added.values() {
            count += more.count;
            size_bytes += more.size_bytes;
        }
        let bounds = [
            (
                of_topic.count + more.count,
                ScheduleLimit::TopicCount,
                limits.scheduled_per_topic_max,
            ),
            (
                of_topic.size_bytes + more.size_bytes,
                ScheduleLimit::TopicBytes,
                limits.scheduled_bytes_per_topic_max,
            ),
            (count, ScheduleLimit::Count, limits.scheduled_max),
            (size_bytes, ScheduleLimit::Bytes, limits.scheduled_bytes_max),
        ];
        match bounds.into_iter().find(|(sum, _, max)| sum > max) {
            Some((_, limit, limit_max)) => Err(ScheduleRefusal::Full { limit, limit_max }),
            None => Ok(()),
        }
    }

    /// The rows of what a commit schedules that was decided at `now_ms`, and where each stands.
    pub fn schedule_rows(
        &self,
        wishes: &[CommitSchedule],
        now_ms: i64,
    ) -> (Vec<Row>, Vec<ScheduleKey>) {
        if wishes.is_empty() {
            return (Vec::new(), Vec::new());
        }
        let mut rows = Vec::with_capacity(2 * wishes.len() + 2);
        let mut keys = Vec::with_capacity(wishes.len());
        let mut counts = BTreeMap::new();
        let mut number = self.schedules.next_number;
        for wish in wishes {
            // INVARIANT: decided before, at the same time.
            let due_ms = Self::due_ms(wish.when, now_ms).unwrap_or(now_ms);
            let key = ScheduleKey { due_ms, number };
            let record = wish.to_record(number, now_ms);
            rows.extend(put_rows(key, &record));
            let topic = record.partition.topic;
            let of_topic = counts
                .entry(topic)
                .or_insert_with(|| self.schedules.counts(topic));
            of_topic.add(record.size_bytes());
            keys.push(key);
            number += 1;
        }
        rows.extend(counts.into_iter().map(|(topic, sum)| sum.to_row(topic)));
        rows.push(self.next_schedule_row(number));
        (rows, keys)
    }

    /// Decides to cancel. Returns where the record stood, and the rows.
    ///
    /// # Errors
    /// [`ScheduleNotFound`].
    pub fn cancel_schedule(
        &self,
        wish: &FindSchedule,
    ) -> Result<(ScheduleKey, Vec<Row>), ScheduleNotFound> {
        let found = self.find_schedule(wish)?;
        let mut counts = self.schedules.counts(wish.topic);
        counts.take(ScheduleCounts {
            count: 1,
            size_bytes: found.size_bytes,
        });
        let rows = vec![
            gone(found.key().row_key()),
            gone(wish.id.row_key()),
            counts.to_row(wish.topic),
        ];
        Ok((found.key(), rows))
    }

    /// Decides to make a record due at another time. It is behind all others of that time. Returns where it
    /// stands then, and the rows.
    ///
    /// # Errors
    /// [`RescheduleRefusal`].
    pub fn reschedule(
        &self,
        wish: &FindSchedule,
        when: ScheduleTime,
        now_ms: i64,
    ) -> Result<(ScheduleKey, Vec<Row>), RescheduleRefusal> {
        let found = self.find_schedule(wish)?;
        let due_ms = Self::due_ms(when, now_ms)?;
        if self.is_space_low {
            return Err(RescheduleRefusal::StorageFull);
        }
        let before = found.key();
        let changed = self.index.get(&before.row_key());
        let value = match changed {
            Some(changed) => changed,
            None => wish.record_on_disk.as_ref(),
        };
        // INVARIANT: both rows are of the same entry, so who has one from the disk has the other as well.
        let record = value.and_then(ScheduledRecord::from_value);
        let record = record.ok_or(ScheduleNotFound)?;
        let number = self.schedules.next_number;
        let key = ScheduleKey { due_ms, number };
        let mut rows = vec![gone(before.row_key())];
        rows.extend(put_rows(key, &record));
        rows.push(self.next_schedule_row(number + 1));
        Ok((key, rows))
    }

    fn find_schedule(&self, wish: &FindSchedule) -> Result<ScheduleIdRow, ScheduleNotFound> {
        if self.topic(wish.topic).is_none() {
            return Err(ScheduleNotFound);
        }
        let row = self.id_row(&wish.id, wish.on_disk.as_ref());
        row.filter(|row| row.topic == wish.topic.get())
            .ok_or(ScheduleNotFound)
    }

    /// The row of an id: as it was changed of late, or as it is on disk.
    fn id_row(&self, id: &ScheduleId, on_disk: Option<&Bytes>) -> Option<ScheduleIdRow> {
        let row = match self.index.get(&id.row_key()) {
            Some(changed) => changed,
            None => on_disk,
        };
        row.map(decode::<ScheduleIdRow>)
    }

    fn next_schedule_row(&self, number: u64) -> Row {
        let mut broker = self.broker_row();
        broker.next_schedule = number;
        RowId::Broker.put(&broker)
    }
}

impl CommitSchedule {
    /// What it counts for in the limits, bytes.
    pub fn size_bytes(&self) -> u64 {
        let name = self.name.as_ref().map_or(0, |name| name.text.len());
        (self.record.len() + name) as u64
    }

    fn to_record(&self, number: u64, now_ms: i64) -> ScheduledRecord {
        let (id, name) = match &self.name {
            Some(name) => (ScheduleId::Named(name.hash), name.text.clone()),
            None => (ScheduleId::Numbered(number), String::new()),
        };
        ScheduledRecord {
            partition: self.partition,
            id,
            name,
            accept_time_ms: now_ms,
            record: self.record.clone(),
        }
    }
}

/// The rows of a record that is pending.
fn put_rows(key: ScheduleKey, record: &ScheduledRecord) -> [Row; 2] {
    let found = ScheduleIdRow {
        topic: record.partition.topic.get(),
        due_ms: key.due_ms,
        number: key.number,
        size_bytes: record.size_bytes(),
    };
    [record.to_row(key), found.to_row(&record.id)]
}

fn gone(key: RowKey) -> Row {
    Row { key, value: None }
}
