//! Showing groups: who reads, and how far behind they are.

use towpath_proto::limits::{PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX};
use towpath_proto::names::GroupName;
use towpath_proto::problem::Problem;
use towpath_proto::v1;
use towpath_storage::{Lsn, PartitionRef};

use super::{Shared, group_name, status};
use crate::core::{Group, GroupActivity, GroupPartition, GroupSummary, MemberId};
use crate::fetch::Lag;
use crate::runtime::command::{CommandError, ControlCommand};
use crate::runtime::group_command::GroupCommand;
use crate::runtime::published::TopicTable;

/// Shows one group.
pub(super) async fn get(
    shared: &Shared,
    request: &v1::GetGroupRequest,
) -> Result<v1::GetGroupResponse, Problem> {
    let group = find(shared, "name", &request.name).await?;
    let lsn = shared.published().durable();
    let topics = shared.published().topics();
    let mut partitions = Vec::new();
    for (place, known) in group.partitions() {
        let reader = group.reader_of(known);
        partitions.extend(partition(shared, &topics, place, known, reader).await);
    }
    Ok(v1::GetGroupResponse {
        group: Some(v1::Group {
            members: members(&group),
            partitions,
            ..summary(group.summary())
        }),
        lsn: Lsn::get(lsn),
    })
}

/// The group of a name as it is now.
pub(super) async fn find(shared: &Shared, field: &str, name: &str) -> Result<Group, Problem> {
    let name = group_name(field, name)?;
    let found = shared.control(|answer| {
        let name = name.clone();
        ControlCommand::Group(GroupCommand::Get { name, answer })
    });
    let found = match found.await {
        Err(CommandError::Refused(_)) => return Err(not_found(shared, &name).await),
        found => found,
    };
    found.map_err(|error| {
        status::command_failed(error, |missing| status::group_not_found(&missing.name))
    })
}

/// Looks whether another name was meant.
async fn not_found(shared: &Shared, name: &GroupName) -> Problem {
    let page = shared.control(|answer| {
        ControlCommand::Group(GroupCommand::List {
            after: None,
            prefix: String::new(),
            count_max: PAGE_SIZE_MAX as usize,
            answer,
        })
    });
    let groups = page.await.map(|page| page.groups).unwrap_or_default();
    status::group_not_among(name, &groups)
}

/// A page begins behind the name that is the token of the page before it.
pub(super) async fn list(
    shared: &Shared,
    request: v1::ListGroupsRequest,
) -> Result<v1::ListGroupsResponse, Problem> {
    let after = match request.page_token.as_str() {
        "" => None,
        token => Some(parse_page_token(token)?),
    };
    let count_max = match request.page_size {
        0 => PAGE_SIZE_DEFAULT,
        size => size.min(PAGE_SIZE_MAX),
    };
    let page = shared.control(|answer| {
        ControlCommand::Group(GroupCommand::List {
            after,
            prefix: request.name_prefix,
            count_max: count_max as usize,
            answer,
        })
    });
    let page = page
        .await
        .map_err(|error| status::command_failed(error, |never| match never {}))?;
    let last = page.groups.last().map(|group| group.name.to_string());
    Ok(v1::ListGroupsResponse {
        groups: page.groups.into_iter().map(summary).collect(),
        next_page_token: last.filter(|_| page.has_more).unwrap_or_default(),
    })
}

fn parse_page_token(token: &str) -> Result<GroupName, Problem> {
    GroupName::new(token).map_err(|_not_a_name| {
        Problem::invalid_field("page_token", "page token is not one that this broker gave")
    })
}

fn summary(group: GroupSummary) -> v1::Group {
    let state = match group.activity {
        GroupActivity::Empty => v1::GroupState::Empty,
        GroupActivity::Stable => v1::GroupState::Stable,
        GroupActivity::Rebalancing => v1::GroupState::Rebalancing,
    };
    v1::Group {
        name: group.name.to_string(),
        group_id: group.id.get(),
        generation: group.generation.0,
        create_time_ms: group.create_time_ms,
        state: state.into(),
        member_count: u32::try_from(group.member_count).unwrap_or(u32::MAX),
        members: Vec::new(),
        partitions: Vec::new(),
    }
}

fn members(group: &Group) -> Vec<v1::GroupMember> {
    let owns = |id: MemberId| {
        let owners = group.partitions().filter_map(|(_, known)| known.owner);
        owners.filter(|owner| owner.member == id).count()
    };
    let members = group.members().map(|(id, member)| v1::GroupMember {
        member_id: id.as_bytes().to_vec().into(),
        client_name: member.client_name.clone(),
        join_time_ms: member.joined_at_ms,
        is_connected: member.session().is_some(),
        partition_count: u32::try_from(owns(id)).unwrap_or(u32::MAX),
    });
    members.collect()
}

async fn partition(
    shared: &Shared,
    topics: &TopicTable,
    place: PartitionRef,
    known: &GroupPartition,
    reader: Option<MemberId>,
) -> Option<v1::GroupPartition> {
    let topic = topics.with_id(place.topic)?;
    let log = topic.partition(place.partition)?.log();
    let lag = Lag::of(log, known.committed);
    let since_ms = shared.reading.lagging_since_ms(log, lag).await;
    let lag_ms = Lag::age_ms(since_ms, shared.broker_time_ms());
    Some(v1::GroupPartition {
        topic: topic.name().as_str().to_owned(),
        partition: place.partition,
        committed_offset: known.committed.get(),
        log_start_offset: lag.log_start.get(),
        end_offset: lag.end.get(),
        lag_records: lag.records(),
        lag_ms,
        member_id: reader
            .map(|member| member.as_bytes().to_vec().into())
            .unwrap_or_default(),
        commit_time_ms: known.commit_time_ms,
        skipped_records: known.skipped_count,
    })
}
