//! Reading scheduled records from the disk: those that are due next, without what they hold, and those that
//! are due now, as batches.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use towpath_proto::{schedule, v1};
use towpath_storage::{Direction, PartitionRef, RowRange, StorageError, with_causes};

use super::bury::put_record;
use super::command::{CarriedFacts, ControlCommand, DataCommand};
use super::command_queue::CommandQueue;
use super::index_view::{IndexSnapshot, IndexView};
use super::published::PublishedState;
use super::record_facts;
use super::schedule_command::{Fire, ScheduleCommand};
use crate::core::{AppendRequest, DueRecord, FoundSchedule, Refill, ScheduleKey, ScheduledRecord};

/// Rows that are read in one go, and the bytes after which it is enough.
const REFILL_COUNT: usize = 16_384;
const REFILL_BYTES: usize = 8 * 1024 * 1024;

/// What is to be read.
#[derive(Debug)]
pub enum ScheduleJob {
    /// Those from here on, without what they hold.
    Refill(ScheduleKey),
    /// These, which are due.
    Fire(Vec<DueRecord>),
}

/// Reads scheduled records.
#[derive(Debug)]
pub(super) struct Timekeeper<'a> {
    pub(super) index: &'a IndexView,
    pub(super) commands: &'a CommandQueue,
    pub(super) published: &'a PublishedState,
    /// What keys are hashed with for topics that look at records.
    pub(super) hash_key: &'a [u8; 16],
}

impl Timekeeper<'_> {
    /// Does one job, and tells the sequencer. Blocks on the disk.
    pub(super) fn work(&self, job: ScheduleJob) {
        // A broker that stops fires nothing any more: the records are where they were.
        match job {
            ScheduleJob::Refill(from) => {
                let snapshot = self.index.snapshot();
                let refill = refill(&snapshot, from);
                let refill = refill.map_err(|error| log(&error)).ok();
                let command = ScheduleCommand::Refilled { refill, snapshot };
                drop(
                    self.commands
                        .push_control(ControlCommand::Schedule(command)),
                );
            }
            ScheduleJob::Fire(due) => {
                let mut fire = Box::new(self.fire(due));
                let facts = self.look_at(&mut fire);
                fire.facts = facts;
                drop(self.commands.push_data(DataCommand::Fire(fire)));
            }
        }
    }

    /// Puts due records into batches, in their order.
    fn fire(&self, due: Vec<DueRecord>) -> Fire {
        let snapshot = self.index.snapshot();
        let mut payloads: BTreeMap<PartitionRef, (BytesMut, Vec<ScheduleKey>)> = BTreeMap::new();
        let mut unreadable = Vec::new();
        for DueRecord {
            key,
            partition,
            row,
        } in due
        {
            let Some(record) = read(&snapshot, key, row) else {
                unreadable.push(key);
                continue;
            };
            let (payload, keys) = payloads.entry(partition).or_default();
            put_record(payload, &record.record, &headers(key, &record));
            keys.push(key);
        }
        let (mut batches, mut keys) = (Vec::new(), Vec::new());
        for (partition, (payload, of_batch)) in payloads {
            let payload = payload.freeze();
            let request = AppendRequest::plain(partition, &payload, of_batch.len());
            batches.push((request, payload));
            keys.push(of_batch);
        }
        Fire {
            batches,
            keys,
            unreadable,
            facts: None,
        }
    }

    /// What the records say to topics that look at them; none if no topic does. Batches of which the disk
    /// does not tell it are not written now.
    fn look_at(&self, fire: &mut Fire) -> Option<Box<CarriedFacts>> {
        let topics = self.published.topics();
        let config_of = |request: &AppendRequest| {
            let topic = topics.with_id(request.partition.topic);
            topic.map(|topic| topic.settings().config)
        };
        let is_watched = |(request, _): &(AppendRequest, Bytes)| {
            config_of(request).is_some_and(|config| config.has_key_heads())
        };
        if !fire.batches.iter().any(is_watched) {
            return None;
        }
        let snapshot = self.index.snapshot();
        let mut facts = Vec::with_capacity(fire.batches.len());
        let (mut batches, mut keys) = (Vec::new(), Vec::new());
        let all = std::mem::take(&mut fire.batches).into_iter();
        for (batch, of_batch) in all.zip(std::mem::take(&mut fire.keys)) {
            let (request, payload) = &batch;
            let config = config_of(request).unwrap_or_default();
            let topic = (request.partition.topic, &config);
            match record_facts::of_due(&snapshot, self.hash_key, topic, payload) {
                Ok(of_it) => {
                    facts.push(of_it);
                    batches.push(batch);
                    keys.push(of_batch);
                }
                Err(error) => {
                    log(&error);
                    fire.unreadable.extend(of_batch);
                }
            }
        }
        (fire.batches, fire.keys) = (batches, keys);
        Some(Box::new(CarriedFacts {
            batches: facts,
            plain: None,
            snapshot,
        }))
    }
}

/// The record of a key: from its row, or from the disk. None if that is not there or cannot be read.
fn read(snapshot: &IndexSnapshot, key: ScheduleKey, row: Option<Bytes>) -> Option<ScheduledRecord> {
    let row = match row {
        Some(row) => row,
        None => {
            let found = snapshot.runs.get(&key.row_key());
            let found = found.map_err(|error| log(&error)).ok()?;
            // One that is not there was cancelled meanwhile.
            found.value()?.clone()
        }
    };
    ScheduledRecord::from_value(&row)
}

/// What a record says of its schedule once it is delivered.
fn headers(key: ScheduleKey, record: &ScheduledRecord) -> Vec<v1::Header> {
    let header = |name: &str, value: String| v1::Header {
        name: name.to_owned(),
        value: value.into(),
    };
    let mut headers = vec![header(schedule::AT_MS, key.due_ms.to_string())];
    if !record.name.is_empty() {
        headers.push(header(schedule::ID, record.name.clone()));
    }
    headers
}

fn refill(snapshot: &IndexSnapshot, from: ScheduleKey) -> Result<Refill, StorageError> {
    let row_key = from.row_key();
    let range = RowRange {
        table: row_key.table,
        start: row_key.key,
        end: None,
    };
    let mut found = Vec::new();
    let mut until = None;
    let mut bytes = 0;
    for row in snapshot.runs.scan(&range, Direction::Forward) {
        let (row_key, value) = row?;
        let key = ScheduleKey::of_row(&row_key);
        if let Some((key, record)) = key.zip(ScheduledRecord::from_value(&value)) {
            bytes += value.len();
            found.push(FoundSchedule::new(key, &record));
            if found.len() >= REFILL_COUNT || bytes >= REFILL_BYTES {
                until = Some(key.next());
                break;
            }
        }
    }
    Ok(Refill { from, until, found })
}

fn log(error: &StorageError) {
    let error = with_causes(error);
    tracing::error!(%error, "scheduled records cannot be read");
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use towpath_storage::TopicId;

    use super::*;
    use crate::core::ScheduleId;

    #[test]
    fn a_delivered_record_says_when_it_was_due() {
        let record = v1::Record {
            key: Some(Bytes::from_static(b"k")),
            value: Some(Bytes::from_static(b"v")),
            headers: Vec::new(),
            event_time_ms: None,
        };
        let mut payload = BytesMut::new();
        for name in ["", "reminder"] {
            let scheduled = ScheduledRecord {
                partition: PartitionRef {
                    topic: TopicId::new(1),
                    partition: 0,
                },
                id: ScheduleId::Numbered(1),
                name: name.to_owned(),
                accept_time_ms: 1,
                record: record.encode_to_vec().into(),
            };
            let key = ScheduleKey {
                due_ms: 77,
                number: 1,
            };
            put_record(&mut payload, &scheduled.record, &headers(key, &scheduled));
        }
        let read = v1::RecordBatch::decode(payload.freeze()).unwrap();
        let told = read.records.iter().map(|record| {
            let headers = record.headers.iter();
            let told = headers.map(|it| (it.name.as_str(), it.value.as_ref()));
            told.collect::<Vec<_>>()
        });
        let at = ("towpath-scheduled-at-ms", b"77".as_slice());
        let id = ("towpath-schedule-id", b"reminder".as_slice());
        assert_eq!(told.collect::<Vec<_>>(), [vec![at], vec![at, id]]);
        assert!(read.records.iter().all(|it| it.value == record.value));
    }
}
