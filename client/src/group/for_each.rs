//! A handler over the records of a group: keys side by side, each key in order, commits behind it.
//!
//! `work` is the pure part: what waits for which key, what is finished, how far a commit may go. `commit` is
//! the form in which what handlers write and how far the group is are one.

mod commit;
mod work;

use std::collections::BTreeMap;
use std::future::pending;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use towpath_proto::address::Address;
use tracing::{debug, warn};

use super::item::{Assignment, GroupBatch, GroupItem, GroupRecord, Revoking, StoppedPartition};
use super::membership::Membership;
use super::seat::Wanted;
use super::{COMMIT_INTERVAL, GroupConsumer, GroupOffset};
use crate::{Error, ErrorReason};
use work::{LaneKey, Ticket, Work};

pub use commit::ByPartition;

/// How long the last commit may take.
const LAST_COMMIT_PATIENCE: Duration = Duration::from_secs(5);

/// Handlers run for so many keys at a time, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByKey(pub usize);

/// Why [`GroupConsumer::for_each`] or [`GroupConsumer::for_each_commit`] ended before it was told to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForEachError<E> {
    /// A partition, or the whole group, cannot be read on.
    #[error(transparent)]
    Consumer(Error),
    /// The handler failed. The record is not committed: whoever reads the partition next gets it again.
    #[error("the handler failed on {record}")]
    Handler {
        /// The record.
        record: Address,
        /// What the handler said.
        #[source]
        error: E,
    },
    /// What the handler wanted to happen was refused, and nothing of it happened, unless
    /// [`Error::may_have_happened`]. The record is not committed then: whoever reads the partition next gets
    /// it again.
    #[error("the commit was refused on {record}")]
    Commit {
        /// The record.
        record: Address,
        /// Why.
        #[source]
        error: Error,
    },
}

impl GroupConsumer {
    /// Calls `handler` for each record until the consumer is shut down, for up to `parallel` keys at a
    /// time: the records of a key one after the other, in their order; records without a key in the
    /// order of their partition. Each call runs as a task of its own.
    ///
    /// What was handled is committed about ten times a second, for each partition up to the first
    /// record that was not: a record is never committed before its handler is done. Partitions that
    /// others are to get are finished, committed and given back while the others go on.
    ///
    /// A partition that cannot be read on, such as one with damaged records, stops with a warning in the
    /// log, committed up to there; the others go on.
    ///
    /// When it ends for whatever reason, the handlers that run are waited for unless
    /// [`Drain`](crate::Drain) says otherwise, what is handled is committed, and the member leaves.
    /// A handler that panics makes this panic. Dropping the future drops the handlers.
    ///
    /// # Errors
    ///
    /// [`ForEachError::Handler`] with the first error of the handler: no more is begun then, and the
    /// record is not committed. [`ForEachError::Consumer`] if the group or all of its topics cannot be
    /// read on, or the last commit failed; and once it was told to end, why a partition that it owned
    /// had stopped. A topic that is deleted is no error as long as others are left: it is told with a
    /// warning in the log.
    pub async fn for_each<F, Fut, E>(
        self,
        parallel: ByKey,
        mut handler: F,
    ) -> Result<(), ForEachError<E>>
    where
        F: FnMut(GroupRecord) -> Fut,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Send + 'static,
    {
        let handler = move |record| {
            let handling = handler(record);
            async move {
                let handled = handling.await;
                handled.map(|()| Done::ToCommit).map_err(Failure::Handler)
            }
        };
        ForEach::new(self, Lanes::ByKey, parallel.0, handler)
            .run()
            .await
    }
}

/// What is handled one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lanes {
    /// Each key, and what has none, of a partition.
    ByKey,
    /// Each partition.
    ByPartition,
}

/// A record was handled.
#[derive(Debug)]
enum Done {
    /// The group is to come as far.
    ToCommit,
    /// The group is as far.
    Committed,
}

/// Why a record was not handled.
#[derive(Debug)]
enum Failure<E> {
    /// The handler said so.
    Handler(E),
    /// What it wanted to happen was refused.
    Commit(Error),
    /// The partition is not this consumer's any more.
    NotOwned(Assignment),
}

/// A record, and what came of it.
type Handled<E> = (Ticket, Address, Result<Done, Failure<E>>);

struct ForEach<F, E> {
    consumer: GroupConsumer,
    handler: F,
    lanes: Lanes,
    count: usize,
    work: Work<GroupRecord>,
    running: JoinSet<Handled<E>>,
    /// The commit that is on its way; one at a time.
    committing: Option<oneshot::Receiver<Result<(), Error>>>,
    /// When the next one is due.
    commit_at: Option<Instant>,
    /// Partitions that are owned and cannot be read on.
    stopped: BTreeMap<Assignment, Error>,
    /// No more is begun.
    is_ending: bool,
    outcome: Result<(), ForEachError<E>>,
}

enum Step<E> {
    Item(Option<Result<GroupItem, Error>>),
    Handled(Result<Handled<E>, JoinError>),
    Committed(Result<(), Error>),
    CommitDue,
    Stop,
    GiveUp,
}

impl<F, Fut, E> ForEach<F, E>
where
    F: FnMut(GroupRecord) -> Fut,
    Fut: Future<Output = Result<Done, Failure<E>>> + Send + 'static,
    E: Send + 'static,
{
    fn new(consumer: GroupConsumer, lanes: Lanes, count: usize, handler: F) -> Self {
        Self {
            work: Work::new(consumer.limits),
            consumer,
            handler,
            lanes,
            count: count.max(1),
            running: JoinSet::new(),
            committing: None,
            commit_at: None,
            stopped: BTreeMap::new(),
            is_ending: false,
            outcome: Ok(()),
        }
    }

    async fn run(mut self) -> Result<(), ForEachError<E>> {
        loop {
            self.start_handlers();
            self.give_back();
            if self.is_ending && self.running.is_empty() {
                break;
            }
            match self.step().await {
                Step::Item(Some(Ok(item))) => self.take_item(item),
                Step::Item(Some(Err(error))) => self.take_error(error),
                Step::Item(None) | Step::Stop => self.end(Ok(())),
                Step::Handled(handled) => self.take_handled(handled),
                Step::Committed(outcome) => self.take_committed(outcome),
                Step::CommitDue => self.commit(),
                Step::GiveUp => {
                    self.end(Ok(()));
                    self.running.shutdown().await;
                }
            }
        }
        self.commit_rest().await;
        self.consumer.close().await;
        self.outcome?;
        let mut stopped = self.stopped.into_values();
        stopped
            .next()
            .map_or(Ok(()), |error| Err(ForEachError::Consumer(error)))
    }

    async fn step(&mut self) -> Step<E> {
        let shutdown = self.consumer.shutdown_handle();
        let wanted = if self.work.has_room() {
            Wanted::Everything
        } else {
            Wanted::News
        };
        tokio::select! {
            biased;
            () = shutdown.given_up() => Step::GiveUp,
            () = shutdown.stop.cancelled(), if !self.is_ending => Step::Stop,
            Some(handled) = self.running.join_next() => Step::Handled(handled),
            outcome = answered(&mut self.committing) => Step::Committed(outcome),
            () = until(self.commit_at), if self.committing.is_none() => Step::CommitDue,
            item = self.consumer.next_wanted(wanted), if !self.is_ending => Step::Item(item),
        }
    }

    fn start_handlers(&mut self) {
        while !self.is_ending && self.running.len() < self.count {
            let Some((ticket, record)) = self.work.start() else {
                return;
            };
            let address = record.address();
            let handling = (self.handler)(record);
            self.running
                .spawn(async move { (ticket, address, handling.await) });
        }
    }

    fn take_item(&mut self, item: GroupItem) {
        match item {
            GroupItem::Batch(batch) => self.take_batch(&batch),
            GroupItem::Assigned(partitions) => {
                for it in partitions {
                    self.work.assign(it.assignment, it.committed_offset);
                }
            }
            GroupItem::Revoking(Revoking { partitions, .. }) => {
                partitions.iter().for_each(|it| self.work.revoke(it));
            }
            GroupItem::Lost(partitions) => {
                for it in &partitions {
                    self.work.lose(it);
                    self.stopped.remove(it);
                }
            }
            GroupItem::Stopped(StoppedPartition { assignment, error }) => {
                warn!(error = %error.with_causes(), "a partition is read no further, the others go on");
                self.stopped.insert(assignment, error);
            }
            GroupItem::Gap(gap) => {
                self.consumer.tell_gap(&gap);
                if self.consumer.passes_over(&gap) {
                    self.work.skip(&gap.topic, gap.partition, gap.range.end());
                    self.commit_soon();
                }
            }
            GroupItem::CaughtUp(_) => {}
        }
    }

    /// The topics that are left go on when one is gone.
    fn take_error(&mut self, error: Error) {
        let is_gone = error.reason() == Some(ErrorReason::TopicNotFound);
        if is_gone && !self.consumer.seat.look(Membership::is_finished) {
            warn!(%error, "a topic is gone, the others go on");
        } else {
            self.end(Err(ForEachError::Consumer(error)));
        }
    }

    fn take_batch(&mut self, batch: &GroupBatch) {
        let assignment = batch.assignment();
        for record in batch.records() {
            let key = LaneKey {
                topic: assignment.topic.clone(),
                partition: assignment.partition,
                key: match self.lanes {
                    Lanes::ByKey => record.key_bytes(),
                    Lanes::ByPartition => None,
                },
            };
            let bytes = u64::try_from(record.encoded_len()).unwrap_or(u64::MAX);
            self.work
                .push(&assignment, key, record.offset(), bytes, record);
        }
    }

    fn take_handled(&mut self, handled: Result<Handled<E>, JoinError>) {
        match handled {
            Ok((ticket, _, Ok(done))) => {
                if matches!(done, Done::Committed) {
                    self.work.note_committed(&ticket);
                }
                self.work.finish(ticket);
                self.commit_soon();
            }
            Ok((ticket, record, Err(failure))) => {
                self.work.fail(ticket);
                match failure {
                    Failure::Handler(error) => {
                        self.end(Err(ForEachError::Handler { record, error }));
                    }
                    Failure::Commit(error) => {
                        self.end(Err(ForEachError::Commit { record, error }));
                    }
                    // Who has it by now handles the record.
                    Failure::NotOwned(assignment) => self.work.lose(&assignment),
                }
            }
            Err(error) => {
                if let Ok(panic) = error.try_into_panic() {
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }

    /// Begins nothing more. The first reason counts.
    fn end(&mut self, outcome: Result<(), ForEachError<E>>) {
        if !std::mem::replace(&mut self.is_ending, true) {
            self.outcome = outcome;
            self.work.drop_waiting();
        } else if self.outcome.is_ok() {
            self.outcome = outcome;
        }
    }

    fn commit_soon(&mut self) {
        self.commit_at
            .get_or_insert_with(|| Instant::now() + COMMIT_INTERVAL);
    }

    fn commit(&mut self) {
        self.commit_at = None;
        let offsets = self.work.take_commits();
        if !offsets.is_empty() {
            self.committing = Some(self.send(&offsets));
        }
    }

    fn send(&self, offsets: &[GroupOffset]) -> oneshot::Receiver<Result<(), Error>> {
        let (answer, answered) = oneshot::channel();
        self.consumer.seat.with(|it| {
            it.commit(offsets, answer);
            it.hurry();
        });
        answered
    }

    /// Gives back what others are to get and no handler is busy with, committed as far as it is.
    fn give_back(&mut self) {
        let idle = self.work.take_idle_revoked();
        if idle.is_empty() {
            return;
        }
        let (partitions, offsets): (Vec<_>, Vec<_>) = idle.into_iter().unzip();
        drop(self.send(&offsets));
        for it in &partitions {
            self.stopped.remove(it);
        }
        self.consumer.seat.with(|it| it.give_back(&partitions));
    }

    fn take_committed(&mut self, outcome: Result<(), Error>) {
        match outcome {
            Ok(()) => {}
            // Others have the partition, and handle again what they have to.
            Err(error) if error.reason() == Some(ErrorReason::GenerationStale) => {
                debug!(%error, "a commit came too late");
            }
            Err(error) => self.end(Err(ForEachError::Consumer(error))),
        }
    }

    async fn commit_rest(&mut self) {
        if let Some(committing) = self.committing.take() {
            let outcome = wait_for(committing).await;
            self.take_committed(outcome);
        }
        let offsets = self.work.take_commits();
        if !offsets.is_empty() {
            let outcome = wait_for(self.send(&offsets)).await;
            self.take_committed(outcome);
        }
    }
}

/// What became of the last commits; the consumer may end before it knows.
async fn wait_for(answered: oneshot::Receiver<Result<(), Error>>) -> Result<(), Error> {
    match timeout(LAST_COMMIT_PATIENCE, answered).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) | Err(_) => {
            let text = "the last commit was not answered in time";
            Err(Error::timeout(crate::error::Effects::Possible, text))
        }
    }
}

async fn answered(
    committing: &mut Option<oneshot::Receiver<Result<(), Error>>>,
) -> Result<(), Error> {
    let Some(answer) = committing else {
        return pending().await;
    };
    let outcome = answer.await;
    *committing = None;
    // Without an answer the consumer itself tells why.
    outcome.unwrap_or(Ok(()))
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}
