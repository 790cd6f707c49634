//! Atomic commits: appends, offsets of groups and settlements that take effect together or not at all.
//!
//! All of it is checked on the state as it is, and only then carried out, with one entry. What a commit
//! takes from a group or a subscription has to be there: an offset that moves the group, records that the
//! consumer has. So a commit that is sent again after its answer was lost is refused as a whole.

mod key;

use std::cmp::Reverse;

use towpath_proto::names::GroupName;
use towpath_storage::{
    DirectoryLine, Lsn, Offset, OffsetRange, PartitionRef, PlacementError, Placing, Row,
};

use super::State;

use super::append::{AppendDecision, AppendRefusal, AppendRequest};
use super::group::{Commit, CommitRefusal, GroupId, MemberId};
use super::schedule::{CommitSchedule, ScheduleRefusal};
use super::subscription::{DeliveryOutcome, Settlement, SubscriptionId};
pub(super) use key::TABLE_COMMIT_KEY;
pub use key::{CommitKey, RepeatedCommit};

/// What is to take effect together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommitWish {
    /// Batches, at most one for each partition.
    pub appends: Vec<CommitAppend>,
    /// What batches rest on.
    pub expectations: Vec<CommitExpectation>,
    /// How far groups have come. Each partition of a group at most once.
    pub offsets: Vec<CommitOffsets>,
    /// What became of records of subscriptions. Each record at most once.
    pub settlements: Vec<CommitSettlement>,
    /// Records that are appended later. No two with the same id.
    pub schedules: Vec<CommitSchedule>,
    /// What names it, if anything does.
    pub key: Option<CommitKey>,
}

/// A batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitAppend {
    /// Number of the first operation that appends to its partition.
    pub operation: usize,
    /// The batch, which no producer has numbered.
    pub request: AppendRequest,
}

/// Where records of an operation are expected to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitExpectation {
    /// Number of the operation.
    pub operation: usize,
    /// Their partition.
    pub partition: PartitionRef,
    /// Records of the commit that come before them there.
    pub records_before: u64,
    /// Offset that the first of them is to get.
    pub offset: Offset,
}

/// How far a member of a group has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitOffsets {
    /// Number of the operation.
    pub operation: usize,
    /// The group.
    pub group: GroupName,
    /// The member.
    pub member: MemberId,
    /// How far.
    pub commits: Vec<Commit>,
}

/// What became of records of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitSettlement {
    /// Number of the operation.
    pub operation: usize,
    /// The subscription.
    pub subscription: SubscriptionId,
    /// Acks, nacks, releases or deaths.
    pub settlement: Settlement,
}

/// What becomes of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitDecision {
    /// It is carried out; its batches are appended like this, in their order.
    Commit(Vec<DirectoryLine>),
    /// It must wait until a partition has room.
    Wait(PartitionRef, PlacementError),
}

/// Why a commit is not carried out. Nothing changes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("operation {operation}: {cause}")]
pub struct CommitRefused {
    /// Number of the operation that does not hold.
    pub operation: usize,
    /// Why.
    pub cause: CommitRefusalCause,
}

/// Why an operation of a commit does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitRefusalCause {
    /// A batch cannot be appended.
    #[error(transparent)]
    Append(AppendRefusal),
    /// A record cannot be scheduled.
    #[error(transparent)]
    Schedule(ScheduleRefusal),
    /// The commit's key has named other operations.
    #[error("the idempotency key has named other operations")]
    KeyReused,
    /// There is no group of this name.
    #[error("group \"{0}\" not found")]
    GroupNotFound(GroupName),
    /// The member may not say how far the group is.
    #[error("{refusal}")]
    Offset {
        /// Which partition.
        partition: PartitionRef,
        /// Why.
        refusal: CommitRefusal,
    },
    /// The group is so far already.
    #[error("the group is at offset {committed} already")]
    OffsetNotBeyond {
        /// Which partition.
        partition: PartitionRef,
        /// How far the member says.
        requested: Offset,
        /// How far it is.
        committed: Offset,
    },
    /// The subscription was deleted.
    #[error("the subscription was deleted")]
    SubscriptionNotFound,
    /// The consumer does not have these records any more.
    #[error("the consumer does not have all of the records any more")]
    LeaseExpired {
        /// Which.
        expired: Vec<OffsetRange>,
    },
}

impl CommitWish {
    /// What is settled, in the order in which it is carried out: acks first, then what is given back or
    /// dead, from the last record on, since each record gives back what its consumer has behind it of its
    /// key. So records that failed come one by one: a range of them would settle the first of each key alone.
    pub fn settlements_in_order(&self) -> Vec<(SubscriptionId, Settlement)> {
        let (acks, others): (Vec<_>, Vec<_>) = self
            .settlements
            .iter()
            .partition(|it| it.settlement.outcome == DeliveryOutcome::Ack);
        let acks = acks.into_iter();
        let acks = acks.map(|it| (it.subscription, it.settlement.clone()));
        let mut others: Vec<_> = others
            .into_iter()
            .flat_map(|it| {
                let is_release = it.settlement.outcome == DeliveryOutcome::Release;
                let ranges = it.settlement.ranges.iter();
                let parts = ranges.flat_map(move |range| match is_release {
                    true => vec![*range],
                    false => range.records().collect(),
                });
                parts.map(move |range| (it, range))
            })
            .collect();
        others.sort_by_key(|(_, range)| Reverse(range.start));
        let others = others.into_iter().map(|(it, range)| {
            let settlement = Settlement {
                delivery: it.settlement.delivery,
                partition: it.settlement.partition,
                ranges: vec![range],
                outcome: it.settlement.outcome.clone(),
            };
            (it.subscription, settlement)
        });
        acks.chain(others).collect()
    }

    /// The refusal of all of it because some of its batches cannot be appended.
    pub fn refused(&self, refusal: AppendRefusal) -> CommitRefused {
        let is_meant = |append: &&CommitAppend| match refusal {
            AppendRefusal::TopicNotFound { topic } => append.request.partition.topic == topic,
            _ => true,
        };
        let append = self.appends.iter().find(is_meant);
        CommitRefused {
            operation: append.map_or(0, |append| append.operation),
            cause: CommitRefusalCause::Append(refusal),
        }
    }
}

impl State {
    /// Decides on a commit that did not happen before ([`State::repeated_commit`]), as the entry `lsn` at broker
    /// time `now_ms`.
    ///
    /// # Errors
    /// [`CommitRefused`] for the first operation that does not hold: appends first, then what is scheduled,
    /// offsets and settlements.
    pub fn decide_commit(
        &self,
        wish: &CommitWish,
        lsn: Lsn,
        now_ms: i64,
    ) -> Result<CommitDecision, CommitRefused> {
        for expectation in &wish.expectations {
            self.expect_offset(
                expectation.partition,
                expectation.offset,
                expectation.records_before,
            )
            .map_err(append_refused(expectation.operation))?;
        }
        let mut lines = Vec::with_capacity(wish.appends.len());
        let mut waits = None;
        for CommitAppend { operation, request } in &wish.appends {
            let decision = self
                .append(request, Placing::Inline, lsn, now_ms)
                .map_err(append_refused(*operation))?;
            match decision {
                AppendDecision::Append(line) => lines.push(line),
                AppendDecision::Wait(needs) => {
                    waits.get_or_insert((request.partition, needs));
                }
                // Batches of a commit carry no sequence.
                AppendDecision::Repeated(_) => {}
            }
        }
        self.check_schedules(&wish.schedules, now_ms)?;
        wish.offsets
            .iter()
            .try_for_each(|it| self.check_offsets(it))?;
        wish.settlements
            .iter()
            .try_for_each(|it| self.check_settlement(it))?;
        // Only what holds waits: a refusal comes at once.
        Ok(match waits {
            Some((partition, needs)) => CommitDecision::Wait(partition, needs),
            None => CommitDecision::Commit(lines),
        })
    }

    /// The rows of the offsets of a commit that was decided.
    pub fn commit_rows(&self, wish: &CommitWish, now_ms: i64) -> Vec<Row> {
        let rows = wish.offsets.iter().flat_map(|it| {
            let group = self.group_named(&it.group).map(super::Group::id);
            let rows = group.map(|id| self.commit_offsets(id, it.member, &it.commits, now_ms).1);
            rows.unwrap_or_default()
        });
        rows.collect()
    }

    fn check_offsets(&self, wish: &CommitOffsets) -> Result<(), CommitRefused> {
        let refused = |cause| CommitRefused {
            operation: wish.operation,
            cause,
        };
        let group = self.group_named(&wish.group);
        let group =
            group.ok_or_else(|| refused(CommitRefusalCause::GroupNotFound(wish.group.clone())))?;
        for commit in &wish.commits {
            self.check_offset(group.id(), wish.member, commit)
                .map_err(refused)?;
        }
        Ok(())
    }

    fn check_offset(
        &self,
        group: GroupId,
        member: MemberId,
        commit: &Commit,
    ) -> Result<(), CommitRefusalCause> {
        let partition = commit.partition;
        match self.check_commit(group, member, commit) {
            Ok(None) => Ok(()),
            Ok(Some(committed)) => Err(CommitRefusalCause::OffsetNotBeyond {
                partition,
                requested: commit.offset,
                committed,
            }),
            Err(refusal) => Err(CommitRefusalCause::Offset { partition, refusal }),
        }
    }

    fn check_settlement(&self, wish: &CommitSettlement) -> Result<(), CommitRefused> {
        let refused = |cause| CommitRefused {
            operation: wish.operation,
            cause,
        };
        let found = self.subscription(wish.subscription);
        let found = found.ok_or_else(|| refused(CommitRefusalCause::SubscriptionNotFound))?;
        let expired = found.not_leased(&wish.settlement);
        match expired.is_empty() {
            true => Ok(()),
            false => Err(refused(CommitRefusalCause::LeaseExpired { expired })),
        }
    }
}

impl CommitRefused {
    /// The refusal of all of it because of what its records bring.
    pub fn by_records(refusal: AppendRefusal) -> Self {
        let operation = match refusal {
            AppendRefusal::ExpectedVersionMismatch(mismatch) => mismatch.origin,
            AppendRefusal::StaleEntityVersion { origin, .. } => origin,
            _ => 0,
        };
        Self {
            operation: operation as usize,
            cause: CommitRefusalCause::Append(refusal),
        }
    }
}

fn append_refused(operation: usize) -> impl Fn(AppendRefusal) -> CommitRefused {
    move |refusal| CommitRefused {
        operation,
        cause: CommitRefusalCause::Append(refusal),
    }
}
