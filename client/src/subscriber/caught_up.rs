//! Hearing that nothing can be handed out now.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use towpath_proto::ids::Lsn;
use towpath_proto::v1;

use super::Delivery;
use super::seat::Seat;
use crate::time::from_ms;

/// One thing that a subscriber has come to.
#[derive(Debug)]
#[non_exhaustive]
pub enum SubscriberItem {
    /// A record to be handled.
    Delivery(Delivery),
    /// Nothing can be handed out now.
    CaughtUp(SubscriptionCaughtUp),
}

/// Nothing could be handed out to this consumer: what was left was with consumers, waited for another attempt,
/// for its key or behind dead letters, or was in a partition that stands still; or the subscription was
/// paused.
///
/// It is what the broker knew when it decided so. What this consumer said of records and the broker had not
/// heard by then is not in it: such a record counts as in flight here. What was acked, nacked or said to be
/// dead since then is told with the next one, at the latest when nobody has a record any more; what was
/// released is delivered again, to whomever, and then that one follows. So who wants to end when all is
/// done waits for one of which [`is_idle`](Self::is_idle) is true; who keeps records for himself compares
/// [`in_flight_records`](Self::in_flight_records) with what he keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriptionCaughtUp {
    /// What it rests on: of all that was appended up to this LSN nothing was left to be handed out but what
    /// is counted here, and what is in partitions that stand still or in a paused subscription.
    pub lsn: Lsn,
    /// When it was decided, by the broker's clock.
    pub broker_time: SystemTime,
    /// Records that this consumer had, as far as the broker had heard.
    pub in_flight_records: u64,
    /// Records that other consumers had, also such that are away.
    pub elsewhere_in_flight_records: u64,
    /// Records that nobody had: they wait for another attempt, for their key, behind dead letters, or for the
    /// subscription to be resumed; as far as the broker has looked at them.
    pub waiting_records: u64,
    /// Dead letters that were redriven and wait for the same.
    pub redriven_records: u64,
    /// When the next of both is due, by the broker's clock; none if none waits for a time.
    pub next_due: Option<SystemTime>,
    /// Keys of which something is among the dead letters, so that what comes follows.
    pub parked_keys: u64,
    /// Partitions that are not gone on with since they could not be read.
    pub halted_partitions: u32,
    /// Partitions that are not gone on with until fewer of their records wait.
    pub full_partitions: u32,
    /// Whether the subscription was paused.
    pub is_paused: bool,
    /// Whether something could last not be moved to the dead letters: it stays where it is, and is tried
    /// again.
    pub has_dead_letter_problem: bool,
}

impl SubscriptionCaughtUp {
    pub(super) fn from_proto(told: &v1::SubscriptionCaughtUp) -> Self {
        Self {
            lsn: Lsn::new(told.lsn),
            broker_time: from_ms(told.broker_time_ms),
            in_flight_records: told.in_flight_records,
            elsewhere_in_flight_records: told.elsewhere_in_flight_records,
            waiting_records: told.waiting_records,
            redriven_records: told.redriven_records,
            next_due: told.next_due_ms.map(from_ms),
            parked_keys: told.parked_keys,
            halted_partitions: told.halted_partitions,
            full_partitions: told.full_partitions,
            is_paused: told.is_paused,
            has_dead_letter_problem: told.has_dead_letter_problem,
        }
    }

    /// Whether no consumer had a record: what is left waits, or there is nothing.
    pub const fn is_idle(&self) -> bool {
        self.in_flight_records == 0 && self.elsewhere_in_flight_records == 0
    }
}

/// Hears of a subscriber when nothing can be handed out to it now, from anywhere: also while
/// [`Subscriber::for_each`](crate::Subscriber::for_each) runs. A clone hears the same again.
///
/// What is told comes behind all records that the broker delivered before: it waits until the last of them
/// was taken from the subscriber, and is not told at all if more have come by then. Handlers may still run.
#[derive(Clone)]
#[must_use = "tells only who waits for it"]
pub struct CaughtUpWatch {
    pub(super) seat: Arc<Seat>,
    /// Number of the last one that was told.
    pub(super) seen: u64,
}

impl CaughtUpWatch {
    /// Waits for the newest that this watch has not told; none once the subscriber hands out no more.
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<SubscriptionCaughtUp> {
        let (number, caught_up) = self.seat.caught_up_since(self.seen).await?;
        self.seen = number;
        Some(caught_up)
    }
}

impl fmt::Debug for CaughtUpWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaughtUpWatch")
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}
