//! Moving a group.

use std::collections::BTreeMap;

use towpath_proto::problem::Problem;
use towpath_proto::v1;
use towpath_proto::v1::seek_group_request::Target;
use towpath_storage::{Offset, PartitionRef, TopicId};

use super::join::bounds_of;
use super::{Shared, convert, show, status};
use crate::api::fetch::request;
use crate::core::{Group, SeekGroup, SoughtPartition};
use crate::fetch::{Bounds, Start, resolve};
use crate::runtime::command::ControlCommand;
use crate::runtime::group_command::GroupCommand;
use crate::runtime::published::{PartitionHandle, TopicView};

/// Moves a group, or says what would happen.
pub(super) async fn seek(
    shared: &Shared,
    request: v1::SeekGroupRequest,
) -> Result<v1::SeekGroupResponse, Problem> {
    let group = show::find(shared, "name", &request.name).await?;
    shared.refuse_when_draining()?;
    let chosen = partitions(shared, &group, &request)?;
    let target = SeekTarget::of(&request).ok_or_else(|| target_unset(&group, &chosen))?;
    let mut positions = Vec::new();
    for (topic, partitions) in chosen {
        positions.extend(offsets(shared, &group, &topic, partitions, target).await?);
    }
    let wish = SeekGroup {
        name: group.name().clone(),
        positions,
    };
    let sought = shared.control(|answer| {
        ControlCommand::Group(GroupCommand::Seek {
            wish,
            is_dry_run: request.validate_only,
            answer,
        })
    });
    let sought = sought.await.map_err(|error| {
        status::command_failed(error, |refusal| {
            status::seek_refused(refusal, &shared.published().topics())
        })
    })?;
    let partitions = sought.iter().filter_map(|it| describe(shared, it));
    Ok(v1::SeekGroupResponse {
        partitions: partitions.collect(),
    })
}

type TopicRef = std::sync::Arc<TopicView>;

/// Where to go on.
#[derive(Debug, Clone, Copy)]
enum SeekTarget {
    Start(Start),
    Relative(i64),
}

impl SeekTarget {
    /// None if it is not said.
    fn of(request: &v1::SeekGroupRequest) -> Option<Self> {
        match request.target.as_ref()? {
            Target::Position(position) => request::start(position).map(Self::Start),
            Target::Relative(count) => Some(Self::Relative(*count)),
        }
    }
}

fn target_unset(group: &Group, chosen: &[(TopicRef, Vec<u32>)]) -> Problem {
    let logs = chosen.iter().flat_map(|(topic, partitions)| {
        let handles = partitions.iter().filter_map(|it| topic.partition(*it));
        handles.map(PartitionHandle::log)
    });
    status::seek_target_unset(group.name(), logs)
}

/// What is to be moved: by topic, the numbers of its partitions.
fn partitions(
    shared: &Shared,
    group: &Group,
    request: &v1::SeekGroupRequest,
) -> Result<Vec<(TopicRef, Vec<u32>)>, Problem> {
    let topics = shared.published().topics();
    let mut read: BTreeMap<TopicId, Vec<u32>> = BTreeMap::new();
    for (place, _) in group.partitions() {
        read.entry(place.topic).or_default().push(place.partition);
    }
    if request.topic.is_empty() {
        if !request.partitions.is_empty() {
            let message = "partitions belong to a topic";
            return Err(Problem::invalid_field("partitions", message));
        }
        let found = read.into_iter().filter_map(|(topic, partitions)| {
            let topic = topics.with_id(topic)?;
            Some((std::sync::Arc::clone(topic), partitions))
        });
        return Ok(found.collect());
    }
    let topic = shared.topic(&convert::topic_name("topic", &request.topic)?)?;
    if !read.contains_key(&topic.id()) {
        let message = format!(
            "group \"{}\" does not read topic \"{}\"",
            group.name(),
            topic.name()
        );
        return Err(Problem::invalid_field("topic", message));
    }
    let partitions = request::partitions(&topic, &request.partitions, "partitions")?;
    Ok(vec![(topic, partitions)])
}

async fn offsets(
    shared: &Shared,
    group: &Group,
    topic: &TopicView,
    partitions: Vec<u32>,
    target: SeekTarget,
) -> Result<Vec<(PartitionRef, Offset)>, Problem> {
    let bounds = bounds_of(shared, topic);
    let bounds: Vec<_> = bounds
        .into_iter()
        .filter(|it| partitions.binary_search(&it.partition).is_ok())
        .collect();
    let place = |partition| PartitionRef {
        topic: topic.id(),
        partition,
    };
    let offsets = match target {
        SeekTarget::Start(start) => {
            let offsets = resolve(&shared.reading, &bounds, start).await;
            offsets.map_err(|error| status::position_refused(error, topic.name()))?
        }
        SeekTarget::Relative(count) => {
            let moved = bounds.iter().map(|bounds| {
                let known = group.partition(place(bounds.partition));
                let committed = known.map_or(Offset::ZERO, |known| known.committed);
                moved(committed, count, bounds)
            });
            moved.collect()
        }
    };
    let places = bounds.iter().map(|bounds| place(bounds.partition));
    Ok(places.zip(offsets).collect())
}

/// So many records further on, or back, within what there is.
fn moved(committed: Offset, count: i64, bounds: &Bounds) -> Offset {
    let range = bounds.range();
    let target = committed.get().saturating_add_signed(count);
    Offset::new(target.clamp(range.start.get(), range.end.get()))
}

fn describe(shared: &Shared, sought: &SoughtPartition) -> Option<v1::SoughtPartition> {
    let topics = shared.published().topics();
    let topic = topics.with_id(sought.partition.topic)?;
    let log = topic.partition(sought.partition.partition)?.log();
    Some(v1::SoughtPartition {
        topic: topic.name().as_str().to_owned(),
        partition: sought.partition.partition,
        from_offset: sought.from.get(),
        to_offset: sought.to.get(),
        lag_records: log.end().since(sought.to),
    })
}
