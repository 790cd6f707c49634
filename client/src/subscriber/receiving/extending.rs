//! Keeping what the consumer has for longer than the ack deadline.

use tokio::time::Instant;

use super::Receiving;
use crate::time::later;

/// Leases are extended so many times within an ack deadline, so that one request may be late.
const EXTENDS_PER_DEADLINE: u32 = 3;

impl Receiving {
    /// When time alone changes something next.
    pub(in crate::subscriber) fn next_time(&self) -> Option<Instant> {
        let times = [self.extend_at, self.drained_at()];
        times.into_iter().flatten().min()
    }

    /// Does what is due by now.
    pub(in crate::subscriber) fn pass_time(&mut self, now: Instant) {
        if self.extend_at.is_some_and(|at| at <= now) {
            self.extend(now);
        }
        self.pass_drain(now);
    }

    /// Leases begin anew by this time, and are to be extended before they end.
    pub(super) fn extend_later(&mut self, now: Instant) {
        let deadline = self.known.as_ref().map(|it| it.ack_deadline);
        self.extend_at = deadline.map(|deadline| later(now, deadline / EXTENDS_PER_DEADLINE));
    }

    fn extend(&mut self, now: Instant) {
        for (delivery, place) in self.held.extendable(now) {
            self.settlements.extend(delivery, place);
        }
        self.extend_later(now);
    }
}
