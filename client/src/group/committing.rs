//! What a commit of several things has to do with a consumer of a group.

use std::fmt;
use std::sync::Arc;

use super::membership::Membership;
use super::seat::Seat;
use super::{GroupConsumer, GroupOffset};

/// A consumer whose group comes further by a commit of several things.
#[derive(Clone)]
pub(crate) struct Committer {
    seat: Arc<Seat>,
}

impl GroupConsumer {
    pub(crate) fn committer(&self) -> Committer {
        Committer {
            seat: Arc::clone(&self.seat),
        }
    }
}

impl Committer {
    /// The group, and the member's id.
    pub(crate) fn name(&self) -> (String, [u8; 16]) {
        self.seat.look(Membership::name)
    }

    /// The group is so far: what the consumer has still to say of what is below is done.
    pub(crate) fn overtake(&self, offsets: &[GroupOffset]) {
        self.seat.with(|it| it.overtake(offsets));
    }
}

impl fmt::Debug for Committer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Committer").field(&self.name().0).finish()
    }
}
