//! Publishing a few records: placed by key, written as one entry.

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::sync::oneshot;
use towpath_proto::batch::{BatchError, Fault};
use towpath_proto::limits::{BATCH_BYTES_MAX, RECORDS_PER_BATCH_MAX};
use towpath_proto::problem::{FIELD, Problem};
use towpath_proto::v1;
use towpath_proto::wire::PublishRequest;

use super::super::facts::{self, AskedRecord, BatchToRead};
use super::super::placement::Placed;
use super::super::places;
use super::{InFlight, Placement, Shared, Target, convert, status};
use crate::core::{AppendRefusal, AppendRequest};
use crate::memory::MessageMemory;
use crate::runtime::command::{CarriedFacts, CommandError, DataCommand, Permits};
use crate::runtime::published::TopicView;

/// Writes records to one topic: all of them or none. `received` is the memory of the request.
pub(super) async fn publish(
    shared: &Shared,
    request: PublishRequest,
    received: Option<MessageMemory>,
) -> Result<v1::PublishResponse, Problem> {
    shared.refuse_when_draining()?;
    let name = convert::topic_name("topic", &request.topic)?;
    let topic = shared.topic(&name)?;
    check_count(request.records.len())?;
    let target = Target::new(&topic, request.partition, shared.next_turn())?;
    let mut placement = Placement::default();
    let records = (0..).zip(&request.records);
    let placed = records.map(|(index, bytes)| placement.add(&target, bytes, ("records", index)));
    let placed = placed.collect::<Result<Vec<_>, _>>()?;
    check_size(placement.size_bytes())?;
    let record_count = u32::try_from(request.records.len()).unwrap_or(u32::MAX);
    let memory_bytes = placement.memory_bytes() + facts::memory_bytes(&topic, record_count);
    let permit = InFlight::take(&shared.in_flight.all, memory_bytes).await;
    let appends = placement.encode(request.records.iter().zip(placed.iter().copied()))?;
    let facts = look_at(shared, &topic, &appends, &placed).await?;
    // The batches are copies: from here on the permit stands for all that is held.
    drop((request, received));
    let held = Vec::from_iter(permit);
    let partitions: Vec<u32> = appends
        .iter()
        .map(|(request, _)| request.partition.partition)
        .collect();
    let counts = appends.iter().map(|(request, _)| request.record_count);
    let tally = Some(shared.tally(counts.map(u64::from).sum()));
    let (answer, published) = oneshot::channel();
    shared.push(DataCommand::Publish {
        appends,
        facts,
        letters: None,
        answer,
        permits: Permits { held, tally },
    });
    let published = published.await.unwrap_or(Err(CommandError::Failed));
    let published = published.map_err(|error| {
        status::command_failed(error, |refusal| {
            let origin = match &refusal {
                AppendRefusal::ExpectedVersionMismatch(mismatch) => Some(mismatch.origin),
                AppendRefusal::StaleEntityVersion { origin, .. } => Some(*origin),
                _ => None,
            };
            let partition = origin.and_then(|record| placed.get(record as usize));
            let partition = partition.map_or(0, |placed| placed.partition.partition);
            let problem = status::append_refused(refusal, &name, partition, 0);
            match origin {
                Some(record) => problem.with(FIELD, format_args!("records[{record}]")),
                None => problem,
            }
        })
    })?;
    let unwritten = published.unwritten.iter().map(Vec::as_slice);
    let unwritten = unwritten.chain(std::iter::repeat(&[][..]));
    let batches = published.base_offsets.iter().copied().zip(unwritten);
    let batches: BTreeMap<_, _> = partitions.into_iter().zip(batches).collect();
    let positions = placed.iter().filter_map(|placed| {
        let partition = placed.partition.partition;
        let (base, unwritten) = *batches.get(&partition)?;
        Some(places::position(partition, base, unwritten, placed.index))
    });
    Ok(v1::PublishResponse {
        positions: positions.collect(),
        lsn: published.lsn.get(),
        append_time_ms: published.append_time_ms,
    })
}

/// Reads what the topic wants to know of the records.
async fn look_at(
    shared: &Shared,
    topic: &TopicView,
    appends: &[(AppendRequest, Bytes)],
    placed: &[Placed],
) -> Result<Option<Box<CarriedFacts>>, Problem> {
    if !topic.settings().config.looks_at_records() {
        return Ok(None);
    }
    let numbers = (0..).zip(placed);
    let numbers: BTreeMap<_, u32> = numbers
        .map(|(number, it)| ((it.partition, it.index), number))
        .collect();
    let to_read: Vec<_> = appends
        .iter()
        .map(|(_, payload)| BatchToRead {
            topic,
            payload,
            numbered: None,
            is_redriven: false,
        })
        .collect();
    let number = |batch: usize, index: u32| {
        let partition = appends.get(batch).map(|(request, _)| request.partition);
        let number = partition.and_then(|partition| numbers.get(&(partition, index)));
        number.copied().unwrap_or_default()
    };
    let asked = |batch, index| AskedRecord {
        origin: number(batch, index),
        expected_version: None,
    };
    let field = |batch, index| format!("records[{}]", number(batch, index));
    facts::read(shared, &to_read, asked, field).await
}

fn check_count(record_count: usize) -> Result<(), Problem> {
    if record_count == 0 {
        return Err(Problem::invalid_field("records", "there is no record"));
    }
    if record_count > RECORDS_PER_BATCH_MAX as usize {
        let fault = Fault::TooManyRecords {
            records_max: RECORDS_PER_BATCH_MAX,
        };
        return Err(Problem::invalid_field("records", fault.to_string()));
    }
    Ok(())
}

fn check_size(size_bytes: usize) -> Result<(), Problem> {
    if size_bytes > BATCH_BYTES_MAX {
        let fault = Fault::BatchTooLarge {
            size_bytes,
            size_bytes_max: BATCH_BYTES_MAX,
        };
        let error = BatchError {
            record: None,
            header: None,
            fault,
        };
        return Err(Problem::from(error).with(FIELD, "records"));
    }
    Ok(())
}
