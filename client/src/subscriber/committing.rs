//! What a commit of several things has to do with deliveries.
//!
//! While it is under way a delivery stays with its subscriber, which extends its lease and says nothing
//! else of it.

use std::fmt;
use std::sync::Arc;

use towpath_proto::v1;

use super::Delivery;
use super::outcome::DeliveryOutcome;
use super::receiving::Lane;
use super::seat::Seat;

/// What names a delivery to the broker.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NamedDelivery {
    /// The subscription.
    pub(crate) subscription: String,
    /// Number of the delivery, partition, and whether it is one of the dead letters.
    pub(crate) group: (u64, u32, bool),
}

impl NamedDelivery {
    /// A settlement of these offsets of it, in order.
    pub(crate) fn settle(
        &self,
        offsets: impl Iterator<Item = u64>,
        outcome: v1::settlement::Outcome,
    ) -> v1::SettleRecords {
        let mut ranges: Vec<v1::OffsetRange> = Vec::new();
        for offset in offsets {
            match ranges.last_mut() {
                Some(last) if last.end == offset => last.end += 1,
                Some(_) | None => ranges.push(v1::OffsetRange {
                    start: offset,
                    end: offset + 1,
                }),
            }
        }
        let (delivery, partition, is_dead_letter) = self.group;
        v1::SettleRecords {
            subscription: self.subscription.clone(),
            settlement: Some(v1::Settlement {
                delivery,
                partition,
                is_dead_letter,
                ranges,
                outcome: Some(outcome),
            }),
        }
    }
}

impl Delivery {
    /// What names it to the broker, and its offset; none if it was settled.
    pub(crate) fn name(&self) -> Option<(NamedDelivery, u64)> {
        let ticket = self.lease.ticket.as_ref()?;
        let (group, offset) = ticket.named();
        let subscription = self.lease.seat.look(|it| it.subscription().to_owned());
        let named = NamedDelivery {
            subscription,
            group,
        };
        Some((named, offset.get()))
    }

    /// Lets no later record of its key come until that is known to be in order, if it is to be given back.
    pub(crate) fn hold_lane(&self, outcome: &DeliveryOutcome) -> Option<LaneHold> {
        let ticket = self.lease.ticket.as_ref()?;
        if !outcome.is_given_back() {
            return None;
        }
        let seat = &self.lease.seat;
        let lane = seat.with(|it| it.hold_lane(ticket))?;
        Some(LaneHold {
            seat: Arc::clone(seat),
            lane: Some(lane),
        })
    }

    /// It was settled by a commit: the broker knows.
    pub(crate) fn settled(mut self, outcome: DeliveryOutcome) {
        if let Some(ticket) = self.lease.ticket.take() {
            self.lease
                .seat
                .with(|it| it.settled_by_commit(ticket, outcome));
        }
    }
}

/// A key of which no further record comes while this is there.
pub(crate) struct LaneHold {
    seat: Arc<Seat>,
    lane: Option<Lane>,
}

impl Drop for LaneHold {
    fn drop(&mut self) {
        if let Some(lane) = self.lane.take() {
            self.seat.with(|it| it.release_lane(lane));
        }
    }
}

impl fmt::Debug for LaneHold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneHold").finish_non_exhaustive()
    }
}
