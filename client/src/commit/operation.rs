//! One of the things that a commit does.

use super::PulledRecords;
use crate::group::Committer;
use crate::{Delivery, DeliveryOutcome, GroupOffset, Record, Schedule};

/// One of the things that happen at once.
#[derive(Debug)]
pub(super) enum Operation {
    /// Records are written.
    Append {
        /// Where to.
        topic: String,
        /// The records, in their order.
        records: Vec<Record>,
    },
    /// A delivery is settled.
    Settle {
        /// Which.
        delivery: Delivery,
        /// How.
        outcome: DeliveryOutcome,
    },
    /// Records are settled that this client did not get.
    SettlePulled {
        /// Which.
        pulled: PulledRecords,
        /// How.
        outcome: DeliveryOutcome,
    },
    /// A record is written later.
    Schedule(Box<Schedule>),
    /// A group comes further.
    Offsets {
        /// Whose.
        member: Member,
        /// How far.
        offsets: Vec<GroupOffset>,
    },
}

/// A member of a group.
#[derive(Debug)]
pub(super) enum Member {
    /// A consumer, which is told of it.
    Consumer(Committer),
    /// Group and id of somebody else.
    Named(String, [u8; 16]),
}

impl Member {
    /// The group, and the member's id.
    pub(super) fn name(&self) -> (String, [u8; 16]) {
        match self {
            Self::Consumer(committer) => committer.name(),
            Self::Named(group, member_id) => (group.clone(), *member_id),
        }
    }
}

impl Operation {
    /// It happened: who has to do with it is told.
    pub(super) fn conclude(self) {
        match self {
            Self::Settle { delivery, outcome } => delivery.settled(outcome),
            Self::Offsets {
                member: Member::Consumer(committer),
                offsets,
            } => committer.overtake(&offsets),
            Self::Append { .. }
            | Self::SettlePulled { .. }
            | Self::Schedule(_)
            | Self::Offsets { .. } => {}
        }
    }

    /// What is settled by it, if it settles something.
    pub(super) fn into_delivery(self) -> Option<Delivery> {
        match self {
            Self::Settle { delivery, .. } => Some(delivery),
            Self::Append { .. }
            | Self::SettlePulled { .. }
            | Self::Schedule(_)
            | Self::Offsets { .. } => None,
        }
    }

    /// The same, to be looked at.
    pub(super) const fn delivery(&self) -> Option<&Delivery> {
        match self {
            Self::Settle { delivery, .. } => Some(delivery),
            Self::Append { .. }
            | Self::SettlePulled { .. }
            | Self::Schedule(_)
            | Self::Offsets { .. } => None,
        }
    }
}
