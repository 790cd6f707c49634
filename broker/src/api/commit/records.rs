//! The records of a commit: placed in batches, with what they rest on.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use towpath_proto::limits::COMMIT_BYTES_MAX;
use towpath_proto::problem::{FIELD, Problem};
use towpath_proto::reason::ErrorReason;
use towpath_proto::v1::append_records::Expectation;
use towpath_proto::wire::operation::Operation as Kind;
use towpath_proto::wire::{AppendRecords, Operation};
use towpath_storage::{Offset, PartitionRef, TopicId};

use super::super::facts::{self, AskedRecord, BatchToRead};
use super::placement::{self, Placed, Placement, Target};
use super::{Shared, convert};
use crate::core::{CommitAppend, CommitExpectation};
use crate::runtime::command::CarriedFacts;
use crate::runtime::published::TopicView;

/// Where the records of all operations go.
#[derive(Debug)]
pub(super) struct Records {
    placement: Placement,
    /// Of each operation; none for those that append nothing.
    placed: Vec<Vec<Placed>>,
    /// The first operation that appends to each partition.
    first: BTreeMap<PartitionRef, usize>,
    expectations: Vec<CommitExpectation>,
    /// Versions that operations expect of their keys.
    versions: BTreeMap<usize, u64>,
    /// Topics of the records.
    topics: BTreeMap<TopicId, Arc<TopicView>>,
}

impl Records {
    /// Checks the records and gives each its place.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn place(shared: &Shared, operations: &[Operation]) -> Result<Self, Problem> {
        let mut records = Self {
            placement: Placement::default(),
            placed: Vec::with_capacity(operations.len()),
            first: BTreeMap::new(),
            expectations: Vec::new(),
            versions: BTreeMap::new(),
            topics: BTreeMap::new(),
        };
        for (number, operation) in operations.iter().enumerate() {
            let placed = match &operation.operation {
                Some(Kind::Append(append)) => records.add(shared, number, append)?,
                Some(Kind::Offsets(_) | Kind::Settle(_)) => Vec::new(),
                None => {
                    let field = format!("operations[{number}]");
                    let message = "an operation must be one of those that this broker knows";
                    return Err(Problem::invalid_field(field, message));
                }
            };
            records.placed.push(placed);
        }
        records.check_sizes()?;
        Ok(records)
    }

    fn add(
        &mut self,
        shared: &Shared,
        number: usize,
        append: &AppendRecords,
    ) -> Result<Vec<Placed>, Problem> {
        let field = |name: &str| format!("operations[{number}].append.{name}");
        if append.records.is_empty() {
            return Err(Problem::invalid_field(
                field("records"),
                "there is no record",
            ));
        }
        let name = convert::topic_name(&field("topic"), &append.topic)?;
        let topic = shared.topic(&name);
        let topic = topic.map_err(|problem| problem.with("operation", number))?;
        self.topics
            .entry(topic.id())
            .or_insert_with(|| Arc::clone(&topic));
        let target = Target::new(&topic, append.partition, shared.next_turn());
        let target = target.map_err(|problem| problem.with("operation", number))?;
        let mut placed = Vec::with_capacity(append.records.len());
        let within = field("records");
        for (index, encoded) in (0..).zip(&append.records) {
            let at = self.placement.add(&target, encoded, (&within, index))?;
            self.first.entry(at.partition).or_insert(number);
            placed.push(at);
        }
        if let Some(Expectation::ExpectedVersion(version)) = append.expectation {
            if !topic.settings().config.has_key_versions {
                return Err(facts::without_versions(field("expected_version")));
            }
            let keys = append.records.iter().map(placement::key_of);
            let keys = keys.collect::<Result<Vec<_>, _>>()?;
            let keys = keys.iter().map(Option::as_deref);
            facts::check_one_key(keys, field("expected_version"))?;
            self.versions.insert(number, version);
        }
        if let Some(Expectation::ExpectedOffset(offset)) = append.expectation {
            let first = placed.first().copied();
            let is_elsewhere =
                |at: &Placed| first.is_none_or(|first| at.partition != first.partition);
            if placed.iter().any(is_elsewhere) {
                let message = "records with an expected offset all go to one partition";
                return Err(Problem::invalid_field(field("expected_offset"), message)
                    .with_hint("name the partition, or make one operation of each"));
            }
            self.expectations
                .extend(first.map(|first| CommitExpectation {
                    operation: number,
                    partition: first.partition,
                    records_before: first.index.into(),
                    offset: Offset::new(offset),
                }));
        }
        Ok(placed)
    }

    fn check_sizes(&self) -> Result<(), Problem> {
        let size_bytes = self.placement.size_bytes();
        if size_bytes > COMMIT_BYTES_MAX {
            let message = format!(
                "the records have {size_bytes} bytes, a commit has at most {COMMIT_BYTES_MAX}"
            );
            return Err(Problem::new(ErrorReason::BatchTooLarge, message)
                .with("size_bytes", size_bytes)
                .with("size_bytes_max", COMMIT_BYTES_MAX)
                .with(FIELD, "operations"));
        }
        let Some((partition, fault)) = self.placement.oversized() else {
            return Ok(());
        };
        let number = self.first.get(&partition).copied().unwrap_or_default();
        let error = towpath_proto::batch::BatchError {
            record: None,
            header: None,
            fault,
        };
        Err(Problem::from(error)
            .with(FIELD, format_args!("operations[{number}].append.records"))
            .with("partition", partition.partition))
    }

    /// What the records rest on.
    pub(super) fn take_expectations(&mut self) -> Vec<CommitExpectation> {
        std::mem::take(&mut self.expectations)
    }

    /// Memory that the batches take, bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        let batches = self
            .first
            .keys()
            .filter_map(|it| self.topics.get(&it.topic));
        let looked_at = batches.map(|topic| {
            let count = u32::try_from(self.placement.all_records()).unwrap_or(u32::MAX);
            facts::memory_bytes(topic, count)
        });
        self.placement.memory_bytes() + looked_at.max().unwrap_or(0)
    }

    /// How many records there are.
    pub(super) fn record_count(&self) -> u64 {
        self.placement.all_records()
    }

    /// Copies the records into batches.
    ///
    /// # Errors
    /// As [`Placement::encode`].
    pub(super) fn encode(
        &mut self,
        operations: &[Operation],
    ) -> Result<(Vec<CommitAppend>, Vec<Bytes>), Problem> {
        let of_operations = operations.iter().map(|it| match &it.operation {
            Some(Kind::Append(append)) => append.records.as_slice(),
            Some(Kind::Offsets(_) | Kind::Settle(_)) | None => &[],
        });
        let records = of_operations.zip(&self.placed);
        let records =
            records.flat_map(|(records, placed)| records.iter().zip(placed.iter().copied()));
        let batches = std::mem::take(&mut self.placement).encode(records)?;
        let appends = batches.into_iter().map(|(request, payload)| {
            let operation = self.first.get(&request.partition).copied();
            let operation = operation.unwrap_or_default();
            (CommitAppend { operation, request }, payload)
        });
        Ok(appends.unzip())
    }

    /// Reads what topics want to know of the records in their batches.
    pub(super) async fn look_at(
        &self,
        shared: &Shared,
        appends: &[CommitAppend],
        payloads: &[Bytes],
    ) -> Result<Option<Box<CarriedFacts>>, Problem> {
        let topics = self.topics.values();
        if !topics
            .clone()
            .any(|it| it.settings().config.looks_at_records())
        {
            return Ok(None);
        }
        // By place: which operation a record is of, and which of its records it is.
        let mut origins = BTreeMap::new();
        for (operation, placed) in self.placed.iter().enumerate() {
            for (number, at) in (0..).zip(placed) {
                origins.insert((at.partition, at.index), (operation, number));
            }
        }
        let to_read = appends
            .iter()
            .zip(payloads)
            .filter_map(|(append, payload)| {
                Some(BatchToRead {
                    topic: self.topics.get(&append.request.partition.topic)?,
                    payload,
                    numbered: None,
                    is_redriven: false,
                })
            });
        let to_read: Vec<_> = to_read.collect();
        let origin = |batch: usize, index: u32| {
            let partition = appends.get(batch).map(|it| it.request.partition);
            let origin = partition.and_then(|partition| origins.get(&(partition, index)));
            origin.copied().unwrap_or_default()
        };
        let asked = |batch, index| {
            let (operation, number) = origin(batch, index);
            let expected: Option<&u64> = self.versions.get(&operation);
            AskedRecord {
                origin: u32::try_from(operation).unwrap_or(u32::MAX),
                expected_version: expected.map(|version| version.saturating_add(number)),
            }
        };
        let field = |batch, index| {
            let (operation, number) = origin(batch, index);
            format!("operations[{operation}].append.records[{number}]")
        };
        facts::read(shared, &to_read, asked, field).await
    }

    /// The places of the records of each operation.
    pub(super) fn placed(&self) -> &[Vec<Placed>] {
        &self.placed
    }
}
