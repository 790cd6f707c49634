//! One partition of a producer: what waits, what was sent, and what a refusal or a broken connection
//! means for both.
//!
//! A pure state machine: time comes in as an argument, what is to be told goes out through
//! [`Effects`]. Its one rule for safety: **a sequence number is used for other records only when every
//! sending of it was answered by a refusal that left it unspent.** A batch with a sending that was
//! not answered is *in doubt*: it keeps its number, and so does everything before it. It is sent
//! again, before anything behind it, until the broker says that it is written or its number spent. A
//! refusal that does neither tells nothing of the sending that may still be on its way over an old
//! connection, however final it sounds.

mod expiry;
mod recoil;

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;
use towpath_proto::ids::{PartitionId, Sequence};

use super::batch::{BatchSize, ClosedBatch, OpenBatch, Weighed};
use super::effects::Effects;
use super::receipt::{Appended, Outcome, Receipt};
use crate::Error;
use crate::backoff::Backoff;
use crate::record::Expectation;
use recoil::Recoil;

pub(super) use recoil::Refusal;

/// Smallest buffer for a batch: shorter ones are not worth a reallocation.
const CAPACITY_MIN: usize = 256;

/// What all partitions of a producer have in common.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) size: BatchSize,
    /// Most batches of a partition that may be unanswered.
    pub(super) window: usize,
    /// How long a batch that is not full waits for more records.
    pub(super) linger: Duration,
    /// How long after its first record the outcome of a batch is waited for.
    pub(super) give_up_after: Duration,
    /// How long a batch in doubt is sent again after that, so that later ones can follow it.
    pub(super) resend_for: Duration,
}

/// The batches of one partition, oldest in `unanswered`, then `waiting`, then `open`.
#[derive(Debug)]
pub(super) struct PartitionQueue {
    id: PartitionId,
    open: Option<OpenBatch>,
    /// Closed and without a sequence number.
    waiting: VecDeque<ClosedBatch>,
    /// Numbered from `first_sequence` on.
    unanswered: VecDeque<SentBatch>,
    first_sequence: Sequence,
    /// How many of `unanswered`, from the first on, were sent on this stream.
    sent_count: usize,
    /// How many of those have no answer, not even a refusal.
    on_the_wire_count: usize,
    /// Which of the producer's identities numbers the batches.
    identity: u32,
    /// A refusal came: nothing is sent until every sending is answered.
    recoil: Option<Recoil>,
    /// Nothing is sent before this time.
    held_until: Option<Instant>,
    backoff: Backoff,
    /// Why the broker takes nothing at present.
    last_refusal: Option<Error>,
    /// The open batch goes without waiting for more records.
    is_hurried: bool,
    /// Size of the last batch, as a guess for the next.
    last_batch_len: usize,
}

/// A batch that has a sequence number.
#[derive(Debug)]
struct SentBatch {
    batch: ClosedBatch,
    sending: Sending,
    /// When it was sent first under its number. One that is refused and not in doubt gives its number back,
    /// unless it stands before another one that is.
    may_be_written_since: Option<Instant>,
    /// It was sent on an earlier stream and not answered there.
    is_in_doubt: bool,
    /// The broker refused its last sending for good.
    verdict: Option<Error>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    /// Is to be sent on this stream.
    Due,
    /// Was sent on this stream, and no answer has come.
    OnTheWire,
    /// The answer was a refusal that left the sequence unspent.
    Refused,
}

/// A record was added.
#[derive(Debug)]
pub(super) struct Pushed {
    pub(super) receipt: Receipt,
    /// It began a batch or filled one, so that there may be something to send.
    pub(super) has_changed_batch: bool,
}

/// A batch to be put on the stream.
#[derive(Debug, Clone)]
pub(super) struct Sendable {
    pub(super) partition: PartitionId,
    pub(super) identity: u32,
    pub(super) sequence: Sequence,
    pub(super) record_count: u32,
    pub(super) expectation: Option<Expectation>,
    pub(super) bytes: bytes::Bytes,
}

/// What the broker says about a batch that it has.
#[derive(Debug, Clone)]
pub(super) struct Acceptance {
    /// Of those that it has written.
    pub(super) record_count: u32,
    /// Where they are; an error if the answer makes no sense.
    pub(super) appended: Result<Appended, Error>,
}

/// The broker answered something else than the first batch that has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OutOfTurn;

impl PartitionQueue {
    pub(super) fn new(id: PartitionId, backoff: Backoff) -> Self {
        Self {
            id,
            open: None,
            waiting: VecDeque::new(),
            unanswered: VecDeque::new(),
            first_sequence: Sequence::FIRST,
            sent_count: 0,
            on_the_wire_count: 0,
            identity: 0,
            recoil: None,
            held_until: None,
            backoff,
            last_refusal: None,
            is_hurried: false,
            last_batch_len: 0,
        }
    }

    /// Adds a record, in order behind all others.
    pub(super) fn push(
        &mut self,
        weighed: &Weighed<'_>,
        rules: &Rules,
        clock: impl FnOnce() -> Instant,
    ) -> Pushed {
        let batch_len = weighed.batch_len;
        let is_alone = weighed.expectation.is_some();
        if let Some(full) = self
            .open
            .take_if(|open| is_alone || !open.has_room_for(batch_len, &rules.size))
        {
            self.close(full);
        }
        let is_new = self.open.is_none();
        let capacity = self.last_batch_len.max(batch_len).max(CAPACITY_MIN);
        let mut open = self
            .open
            .take()
            .unwrap_or_else(|| OpenBatch::new(capacity, clock()));
        let receipt = open.push(weighed);
        let is_full = open.is_full(&rules.size);
        if is_full {
            self.close(open);
        } else {
            self.open = Some(open);
        }
        Pushed {
            receipt,
            has_changed_batch: is_new || is_full,
        }
    }

    /// Whether a record that adds this many bytes would join a batch that is there.
    pub(super) fn would_join(&self, batch_len: usize, rules: &Rules) -> bool {
        let open = self.open.as_ref();
        open.is_some_and(|open| open.has_room_for(batch_len, &rules.size))
    }

    /// Lets the open batch go without waiting for more records.
    pub(super) const fn hurry(&mut self) {
        self.is_hurried = self.open.is_some();
    }

    /// Takes the next batch to put on the stream, if one is due.
    pub(super) fn take_sendable(&mut self, rules: &Rules, now: Instant) -> Option<Sendable> {
        if !self.has_sendable(rules, now) {
            return None;
        }
        if self.sent_count == self.unanswered.len() {
            self.number_next_batch()?;
        }
        let index = self.sent_count;
        let sequence = self.sequence_at(index);
        let sent = self.unanswered.get_mut(index)?;
        sent.sending = Sending::OnTheWire;
        sent.may_be_written_since.get_or_insert(now);
        self.sent_count += 1;
        self.on_the_wire_count += 1;
        Some(Sendable {
            partition: self.id,
            identity: self.identity,
            sequence,
            record_count: sent.batch.record_count,
            expectation: sent.batch.expectation,
            bytes: sent.batch.bytes.clone(),
        })
    }

    /// Whether [`PartitionQueue::take_sendable`] would return a batch.
    pub(super) fn has_sendable(&self, rules: &Rules, now: Instant) -> bool {
        if self.recoil.is_some() || self.held_until.is_some_and(|until| now < until) {
            return false;
        }
        self.sent_count < self.unanswered.len()
            || (self.unanswered.len() < rules.window
                && (!self.waiting.is_empty() || self.is_open_batch_due(rules, now)))
    }

    /// The broker has the batch with this sequence.
    pub(super) fn accept(
        &mut self,
        sequence: Sequence,
        acceptance: Acceptance,
        effects: &mut Effects,
    ) -> Result<(), OutOfTurn> {
        let Some(sent) = self.take_answered(sequence)? else {
            return Ok(());
        };
        let result = acceptance.appended.and_then(|appended| {
            let (sent, written) = (sent.batch.record_count, acceptance.record_count);
            if appended.unwritten.fits(sent, written) {
                Ok(appended)
            } else {
                let text = "the broker counts other records than were sent";
                Err(Error::protocol(text))
            }
        });
        effects.settle(&sent.batch, result);
        effects.release(&sent.batch);
        self.backoff.reset();
        self.last_refusal = None;
        Ok(())
    }

    /// The stream is gone: what it has not answered is in doubt.
    pub(super) fn lose_stream(&mut self, now: Instant, effects: &mut Effects) {
        for sent in &mut self.unanswered {
            if sent.sending == Sending::OnTheWire {
                sent.is_in_doubt = true;
                sent.sending = Sending::Due;
            }
        }
        self.on_the_wire_count = 0;
        match self.recoil.take() {
            Some(recoil) => self.end_recoil(recoil, now, effects),
            None => self.restart(),
        }
    }

    /// Fails everything: those that may have been written say so.
    pub(super) fn fail(&mut self, error: &Error, effects: &mut Effects) {
        let was_numbered = !self.unanswered.is_empty();
        for sent in self.unanswered.drain(..) {
            let may_be_written = sent.is_in_doubt || sent.sending == Sending::OnTheWire;
            let error = if may_be_written {
                error.clone().in_doubt()
            } else {
                error.clone()
            };
            effects.settle(&sent.batch, Err(error));
            effects.release(&sent.batch);
        }
        let open = self.open.take().map(OpenBatch::close);
        for batch in self.waiting.drain(..).chain(open) {
            effects.settle(&batch, Err(error.clone()));
            effects.release(&batch);
        }
        self.recoil = None;
        self.held_until = None;
        self.on_the_wire_count = 0;
        if was_numbered {
            self.start_anew();
        }
    }

    /// Adds the outcomes that are still open.
    pub(super) fn collect_unsettled(&self, outcomes: &mut Vec<std::sync::Arc<Outcome>>) {
        let sent = self.unanswered.iter().map(|sent| &sent.batch.outcome);
        let waiting = self.waiting.iter().map(|batch| &batch.outcome);
        let open = self.open.iter().map(OpenBatch::outcome);
        let all = sent.chain(waiting).chain(open);
        outcomes.extend(all.filter(|outcome| !outcome.is_settled()).cloned());
    }

    /// Whether there is no batch at all.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_none() && self.waiting.is_empty() && self.unanswered.is_empty()
    }

    /// Number of batches that were sent on this stream and are not answered.
    pub(super) const fn on_the_wire_count(&self) -> usize {
        self.on_the_wire_count
    }

    /// Until when nothing is sent.
    pub(super) const fn held_until(&self) -> Option<Instant> {
        self.held_until
    }

    pub(super) const fn id(&self) -> PartitionId {
        self.id
    }

    /// Which of the producer's identities numbers the batches.
    pub(super) const fn identity(&self) -> u32 {
        self.identity
    }

    fn close(&mut self, open: OpenBatch) {
        let batch = open.close();
        // A record that travels alone tells nothing about the batches of others.
        if batch.expectation.is_none() {
            self.last_batch_len = batch.bytes.len();
        }
        self.is_hurried = false;
        self.waiting.push_back(batch);
    }

    /// Gives the next batch that has no number one.
    fn number_next_batch(&mut self) -> Option<()> {
        if self.waiting.is_empty()
            && let Some(open) = self.open.take()
        {
            self.close(open);
        }
        self.unanswered.push_back(SentBatch {
            batch: self.waiting.pop_front()?,
            sending: Sending::Due,
            may_be_written_since: None,
            is_in_doubt: false,
            verdict: None,
        });
        Some(())
    }

    /// A batch that is not full goes when nothing of its partition is on the way: what comes while
    /// that is so is the next batch.
    fn is_open_batch_due(&self, rules: &Rules, now: Instant) -> bool {
        let Some(open) = &self.open else {
            return false;
        };
        self.is_hurried
            || (self.unanswered.is_empty()
                && (rules.linger.is_zero() || now >= open.opened_at() + rules.linger))
    }

    /// Takes the batch that was answered for good; none if it was before.
    fn take_answered(&mut self, sequence: Sequence) -> Result<Option<SentBatch>, OutOfTurn> {
        if sequence < self.first_sequence {
            return Ok(None);
        }
        let is_first = sequence == self.first_sequence;
        let on_the_wire = |sent: &mut SentBatch| is_first && sent.sending == Sending::OnTheWire;
        let sent = self.unanswered.pop_front_if(on_the_wire).ok_or(OutOfTurn)?;
        self.first_sequence = self.first_sequence.next();
        self.sent_count -= 1;
        self.on_the_wire_count -= 1;
        Ok(Some(sent))
    }

    /// Sends everything that has a number again, from the first on.
    fn restart(&mut self) {
        self.sent_count = 0;
        for sent in &mut self.unanswered {
            sent.sending = Sending::Due;
            sent.verdict = None;
        }
    }

    /// Numbers what comes from 0 on, under a new identity.
    fn start_anew(&mut self) {
        self.identity += 1;
        self.first_sequence = Sequence::FIRST;
        self.sent_count = 0;
    }

    fn sequence_at(&self, index: usize) -> Sequence {
        Sequence::new(self.first_sequence.get().saturating_add(index as u64))
    }
}

#[cfg(test)]
mod tests;
