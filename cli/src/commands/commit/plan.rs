//! A plan in JSON, and where in it something is wrong.

mod form;

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::value::RawValue;
use towpath_client::{
    Assignment, Commit, DeliveryOutcome, Due, Generation, GroupOffset, Offset, OffsetRange,
    PartitionId, PulledRecords, Record, Schedule, TopicName,
};

use crate::input::{JsonError, JsonFault, parse_record};
use form::{
    JsonAppend, JsonOffsets, JsonOperation, JsonOutcome, JsonPlan, JsonRange, JsonSchedule,
    JsonSettle,
};

/// What is to be done at once.
#[derive(Debug)]
pub(super) struct Plan {
    operations: Vec<Operation>,
}

#[derive(Debug)]
struct Operation {
    /// Where it stands in the plan, from 1.
    line: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Append {
        topic: String,
        records: Vec<Record>,
    },
    Schedule {
        topic: String,
        schedule: Box<Schedule>,
    },
    Settle {
        pulled: PulledRecords,
        outcome: DeliveryOutcome,
    },
    Offsets {
        group: String,
        member_id: [u8; 16],
        offsets: Vec<GroupOffset>,
    },
}

/// What is wrong with a plan, and where.
#[derive(Debug)]
pub(super) struct PlanFault {
    /// Such as `operations[2].append`; empty for the plan as a whole.
    path: String,
    line: usize,
    cause: Cause,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("{0}")]
    Json(JsonError),
    #[error(transparent)]
    Record(#[from] JsonFault),
    #[error("{0}")]
    Said(String),
}

impl fmt::Display for PlanFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, cause } = self;
        match path.is_empty() {
            true => write!(f, "not a plan, line {line}: {cause}"),
            false => write!(f, "{path}, line {line}: {cause}"),
        }
    }
}

impl Plan {
    /// Reads a plan.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, PlanFault> {
        let plan: JsonPlan<'_> =
            serde_json::from_str(text).map_err(|error| fault(String::new(), 1, error))?;
        let operations = plan.operations.iter().enumerate();
        let operations = operations.map(|(number, raw)| {
            let line = line_of(text, raw);
            let path = format!("operations[{number}]");
            let kind = read_operation(text, &path, raw)?;
            Ok(Operation { line, kind })
        });
        let operations = operations.collect::<Result<_, _>>()?;
        Ok(Self { operations })
    }

    /// Adds the operations to a commit.
    pub(super) fn to_commit(&self, commit: Commit) -> Commit {
        let operations = self.operations.iter();
        operations.fold(commit, |commit, operation| match &operation.kind {
            Kind::Append { topic, records } => commit.append_all(topic, records.iter().cloned()),
            Kind::Schedule { schedule, .. } => commit.schedule(Schedule::clone(schedule)),
            Kind::Settle { pulled, outcome } => {
                commit.settle_pulled(pulled.clone(), outcome.clone())
            }
            Kind::Offsets {
                group,
                member_id,
                offsets,
            } => commit.offsets_of_member(group, *member_id, offsets),
        })
    }

    /// How an operation is named where it fails.
    pub(super) fn place_of(&self, number: usize) -> Option<String> {
        let operation = self.operations.get(number)?;
        Some(format!("operations[{number}], line {}", operation.line))
    }

    /// The topic of each operation; none for one that writes nothing.
    pub(super) fn topics(&self) -> impl Iterator<Item = Option<&str>> {
        self.operations.iter().map(|it| match &it.kind {
            Kind::Append { topic, .. } | Kind::Schedule { topic, .. } => Some(topic.as_str()),
            Kind::Settle { .. } | Kind::Offsets { .. } => None,
        })
    }
}

fn read_operation(text: &str, path: &str, raw: &RawValue) -> Result<Kind, PlanFault> {
    let line = line_of(text, raw);
    let read = serde_json::from_str(raw.get());
    match read.map_err(|error| fault(path.to_owned(), line, error))? {
        JsonOperation::Append(append) => read_append(text, &format!("{path}.append"), append),
        JsonOperation::Schedule(schedule) => {
            read_schedule(text, &format!("{path}.schedule"), line, schedule)
        }
        JsonOperation::Settle(settle) => {
            let said = |message| said(format!("{path}.settle"), line, message);
            read_settle(settle).map_err(said)
        }
        JsonOperation::Offsets(offsets) => {
            let said = |message| said(format!("{path}.offsets"), line, message);
            read_offsets(offsets).map_err(said)
        }
    }
}

fn read_append(text: &str, path: &str, append: JsonAppend<'_>) -> Result<Kind, PlanFault> {
    let mut records = Vec::with_capacity(append.records.len());
    for (number, raw) in append.records.iter().enumerate() {
        let record = parse_record(raw.get().as_bytes());
        let record = record.map_err(|cause| {
            let path = format!("{path}.records[{number}]");
            fault_of_record(path, line_of(text, raw), cause)
        })?;
        let record = match append.partition {
            Some(partition) => record.partition(PartitionId::new(partition)),
            None => record,
        };
        records.push(match (append.expected_offset, append.expected_version) {
            // What follows in the same commit follows on it: nothing of others comes between.
            (Some(offset), _) if number == 0 => record.expect_offset(Offset::new(offset)),
            (_, Some(version)) => record.expect_version(version.saturating_add(number as u64)),
            _ => record,
        });
    }
    let line = append.records.first().map_or(1, |raw| line_of(text, raw));
    if append.records.is_empty() {
        let message = "there is no record".to_owned();
        return Err(said(format!("{path}.records"), line, message));
    }
    if append.expected_offset.is_some() && append.partition.is_none() {
        let message = "an expected_offset needs a partition".to_owned();
        return Err(said(path.to_owned(), line, message));
    }
    if append.expected_offset.is_some() && append.expected_version.is_some() {
        let message = "expected_offset and expected_version are both there".to_owned();
        return Err(said(path.to_owned(), line, message));
    }
    let key = records.first().and_then(Record::key_bytes);
    let has_one_key = key.is_some() && records.iter().all(|it| it.key_bytes() == key);
    if append.expected_version.is_some() && !has_one_key {
        let message = "an expected_version needs records that all have the same key".to_owned();
        return Err(said(path.to_owned(), line, message));
    }
    Ok(Kind::Append {
        topic: append.topic,
        records,
    })
}

fn read_schedule(
    text: &str,
    path: &str,
    line: usize,
    json: JsonSchedule<'_>,
) -> Result<Kind, PlanFault> {
    let said = |message: &str| said(path.to_owned(), line, message.to_owned());
    let record = parse_record(json.record.get().as_bytes());
    let record = record.map_err(|cause| {
        fault_of_record(format!("{path}.record"), line_of(text, json.record), cause)
    })?;
    let record = match json.partition {
        Some(partition) => record.partition(PartitionId::new(partition)),
        None => record,
    };
    let due = match (json.at, json.delay_ms) {
        (None, Some(delay_ms)) => Due::After(Duration::from_millis(delay_ms)),
        (Some(at), None) => {
            let at: Result<Timestamp, _> = at.parse();
            let at = at.map_err(|_error| said("at is a time such as 2026-12-24T18:00:00Z"))?;
            Due::At(at.into())
        }
        (None, None) | (Some(_), Some(_)) => return Err(said("either at or delay_ms is needed")),
    };
    let schedule = Schedule::new(&json.topic, record).due(due);
    Ok(Kind::Schedule {
        topic: json.topic,
        schedule: Box::new(schedule.id(json.schedule_id)),
    })
}

fn read_settle(settle: JsonSettle) -> Result<Kind, String> {
    let ranges = settle.ranges.iter().map(|JsonRange { start, end }| {
        OffsetRange::new(Offset::new(*start), Offset::new(*end))
            .ok_or_else(|| format!("a range ends at {end}, before it starts at {start}"))
    });
    let ranges: Vec<_> = ranges.collect::<Result<_, _>>()?;
    let (outcome, reason) = (settle.outcome, settle.reason);
    if reason.is_some() && matches!(outcome, JsonOutcome::Ack | JsonOutcome::Release) {
        return Err("only a nack or a dead_letter has a reason".to_owned());
    }
    if settle.delay_ms.is_some() && outcome != JsonOutcome::Nack {
        return Err("only a nack has a delay_ms".to_owned());
    }
    let reason = reason.unwrap_or_default();
    let outcome = match outcome {
        JsonOutcome::Ack => DeliveryOutcome::Ack,
        JsonOutcome::Nack => DeliveryOutcome::Nack {
            delay: settle.delay_ms.map(Duration::from_millis),
            reason,
        },
        JsonOutcome::Release => DeliveryOutcome::Release,
        JsonOutcome::DeadLetter => DeliveryOutcome::DeadLetter { reason },
    };
    let partition = PartitionId::new(settle.partition);
    let pulled = PulledRecords::new(settle.subscription, settle.delivery, partition, ranges);
    let pulled = match settle.is_dead_letter {
        true => pulled.of_dead_letters(),
        false => pulled,
    };
    Ok(Kind::Settle { pulled, outcome })
}

fn read_offsets(json: JsonOffsets) -> Result<Kind, String> {
    let id = u128::from_str_radix(&json.member_id, 16).ok();
    let id = id.filter(|_| json.member_id.len() == 32);
    let id = id.ok_or_else(|| "a member_id has 32 hexadecimal digits".to_owned())?;
    let offsets = json.offsets.into_iter().map(|it| {
        let topic = TopicName::new(&it.topic).map_err(|error| format!("topic: {error}"))?;
        let partition = PartitionId::new(it.partition);
        let assignment = Assignment::new(topic, partition, Generation::new(it.generation));
        Ok(GroupOffset::new(&assignment, Offset::new(it.offset)))
    });
    Ok(Kind::Offsets {
        group: json.group,
        member_id: bytes_of(id),
        offsets: offsets.collect::<Result<_, String>>()?,
    })
}

/// The bytes as the digits have them, from left to right.
fn bytes_of(id: u128) -> [u8; 16] {
    std::array::from_fn(|place| {
        let [byte, ..] = (id >> (8 * (15 - place))).to_le_bytes();
        byte
    })
}

fn said(path: String, line: usize, message: String) -> PlanFault {
    PlanFault {
        path,
        line,
        cause: Cause::Said(message),
    }
}

/// A fault of something that begins on a line.
fn fault(path: String, line: usize, error: serde_json::Error) -> PlanFault {
    let error = JsonError::from(error);
    PlanFault {
        path,
        line: line + error.line() - 1,
        cause: Cause::Json(error.without_line()),
    }
}

fn fault_of_record(path: String, line: usize, cause: JsonFault) -> PlanFault {
    let (line, cause) = match cause {
        JsonFault::Form(error) => (
            line + error.line() - 1,
            JsonFault::Form(error.without_line()),
        ),
        cause => (line, cause),
    };
    PlanFault {
        path,
        line,
        cause: cause.into(),
    }
}

/// The line on which a part of the text begins, from 1.
fn line_of(text: &str, part: &RawValue) -> usize {
    let place = part.get().as_ptr().addr() - text.as_ptr().addr();
    let before = text.as_bytes().get(..place).unwrap_or_default();
    before.split(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests;
