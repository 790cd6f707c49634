//! How a consumer comes to its end.

use tokio::time::Instant;

use super::{Phase, Receiving};
use crate::subscriber::outcome::DeliveryOutcome;
use crate::subscriber::receiving::ticket::{DeliveryId, Place, Ticket};

/// How far the consumer has come with its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// It receives.
    No,
    /// It takes no more, and goes when what was begun is settled or at this time.
    Draining(Instant),
    /// It goes when what was said is confirmed. What was begun is given up.
    Leaving,
    /// It has said so.
    Left,
}

impl Receiving {
    /// Takes no more: others get what was not begun. Goes when the rest is settled, or at this time.
    pub(in crate::subscriber) fn drain(&mut self, until: Instant) {
        self.ending = match self.ending {
            Ending::No => {
                self.drop_waiting();
                Ending::Draining(until)
            }
            Ending::Draining(known) => Ending::Draining(known.min(until)),
            Ending::Leaving | Ending::Left => return,
        };
        self.end_drain();
    }

    /// Goes once what was said is confirmed. What was begun is given up: others get it at once.
    pub(in crate::subscriber) fn leave(&mut self) {
        if matches!(self.ending, Ending::No | Ending::Draining(_)) {
            self.ending = Ending::Leaving;
            self.held.clear();
            self.turns.drop_waiting();
        }
    }

    /// Goes unless it does so already, in its own time.
    pub(in crate::subscriber) fn leave_unless_draining(&mut self) {
        if self.ending == Ending::No {
            self.leave();
        }
    }

    /// Whether it has given up what was begun.
    pub(in crate::subscriber) const fn is_leaving(&self) -> bool {
        matches!(self.ending, Ending::Leaving | Ending::Left)
    }

    /// Whether the broker was told that it goes.
    pub(in crate::subscriber) fn has_left(&self) -> bool {
        self.ending == Ending::Left
    }

    /// Whether it has something to tell the broker before it goes.
    pub(in crate::subscriber) fn has_more_to_say(&self) -> bool {
        !self.settlements.is_empty()
    }

    /// The broker gives back what it was not told to be begun with: that has to be said before.
    pub(super) fn is_stop_due(&self) -> bool {
        let is_draining = matches!(self.ending, Ending::Draining(_));
        is_draining
            && self.phase == Phase::Open
            && self.is_wanting
            && !self.settlements.has_gathered()
    }

    /// The stream of a consumer that leaves ends at once: what it has to say and to hear comes before.
    pub(super) fn is_leave_due(&self) -> bool {
        let is_quiet = self.outbox.is_empty() && self.settlements.is_empty();
        self.is_open() && self.ending == Ending::Leaving && is_quiet
    }

    /// A drain is over when nobody has a record any more.
    pub(super) fn end_drain(&mut self) {
        if self.begun_count == 0 && matches!(self.ending, Ending::Draining(_)) {
            self.leave();
        }
    }

    /// Goes if the time of the drain is over.
    pub(in crate::subscriber) fn pass_drain(&mut self, now: Instant) {
        if self.drained_at().is_some_and(|at| at <= now) {
            self.leave();
        }
    }

    /// When the drain is over at the latest.
    pub(in crate::subscriber) const fn drained_at(&self) -> Option<Instant> {
        match self.ending {
            Ending::Draining(until) => Some(until),
            Ending::No | Ending::Leaving | Ending::Left => None,
        }
    }

    /// Says of everything that waits for a handler that it will not be handled here.
    pub(super) fn give_back_waiting(&mut self) {
        for (delivery, place) in self.drop_waiting() {
            let ticket = Ticket {
                delivery,
                place,
                lane: None,
                holds_lane: false,
            };
            let outcome = DeliveryOutcome::Release;
            self.settlements.settle(&ticket, outcome, None, None);
        }
    }

    /// Forgets what waits for a handler, and returns which records those are.
    pub(super) fn drop_waiting(&mut self) -> Vec<(DeliveryId, Place)> {
        let (waiting, cost) = self.held.drop_waiting();
        self.flow.release(cost);
        self.turns.drop_waiting();
        waiting
    }
}
