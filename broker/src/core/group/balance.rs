//! Owners are looked at again: what nobody has is given away, and what should move is revoked.

use std::collections::BTreeMap;

use towpath_storage::{PartitionRef, Row};

use super::assignment::assign;
use super::{
    AssignedPartition, BalanceWish, Generation, Group, GroupEvent, GroupId, GroupNotice, MemberId,
    Owner, Presence,
};
use crate::core::State;
use crate::core::row::RowId;

/// How long a change waits for others, so that many members that come at once cost one change.
const DEBOUNCE_MS: i64 = 100;
/// Longest that a change waits for others.
const DEBOUNCE_MS_MAX: i64 = 1_000;
/// How long an owner may take to give a partition back.
pub(super) const REVOKE_GRACE_MS: i64 = 10_000;
/// Partitions that one entry gives away; the rest follows at once in further ones.
const PARTITIONS_PER_ENTRY_MAX: usize = 256;

/// A decision about groups: what is journaled, and what members are told once it is durable.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct GroupDecision {
    /// Rows of one entry; none if nothing durable changes.
    pub rows: Vec<Row>,
    /// What members are told, in order.
    pub notices: Vec<GroupNotice>,
}

impl GroupDecision {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.notices.is_empty()
    }
}

impl Group {
    /// Looks at the owners again soon, together with what else happens until then. What is due already
    /// does not wait for that.
    pub(super) fn wish_balance(&mut self, now_ms: i64) {
        if self.balance.is_some_and(|wish| wish.at_ms <= now_ms) {
            return;
        }
        let since_ms = self.balance.map_or(now_ms, |wish| wish.since_ms);
        let at_ms = (now_ms + DEBOUNCE_MS).min(since_ms + DEBOUNCE_MS_MAX);
        self.balance = Some(BalanceWish { since_ms, at_ms });
    }

    /// Looks at the owners again with the next step: somebody waits for a partition that is free.
    pub(super) fn wish_balance_at_once(&mut self, now_ms: i64) {
        let since_ms = self.balance.map_or(now_ms, |wish| wish.since_ms);
        self.balance = Some(BalanceWish {
            since_ms,
            at_ms: now_ms,
        });
    }

    /// Broker time of the next thing to do without being asked, milliseconds since the Unix epoch.
    pub(super) fn next_due_ms(&self) -> Option<i64> {
        let awaited = self.members.values().filter_map(|it| match it.presence {
            Presence::AwaitedUntil(until_ms) => Some(until_ms),
            Presence::Connected(_) => None,
        });
        let revoked = self
            .partitions
            .values()
            .filter_map(|it| it.revoked_until_ms);
        let balance = self.balance.iter().map(|wish| wish.at_ms);
        awaited.chain(revoked).chain(balance).min()
    }

    /// Who should own what of that which the members who are there have, and of what is free. Who is
    /// awaited keeps what it has, and gets nothing: nobody would read it.
    fn target(&self) -> BTreeMap<PartitionRef, MemberId> {
        let is_there = |id: &MemberId| {
            self.members
                .get(id)
                .is_some_and(|it| it.session().is_some())
        };
        let members = self.members.iter().filter(|(id, _)| is_there(id));
        let members = members.map(|(id, it)| (*id, &it.topics));
        let owners = self.partitions.iter().filter_map(|(place, it)| {
            let owner = it.owner.map(|owner| owner.member);
            let is_open = owner.is_none_or(|owner| is_there(&owner));
            is_open.then_some((*place, owner))
        });
        assign(&members.collect(), &owners.collect())
    }
}

impl State {
    /// Does in one group what is due at broker time `now_ms`: lets members go that did not come back,
    /// takes partitions that were not given back in time, and looks at the owners again. To be called
    /// again after its rows were applied, until the decision is empty.
    pub fn step_group(&mut self, id: GroupId, now_ms: i64) -> GroupDecision {
        let Some(group) = self.groups.get_mut(id) else {
            return GroupDecision::default();
        };
        let mut decision = group.take_overdue(now_ms);
        if decision.is_empty() && group.balance.is_some_and(|wish| wish.at_ms <= now_ms) {
            decision = group.balance(now_ms);
        }
        self.groups.set_timer(id);
        decision
    }

    /// Looks at a group again when the next thing is due in it, which may be now.
    pub fn set_group_timer(&mut self, id: GroupId) {
        self.groups.set_timer(id);
    }

    /// Groups in which something is due, each once. Each is to be stepped until it has nothing to do.
    pub fn due_groups(&mut self, now_ms: i64, count_max: usize) -> Vec<GroupId> {
        self.groups.take_due(now_ms, count_max)
    }
}

impl Group {
    /// Frees the partitions of members that did not come back, and those that were not given back.
    fn take_overdue(&mut self, now_ms: i64) -> GroupDecision {
        let is_over = |presence| matches!(presence, Presence::AwaitedUntil(it) if it <= now_ms);
        let before = self.members.len();
        self.members.retain(|_, it| !is_over(it.presence));
        if self.members.len() < before {
            self.wish_balance(now_ms);
        }
        let mut decision = GroupDecision::default();
        let mut lost: BTreeMap<MemberId, Vec<PartitionRef>> = BTreeMap::new();
        for (place, known) in &self.partitions {
            let Some(owner) = known.owner else { continue };
            let is_late = known.revoked_until_ms.is_some_and(|it| it <= now_ms);
            let is_orphan = !self.members.contains_key(&owner.member);
            if (is_late || is_orphan) && decision.rows.len() < PARTITIONS_PER_ENTRY_MAX {
                let free = known.without_owner();
                decision
                    .rows
                    .push(RowId::GroupPartition(self.id, *place).put(&free.to_row()));
                lost.entry(owner.member).or_default().push(*place);
            }
        }
        for (member, partitions) in lost {
            let session = self.members.get(&member).and_then(super::Member::session);
            decision.notices.extend(session.map(|session| GroupNotice {
                session,
                event: GroupEvent::Lost(partitions),
            }));
        }
        if !decision.rows.is_empty() {
            self.wish_balance_at_once(now_ms);
        }
        decision
    }

    /// Gives away what is free, and revokes what should move.
    fn balance(&mut self, now_ms: i64) -> GroupDecision {
        let target = self.target();
        let generation = Generation(self.generation.0 + 1);
        let mut decision = GroupDecision::default();
        let mut assigned: BTreeMap<MemberId, Vec<AssignedPartition>> = BTreeMap::new();
        let mut revoking: BTreeMap<MemberId, Vec<PartitionRef>> = BTreeMap::new();
        let mut is_all = true;
        for (place, known) in &mut self.partitions {
            let Some(member) = target.get(place).copied() else {
                continue;
            };
            match known.owner {
                Some(owner) if owner.member == member => {}
                Some(owner) => {
                    if known.revoked_until_ms.is_none() {
                        known.revoked_until_ms = Some(now_ms + REVOKE_GRACE_MS);
                        revoking.entry(owner.member).or_default().push(*place);
                    }
                }
                None if decision.rows.len() >= PARTITIONS_PER_ENTRY_MAX => is_all = false,
                None => {
                    let mut given = known.clone();
                    given.owner = Some(Owner { member, generation });
                    decision
                        .rows
                        .push(RowId::GroupPartition(self.id, *place).put(&given.to_row()));
                    assigned.entry(member).or_default().push(AssignedPartition {
                        partition: *place,
                        generation,
                        committed: known.committed,
                    });
                }
            }
        }
        if !decision.rows.is_empty() {
            let mut row = self.to_row();
            row.generation = generation.0;
            decision.rows.push(RowId::Group(self.id).put(&row));
        }
        if is_all {
            self.balance = None;
        }
        let revoking = revoking.into_iter().map(|(member, partitions)| {
            let deadline_ms = now_ms + REVOKE_GRACE_MS;
            let event = GroupEvent::Revoking {
                partitions,
                deadline_ms,
            };
            (member, event)
        });
        let assigned = assigned
            .into_iter()
            .map(|(member, partitions)| (member, GroupEvent::Assigned(partitions)));
        for (member, event) in revoking.chain(assigned) {
            let session = self.members.get(&member).and_then(super::Member::session);
            decision
                .notices
                .extend(session.map(|session| GroupNotice { session, event }));
        }
        decision
    }
}
