//! What time does to batches: it runs out for their receipts, and holds and lingering end.
//!
//! A batch that has no number is dropped when its time is over: it was certainly not written. One
//! that has a number tells its receipts that the outcome is unknown but stays, and is sent again
//! before anything behind it, because only so can later batches follow without changing the order of
//! a key. After [`Rules::resend_for`] it is given up together with the identity: long after any
//! connection that could still carry it, long before the broker forgets what it has seen.

use std::sync::Arc;

use tokio::time::Instant;

use super::super::effects::Effects;
use super::{PartitionQueue, Rules};
use crate::Error;
use crate::error::Effects as SideEffects;
use crate::producer::batch::{ClosedBatch, OpenBatch};
use crate::producer::receipt::Outcome;
use crate::time::later;

impl PartitionQueue {
    /// Gives up what has waited for too long. `trouble` is what keeps the broker out of reach.
    pub(in crate::producer) fn expire(
        &mut self,
        rules: &Rules,
        now: Instant,
        trouble: Option<&Error>,
        effects: &mut Effects,
    ) {
        if self.held_until.is_some_and(|until| until <= now) {
            self.held_until = None;
        }
        let is_over = |opened_at| later(opened_at, rules.give_up_after) <= now;
        for sent in &self.unanswered {
            if !is_over(sent.batch.opened_at) {
                break;
            }
            if !sent.batch.outcome.is_settled() {
                effects.settle(&sent.batch, Err(unknown(trouble)));
            }
        }
        if self.is_beyond_resending(rules, now) {
            self.give_identity_up(&unknown(trouble), effects);
        }
        let is_batch_over = |batch: &mut ClosedBatch| is_over(batch.opened_at);
        while let Some(batch) = self.waiting.pop_front_if(is_batch_over) {
            self.drop_unsent(&batch, trouble, effects);
        }
        if let Some(open) = self.open.take_if(|open| is_over(open.opened_at())) {
            self.drop_unsent(&open.close(), trouble, effects);
        }
    }

    /// Gives up a record whose caller does so before the time of its batch is over. A batch that was
    /// not sent and holds nothing else is dropped; any other goes on, and what to tell the caller is
    /// returned.
    pub(in crate::producer) fn give_up(
        &mut self,
        outcome: &Arc<Outcome>,
        trouble: Option<&Error>,
        effects: &mut Effects,
    ) -> Option<Error> {
        if outcome.is_settled() {
            return None;
        }
        match self.take_lone_unsent(outcome) {
            Some(batch) => {
                self.drop_unsent(&batch, trouble, effects);
                None
            }
            None => Some(unknown(trouble.or(self.last_refusal.as_ref()))),
        }
    }

    fn take_lone_unsent(&mut self, outcome: &Arc<Outcome>) -> Option<ClosedBatch> {
        let is_it =
            |other: &Arc<Outcome>, record_count| record_count == 1 && Arc::ptr_eq(other, outcome);
        let open = self
            .open
            .take_if(|open| is_it(open.outcome(), open.record_count()));
        if let Some(open) = open {
            return Some(open.close());
        }
        let mut waiting = self.waiting.iter();
        let place = waiting.position(|batch| is_it(&batch.outcome, batch.record_count))?;
        self.waiting.remove(place)
    }

    /// When something of all this is due next, or a hold or the lingering ends. What is due already
    /// was seen to by [`PartitionQueue::expire`] or waits for something else than time.
    pub(in crate::producer) fn next_wake(&self, rules: &Rules, now: Instant) -> Option<Instant> {
        let numbered = self.unanswered.iter().map(|sent| &sent.batch);
        let unsettled = numbered
            .chain(&self.waiting)
            .filter(|batch| !batch.outcome.is_settled())
            .map(|batch| batch.opened_at)
            .chain(self.open.iter().map(OpenBatch::opened_at));
        let over = unsettled
            .map(|opened_at| later(opened_at, rules.give_up_after))
            .next();
        let resend_end = self.resend_end(rules);
        let open = self.open.as_ref();
        let linger_end = open.map(|open| later(open.opened_at(), rules.linger));
        let due = [over, resend_end, linger_end, self.held_until];
        due.into_iter().flatten().filter(|due| now < *due).min()
    }

    fn is_beyond_resending(&self, rules: &Rules, now: Instant) -> bool {
        self.recoil.is_none()
            && self.on_the_wire_count() == 0
            && self.resend_end(rules).is_some_and(|end| end <= now)
    }

    /// When the last batch in doubt has been so for long enough, and everybody who waits for one was told.
    /// It may have waited long before it was sent, so the time begins there.
    fn resend_end(&self, rules: &Rules) -> Option<Instant> {
        let mut doubted = self.unanswered.iter().filter(|sent| sent.is_in_doubt);
        let last = doubted.next_back()?;
        let sent_at = last.may_be_written_since?;
        let told_at = later(last.batch.opened_at, rules.give_up_after);
        Some(later(sent_at, rules.resend_for).max(told_at))
    }

    /// Fails a batch that certainly was not written, with what the broker said last, if it did.
    fn drop_unsent(&self, batch: &ClosedBatch, trouble: Option<&Error>, effects: &mut Effects) {
        let refusal = self.last_refusal.as_ref().filter(|_| trouble.is_none());
        let error = refusal.cloned().unwrap_or_else(|| {
            let text = "the record could not be sent in time";
            caused_by(Error::timeout(SideEffects::None, text), trouble)
        });
        effects.settle(batch, Err(error));
        effects.release(batch);
    }
}

/// A record that was sent, or that will be with others.
fn unknown(cause: Option<&Error>) -> Error {
    let text = "no answer in time; the record may have been written, or may yet be";
    caused_by(Error::timeout(SideEffects::Possible, text), cause)
}

fn caused_by(error: Error, cause: Option<&Error>) -> Error {
    match cause {
        Some(cause) => error.because(cause.clone()),
        None => error,
    }
}
