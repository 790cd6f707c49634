//! Moving a group to other offsets while its members run, and deleting groups.

use std::collections::BTreeMap;

use towpath_proto::names::GroupName;
use towpath_storage::{Offset, OffsetRange, PartitionRef};

use super::balance::GroupDecision;
use super::{
    AssignedPartition, Generation, Group, GroupEvent, GroupId, GroupNotice, Member, MemberId, Owner,
};
use crate::core::row::RowId;
use crate::core::{Partition, State};

/// A wish to move a group.
#[derive(Debug, Clone)]
pub struct SeekGroup {
    /// The group.
    pub name: GroupName,
    /// Partitions of it, each once, and where they go on.
    pub positions: Vec<(PartitionRef, Offset)>,
}

/// Where a partition of a group was, and where it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SoughtPartition {
    /// Which.
    pub partition: PartitionRef,
    /// The committed offset before.
    pub from: Offset,
    /// The committed offset after.
    pub to: Offset,
}

/// What an owner loses, and what of it it gets again.
type Moved = (Vec<PartitionRef>, Vec<AssignedPartition>);

/// Why a group is not moved. Nothing changes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeekRefusal {
    /// There is none of that name.
    #[error("group \"{name}\" not found")]
    NotFound {
        /// The name.
        name: GroupName,
    },
    /// The group does not read this partition.
    #[error("group \"{name}\" does not read partition {partition}")]
    NotRead {
        /// The group.
        name: GroupName,
        /// The partition.
        partition: PartitionRef,
    },
    /// There are no such records.
    #[error("offset {offset} of partition {partition} is out of range {log_start} to {end}")]
    OutOfRange {
        /// The partition.
        partition: PartitionRef,
        /// Where it was to go on.
        offset: Offset,
        /// The lowest offset that may still be read.
        log_start: Offset,
        /// One past the last record.
        end: Offset,
    },
}

/// Why a group is not deleted. Nothing changes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeleteGroupRefusal {
    /// There is none of that name.
    #[error("group \"{name}\" not found")]
    NotFound {
        /// The name.
        name: GroupName,
    },
    /// Members are connected.
    #[error("group \"{name}\" has {member_count} connected members")]
    InUse {
        /// The group.
        name: GroupName,
        /// How many.
        member_count: usize,
    },
}

impl State {
    /// Decides on moving a group; without positions nothing happens. Owners keep what they have, in a new
    /// generation: what they commit from before is refused, and they are told to go on at the new offsets.
    ///
    /// # Errors
    /// [`SeekRefusal`].
    pub fn seek_group(
        &self,
        wish: &SeekGroup,
        now_ms: i64,
    ) -> Result<(Vec<SoughtPartition>, GroupDecision), SeekRefusal> {
        let group = self
            .group_named(&wish.name)
            .ok_or_else(|| SeekRefusal::NotFound {
                name: wish.name.clone(),
            })?;
        if wish.positions.is_empty() {
            return Ok((Vec::new(), GroupDecision::default()));
        }
        let generation = Generation(group.generation.0 + 1);
        let mut sought = Vec::new();
        let mut rows = Vec::new();
        let mut again: BTreeMap<MemberId, Moved> = BTreeMap::new();
        for (partition, to) in wish.positions.iter().copied() {
            let known = group
                .partition(partition)
                .ok_or_else(|| SeekRefusal::NotRead {
                    name: wish.name.clone(),
                    partition,
                })?;
            self.check_range(partition, to)?;
            let from = known.committed;
            sought.push(SoughtPartition {
                partition,
                from,
                to,
            });
            let mut after = known.clone();
            after.committed = to;
            after.commit_time_ms = now_ms;
            // What its owner is to give back anyhow is free at once.
            let keeps = known.revoked_until_ms.is_none();
            let kept = known.owner.filter(|_| keeps);
            after.owner = kept.map(|owner| Owner {
                generation,
                ..owner
            });
            rows.push(RowId::GroupPartition(group.id, partition).put(&after.to_row()));
            if let Some(owner) = known.owner {
                let (lost, given) = again.entry(owner.member).or_default();
                lost.push(partition);
                given.extend(kept.map(|_| AssignedPartition {
                    partition,
                    generation,
                    committed: to,
                }));
            }
        }
        let mut row = group.to_row();
        row.generation = generation.0;
        rows.push(RowId::Group(group.id).put(&row));
        let notices = again
            .into_iter()
            .flat_map(|(member, moved)| group.assign_again(member, moved));
        let decision = GroupDecision {
            rows,
            notices: notices.collect(),
        };
        Ok((sought, decision))
    }

    /// Looks at the owners of a group again with its next step: after a seek, some may have lost theirs.
    pub fn look_at_group(&mut self, id: GroupId, now_ms: i64) {
        if let Some(group) = self.groups.get_mut(id) {
            group.wish_balance_at_once(now_ms);
            self.groups.set_timer(id);
        }
    }

    fn check_range(&self, partition: PartitionRef, offset: Offset) -> Result<(), SeekRefusal> {
        let range = self.range_of(partition);
        match offset < range.start || offset > range.end {
            true => Err(SeekRefusal::OutOfRange {
                partition,
                offset,
                log_start: range.start,
                end: range.end,
            }),
            false => Ok(()),
        }
    }

    /// From the log start to the end of a partition; empty at 0 for one that is gone.
    pub(super) fn range_of(&self, partition: PartitionRef) -> OffsetRange {
        let known = self.partition(partition);
        OffsetRange {
            start: known.map_or(Offset::ZERO, Partition::log_start),
            end: known.map_or(Offset::ZERO, Partition::end),
        }
    }

    /// Decides on deleting a group; `is_forced` also if members are connected.
    ///
    /// # Errors
    /// [`DeleteGroupRefusal`].
    pub fn delete_group(
        &self,
        name: &GroupName,
        is_forced: bool,
    ) -> Result<(GroupId, GroupDecision), DeleteGroupRefusal> {
        let group = self
            .group_named(name)
            .ok_or_else(|| DeleteGroupRefusal::NotFound { name: name.clone() })?;
        let sessions: Vec<_> = group.members.values().filter_map(Member::session).collect();
        if !is_forced && !sessions.is_empty() {
            return Err(DeleteGroupRefusal::InUse {
                name: name.clone(),
                member_count: sessions.len(),
            });
        }
        let notices = sessions.into_iter().map(|session| GroupNotice {
            session,
            event: GroupEvent::Deleted,
        });
        let decision = GroupDecision {
            rows: vec![RowId::Group(group.id).gone()],
            notices: notices.collect(),
        };
        Ok((group.id, decision))
    }
}

impl Group {
    fn assign_again(
        &self,
        member: MemberId,
        (lost, given): Moved,
    ) -> impl Iterator<Item = GroupNotice> + use<> {
        let session = self.members.get(&member).and_then(Member::session);
        let assigned = (!given.is_empty()).then_some(GroupEvent::Assigned(given));
        let events = std::iter::once(GroupEvent::Lost(lost)).chain(assigned);
        let notice = move |event| session.map(|session| GroupNotice { session, event });
        events.filter_map(notice)
    }
}
