//! What a commit says beside its records, and what its refusal is called on the wire.

use std::collections::BTreeSet;

use towpath_proto::limits::PARTITIONS_PER_GROUP_MAX;
use towpath_proto::names::{GroupName, TopicName};
use towpath_proto::problem::Problem;
use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::wire::Operation;
use towpath_proto::wire::operation::Operation as Kind;
use towpath_storage::{Offset, PartitionRef};

use super::placement::Placed;
use super::settlements::Settlements;
use super::{Shared, convert, status};
use crate::core::{
    Commit, CommitOffsets, CommitRefusalCause, CommitRefused, CommitWish, Generation, MemberId,
};

/// Reads offsets and settlements.
///
/// # Errors
/// What is wrong with them.
pub(super) async fn read(shared: &Shared, operations: &[Operation]) -> Result<CommitWish, Problem> {
    let mut wish = CommitWish::default();
    let mut settlements = Settlements::default();
    let mut committed = BTreeSet::new();
    for (number, operation) in operations.iter().enumerate() {
        match &operation.operation {
            Some(Kind::Offsets(offsets)) => {
                let offsets = read_offsets(shared, number, offsets)?;
                for (place, commit) in offsets.commits.iter().enumerate() {
                    if !committed.insert((offsets.group.clone(), commit.partition)) {
                        let field = format!("operations[{number}].offsets.offsets[{place}]");
                        let message = "a partition is named twice";
                        return Err(Problem::invalid_field(field, message));
                    }
                }
                wish.offsets.push(offsets);
            }
            Some(Kind::Settle(settle)) => {
                let settlement = settlements.read(shared, number, settle).await?;
                wish.settlements.push(settlement);
            }
            Some(Kind::Append(_) | Kind::Schedule(_)) | None => {}
        }
    }
    Ok(wish)
}

fn read_offsets(
    shared: &Shared,
    number: usize,
    asked: &v1::CommitGroupOffsets,
) -> Result<CommitOffsets, Problem> {
    let field = |name: &str| format!("operations[{number}].offsets.{name}");
    let group = GroupName::new(&asked.group)
        .map_err(|error| status::invalid_name(&field("group"), error))?;
    let member = <[u8; 16]>::try_from(asked.member_id.as_ref()).map_err(|_length| {
        Problem::invalid_field(field("member_id"), "a member id has 16 bytes")
    })?;
    let member = MemberId::new(member);
    let count = asked.offsets.len();
    if count == 0 || count > PARTITIONS_PER_GROUP_MAX as usize {
        let message = format!("1 to {PARTITIONS_PER_GROUP_MAX} partitions, not {count}");
        return Err(Problem::invalid_field(field("offsets"), message));
    }
    let commits = asked.offsets.iter().enumerate().map(|(place, it)| {
        let name = convert::topic_name(&field(&format!("offsets[{place}].topic")), &it.topic)?;
        let topic = shared.topic(&name);
        let topic = topic.map_err(|problem| problem.with("operation", number))?;
        let mut commit = Commit {
            partition: PartitionRef {
                topic: topic.id(),
                partition: it.partition,
            },
            generation: Generation(it.generation),
            offset: Offset::new(it.offset),
            gaps: Vec::new(),
        };
        commit.gaps = shared.members.gaps_below(&group, member, &commit);
        Ok(commit)
    });
    let commits = commits.collect::<Result<_, Problem>>()?;
    Ok(CommitOffsets {
        operation: number,
        group,
        member,
        commits,
    })
}

/// What is needed to tell why a commit was refused once its request is gone.
#[derive(Debug, Default)]
pub(super) struct Reasons {
    /// Topics that it names, by their ids.
    topics: Vec<(towpath_storage::TopicId, TopicName)>,
    /// Subscriptions and partitions of what is settled, by the numbers of the operations.
    settled: Vec<(usize, String, u32)>,
    /// The first partition that each operation appends to, now or later.
    appends: Vec<(usize, PartitionRef)>,
    /// And those that others expect something of.
    expected: Vec<(usize, PartitionRef)>,
}

impl Reasons {
    pub(super) fn of(
        wish: &CommitWish,
        placed: &[Vec<Placed>],
        operations: &[Operation],
        shared: &Shared,
    ) -> Self {
        let appends = placed.iter().enumerate();
        let appends =
            appends.filter_map(|(number, placed)| Some((number, placed.first()?.partition)));
        let schedules = wish.schedules.iter();
        let appends = appends.chain(schedules.map(|it| (it.operation, it.partition)));
        let appends: Vec<_> = appends.collect();
        let expected = wish
            .expectations
            .iter()
            .map(|it| (it.operation, it.partition));
        let commits = wish.offsets.iter().flat_map(|it| &it.commits);
        let of_groups = commits.map(|commit| commit.partition.topic);
        let ids: BTreeSet<_> = appends
            .iter()
            .map(|(_, partition)| partition.topic)
            .chain(of_groups)
            .collect();
        let table = shared.published().topics();
        let topics = ids.into_iter().filter_map(|id| {
            let topic = table.with_id(id)?;
            Some((id, topic.name().clone()))
        });
        let settled = operations.iter().enumerate();
        let settled = settled.filter_map(|(number, it)| match &it.operation {
            Some(Kind::Settle(settle)) => {
                let settlement = settle.settlement.as_ref();
                let partition = settlement.map_or(0, |it| it.partition);
                Some((number, settle.subscription.clone(), partition))
            }
            Some(Kind::Append(_) | Kind::Offsets(_) | Kind::Schedule(_)) | None => None,
        });
        Self {
            topics: topics.collect(),
            settled: settled.collect(),
            expected: expected.collect(),
            appends,
        }
    }

    fn topic(&self, partition: PartitionRef) -> Option<&TopicName> {
        let mut known = self.topics.iter();
        let found = known.find(|(id, _)| *id == partition.topic);
        found.map(|(_, name)| name)
    }

    /// What a refusal is called on the wire.
    pub(super) fn problem(&self, refused: CommitRefused) -> Problem {
        let CommitRefused { operation, cause } = refused;
        let problem = match cause {
            CommitRefusalCause::Append(refusal) => {
                let of_operation = |it: &&(usize, PartitionRef)| it.0 == operation;
                let partition = self.expected.iter().find(of_operation);
                let partition = partition.or_else(|| self.appends.iter().find(of_operation));
                let partition = partition.map(|(_, partition)| *partition);
                match partition.and_then(|it| Some((it, self.topic(it)?))) {
                    Some((partition, topic)) => {
                        status::append_refused(refusal, topic, partition.partition, 0)
                    }
                    None => Problem::new(ErrorReason::TopicNotFound, refusal.to_string()),
                }
            }
            CommitRefusalCause::Schedule(refusal) => {
                let mut appends = self.appends.iter();
                let partition = appends.find(|(number, _)| *number == operation);
                let topic = partition.and_then(|(_, partition)| self.topic(*partition));
                let field = format!("operations[{operation}].schedule.time");
                status::schedule_refused(refusal, topic, &field)
            }
            CommitRefusalCause::KeyReused => {
                let message = "the key has named other operations before";
                return Problem::invalid_field("idempotency_key", message).with_hint(
                    "draw another key for each commit, and keep it for its repetitions",
                );
            }
            CommitRefusalCause::GroupNotFound(name) => status::group_not_found(&name),
            CommitRefusalCause::Offset { partition, refusal } => {
                status::commit_refused(refusal, self.topic(partition), partition.partition)
            }
            CommitRefusalCause::OffsetNotBeyond {
                partition,
                requested,
                committed,
            } => self.not_beyond(partition, requested, committed),
            CommitRefusalCause::SubscriptionNotFound => {
                status::subscription_gone(self.settled(operation).0)
            }
            CommitRefusalCause::LeaseExpired { expired } => {
                let (name, partition) = self.settled(operation);
                let count: u64 = expired.iter().map(|it| it.end.since(it.start)).sum();
                let first = expired.first().map_or(0, |range| range.start.get());
                let message = format!(
                    "{count} of the records, the first with offset {first}, are not with the \
                     consumer of subscription \"{name}\" any more, or are settled"
                );
                Problem::new(ErrorReason::LeaseExpired, message)
                    .with("subscription", name)
                    .with("partition", partition)
                    .with("offset", first)
                    .with_hint("do not repeat the work: another consumer has them, or it was done")
            }
        };
        problem.with("operation", operation)
    }

    fn settled(&self, operation: usize) -> (&str, u32) {
        let mut known = self.settled.iter();
        let found = known.find(|(number, ..)| *number == operation);
        found.map_or(("", 0), |(_, name, partition)| (name, *partition))
    }

    fn not_beyond(&self, partition: PartitionRef, requested: Offset, committed: Offset) -> Problem {
        let number = partition.partition;
        let message = format!(
            "the group has committed offset {committed} of partition {number} already: \
             requested {requested}"
        );
        let problem = Problem::new(ErrorReason::ExpectedOffsetMismatch, message)
            .with("partition", number)
            .with("committed_offset", committed)
            .with_hint("this was done before, perhaps by this very commit");
        match self.topic(partition) {
            Some(topic) => problem.with("topic", topic),
            None => problem,
        }
    }
}
