//! Members that are connected, for commits that do not come over their streams.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use towpath_proto::names::GroupName;
use towpath_storage::OffsetRange;

use super::seat::{Identity, Seat};
use crate::core::{Commit, MemberId, SessionId};

/// The places of all members that are connected.
#[derive(Debug, Default)]
pub(crate) struct Members {
    seats: Mutex<BTreeMap<(GroupName, MemberId), Seated>>,
}

/// The latest connection of a member.
#[derive(Debug)]
struct Seated {
    session: SessionId,
    seat: Weak<Seat>,
}

impl Members {
    /// A member has connected.
    pub(super) fn enter(&self, seat: &Arc<Seat>) {
        let identity = &seat.identity;
        let seated = Seated {
            session: identity.session,
            seat: Arc::downgrade(seat),
        };
        let place = (identity.name.clone(), identity.member);
        self.lock().insert(place, seated);
    }

    /// A connection of a member is gone; it may have another one by now.
    pub(super) fn leave(&self, identity: &Identity) {
        let place = (identity.name.clone(), identity.member);
        let mut seats = self.lock();
        if seats
            .get(&place)
            .is_some_and(|it| it.session == identity.session)
        {
            seats.remove(&place);
        }
    }

    /// Records below the offset of a commit that the member was told of as gone.
    pub(in crate::api) fn gaps_below(
        &self,
        group: &GroupName,
        member: MemberId,
        commit: &Commit,
    ) -> Vec<OffsetRange> {
        let seat = self.seat(group, member);
        seat.map_or_else(Vec::new, |it| {
            it.gaps_below(commit.partition, commit.offset)
        })
    }

    /// Notes that commits of a member are durable.
    pub(in crate::api) fn note_committed(
        &self,
        group: &GroupName,
        member: MemberId,
        commits: &[Commit],
    ) {
        let Some(seat) = self.seat(group, member) else {
            return;
        };
        for commit in commits {
            seat.note_committed(commit.partition, commit.offset);
        }
    }

    /// The place is handed out of the lock: who drops the last hold of it takes that again.
    fn seat(&self, group: &GroupName, member: MemberId) -> Option<Arc<Seat>> {
        let seats = self.lock();
        let known = seats.get(&(group.clone(), member));
        known.and_then(|it| it.seat.upgrade())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(GroupName, MemberId), Seated>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use towpath_storage::{Offset, PartitionRef, TopicId};

    use super::*;
    use crate::core::{Generation, GroupId};
    use crate::metrics::GroupsInFlight;

    #[test]
    fn a_member_is_found_at_its_latest_connection_and_not_once_that_is_gone() {
        let members = Arc::<Members>::default();
        let identity = |session| Identity {
            group: GroupId::new(1),
            name: "billing".parse().unwrap(),
            member: MemberId::new([1; 16]),
            session: SessionId(session),
        };
        let connect = |session| {
            let delivered = GroupsInFlight::default().enter(GroupId::new(1));
            Seat::new(identity(session), Vec::new(), delivered, &members)
        };
        let commit = Commit {
            partition: PartitionRef {
                topic: TopicId::new(1),
                partition: 0,
            },
            generation: Generation(1),
            offset: Offset::new(9),
            gaps: Vec::new(),
        };
        let known = identity(0);
        let gaps = || members.gaps_below(&known.name, known.member, &commit);
        let (before, latest) = (connect(1), connect(2));
        let gap = OffsetRange {
            start: Offset::new(2),
            end: Offset::new(4),
        };
        latest.add_gap(commit.partition, gap);
        drop(before);
        assert_eq!(gaps(), [gap], "of the latest");
        members.note_committed(&known.name, known.member, std::slice::from_ref(&commit));
        assert_eq!(gaps(), [], "committed over");
        drop(latest);
        assert!(members.lock().is_empty(), "forgotten");
    }
}
