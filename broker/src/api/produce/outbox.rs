//! What is to be told on one Produce stream, between the sequencer and the connection.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;
use tonic::Status;
use towpath_proto::names::TopicName;
use towpath_proto::problem::Problem;
use towpath_proto::v1;
use towpath_proto::v1::produce_response::Response;

use super::super::places;
use super::status;
use crate::core::{AcceptedBatch, AppendRefusal, UnwrittenRecord};
use crate::metrics::Refusals;
use crate::runtime::command::{AppendAnswer, AppendSink, Ticket};

/// Batches that were accepted and not told of beyond which no further one is read: a client that does
/// not read is not read from. They take less than a MiB.
const WAITING_MAX: usize = 10_000;
/// Anything else takes as much memory as so many of them.
const MESSAGE_WEIGHT: usize = 16;

/// Something to tell the client.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// A batch is on disk.
    Accepted(v1::AcceptedBatch),
    /// Anything else.
    Message(Box<Response>),
}

/// What [`Outbox::poll_take`] found.
#[derive(Debug)]
pub(super) enum Taken {
    /// Something to tell.
    Some,
    /// Everything was told: the stream ends like this.
    End(Result<(), Box<Status>>),
}

/// The answers of one stream, in order. Filled by the sequencer and the stream's reader, emptied by
/// the connection; nobody waits while holding its lock.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: Mutex<Waiting>,
    /// Told when the connection has taken what waited.
    taken: Notify,
    /// Told when the connection is gone.
    gone: Notify,
}

/// Where the answer to a batch goes that the reader has rejected.
#[derive(Debug)]
pub(super) struct RejectionSink {
    outbox: Arc<Outbox>,
    problem: Arc<Problem>,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: VecDeque<Entry>,
    /// Of all entries.
    weight: usize,
    /// Counts refusals that are told.
    refusals: Arc<Refusals>,
    /// Batches that were pushed and are not answered.
    unanswered: usize,
    /// Names of the topics that are open, for refusals.
    topics: BTreeMap<u32, TopicName>,
    /// Set while the connection waits for something to tell.
    waker: Option<Waker>,
    /// Set when the reader has ended.
    end: Option<Result<(), Box<Status>>>,
    /// Set when the connection is gone.
    is_closed: bool,
}

#[derive(Debug)]
enum Entry {
    Answer(Ticket, AppendAnswer, Option<Arc<Problem>>),
    Message(Box<Response>),
}

impl AppendSink for Outbox {
    fn answer(&self, ticket: Ticket, answer: AppendAnswer) {
        self.note_answer(ticket, answer, None);
    }
}

impl RejectionSink {
    /// A sink for the answer to one batch, which is told what is wrong with it.
    pub(super) fn new(outbox: &Arc<Outbox>, problem: Problem) -> Self {
        Self {
            outbox: Arc::clone(outbox),
            problem: Arc::new(problem),
        }
    }
}

impl AppendSink for RejectionSink {
    fn answer(&self, ticket: Ticket, answer: AppendAnswer) {
        let problem = Some(Arc::clone(&self.problem));
        self.outbox.note_answer(ticket, answer, problem);
    }
}

impl Outbox {
    /// Nothing to tell yet; refusals are counted.
    pub(super) fn new(refusals: &Arc<Refusals>) -> Self {
        let waiting = Waiting {
            refusals: Arc::clone(refusals),
            ..Waiting::default()
        };
        Self {
            waiting: Mutex::new(waiting),
            ..Self::default()
        }
    }

    /// Remembers which topic a handle stands for.
    pub(super) fn name_handle(&self, handle: u32, topic: &TopicName) {
        self.lock().topics.insert(handle, topic.clone());
    }

    /// Notes that a batch is about to be pushed.
    pub(super) fn expect_answer(&self) {
        self.lock().unanswered += 1;
    }

    /// Tells that a batch is refused which was not pushed.
    pub(super) fn refuse(&self, ticket: Ticket, problem: Problem) {
        self.lock().refusals.add(problem.reason());
        self.tell(refused(ticket, problem, false));
    }

    /// Adds something to tell.
    pub(super) fn tell(&self, message: Response) {
        let mut waiting = self.lock();
        waiting.push(Entry::Message(Box::new(message)));
        wake(waiting);
    }

    /// Ends the stream like this once everything was told.
    pub(super) fn end(&self, end: Result<(), Box<Status>>) {
        let mut waiting = self.lock();
        waiting.end = Some(end);
        wake(waiting);
    }

    /// Waits until not too many answers wait. Safe to drop.
    pub(super) async fn has_room(&self) {
        loop {
            let taken = self.taken.notified();
            if self.lock().weight < WAITING_MAX {
                return;
            }
            taken.await;
        }
    }

    /// Waits until the connection is gone. Safe to drop.
    pub(super) async fn closed(&self) {
        loop {
            let gone = self.gone.notified();
            if self.lock().is_closed {
                return;
            }
            gone.await;
        }
    }

    /// Takes no more, since nobody would be told.
    pub(super) fn close(&self) {
        let mut waiting = self.lock();
        waiting.is_closed = true;
        waiting.entries = VecDeque::new();
        drop(waiting);
        self.gone.notify_waiters();
    }

    /// Moves what is to be told to `outgoing`, or has the task woken when there is something.
    pub(super) fn poll_take(
        &self,
        outgoing: &mut VecDeque<Outgoing>,
        cx: &mut Context<'_>,
    ) -> Poll<Taken> {
        let mut waiting = self.lock();
        let entries = std::mem::take(&mut waiting.entries);
        if entries.is_empty() {
            if waiting.unanswered == 0
                && let Some(end) = waiting.end.take()
            {
                return Poll::Ready(Taken::End(end));
            }
            waiting.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        waiting.weight = 0;
        outgoing.extend(entries.into_iter().map(|entry| waiting.describe(entry)));
        drop(waiting);
        self.taken.notify_waiters();
        Poll::Ready(Taken::Some)
    }

    fn note_answer(&self, ticket: Ticket, answer: AppendAnswer, rejection: Option<Arc<Problem>>) {
        let mut waiting = self.lock();
        waiting.unanswered = waiting.unanswered.saturating_sub(1);
        if !waiting.is_closed {
            let entry = Entry::Answer(ticket, answer, rejection);
            waiting.push(entry);
            wake(waiting);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the connection if it waits: once, until it has looked.
fn wake(mut waiting: MutexGuard<'_, Waiting>) {
    let waker = waiting.waker.take();
    drop(waiting);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Waiting {
    fn push(&mut self, entry: Entry) {
        self.weight += match &entry {
            Entry::Answer(_, AppendAnswer::Accepted { unwritten, .. }, _) => 1 + unwritten.len(),
            Entry::Answer(..) | Entry::Message(_) => MESSAGE_WEIGHT,
        };
        self.entries.push_back(entry);
    }

    fn describe(&self, entry: Entry) -> Outgoing {
        let (ticket, answer, rejection) = match entry {
            Entry::Message(message) => return Outgoing::Message(message),
            Entry::Answer(ticket, answer, rejection) => (ticket, answer, rejection),
        };
        let rejection = rejection.map(Arc::unwrap_or_clone);
        let (problem, is_sequence_spent) = match answer {
            AppendAnswer::Accepted {
                batch,
                is_duplicate,
                unwritten,
            } => {
                let accepted = accepted(ticket, batch, is_duplicate, &unwritten);
                return Outgoing::Accepted(accepted);
            }
            AppendAnswer::Spent { reason } => {
                (self.describe_spent(ticket, reason, rejection), true)
            }
            AppendAnswer::Rejected => (rejection.unwrap_or_else(status::shutting_down), false),
            AppendAnswer::RefusedFinally(refusal) => (self.describe_refusal(ticket, refusal), true),
            AppendAnswer::Refused(refusal) => (self.describe_refusal(ticket, refusal), false),
            AppendAnswer::Failed => (status::storage_failed(), false),
            AppendAnswer::ShuttingDown => (status::shutting_down(), false),
        };
        self.refusals.add(problem.reason());
        Outgoing::Message(Box::new(refused(ticket, problem, is_sequence_spent)))
    }

    /// Only the reason of an earlier refusal is remembered. What is wrong with the batch now tells the
    /// rest, unless it is something else.
    fn describe_spent(&self, ticket: Ticket, reason: i32, rejection: Option<Problem>) -> Problem {
        let reason = status::remembered_reason(reason);
        let rejection = rejection.filter(|problem| problem.reason() == reason);
        rejection.unwrap_or_else(|| {
            let problem = status::refused_before(reason, ticket.partition, ticket.sequence);
            match self.topics.get(&ticket.handle) {
                Some(topic) => problem.with("topic", topic),
                None => problem,
            }
        })
    }

    fn describe_refusal(&self, ticket: Ticket, refusal: AppendRefusal) -> Problem {
        match self.topics.get(&ticket.handle) {
            Some(topic) => {
                status::append_refused(refusal, topic, ticket.partition, ticket.sequence)
            }
            // INVARIANT: a batch is pushed only under a handle that was named.
            None => status::storage_failed(),
        }
    }
}

/// What a refused batch is told.
fn refused(ticket: Ticket, problem: Problem, is_sequence_spent: bool) -> Response {
    Response::Refused(v1::Refused {
        handle: ticket.handle,
        partition: ticket.partition,
        sequence: ticket.sequence,
        error: Some(problem.into()),
        is_sequence_spent,
    })
}

fn accepted(
    ticket: Ticket,
    batch: AcceptedBatch,
    is_duplicate: bool,
    unwritten: &[UnwrittenRecord],
) -> v1::AcceptedBatch {
    v1::AcceptedBatch {
        handle: ticket.handle,
        partition: ticket.partition,
        sequence: ticket.sequence,
        base_offset: batch.base_offset.get(),
        record_count: batch.record_count,
        lsn: batch.lsn.get(),
        append_time_ms: batch.append_time_ms,
        is_duplicate,
        unwritten: unwritten.iter().map(places::unwritten).collect(),
    }
}
