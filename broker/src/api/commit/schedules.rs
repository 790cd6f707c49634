//! The records that a commit schedules.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message;
use towpath_proto::problem::Problem;
use towpath_proto::wire::operation::Operation as Kind;
use towpath_proto::wire::{Operation, ScheduleRecord};
use towpath_storage::{PartitionRef, TopicId};

use super::index::look_up;
use super::placement::{Target, checked_record};
use super::{Shared, convert, schedule};
use crate::api::facts;
use crate::core::{CommitSchedule, ScheduleId, ScheduleName};
use crate::runtime::index_view::IndexSnapshot;

/// What records are scheduled.
#[derive(Debug, Default)]
pub(super) struct Schedules {
    wishes: Vec<CommitSchedule>,
    /// Bytes of all of them.
    size_bytes: usize,
    named: BTreeSet<(TopicId, String)>,
}

/// What a scheduled record takes in memory besides its bytes, about.
const OVERHEAD_BYTES: usize = 512;

impl Schedules {
    /// Checks the records and gives each its place. Nothing is copied yet.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn place(shared: &Shared, operations: &[Operation]) -> Result<Self, Problem> {
        let mut schedules = Self::default();
        for (number, operation) in operations.iter().enumerate() {
            if let Some(Kind::Schedule(asked)) = &operation.operation {
                schedules.add(shared, number, asked)?;
            }
        }
        Ok(schedules)
    }

    fn add(
        &mut self,
        shared: &Shared,
        number: usize,
        asked: &ScheduleRecord,
    ) -> Result<(), Problem> {
        let field = |name: &str| format!("operations[{number}].schedule.{name}");
        let name = convert::topic_name(&field("topic"), &asked.topic)?;
        let topic = shared.topic(&name);
        let topic = topic.map_err(|problem| problem.with("operation", number))?;
        let target = Target::new(&topic, asked.partition, shared.next_turn());
        let target = target.map_err(|problem| problem.with("operation", number))?;
        let Some(encoded) = &asked.record else {
            let message = "there is no record";
            return Err(Problem::invalid_field(field("record"), message));
        };
        let record = checked_record(encoded, &field("record"))?;
        facts::check_later(&topic, &record, &field("record"))?;
        let when = schedule::when(&field("time"), asked.time.as_ref())?;
        let id = &asked.schedule_id;
        schedule::check_id(&field("schedule_id"), id)?;
        if !id.is_empty() && !self.named.insert((topic.id(), id.clone())) {
            let message = "the id names two records of this commit";
            return Err(Problem::invalid_field(field("schedule_id"), message));
        }
        let name = (!id.is_empty()).then(|| ScheduleName {
            text: id.clone(),
            hash: schedule::hash(shared, topic.id(), id),
            on_disk: None,
        });
        self.size_bytes += encoded.len();
        self.wishes.push(CommitSchedule {
            operation: number,
            partition: PartitionRef {
                topic: topic.id(),
                partition: target.partition_of(record.key.as_deref()),
            },
            when,
            name,
            record: Bytes::new(),
        });
        Ok(())
    }

    /// How many there are.
    pub(super) fn record_count(&self) -> u64 {
        self.wishes.len() as u64
    }

    /// Bytes of all records.
    pub(super) fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// Memory that they take, bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.size_bytes + self.wishes.len() * OVERHEAD_BYTES
    }

    /// Copies the records, and looks up their ids.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) async fn read(
        mut self,
        shared: &Shared,
        operations: &[Operation],
    ) -> Result<(Vec<CommitSchedule>, Option<IndexSnapshot>), Problem> {
        for wish in &mut self.wishes {
            let asked = operations.get(wish.operation);
            if let Some(Kind::Schedule(asked)) = asked.and_then(|it| it.operation.as_ref())
                && let Some(encoded) = &asked.record
            {
                let field = format!("operations[{}].schedule.record", wish.operation);
                // Only what this release knows is kept, as in a batch.
                let record = checked_record(encoded, &field)?;
                wish.record = record.encode_to_vec().into();
            }
        }
        if self.named.is_empty() {
            return Ok((self.wishes, None));
        }
        let snapshot = shared.index.snapshot();
        let names = || self.wishes.iter().filter_map(|wish| wish.name.as_ref());
        let keys = names().map(|name| ScheduleId::Named(name.hash).row_key());
        let found = look_up(shared, &snapshot, keys.collect()).await?;
        let names = self.wishes.iter_mut().filter_map(|it| it.name.as_mut());
        for (name, on_disk) in names.zip(found) {
            name.on_disk = on_disk;
        }
        Ok((self.wishes, Some(snapshot)))
    }
}
