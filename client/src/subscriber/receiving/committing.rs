//! What changes for the consumer when a commit of several things settles what it has.
//!
//! The commit goes another way than the stream, so that nothing orders its answer among what the stream
//! brings.

use towpath_proto::ids::Offset;

use super::Receiving;
use super::ticket::{LaneKey, Ticket};
use crate::subscriber::outcome::DeliveryOutcome;

/// What has to stay in order.
#[derive(Debug)]
pub(in crate::subscriber) struct Lane(LaneKey);

impl Ticket {
    /// Number of the delivery, partition and whether it is one of the dead letters, and the offset.
    pub(in crate::subscriber) const fn named(&self) -> ((u64, u32, bool), Offset) {
        let source = self.place.source;
        let group = (
            self.delivery.get(),
            source.partition.get(),
            source.is_dead_letter,
        );
        (group, self.place.offset)
    }
}

impl Receiving {
    /// Name of the subscription.
    pub(in crate::subscriber) fn subscription(&self) -> &str {
        &self.options.subscription
    }

    /// Holds up the records behind one that may be given back by a commit; none if they are in no order.
    pub(in crate::subscriber) fn hold_lane(&mut self, ticket: &Ticket) -> Option<Lane> {
        let key = self.lane_of(ticket)?;
        self.turns.hold(key.clone());
        Some(Lane(key))
    }

    /// The commit was answered, or given up.
    pub(in crate::subscriber) fn release_lane(&mut self, Lane(key): Lane) {
        self.turns.release(key);
    }

    /// A commit has settled a record that was handed out: the broker need not be told.
    ///
    /// What it takes back with one that was given back it tells over the stream, perhaps later than the
    /// commit was answered. So that one is settled once more over the stream, which has no effect but that
    /// its answer comes behind that.
    pub(in crate::subscriber) fn settled_by_commit(
        &mut self,
        ticket: Ticket,
        outcome: DeliveryOutcome,
    ) {
        let given_back = self.lane_of(&ticket).filter(|_| outcome.is_given_back());
        if given_back.is_some() {
            return self.settle(ticket, outcome, None);
        }
        self.begun_count -= 1;
        if let Some(cost) = self.held.remove(&ticket) {
            self.flow.release(cost);
            self.settlements.forget(&ticket);
        }
        if let Some(lane) = ticket.lane.filter(|_| ticket.holds_lane) {
            self.turns.release(lane);
        }
        self.end_drain();
    }

    fn lane_of(&self, ticket: &Ticket) -> Option<LaneKey> {
        let is_ordered = self.known.as_ref().is_some_and(|it| it.is_ordered);
        ticket.lane.clone().filter(|_| is_ordered)
    }
}
