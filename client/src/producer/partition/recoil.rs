//! After a refusal: sort out what was written, what was not and what is in doubt, then go on.
//!
//! Behind a batch that was refused, every other one on the wire is refused too, because the broker
//! still waits for the first. So nothing is sent until all of them are answered; then it is certain
//! which of them can be sent again under which number.

use std::time::Duration;

use tokio::time::Instant;
use towpath_proto::ids::Sequence;

use super::super::effects::Effects;
use super::{OutOfTurn, PartitionQueue, Sending, SentBatch};
use crate::{Error, ErrorReason, RetryAdvice};

/// What is known so far about why the broker refuses.
#[derive(Debug, Default)]
pub(super) struct Recoil {
    /// The broker and this producer do not agree on the sequence any more, and why.
    disagreement: Option<Error>,
    /// How long the broker asks to wait.
    retry_after: Option<Duration>,
}

/// A batch was not written, as the broker says.
#[derive(Debug, Clone)]
pub(in crate::producer) struct Refusal {
    pub(in crate::producer) error: Error,
    /// It is final, and the next batch carries the next number.
    pub(in crate::producer) is_sequence_spent: bool,
}

impl PartitionQueue {
    /// The broker does not take the batch with this sequence.
    pub(in crate::producer) fn refuse(
        &mut self,
        sequence: Sequence,
        refusal: Refusal,
        now: Instant,
        effects: &mut Effects,
    ) -> Result<(), OutOfTurn> {
        if refusal.is_sequence_spent {
            if let Some(sent) = self.take_answered(sequence)? {
                effects.settle(&sent.batch, Err(refusal.error));
                effects.release(&sent.batch);
            }
        } else if sequence >= self.first_sequence {
            self.note_refusal(sequence, refusal.error)?;
        }
        if let Some(recoil) = self.recoil.take_if(|_| self.on_the_wire_count == 0) {
            self.end_recoil(recoil, now, effects);
        }
        Ok(())
    }

    fn note_refusal(&mut self, sequence: Sequence, error: Error) -> Result<(), OutOfTurn> {
        let mut sent = self.unanswered.iter_mut().enumerate();
        let first = sent.find(|(_, sent)| sent.sending == Sending::OnTheWire);
        let (index, sent) = first.ok_or(OutOfTurn)?;
        if sequence.get() != self.first_sequence.get() + index as u64 {
            return Err(OutOfTurn);
        }
        sent.sending = Sending::Refused;
        self.on_the_wire_count -= 1;
        let is_first = self.recoil.is_none();
        let recoil = self.recoil.get_or_insert_default();
        match error.reason() {
            // Nothing can be missing before the first: the two sides count differently.
            Some(ErrorReason::SequenceGap) if is_first => recoil.disagreement = Some(error),
            Some(ErrorReason::SequenceGap) => {}
            Some(ErrorReason::ProducerUnknown) => recoil.disagreement = Some(error),
            _ if error.retry_advice() == RetryAdvice::Same || is_damaged_on_the_way(&error) => {
                recoil.retry_after = recoil.retry_after.max(error.retry_after());
                self.last_refusal = Some(error);
            }
            _ => sent.verdict = Some(error),
        }
        Ok(())
    }

    /// Goes on after every sending was answered, or lost together with its stream.
    pub(super) fn end_recoil(&mut self, recoil: Recoil, now: Instant, effects: &mut Effects) {
        match self.disagreement(recoil.disagreement) {
            Some(error) => self.give_identity_up(&error, effects),
            None => self.take_back(effects),
        }
        let wait = recoil
            .retry_after
            .unwrap_or_else(|| self.backoff.next_wait());
        self.held_until = Some(now + wait);
    }

    /// Whether, and why, no later batch can be numbered under the present identity.
    fn disagreement(&self, said: Option<Error>) -> Option<Error> {
        let last_in_doubt = self.unanswered.iter().rposition(|sent| sent.is_in_doubt);
        // A number can neither be used again nor left out if its batch may have been written. Nor can
        // one before it, since it would carry the batch over the old connection.
        let keeps_number = |(index, sent): (usize, &SentBatch)| {
            let error = sent.verdict.as_ref().filter(|_| !sent.is_in_doubt)?;
            let is_before_doubt = last_in_doubt.is_some_and(|last| index < last);
            (is_before_doubt || error.may_have_happened()).then(|| error.clone())
        };
        said.or_else(|| self.unanswered.iter().enumerate().find_map(keeps_number))
    }

    /// Fails what may have been written and goes on with the rest under a new identity.
    pub(super) fn give_identity_up(&mut self, error: &Error, effects: &mut Effects) {
        // Behind a number that nobody uses any more the broker takes nothing, over no connection.
        let unwritten = self.unanswered.iter().position(SentBatch::is_unwritten);
        let unwritten_from = unwritten.unwrap_or(self.unanswered.len());
        while let Some(sent) = self.unanswered.pop_back() {
            let is_in_doubt = sent.is_in_doubt && self.unanswered.len() < unwritten_from;
            let failure = match (sent.verdict, is_in_doubt) {
                (Some(verdict), true) => verdict.in_doubt(),
                (Some(verdict), false) => verdict,
                (None, true) => error.clone().in_doubt(),
                (None, false) => {
                    self.waiting.push_front(sent.batch);
                    continue;
                }
            };
            effects.settle(&sent.batch, Err(failure));
            effects.release(&sent.batch);
        }
        self.start_anew();
    }

    /// Takes the numbers back from all that certainly was not written; the others come again.
    fn take_back(&mut self, effects: &mut Effects) {
        while let Some(sent) = self.unanswered.pop_back_if(|sent| !sent.is_in_doubt) {
            match sent.verdict {
                None => self.waiting.push_front(sent.batch),
                Some(verdict) => {
                    effects.settle(&sent.batch, Err(verdict));
                    effects.release(&sent.batch);
                }
            }
        }
        // What is refused for good and in doubt is told at once, but stays: an old connection may still
        // carry it, and what is written before that is known would be overtaken by it.
        for sent in &self.unanswered {
            if let Some(verdict) = sent.verdict.clone().filter(|_| sent.is_in_doubt) {
                effects.settle(&sent.batch, Err(verdict.in_doubt()));
            }
        }
        self.restart();
    }
}

impl SentBatch {
    /// Whether every sending of it was refused, so that it certainly is not written.
    fn is_unwritten(&self) -> bool {
        let verdict = self.verdict.as_ref();
        !self.is_in_doubt && !verdict.is_some_and(Error::may_have_happened)
    }
}

/// A wrong checksum is the one fault of a batch that sending it again may heal.
fn is_damaged_on_the_way(error: &Error) -> bool {
    error.reason() == Some(ErrorReason::InvalidArgument) && error.metadata("field") == Some("crc")
}
