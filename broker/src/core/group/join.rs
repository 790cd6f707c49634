//! Joining: a group exists from its first member on, and knows where to start from what that says.

use std::collections::BTreeSet;

use towpath_proto::limits::{GROUPS_MAX, MEMBERS_PER_GROUP_MAX, PARTITIONS_PER_GROUP_MAX};
use towpath_proto::names::GroupName;
use towpath_storage::{Offset, PartitionRef, Row, TopicId};

use super::{
    AssignedPartition, Generation, Group, GroupEvent, GroupId, GroupNotice, GroupPartition, Member,
    MemberId, Presence, SessionId,
};
use crate::core::State;
use crate::core::row::{BrokerRow, GroupRow, RowId};

/// A member's wish to read.
#[derive(Debug, Clone)]
pub struct JoinGroup {
    /// The group.
    pub name: GroupName,
    /// Who.
    pub member: MemberId,
    /// Its connection.
    pub session: SessionId,
    /// What it calls itself, for people.
    pub client_name: String,
    /// What it wants to read; at least one, unless it joins again.
    pub topics: Vec<TopicStart>,
    /// The group that it belonged to before it was cut off: it joins no other one, and makes none. Topics
    /// that were deleted meanwhile are passed over.
    pub rejoins: Option<GroupId>,
}

/// A topic, and where a group begins that does not read it yet.
#[derive(Debug, Clone)]
pub struct TopicStart {
    /// The topic.
    pub topic: TopicId,
    /// One offset for each partition; none if the member does not say.
    pub starts: Option<Vec<Offset>>,
}

/// Why a member may not join. Nothing changes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinRefusal {
    /// The group to which the member belonged was deleted while it was away.
    #[error("group \"{name}\" was deleted")]
    GroupDeleted {
        /// The group.
        name: GroupName,
    },
    /// A topic was deleted meanwhile.
    #[error("topic {topic} not found")]
    TopicNotFound {
        /// Which.
        topic: TopicId,
    },
    /// The group does not read these topics yet, and the member does not say where to begin.
    #[error("group \"{name}\" has no position in topics {topics:?}, and none was given")]
    StartUnset {
        /// The group.
        name: GroupName,
        /// All such topics.
        topics: Vec<TopicId>,
    },
    /// The broker has all the groups that it may have.
    #[error("the broker has {GROUPS_MAX} groups, the most that it may have")]
    TooManyGroups,
    /// The group has all the members that it may have.
    #[error("group \"{name}\" has {MEMBERS_PER_GROUP_MAX} members, the most that it may have")]
    TooManyMembers {
        /// The group.
        name: GroupName,
    },
    /// The group would have too many partitions.
    #[error(
        "group \"{name}\" would read {count} partitions and may read {PARTITIONS_PER_GROUP_MAX}"
    )]
    TooManyPartitions {
        /// The group.
        name: GroupName,
        /// How many it would have.
        count: usize,
    },
}

impl State {
    /// Decides whether a member may join: the group, and the rows of what is new, which come before
    /// [`State::enter_group`].
    ///
    /// # Errors
    /// [`JoinRefusal`].
    pub fn join_group(
        &self,
        wish: &JoinGroup,
        now_ms: i64,
    ) -> Result<(GroupId, Vec<Row>), JoinRefusal> {
        let known = self.groups.named(&wish.name);
        let is_other = |id| known.is_none_or(|group| group.id != id);
        if wish.rejoins.is_some_and(is_other) {
            return Err(JoinRefusal::GroupDeleted {
                name: wish.name.clone(),
            });
        }
        let mut rows = Vec::new();
        let id = match known {
            Some(group) => group.id,
            None => self.new_group(wish, now_ms, &mut rows)?,
        };
        let is_member = known.is_some_and(|group| group.members.contains_key(&wish.member));
        let member_count = known.map_or(0, |group| group.members.len());
        if !is_member && member_count >= MEMBERS_PER_GROUP_MAX as usize {
            return Err(JoinRefusal::TooManyMembers {
                name: wish.name.clone(),
            });
        }
        let mut count = known.map_or(0, |group| group.partitions.len());
        let mut unset = Vec::new();
        for wanted in &wish.topics {
            let topic = wanted.topic;
            let partitions = match self.topic(topic) {
                Some(known) => known.partitions().len(),
                None if wish.rejoins.is_some() => continue,
                None => return Err(JoinRefusal::TopicNotFound { topic }),
            };
            if known.is_some_and(|group| group.reads(topic)) {
                continue;
            }
            count += partitions;
            let Some(starts) = &wanted.starts else {
                unset.push(topic);
                continue;
            };
            let places = (0..).take(partitions);
            rows.extend(places.zip(starts).map(|(partition, start)| {
                let place = PartitionRef { topic, partition };
                let begun = GroupPartition::at(*start, now_ms);
                RowId::GroupPartition(id, place).put(&begun.to_row())
            }));
        }
        if count > PARTITIONS_PER_GROUP_MAX as usize {
            return Err(JoinRefusal::TooManyPartitions {
                name: wish.name.clone(),
                count,
            });
        }
        if !unset.is_empty() {
            return Err(JoinRefusal::StartUnset {
                name: wish.name.clone(),
                topics: unset,
            });
        }
        rows.extend(known.into_iter().flat_map(|group| group.free_unread(wish)));
        Ok((id, rows))
    }

    fn new_group(
        &self,
        wish: &JoinGroup,
        now_ms: i64,
        rows: &mut Vec<Row>,
    ) -> Result<GroupId, JoinRefusal> {
        if self.groups.len() >= GROUPS_MAX as usize {
            return Err(JoinRefusal::TooManyGroups);
        }
        let id = GroupId::new(self.next_group);
        rows.push(RowId::Broker.put(&BrokerRow {
            next_group: self.next_group + 1,
            ..self.broker_row()
        }));
        rows.push(RowId::Group(id).put(&GroupRow {
            name: wish.name.as_str().to_owned(),
            create_time_ms: now_ms,
            generation: self.past_generation,
        }));
        Ok(id)
    }

    /// Takes a member in, once [`State::join_group`] has said yes and its rows are applied. Returns what
    /// it and an older connection of it are told.
    pub fn enter_group(&mut self, id: GroupId, wish: &JoinGroup, now_ms: i64) -> Vec<GroupNotice> {
        let Some(group) = self.groups.get_mut(id) else {
            return Vec::new();
        };
        let topics: BTreeSet<TopicId> = wish.topics.iter().map(|it| it.topic).collect();
        let known = group.members.get(&wish.member);
        let mut notices: Vec<_> = known
            .and_then(Member::session)
            .map(|session| GroupNotice {
                session,
                event: GroupEvent::Replaced,
            })
            .into_iter()
            .collect();
        let member = Member {
            client_name: wish.client_name.clone(),
            topics,
            joined_at_ms: now_ms,
            presence: Presence::Connected(wish.session),
        };
        group.members.insert(wish.member, member);
        // Who comes back for the same topics changes nothing, but others may have come meanwhile.
        group.wish_balance(now_ms);
        let events = group.holdings(wish.member);
        notices.extend(events.map(|event| GroupNotice {
            session: wish.session,
            event,
        }));
        self.groups.set_timer(id);
        notices
    }

    /// The group's present generation; before the first assignment the highest of all groups that were
    /// deleted before, or 0.
    pub fn group_generation(&self, id: GroupId) -> Generation {
        self.group(id).map_or(Generation(0), Group::generation)
    }
}

impl Group {
    /// Frees what a member owns of topics that it does not read any more.
    fn free_unread(&self, wish: &JoinGroup) -> impl Iterator<Item = Row> {
        let is_read = |topic| wish.topics.iter().any(|it| it.topic == topic);
        let owned = self.owned_by(wish.member);
        let unread = owned.filter(move |(place, _)| !is_read(place.topic));
        unread.map(|(place, known)| {
            RowId::GroupPartition(self.id, place).put(&known.without_owner().to_row())
        })
    }

    /// What a member owns already, as it is told when it connects.
    fn holdings(&self, member: MemberId) -> impl Iterator<Item = GroupEvent> + use<> {
        let mut owned = Vec::new();
        let mut revoked = Vec::new();
        let mut deadline_ms = i64::MAX;
        for (partition, known) in self.owned_by(member) {
            owned.extend(known.owner.map(|owner| AssignedPartition {
                partition,
                generation: owner.generation,
                committed: known.committed,
            }));
            if let Some(until_ms) = known.revoked_until_ms {
                revoked.push(partition);
                deadline_ms = deadline_ms.min(until_ms);
            }
        }
        let assigned = (!owned.is_empty()).then_some(GroupEvent::Assigned(owned));
        let revoking = (!revoked.is_empty()).then_some(GroupEvent::Revoking {
            partitions: revoked,
            deadline_ms,
        });
        assigned.into_iter().chain(revoking)
    }
}
