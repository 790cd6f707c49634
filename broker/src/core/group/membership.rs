//! Going: members that leave, that are cut off, that give partitions back; and all of them after a
//! restart of the broker.

use std::collections::{BTreeMap, BTreeSet};

use towpath_storage::{PartitionRef, Row, TopicId};

use super::{BalanceWish, Generation, GroupId, Member, MemberId, Presence, SessionId};
use crate::core::State;
use crate::core::row::RowId;

/// How long a member that was cut off is awaited before others get its partitions.
pub(super) const RECONNECT_GRACE_MS: i64 = 2_000;
/// How long all members are awaited after a restart of the broker.
pub(super) const RESTART_GRACE_MS: i64 = 15_000;

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// The member said that it goes.
    Left,
    /// It was cut off, and may come back.
    CutOff,
}

impl State {
    /// Notes that a member's connection has ended. A connection that another one has replaced changes
    /// nothing.
    pub fn leave_group(
        &mut self,
        id: GroupId,
        member: MemberId,
        session: SessionId,
        departure: Departure,
        now_ms: i64,
    ) {
        let Some(group) = self.groups.get_mut(id) else {
            return;
        };
        let Some(known) = group.members.get_mut(&member) else {
            return;
        };
        if known.session() != Some(session) {
            return;
        }
        match departure {
            Departure::Left => {
                group.members.remove(&member);
                let has_owned = group.owned_by(member).next().is_some();
                // Nobody waits for what it did not have.
                match has_owned {
                    true => group.wish_balance_at_once(now_ms),
                    false => group.wish_balance(now_ms),
                }
            }
            Departure::CutOff => {
                known.presence = Presence::AwaitedUntil(now_ms + RECONNECT_GRACE_MS);
            }
        }
        self.groups.set_timer(id);
    }

    /// Decides on partitions that a member gives back: those that it still owns in the generation that
    /// it names become free. Their owner is looked for with the next step of the group.
    pub fn return_partitions(
        &mut self,
        id: GroupId,
        member: MemberId,
        partitions: &[(PartitionRef, Generation)],
        now_ms: i64,
    ) -> Vec<Row> {
        let Some(group) = self.groups.get_mut(id) else {
            return Vec::new();
        };
        let mut rows = Vec::new();
        let distinct: BTreeMap<_, _> = partitions.iter().copied().collect();
        for (place, generation) in distinct {
            let Some(known) = group.partitions.get(&place) else {
                continue;
            };
            if known.is_owned_by(member, generation) {
                let free = known.without_owner();
                rows.push(RowId::GroupPartition(id, place).put(&free.to_row()));
            }
        }
        if !rows.is_empty() {
            group.wish_balance_at_once(now_ms);
            self.groups.set_timer(id);
        }
        rows
    }

    /// After a restart: gives every owner time to come back to what it has.
    pub fn await_members(&mut self, now_ms: i64) {
        let mut ids = Vec::new();
        for group in self.groups.iter_mut() {
            let mut topics: BTreeMap<MemberId, BTreeSet<TopicId>> = BTreeMap::new();
            for (place, known) in &group.partitions {
                if let Some(owner) = known.owner {
                    topics.entry(owner.member).or_default().insert(place.topic);
                }
            }
            let awaited = topics.into_iter().map(|(id, topics)| {
                let member = Member {
                    client_name: String::new(),
                    topics,
                    joined_at_ms: now_ms,
                    presence: Presence::AwaitedUntil(now_ms + RESTART_GRACE_MS),
                };
                (id, member)
            });
            group.members.extend(awaited);
            // Somebody may have been about to give something back.
            group.balance = Some(BalanceWish {
                since_ms: now_ms,
                at_ms: now_ms + RESTART_GRACE_MS,
            });
            ids.push(group.id);
        }
        for id in ids {
            self.groups.set_timer(id);
        }
    }
}
