//! What a request to read asks for: topics, partitions, and where to begin in each.

use std::collections::BTreeMap;
use std::sync::Arc;

use towpath_proto::compression::CodecSet;
use towpath_proto::limits::PARTITIONS_PER_FETCH_MAX;
use towpath_proto::problem::Problem;
use towpath_proto::v1;
use towpath_proto::v1::position::Position as WirePosition;
use towpath_storage::{Lsn, Offset};

use super::{Shared, convert, status};
use crate::fetch::{Bounds, Cut, FetchOptions, PositionError, Source, Start, resolve};
use crate::memory::Unread;
use crate::runtime::published::TopicView;

/// What is going to be read, at one moment.
#[derive(Debug)]
pub(super) struct Opened {
    /// The topics, in the order of the request.
    pub(super) sources: Vec<Source>,
    /// The moment.
    pub(super) lsn: Lsn,
    /// What the client is told.
    pub(super) response: v1::FetchOpened,
}

/// A topic that is named in a request.
struct Named {
    topic: Arc<TopicView>,
    /// Ascending, without repetition.
    partitions: Vec<u32>,
}

/// How a fetch goes about it.
pub(super) fn options(
    shared: &Shared,
    request: &v1::FetchRequest,
    memory: &Arc<Unread>,
) -> FetchOptions {
    FetchOptions {
        is_following: request.follow,
        is_standing: false,
        is_merging: request.merge_by_lsn,
        skips_loss: request.skip_data_loss,
        stops_at_trimmed: false,
        heartbeat_interval: shared.heartbeat_interval,
        drain: shared.drain.clone(),
        memory: Arc::clone(memory),
        accepted: CodecSet::from_numbers(&request.accepted_codecs),
    }
}

/// Finds everything that a request to read names.
pub(super) async fn open(shared: &Shared, request: &v1::FetchRequest) -> Result<Opened, Problem> {
    shared.check_broker(request.broker_id.as_deref())?;
    let named = name_all(shared, &request.sources)?;
    let logs = || {
        named.iter().flat_map(|named| {
            let numbers = named.partitions.iter();
            numbers.filter_map(|number| Some(named.topic.partition(*number)?.log()))
        })
    };
    let cut = Cut::take(shared.published(), logs);
    let mut ends = cut.ends.iter();
    let (mut sources, mut topics) = (Vec::new(), Vec::new());
    for (number, (named, source)) in (0..).zip(named.iter().zip(&request.sources)) {
        let bounds = bounds(named, &mut ends);
        let place = format!("sources[{number}]");
        let starts = starts(shared, named, source, &place, &bounds).await?;
        topics.push(opened_topic(number, named, &bounds, &starts));
        sources.push(Source {
            topic: Arc::clone(&named.topic),
            starts: named.partitions.iter().copied().zip(starts).collect(),
        });
    }
    let lsn = cut.lsn.get();
    Ok(Opened {
        sources,
        lsn: cut.lsn,
        response: v1::FetchOpened {
            topics,
            lsn,
            broker_id: shared.identity.broker_id.to_string(),
        },
    })
}

/// Turns a position into offsets.
pub(in crate::api) async fn look_up(
    shared: &Shared,
    request: &v1::LookupOffsetsRequest,
) -> Result<v1::LookupOffsetsResponse, Problem> {
    let topic = shared.topic(&convert::topic_name("topic", &request.topic)?)?;
    let partitions = partitions(&topic, &request.partitions, "partitions")?;
    let named = Named { topic, partitions };
    let logs = || {
        let numbers = named.partitions.iter();
        numbers.filter_map(|number| Some(named.topic.partition(*number)?.log()))
    };
    let cut = Cut::take(shared.published(), logs);
    let bounds = bounds(&named, &mut cut.ends.iter());
    let start = start_or_beginning(request.position.as_ref(), "position")?;
    let offsets = resolve(&shared.reading, &bounds, start).await;
    let offsets = offsets.map_err(|error| status::position_refused(error, named.topic.name()))?;
    let offsets = bounds.iter().zip(offsets).map(|(bounds, offset)| {
        let range = bounds.range();
        v1::LookedUpOffset {
            partition: bounds.partition,
            offset: offset.get(),
            log_start_offset: range.start.get(),
            end_offset: range.end.get(),
        }
    });
    Ok(v1::LookupOffsetsResponse {
        offsets: offsets.collect(),
        topic_id: named.topic.id().get(),
        lsn: cut.lsn.get(),
    })
}

fn name_all(shared: &Shared, sources: &[v1::FetchSource]) -> Result<Vec<Named>, Problem> {
    if sources.is_empty() {
        return Err(Problem::invalid_field(
            "sources",
            "there is nothing to read",
        ));
    }
    let mut all: Vec<Named> = Vec::new();
    let mut partition_count = 0;
    for (number, source) in sources.iter().enumerate() {
        let place = format!("sources[{number}]");
        let named = name_one(shared, source, &place)?;
        if all.iter().any(|other| other.topic.id() == named.topic.id()) {
            let message = format!("topic \"{}\" is named twice", named.topic.name());
            return Err(Problem::invalid_field(format!("{place}.topic"), message));
        }
        partition_count += named.partitions.len();
        if partition_count > PARTITIONS_PER_FETCH_MAX as usize {
            let message = format!("a stream reads at most {PARTITIONS_PER_FETCH_MAX} partitions");
            return Err(Problem::invalid_field("sources", message));
        }
        all.push(named);
    }
    Ok(all)
}

fn name_one(shared: &Shared, source: &v1::FetchSource, place: &str) -> Result<Named, Problem> {
    let name = convert::topic_name(&format!("{place}.topic"), &source.topic)?;
    let topic = shared.topic(&name)?;
    if source.topic_id.is_some_and(|id| id != topic.id().get()) {
        return Err(status::topic_gone(&name));
    }
    let field = format!("{place}.partitions");
    let partitions = partitions(&topic, &source.partitions, &field)?;
    Ok(Named { topic, partitions })
}

/// The partitions that are asked for, or all.
pub(in crate::api) fn partitions(
    topic: &TopicView,
    asked: &[u32],
    field: &str,
) -> Result<Vec<u32>, Problem> {
    let partition_count = convert::partition_count(topic);
    if asked.is_empty() {
        return Ok((0..partition_count).collect());
    }
    if let Some(&missing) = asked.iter().find(|it| **it >= partition_count) {
        return Err(status::partition_not_found(
            topic.name(),
            missing,
            partition_count,
        ));
    }
    let mut sorted = asked.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() < asked.len() {
        return Err(Problem::invalid_field(field, "a partition is named twice"));
    }
    Ok(sorted)
}

fn bounds<'a>(named: &Named, ends: &mut impl Iterator<Item = &'a Offset>) -> Vec<Bounds> {
    let handles = named.partitions.iter().filter_map(|number| {
        let handle = named.topic.partition(*number)?;
        Some((*number, handle))
    });
    let bounds = handles.zip(ends).map(|((partition, handle), end)| Bounds {
        partition,
        log: Arc::clone(handle.log()),
        end: *end,
    });
    bounds.collect()
}

/// Where to begin in each partition: at its own offset if it has one, else where all begin.
async fn starts(
    shared: &Shared,
    named: &Named,
    source: &v1::FetchSource,
    place: &str,
    bounds: &[Bounds],
) -> Result<Vec<Offset>, Problem> {
    let own = own_offsets(named, source, place)?;
    let (with_own, others): (Vec<_>, Vec<_>) = bounds
        .iter()
        .cloned()
        .partition(|bounds| own.contains_key(&bounds.partition));
    let mut found = BTreeMap::new();
    let mut refused = Vec::new();
    for bounds in &with_own {
        let offset = own.get(&bounds.partition).copied().unwrap_or_default();
        let one = std::slice::from_ref(bounds);
        match resolve(&shared.reading, one, Start::Offset(offset)).await {
            Err(error @ PositionError::OutOfRange { .. }) => refused.push(error),
            offsets => found.extend(offsets_of(named, one, offsets)?),
        }
    }
    if let Some(first) = refused.first() {
        let topic = named.topic.name();
        return Err(status::positions_refused(*first, &refused, topic));
    }
    let start = start_or_beginning(source.start.as_ref(), &format!("{place}.start"))?;
    let offsets = resolve(&shared.reading, &others, start).await;
    found.extend(offsets_of(named, &others, offsets)?);
    Ok(found.into_values().collect())
}

fn offsets_of(
    named: &Named,
    bounds: &[Bounds],
    offsets: Result<Vec<Offset>, PositionError>,
) -> Result<Vec<(u32, Offset)>, Problem> {
    let offsets = offsets.map_err(|error| status::position_refused(error, named.topic.name()))?;
    let numbers = bounds.iter().map(|bounds| bounds.partition);
    Ok(numbers.zip(offsets).collect())
}

fn own_offsets(
    named: &Named,
    source: &v1::FetchSource,
    place: &str,
) -> Result<BTreeMap<u32, Offset>, Problem> {
    let mut own = BTreeMap::new();
    for (number, start) in source.start_offsets.iter().enumerate() {
        let partition = start.partition;
        let invalid = |message: String| {
            let field = format!("{place}.start_offsets[{number}].partition");
            Err(Problem::invalid_field(field, message))
        };
        if named.partitions.binary_search(&partition).is_err() {
            return invalid(format!("partition {partition} is not read"));
        }
        if own.insert(partition, Offset::new(start.offset)).is_some() {
            return invalid(format!("partition {partition} has two offsets"));
        }
    }
    Ok(own)
}

/// Where a position begins; none if it does not say.
pub(in crate::api) fn start(position: &v1::Position) -> Option<Start> {
    Some(match position.position.as_ref()? {
        WirePosition::Beginning(_) => Start::Beginning,
        WirePosition::Offset(offset) => Start::Offset(Offset::new(*offset)),
        WirePosition::TimeMs(time_ms) => Start::Time(*time_ms),
        WirePosition::End(_) => Start::End,
        WirePosition::LastRecords(count) => Start::LastRecords(*count),
    })
}

/// The same, where the beginning is meant if nothing is said at all.
fn start_or_beginning(position: Option<&v1::Position>, field: &str) -> Result<Start, Problem> {
    let Some(position) = position else {
        return Ok(Start::Beginning);
    };
    let message = "a position says none of the places that this broker knows";
    start(position).ok_or_else(|| Problem::invalid_field(field, message))
}

fn opened_topic(
    handle: u32,
    named: &Named,
    bounds: &[Bounds],
    starts: &[Offset],
) -> v1::OpenedTopic {
    let partitions = bounds.iter().zip(starts).map(|(bounds, start)| {
        let range = bounds.range();
        v1::OpenedPartition {
            partition: bounds.partition,
            start_offset: start.get(),
            log_start_offset: range.start.get(),
            end_offset: range.end.get(),
        }
    });
    v1::OpenedTopic {
        handle,
        topic: named.topic.name().as_str().to_owned(),
        topic_id: named.topic.id().get(),
        partitions: partitions.collect(),
    }
}
