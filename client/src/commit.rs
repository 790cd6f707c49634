//! Several things at once: all of them, or none.
//!
//! `operation` is one thing as its owner says it, `plan` what the broker is asked for all of them, which is
//! fewer where it can be.

mod committed;
mod failure;
mod named;
mod operation;
mod plan;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};
use towpath_proto::v1;
use towpath_proto::v1::commit_service_client::CommitServiceClient;
use uuid::Uuid;

use crate::backoff::Backoff;
use crate::client::{Repetition, Shared};
use crate::group::Committer;
use crate::subscriber::LaneHold;
use crate::time::later;
use crate::{
    Delivery, DeliveryOutcome, Error, ErrorKind, ErrorReason, GroupConsumer, GroupOffset, Record,
    RetryAdvice, Schedule, ToGroupOffsets,
};
use operation::{Member, Operation};
use plan::Plan;

pub use committed::Committed;
pub use failure::CommitError;
pub use named::PulledRecords;

/// What is to happen at once: records that are written to any topics, deliveries that are settled, offsets
/// of groups that are committed, records that are scheduled.
///
/// All of it becomes durable together and visible together, or nothing of it happens. It is refused as a
/// whole if one of the operations does not hold any more: a record does not get the offset that it
/// [expects](Record::expect_offset), its key does not have the [version](Record::expect_version), a delivery is not its consumer's any more, a partition belongs to
/// another member of the group. So a consumer that was taken for dead cannot write what another one writes
/// by now.
///
/// ```no_run
/// use towpath_client::{Client, ErrorReason, Record};
///
/// # fn bill(_: &[u8]) -> Vec<u8> { Vec::new() }
/// # async fn example() -> Result<(), towpath_client::Error> {
/// let client = Client::connect("http://127.0.0.1:7600")?;
/// let mut orders = client.subscriber("billing").build();
/// while let Some(order) = orders.next_delivery().await? {
///     let bill = Record::new(bill(order.value().unwrap_or_default()));
///     // Each order has exactly one bill, whatever breaks when.
///     match client.commit().append("bills", bill).ack(order).send().await {
///         // The order is delivered again.
///         Err(failed) if failed.error().reason() == Some(ErrorReason::LeaseExpired) => {}
///         committed => drop(committed?),
///     }
/// }
/// # Ok(())
/// # }
/// ```
///
/// # When the outcome is unknown
///
/// Each commit has a random key by which the broker knows it again, so it is sent as often as it takes and
/// happens once. If no answer comes for as long as it is waited for, it fails with an error of which
/// [`CommitError::may_have_happened`] is true; [`CommitError::into_commit`] goes on with the same commit,
/// which still happens once if that is within a day, and one of the last million.
///
/// Beyond that, or by another program that does the same again, one that settles deliveries or commits
/// offsets cannot happen twice: [`ErrorReason::LeaseExpired`](crate::ErrorReason::LeaseExpired), or
/// [`ErrorReason::ExpectedOffsetMismatch`](crate::ErrorReason::ExpectedOffsetMismatch) with
/// `committed_offset` among the metadata, tells that nothing is left to do: it happened, or what it was made
/// of is delivered again. [`Commit::idempotency_key`] names one that does neither.
///
/// # Deliveries
///
/// The commit has them until it is answered: their leases are extended meanwhile, and nothing else is said
/// of them. As with [`Delivery::nack`], no later record of a key comes while one of it is to be nacked. If it
/// succeeds, they are settled. If it fails, they are still the caller's, within the error.
/// Dropping a commit, the error or the future of [`Commit::send`] drops the deliveries, which says that
/// handling them failed, as always; that has no effect if the commit happened, or happens before.
///
/// Deliveries and consumers are to be of the same broker.
#[derive(Debug)]
#[must_use = "nothing happens before it is sent"]
pub struct Commit {
    client: Arc<Shared>,
    /// Names it, so that it happens once.
    key: Bytes,
    give_up_after: Duration,
    // Before the holds: what is given back as it is dropped holds up its key by itself.
    operations: Vec<Operation>,
    /// Keys of what is to be given back: no later record of them is handed out.
    holds: Vec<LaneHold>,
}

impl Commit {
    pub(crate) fn new(client: Arc<Shared>) -> Self {
        let give_up_after = client.give_up_after;
        Self {
            client,
            // From the operating system: no two commits have the same.
            key: Bytes::from_owner(Uuid::new_v4().into_bytes()),
            give_up_after,
            operations: Vec::new(),
            holds: Vec::new(),
        }
    }

    /// Writes a record to a topic. Records of one partition come in the order of the calls, and each is
    /// counted for those behind it: several of one key may expect versions that follow one another. Where a
    /// topic has a [dedupe window](crate::NewTopic::dedupe_window), an event that is there already is not
    /// written, its [position](crate::Position) says so, and the rest happens.
    pub fn append(self, topic: impl Into<String>, record: impl Into<Record>) -> Self {
        self.append_all(topic, [record])
    }

    /// Writes records to a topic, as one operation. Those without a key that have no
    /// [`Record::partition`] go to partitions of the broker's choice.
    pub fn append_all<R: Into<Record>>(
        self,
        topic: impl Into<String>,
        records: impl IntoIterator<Item = R>,
    ) -> Self {
        self.with(Operation::Append {
            topic: topic.into(),
            records: records.into_iter().map(Into::into).collect(),
        })
    }

    /// Schedules a record: it is written when it is due.
    pub fn schedule(self, schedule: Schedule) -> Self {
        self.with(Operation::Schedule(Box::new(schedule)))
    }

    /// A record was handled.
    pub fn ack(self, delivery: Delivery) -> Self {
        self.settle(delivery, DeliveryOutcome::Ack)
    }

    /// Handling a record failed; as [`Delivery::nack`].
    pub fn nack(
        self,
        delivery: Delivery,
        delay: Option<Duration>,
        reason: impl Into<String>,
    ) -> Self {
        let reason = reason.into();
        self.settle(delivery, DeliveryOutcome::Nack { delay, reason })
    }

    /// A record was not handled, which is nobody's fault; as [`Delivery::release`].
    pub fn release(self, delivery: Delivery) -> Self {
        self.settle(delivery, DeliveryOutcome::Release)
    }

    /// A record cannot be handled; as [`Delivery::dead_letter`].
    pub fn dead_letter(self, delivery: Delivery, reason: impl Into<String>) -> Self {
        self.settle(delivery, DeliveryOutcome::dead_letter(reason))
    }

    /// Says what became of a record; as [`Delivery::settle`].
    pub fn settle(mut self, delivery: Delivery, outcome: DeliveryOutcome) -> Self {
        self.holds.extend(delivery.hold_lane(&outcome));
        self.with(Operation::Settle { delivery, outcome })
    }

    /// A consumer of a group has handled a record or a batch and all before it, or all below offsets; as
    /// [`GroupConsumer::commit`], but that it is refused if the group is so far already.
    ///
    /// Wait for the answer to one before the next of the same partition is sent. Of two that are under way at
    /// once the later may come first: then the group is beyond the earlier, which is refused with
    /// [`ErrorReason::ExpectedOffsetMismatch`](crate::ErrorReason::ExpectedOffsetMismatch), and what it was to
    /// write is never written, nor is its record delivered again. The same happens when the earlier is refused
    /// for another reason. [`GroupConsumer::for_each_commit`] sees to it; commits of different partitions do not
    /// concern each other.
    pub fn offsets<T: ToGroupOffsets + ?Sized>(
        self,
        consumer: &GroupConsumer,
        handled: &T,
    ) -> Self {
        self.offsets_by(consumer.committer(), handled.to_group_offsets())
    }

    /// Settles records by the numbers of the protocol.
    pub fn settle_pulled(self, pulled: PulledRecords, outcome: DeliveryOutcome) -> Self {
        self.with(Operation::SettlePulled { pulled, outcome })
    }

    /// As [`Commit::offsets`], by the names that the member of the group has in the protocol.
    pub fn offsets_of_member<T: ToGroupOffsets + ?Sized>(
        self,
        group: impl Into<String>,
        member_id: [u8; 16],
        handled: &T,
    ) -> Self {
        self.with(Operation::Offsets {
            member: Member::Named(group.into(), member_id),
            offsets: handled.to_group_offsets(),
        })
    }

    /// Names the commit, instead of by a random key that it has by itself: for a day, or the last million
    /// commits, another one of the same key and operations does nothing, and is answered as the first was.
    /// For who does the same again after a restart, such as a relay with the id of what it relays. Of other
    /// operations it is refused. At most 128 bytes; none lets it happen whenever it is sent.
    pub fn idempotency_key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = key.into();
        self
    }

    /// Sets how long the outcome is waited for, instead of what the client says.
    pub const fn give_up_after(mut self, duration: Duration) -> Self {
        self.give_up_after = duration;
        self
    }

    /// Lets it happen, and returns where the records are once all of it is on disk.
    ///
    /// Dropping the future leaves open whether it happens; see [`Commit`] for what becomes of the
    /// deliveries.
    ///
    /// # Errors
    ///
    /// Why nothing happened, which operation did not hold, or that the outcome is not known; with the
    /// commit, and in it the deliveries.
    pub async fn send(mut self) -> Result<Committed, CommitError> {
        let outcome = Plan::of(&self.operations, &self.client.source, &self.key);
        let sent = match outcome {
            Ok(plan) => self.carry_out(plan).await,
            Err(failed) => Err(failed),
        };
        match sent {
            Ok(committed) => {
                self.operations.drain(..).for_each(Operation::conclude);
                Ok(committed)
            }
            Err((operation, error)) => Err(CommitError::new(error, operation, self)),
        }
    }

    /// As [`Commit::send`], but goes on while the broker is out of reach, and somebody wants to know.
    pub(crate) async fn send_until_known(
        mut self,
        is_wanted: impl Fn() -> bool,
    ) -> Result<Committed, CommitError> {
        let mut backoff = Backoff::new();
        let mut is_in_doubt = false;
        loop {
            let failed = match self.send().await {
                Ok(committed) => return Ok(committed),
                Err(failed) => failed,
            };
            let error = failed.error();
            let is_out_of_reach = matches!(
                error.kind(),
                ErrorKind::Connect | ErrorKind::Timeout | ErrorKind::Unavailable
            );
            // Of a commit that the disk failed under, the next life of the broker knows.
            let is_unknown = error.retry_advice() == RetryAdvice::Same
                || error.reason() == Some(ErrorReason::StorageFailed);
            is_in_doubt |= error.may_have_happened();
            if !(is_out_of_reach || is_unknown) {
                return Err(failed);
            }
            if !is_wanted() {
                return Err(match is_in_doubt {
                    true => failed.in_doubt(),
                    false => failed,
                });
            }
            self = failed.into_commit();
            sleep(backoff.next_wait()).await;
        }
    }

    /// Number of the operation that was added last, as [`CommitError::operation`] tells it.
    pub(crate) const fn last_operation(&self) -> Option<usize> {
        self.operations.len().checked_sub(1)
    }

    /// Whether nothing would happen.
    pub(crate) const fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// As [`Commit::offsets`], for a consumer that is used elsewhere meanwhile.
    pub(crate) fn offsets_by(self, committer: Committer, offsets: Vec<GroupOffset>) -> Self {
        self.with(Operation::Offsets {
            member: Member::Consumer(committer),
            offsets,
        })
    }

    async fn carry_out(&self, plan: Plan) -> Result<Committed, (Option<usize>, Error)> {
        let deadline = later(Instant::now(), self.give_up_after);
        let limits = self.client.limits(self.give_up_after).await;
        plan.check(limits.map_err(|error| (None, error))?)?;
        let call = |channel| {
            let request = plan.request.clone();
            async move { CommitServiceClient::new(channel).commit(request).await }
        };
        let patience = deadline.saturating_duration_since(Instant::now());
        let repetition = match self.key.is_empty() {
            true => Repetition::AfterNoEffect,
            false => Repetition::KnownAgain,
        };
        let answer: Result<v1::CommitResponse, Error> =
            self.client.call(patience, repetition, call).await;
        let answer = answer.map_err(|error| plan.explain(error))?;
        let committed = Committed::read(&plan, self.operations.len(), &answer);
        committed.map_err(|error| (None, error))
    }

    fn with(mut self, operation: Operation) -> Self {
        self.operations.push(operation);
        self
    }
}
