//! What the broker answers, and what follows for the lane.

use tokio::time::Instant;
use towpath_proto::ids::{Lsn, Offset, PartitionId, Sequence};
use towpath_proto::v1;
use towpath_proto::v1::produce_response::Response;

use super::super::partition::{Acceptance, OutOfTurn, Refusal};
use super::super::receipt::Appended;
use super::super::unwritten::Unwritten;
use super::{Lane, Place, StreamState};
use crate::{Error, ErrorKind, ErrorReason};

/// What an answer means for the stream it came on.
#[derive(Debug)]
pub(in crate::producer) enum Verdict {
    /// It goes on.
    GoOn,
    /// The topic is open: the broker is well.
    Opened,
    /// It is of no use: another is to be tried later.
    Abandon(Error),
    /// The producer has come to its end.
    End(Error),
}

impl Lane {
    /// Takes one answer of the broker.
    pub(in crate::producer) fn take_answer(
        &mut self,
        answer: v1::ProduceResponse,
        now: Instant,
    ) -> Verdict {
        let verdict = match answer.response {
            None => Verdict::GoOn,
            Some(Response::Opened(opened)) => self.take_opened(&opened, now),
            Some(Response::OpenRefused(refused)) => self.take_open_refused(refused),
            Some(Response::Accepted(accepted)) => self.take_accepted(&accepted.batches, now),
            Some(Response::Refused(refused)) => self.take_refused(refused, now),
            Some(Response::Draining(_)) => {
                self.drain();
                Verdict::GoOn
            }
        };
        self.awaited_since = None;
        if self.is_answer_awaited() {
            self.await_answer(now);
        } else if let Some(fenced) = self.fenced.take() {
            return Verdict::End(fenced);
        }
        verdict
    }

    /// Sends nothing more on the present stream; what was sent is still answered.
    pub(in crate::producer) fn drain(&mut self) {
        if self.stream == StreamState::Open {
            self.stream = StreamState::Draining;
        }
    }

    /// Whether the present stream has nothing more to send and nothing more to hear.
    pub(in crate::producer) fn is_drained(&self) -> bool {
        self.stream == StreamState::Draining && !self.is_answer_awaited()
    }

    fn take_opened(&mut self, opened: &v1::TopicOpened, now: Instant) -> Verdict {
        self.identities.set_open(opened.handle);
        self.trouble = None;
        self.refresh_all(now);
        Verdict::Opened
    }

    fn take_open_refused(&mut self, refused: v1::OpenRefused) -> Verdict {
        let error = Error::from_stream(&refused.error.unwrap_or_default());
        let error = error.with("topic", &self.topic);
        if error.is_fenced() {
            self.identities.end_life(&error);
        }
        match error.kind() {
            // The topic is not there, or this producer may not write to it: waiting changes nothing.
            ErrorKind::Rejected => Verdict::End(error),
            // A stream may have its full number of topics, where another one has room. A broker whose
            // disk failed ends, and the next one knows what was written.
            _ => Verdict::Abandon(error),
        }
    }

    fn take_accepted(&mut self, batches: &[v1::AcceptedBatch], now: Instant) -> Verdict {
        for batch in batches {
            let partition = PartitionId::new(batch.partition);
            let Some(place) = self.place_with_identity(partition, batch.handle) else {
                continue;
            };
            let acceptance = Acceptance {
                record_count: batch.record_count,
                appended: Unwritten::read(&batch.unwritten).map(|unwritten| Appended {
                    partition,
                    base_offset: Offset::new(batch.base_offset),
                    lsn: Lsn::new(batch.lsn),
                    append_time_ms: batch.append_time_ms,
                    unwritten,
                }),
            };
            let sequence = Sequence::new(batch.sequence);
            let step = self.change(place, now, |queue, effects| {
                queue.accept(sequence, acceptance, effects)
            });
            if step == Some(Err(OutOfTurn)) {
                return out_of_turn();
            }
        }
        Verdict::GoOn
    }

    fn take_refused(&mut self, refused: v1::Refused, now: Instant) -> Verdict {
        let partition = PartitionId::new(refused.partition);
        let error = Error::from_stream(&refused.error.unwrap_or_default());
        let error = error.with("topic", &self.topic);
        if error.is_fenced() {
            self.note_fenced(&error);
        }
        let error = error.with("partition", partition);
        match error.reason() {
            Some(ErrorReason::TopicNotFound) => return Verdict::End(error),
            // Nobody knows whether it was written before the broker has started again. Until then it
            // is as if the answer were lost.
            Some(ErrorReason::StorageFailed) => return Verdict::Abandon(error),
            _ => {}
        }
        let Some(place) = self.place_with_identity(partition, refused.handle) else {
            return Verdict::GoOn;
        };
        let refusal = Refusal {
            error,
            is_sequence_spent: refused.is_sequence_spent,
        };
        let sequence = Sequence::new(refused.sequence);
        let step = self.change(place, now, |queue, effects| {
            queue.refuse(sequence, refusal, now, effects)?;
            Ok(queue.held_until())
        });
        match step {
            Some(Err(OutOfTurn)) => return out_of_turn(),
            Some(Ok(Some(held_until))) => self.want(held_until),
            Some(Ok(None)) | None => {}
        }
        Verdict::GoOn
    }

    /// Nothing is taken or sent any more; what was sent before still gets an answer of its own, since
    /// some of it may be written.
    fn note_fenced(&mut self, error: &Error) {
        self.identities.end_life(error);
        self.end.get_or_insert_with(|| error.clone());
        self.fenced.get_or_insert_with(|| error.clone());
        self.drain();
    }

    /// Finds a partition if its batches carry the numbers of this identity.
    fn place_with_identity(&self, partition: PartitionId, handle: u32) -> Option<Place> {
        let place = self.place_of(partition)?;
        let queue = self.partitions.get(place.0)?;
        (queue.identity() == handle).then_some(place)
    }

    fn is_answer_awaited(&self) -> bool {
        self.on_the_wire_count > 0 || self.identities.is_opening()
    }
}

/// A new stream sorts it out: there every batch without an answer gets one.
fn out_of_turn() -> Verdict {
    Verdict::Abandon(Error::protocol("the broker answered out of turn"))
}
