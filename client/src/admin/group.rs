//! Consumer groups as they are shown, moved and deleted.

use std::time::{Duration, SystemTime};

use towpath_proto::ids::{Generation, Offset, PartitionId};
use towpath_proto::names::{GroupName, TopicName};
use towpath_proto::v1;
use towpath_proto::v1::seek_group_request::Target;

use super::hex;
use crate::Error;
use crate::reader::Start;
use crate::time::from_ms;

/// A consumer group.
#[expect(clippy::struct_field_names, reason = "an id says of what it is")]
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Group {
    /// Name of the group.
    pub name: GroupName,
    /// Which life of the name this is.
    pub group_id: u64,
    /// How often owners have changed.
    pub generation: Generation,
    /// When it was created, by the broker's clock.
    pub create_time: SystemTime,
    /// What it is doing.
    pub state: GroupState,
    /// Number of its members.
    pub member_count: u32,
    /// Every member; none in a list of groups.
    pub members: Vec<GroupMember>,
    /// Every partition that it reads, by topic and number; none in a list of groups.
    pub partitions: Vec<GroupPartition>,
}

/// What a group is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GroupState {
    /// Nobody reads.
    Empty,
    /// Every partition has the owner that it should have.
    Stable,
    /// Partitions move, or wait for a member that was cut off.
    Rebalancing,
    /// One that this version does not know.
    Unknown,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupMember {
    /// The id that it drew, as 32 hexadecimal digits.
    pub member_id: String,
    /// What it calls itself.
    pub client_name: String,
    /// When it connected, by the broker's clock.
    pub join_time: SystemTime,
    /// Whether it is connected; otherwise it is awaited.
    pub is_connected: bool,
    /// Number of partitions that it owns.
    pub partition_count: u32,
}

/// How far a group is in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupPartition {
    /// Name of the topic.
    pub topic: TopicName,
    /// Number of the partition.
    pub partition: PartitionId,
    /// Offset of the first record that the group has not committed.
    pub committed_offset: Offset,
    /// The lowest offset that may still be read.
    pub log_start_offset: Offset,
    /// One past the last durable record.
    pub end_offset: Offset,
    /// Records that the group has still to commit.
    pub lag_records: u64,
    /// How long ago the first of them was appended; zero where there is none.
    pub lag: Duration,
    /// Id of the member that reads it; none if nobody does.
    pub member_id: Option<String>,
    /// When the group committed last here, by the broker's clock.
    pub commit_time: SystemTime,
    /// Records that the group has passed over because they were gone before it came to them.
    pub skipped_records: u64,
}

/// A move of a group to other offsets.
#[derive(Debug, Clone)]
#[must_use = "does nothing before it is given to `Admin::seek_group`"]
pub struct GroupSeek {
    name: String,
    topic: String,
    partitions: Vec<PartitionId>,
    target: SeekTarget,
    is_dry_run: bool,
}

#[derive(Debug, Clone)]
enum SeekTarget {
    Start(Start),
    Relative(i64),
}

impl GroupSeek {
    /// To a place in everything that the group reads.
    pub fn to(name: impl Into<String>, start: Start) -> Self {
        Self::new(name.into(), SeekTarget::Start(start))
    }

    /// So many records forward from what is committed in each partition, or back if negative, within
    /// what there is.
    pub fn by(name: impl Into<String>, records: i64) -> Self {
        Self::new(name.into(), SeekTarget::Relative(records))
    }

    const fn new(name: String, target: SeekTarget) -> Self {
        Self {
            name,
            topic: String::new(),
            partitions: Vec::new(),
            target,
            is_dry_run: false,
        }
    }

    /// Only in this topic.
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.topic = topic.into();
        self
    }

    /// Only in these partitions, for which the topic has to be named. None at all means all of them.
    pub fn partitions(mut self, partitions: impl IntoIterator<Item = PartitionId>) -> Self {
        self.partitions = partitions.into_iter().collect();
        self
    }

    /// Only asks what would happen.
    pub const fn dry_run(mut self) -> Self {
        self.is_dry_run = true;
        self
    }

    pub(super) fn to_request(&self) -> Result<v1::SeekGroupRequest, Error> {
        let target = match &self.target {
            SeekTarget::Relative(records) => Target::Relative(*records),
            SeekTarget::Start(start) => Target::Position(start.to_position().ok_or_else(|| {
                Error::invalid("position", "one seek has one place for all its partitions")
                    .with("group", &self.name)
            })?),
        };
        Ok(v1::SeekGroupRequest {
            name: self.name.clone(),
            topic: self.topic.clone(),
            partitions: self.partitions.iter().map(|it| it.get()).collect(),
            validate_only: self.is_dry_run,
            target: Some(target),
        })
    }
}

/// Where a partition of a group was, and where it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SoughtPartition {
    /// Name of the topic.
    pub topic: TopicName,
    /// Number of the partition.
    pub partition: PartitionId,
    /// Committed offset before.
    pub from_offset: Offset,
    /// Committed offset after.
    pub to_offset: Offset,
    /// Records from there to the end, which the group gets now.
    pub lag_records: u64,
}

/// A group to be deleted, with what it remembers.
#[derive(Debug, Clone)]
#[must_use = "does nothing before it is given to `Admin::delete_group`"]
pub struct GroupDeletion {
    name: String,
    is_forced: bool,
    is_dry_run: bool,
}

impl GroupDeletion {
    /// The group of this name, if no member is connected.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            is_forced: false,
            is_dry_run: false,
        }
    }

    /// Also while members are connected, which end with an error.
    pub const fn force(mut self) -> Self {
        self.is_forced = true;
        self
    }

    /// Only asks whether it would succeed.
    pub const fn dry_run(mut self) -> Self {
        self.is_dry_run = true;
        self
    }

    pub(super) fn to_request(&self) -> v1::DeleteGroupRequest {
        v1::DeleteGroupRequest {
            name: self.name.clone(),
            force: self.is_forced,
            validate_only: self.is_dry_run,
        }
    }
}

impl<T: Into<String>> From<T> for GroupDeletion {
    fn from(name: T) -> Self {
        Self::new(name)
    }
}

impl Group {
    pub(super) fn from_proto(group: v1::Group) -> Result<Self, Error> {
        let name = GroupName::new(&group.name)
            .map_err(|error| Error::protocol("the broker sent a bad group name").because(error))?;
        let state = match group.state() {
            v1::GroupState::Empty => GroupState::Empty,
            v1::GroupState::Stable => GroupState::Stable,
            v1::GroupState::Rebalancing => GroupState::Rebalancing,
            v1::GroupState::Unspecified => GroupState::Unknown,
        };
        let partitions = group.partitions.into_iter().map(GroupPartition::from_proto);
        Ok(Self {
            name,
            group_id: group.group_id,
            generation: Generation::new(group.generation),
            create_time: from_ms(group.create_time_ms),
            state,
            member_count: group.member_count,
            members: group
                .members
                .into_iter()
                .map(GroupMember::from_proto)
                .collect(),
            partitions: partitions.collect::<Result<_, _>>()?,
        })
    }
}

impl GroupMember {
    fn from_proto(member: v1::GroupMember) -> Self {
        Self {
            member_id: hex(&member.member_id),
            client_name: member.client_name,
            join_time: from_ms(member.join_time_ms),
            is_connected: member.is_connected,
            partition_count: member.partition_count,
        }
    }
}

impl GroupPartition {
    fn from_proto(partition: v1::GroupPartition) -> Result<Self, Error> {
        Ok(Self {
            topic: topic_name(&partition.topic)?,
            partition: PartitionId::new(partition.partition),
            committed_offset: Offset::new(partition.committed_offset),
            log_start_offset: Offset::new(partition.log_start_offset),
            end_offset: Offset::new(partition.end_offset),
            lag_records: partition.lag_records,
            lag: Duration::from_millis(partition.lag_ms),
            member_id: (!partition.member_id.is_empty()).then(|| hex(&partition.member_id)),
            commit_time: from_ms(partition.commit_time_ms),
            skipped_records: partition.skipped_records,
        })
    }
}

impl SoughtPartition {
    pub(super) fn from_proto(partition: &v1::SoughtPartition) -> Result<Self, Error> {
        Ok(Self {
            topic: topic_name(&partition.topic)?,
            partition: PartitionId::new(partition.partition),
            from_offset: Offset::new(partition.from_offset),
            to_offset: Offset::new(partition.to_offset),
            lag_records: partition.lag_records,
        })
    }
}

fn topic_name(name: &str) -> Result<TopicName, Error> {
    TopicName::new(name)
        .map_err(|error| Error::protocol("the broker sent a bad topic name").because(error))
}
