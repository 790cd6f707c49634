//! One of the things that a commit does.

use crate::group::Committer;
use crate::{Delivery, DeliveryOutcome, GroupOffset, Record};

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
    /// A group comes further.
    Offsets {
        /// Whose.
        committer: Committer,
        /// How far.
        offsets: Vec<GroupOffset>,
    },
}

impl Operation {
    /// It happened: who has to do with it is told.
    pub(super) fn conclude(self) {
        match self {
            Self::Append { .. } => {}
            Self::Settle { delivery, outcome } => delivery.settled(outcome),
            Self::Offsets { committer, offsets } => committer.overtake(&offsets),
        }
    }

    /// What is settled by it, if it settles something.
    pub(super) fn into_delivery(self) -> Option<Delivery> {
        match self {
            Self::Settle { delivery, .. } => Some(delivery),
            Self::Append { .. } | Self::Offsets { .. } => None,
        }
    }

    /// The same, to be looked at.
    pub(super) const fn delivery(&self) -> Option<&Delivery> {
        match self {
            Self::Settle { delivery, .. } => Some(delivery),
            Self::Append { .. } | Self::Offsets { .. } => None,
        }
    }
}
