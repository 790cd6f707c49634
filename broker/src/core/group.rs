//! Consumer groups: who reads which partition, and how far each has come.
//!
//! What must survive a restart is rows: groups, and of each partition of a group the committed offset and
//! the owner with the generation in which it became that. Members, their sessions and everything that
//! waits are volatile: after a restart the owners are given time to come back, and go on with what they
//! have.
//!
//! Only what moves is taken away. A partition that is to move is first *revoked*: its owner finishes,
//! commits and gives it back, or loses it when the grace is over. Then it gets another owner in a new
//! generation, and a commit of an older one is refused. All others never notice.

mod assignment;
mod balance;
mod commit;
mod join;
mod membership;
mod seek;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use towpath_proto::names::GroupName;
use towpath_storage::{Offset, PartitionRef, TopicId};

use super::row::{GroupPartitionRow, GroupRow};

pub use balance::GroupDecision;
pub use commit::{Commit, CommitRefusal, CommitVerdict};
pub use join::{JoinGroup, JoinRefusal, TopicStart};
pub use membership::Departure;
pub use seek::{DeleteGroupRefusal, SeekGroup, SeekRefusal, SoughtPartition};

/// Number of a group; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(u64);

impl GroupId {
    /// Wraps a number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Identity of a member: 128 random bits that it draws once and keeps through reconnects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId([u8; 16]);

impl MemberId {
    /// Wraps the bytes.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// One connection of a member, numbered by the broker within its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// Number of a change of owners within a group, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// Who reads a partition, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The member.
    pub member: MemberId,
    /// The generation in which it got the partition, or in which the partition was last sought.
    pub generation: Generation,
}

/// How far a group has come in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupPartition {
    /// Offset of the next record that nobody has handled.
    pub committed: Offset,
    /// Broker time of the last commit or seek, milliseconds since the Unix epoch.
    pub commit_time_ms: i64,
    /// Who reads it.
    pub owner: Option<Owner>,
    /// Records that members were told of as gone and that were committed over.
    pub skipped_count: u64,
    /// While the owner is asked to give it back, broker time at which it loses it; volatile.
    pub(super) revoked_until_ms: Option<i64>,
}

impl GroupPartition {
    pub(super) fn at(committed: Offset, now_ms: i64) -> Self {
        Self {
            committed,
            commit_time_ms: now_ms,
            owner: None,
            skipped_count: 0,
            revoked_until_ms: None,
        }
    }

    /// Whether a member owns it in this generation.
    pub(super) fn is_owned_by(&self, member: MemberId, generation: Generation) -> bool {
        self.owner
            .is_some_and(|it| it.member == member && it.generation == generation)
    }

    /// The same, read by nobody.
    pub(super) fn without_owner(&self) -> Self {
        Self {
            owner: None,
            ..self.clone()
        }
    }

    /// What is volatile stays while the owner is the same.
    pub(super) fn take_row(&mut self, row: &GroupPartitionRow) {
        let after = Self::from_row(row);
        let keeps_owner = self.owner == after.owner;
        let revoked_until_ms = self.revoked_until_ms.filter(|_| keeps_owner);
        *self = Self {
            revoked_until_ms,
            ..after
        };
    }

    pub(super) fn from_row(row: &GroupPartitionRow) -> Self {
        let member: Option<[u8; 16]> = row.owner.as_ref().try_into().ok();
        Self {
            committed: Offset::new(row.committed),
            commit_time_ms: row.commit_time_ms,
            owner: member.map(|member| Owner {
                member: MemberId(member),
                generation: Generation(row.generation),
            }),
            skipped_count: row.skipped_count,
            revoked_until_ms: None,
        }
    }

    pub(super) fn to_row(&self) -> GroupPartitionRow {
        let owner = self.owner.as_ref();
        GroupPartitionRow {
            committed: self.committed.get(),
            commit_time_ms: self.commit_time_ms,
            owner: owner
                .map(|owner| owner.member.0.to_vec().into())
                .unwrap_or_default(),
            generation: owner.map_or(0, |owner| owner.generation.0),
            skipped_count: self.skipped_count,
        }
    }
}

/// Somebody who reads for a group. Volatile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What it calls itself, for people.
    pub client_name: String,
    /// The topics that it reads.
    pub topics: BTreeSet<TopicId>,
    /// Broker time at which it joined, milliseconds since the Unix epoch.
    pub joined_at_ms: i64,
    /// Whether it is connected.
    pub presence: Presence,
}

/// Whether a member is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Its connection.
    Connected(SessionId),
    /// It may come back until then, broker time in milliseconds since the Unix epoch.
    AwaitedUntil(i64),
}

impl Member {
    /// Its connection, if it has one.
    pub fn session(&self) -> Option<SessionId> {
        match self.presence {
            Presence::Connected(session) => Some(session),
            Presence::AwaitedUntil(_) => None,
        }
    }
}

/// What a group is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupActivity {
    /// Nobody reads.
    Empty,
    /// Every partition has the owner that it should have, and all members are there.
    Stable,
    /// Partitions move, or a member is awaited.
    Rebalancing,
}

/// What a list says of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSummary {
    /// Its number.
    pub id: GroupId,
    /// Its name.
    pub name: GroupName,
    /// Broker time of its creation, milliseconds since the Unix epoch.
    pub create_time_ms: i64,
    /// How often owners have changed.
    pub generation: Generation,
    /// What it is doing.
    pub activity: GroupActivity,
    /// How many members it has.
    pub member_count: usize,
}

/// A named set of readers that share partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub(super) id: GroupId,
    pub(super) name: GroupName,
    pub(super) create_time_ms: i64,
    pub(super) generation: Generation,
    pub(super) partitions: BTreeMap<PartitionRef, GroupPartition>,
    pub(super) members: BTreeMap<MemberId, Member>,
    /// While owners are to be looked at again: when.
    pub(super) balance: Option<BalanceWish>,
}

/// When owners are looked at again. Volatile, broker time in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BalanceWish {
    /// First wished for.
    pub(super) since_ms: i64,
    /// Due.
    pub(super) at_ms: i64,
}

impl Group {
    pub(super) fn new(id: GroupId, name: GroupName, row: &GroupRow) -> Self {
        Self {
            id,
            name,
            create_time_ms: row.create_time_ms,
            generation: Generation(row.generation),
            partitions: BTreeMap::new(),
            members: BTreeMap::new(),
            balance: None,
        }
    }

    /// Its number.
    pub fn id(&self) -> GroupId {
        self.id
    }

    /// Its name.
    pub fn name(&self) -> &GroupName {
        &self.name
    }

    /// Broker time of its creation, milliseconds since the Unix epoch.
    pub fn create_time_ms(&self) -> i64 {
        self.create_time_ms
    }

    /// How often owners have changed.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Its partitions.
    pub fn partitions(&self) -> impl Iterator<Item = (PartitionRef, &GroupPartition)> {
        self.partitions.iter().map(|(place, known)| (*place, known))
    }

    /// The member that reads a partition, if one does. Who has just left is still its owner on disk,
    /// until the group has looked for another.
    pub fn reader_of(&self, partition: &GroupPartition) -> Option<MemberId> {
        let owner = partition.owner.map(|owner| owner.member);
        owner.filter(|member| self.members.contains_key(member))
    }

    /// One of its partitions.
    pub fn partition(&self, partition: PartitionRef) -> Option<&GroupPartition> {
        self.partitions.get(&partition)
    }

    /// Its members.
    pub fn members(&self) -> impl Iterator<Item = (MemberId, &Member)> {
        self.members.iter().map(|(id, member)| (*id, member))
    }

    /// Whether it has a position in a topic.
    pub fn reads(&self, topic: TopicId) -> bool {
        let first = PartitionRef {
            topic,
            partition: 0,
        };
        let next = self.partitions.range(first..).next();
        next.is_some_and(|(place, _)| place.topic == topic)
    }

    /// What it is doing.
    pub fn activity(&self) -> GroupActivity {
        let is_there = |member: &Member| member.session().is_some();
        if self.members.is_empty() {
            GroupActivity::Empty
        } else if self.balance.is_some()
            || !self.members.values().all(is_there)
            || self
                .partitions
                .values()
                .any(|it| it.revoked_until_ms.is_some())
        {
            GroupActivity::Rebalancing
        } else {
            GroupActivity::Stable
        }
    }

    /// What a list says of it.
    pub fn summary(&self) -> GroupSummary {
        GroupSummary {
            id: self.id,
            name: self.name.clone(),
            create_time_ms: self.create_time_ms,
            generation: self.generation,
            activity: self.activity(),
            member_count: self.members.len(),
        }
    }

    pub(super) fn to_row(&self) -> GroupRow {
        GroupRow {
            name: self.name.as_str().to_owned(),
            create_time_ms: self.create_time_ms,
            generation: self.generation.0,
        }
    }

    pub(super) fn take_partition_row(
        &mut self,
        partition: PartitionRef,
        row: Option<&GroupPartitionRow>,
    ) {
        match (row, self.partitions.get_mut(&partition)) {
            (Some(row), Some(known)) => known.take_row(row),
            (Some(row), None) => {
                let begun = GroupPartition::from_row(row);
                self.partitions.insert(partition, begun);
            }
            (None, _) => drop(self.partitions.remove(&partition)),
        }
    }

    /// Returns the partitions of a deleted topic, which are gone with it.
    pub(super) fn forget_topic(&mut self, topic: TopicId) -> Vec<PartitionRef> {
        let of_topic = self.partitions.keys().filter(|it| it.topic == topic);
        let of_topic: Vec<_> = of_topic.copied().collect();
        for partition in &of_topic {
            self.partitions.remove(partition);
        }
        of_topic
    }

    /// The partitions that a member owns.
    fn owned_by(&self, member: MemberId) -> impl Iterator<Item = (PartitionRef, &GroupPartition)> {
        self.partitions()
            .filter(move |(_, known)| known.owner.is_some_and(|owner| owner.member == member))
    }
}

/// All groups, by number and by name.
#[derive(Debug, Default)]
pub(super) struct Groups {
    by_id: BTreeMap<GroupId, Group>,
    names: BTreeMap<GroupName, GroupId>,
    /// When something is due in a group that waits for time: at most one entry each, and the group may
    /// have less to do then than it seemed. Volatile.
    timers: BTreeSet<(i64, GroupId)>,
    timer_of: BTreeMap<GroupId, i64>,
}

impl Groups {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn get(&self, id: GroupId) -> Option<&Group> {
        self.by_id.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: GroupId) -> Option<&mut Group> {
        self.by_id.get_mut(&id)
    }

    pub(super) fn named(&self, name: &GroupName) -> Option<&Group> {
        self.by_id.get(self.names.get(name)?)
    }

    /// Groups in the order of their names, from behind one of them.
    pub(super) fn after(&self, name: Option<&GroupName>) -> impl Iterator<Item = &Group> {
        use std::ops::Bound;
        let from = name.map_or(Bound::Unbounded, Bound::Excluded);
        let ids = self.names.range::<GroupName, _>((from, Bound::Unbounded));
        ids.filter_map(|(_, id)| self.by_id.get(id))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Group> {
        self.by_id.values()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Group> {
        self.by_id.values_mut()
    }

    pub(super) fn put(&mut self, id: GroupId, name: GroupName, row: &GroupRow) {
        if let Some(group) = self.by_id.get_mut(&id) {
            group.generation = Generation(row.generation);
        } else {
            self.names.insert(name.clone(), id);
            self.by_id.insert(id, Group::new(id, name, row));
        }
    }

    /// Returns the group, so that its partitions can be noted as gone.
    pub(super) fn remove(&mut self, id: GroupId) -> Option<Group> {
        let group = self.by_id.remove(&id)?;
        self.names.remove(&group.name);
        self.clear_timer(id);
        Some(group)
    }

    /// Groups in which something is due, each once; a group with more to wait for sets its timer again.
    pub(super) fn take_due(&mut self, now_ms: i64, count_max: usize) -> Vec<GroupId> {
        let mut due = Vec::new();
        while let Some((at_ms, id)) = self.timers.first().copied()
            && at_ms <= now_ms
            && due.len() < count_max
        {
            self.clear_timer(id);
            due.push(id);
        }
        due
    }

    /// Wakes a group at the earliest of what it waits for.
    pub(super) fn set_timer(&mut self, id: GroupId) {
        self.clear_timer(id);
        if let Some(at_ms) = self.by_id.get(&id).and_then(Group::next_due_ms) {
            self.timers.insert((at_ms, id));
            self.timer_of.insert(id, at_ms);
        }
    }

    fn clear_timer(&mut self, id: GroupId) {
        if let Some(at_ms) = self.timer_of.remove(&id) {
            self.timers.remove(&(at_ms, id));
        }
    }
}

/// What members are told once a decision about their group is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupNotice {
    /// To whom.
    pub session: SessionId,
    /// What.
    pub event: GroupEvent,
}

/// What a member is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupEvent {
    /// It owns these partitions from now on.
    Assigned(Vec<AssignedPartition>),
    /// It should finish with these and give them back, before this broker time in milliseconds since
    /// the Unix epoch.
    Revoking {
        /// Which.
        partitions: Vec<PartitionRef>,
        /// When it loses them.
        deadline_ms: i64,
    },
    /// It no longer owns these.
    Lost(Vec<PartitionRef>),
    /// Another connection of the same member has taken over.
    Replaced,
    /// The group is deleted.
    Deleted,
}

/// A partition and where its owner goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssignedPartition {
    /// Which.
    pub partition: PartitionRef,
    /// To be named in commits.
    pub generation: Generation,
    /// Offset of the first record that nobody has handled.
    pub committed: Offset,
}
