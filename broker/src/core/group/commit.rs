//! Committing: how far a group has come, said by whoever owns the partition now.

use towpath_storage::{Offset, OffsetRange, PartitionRef, Row};

use super::{Generation, GroupId, GroupPartition, MemberId};
use crate::core::State;
use crate::core::row::RowId;

/// How far a member has come in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Which.
    pub partition: PartitionRef,
    /// The generation in which the member got it.
    pub generation: Generation,
    /// Offset of the next record that it has not handled.
    pub offset: Offset,
    /// Records that it was told of as gone, in the order of their offsets. What the group has committed
    /// already, or has not yet, does not count: a commit may repeat what an earlier one said.
    pub gaps: Vec<OffsetRange>,
}

/// What became of a commit in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitVerdict {
    /// The group is at least so far: at the offset that was named, or further if that is an old one.
    Committed(Offset),
    /// Nothing happened.
    Refused(CommitRefusal),
}

/// Why a commit in one partition has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommitRefusal {
    /// The member does not own the partition, or got it in another generation.
    #[error("the partition has another owner, or was given to this one again")]
    Stale,
    /// There is no such record yet.
    #[error("offset {requested} is out of range {range}")]
    BeyondEnd {
        /// The offset that was to be committed.
        requested: Offset,
        /// From the log start to the end of the partition, which is allowed too.
        range: OffsetRange,
    },
}

impl Commit {
    /// Records that are gone between what is committed and what is to be.
    fn skipped_from(&self, committed: Offset) -> u64 {
        let passed = |gap: &OffsetRange| {
            let end = gap.end.min(self.offset);
            end.since(gap.start.max(committed))
        };
        self.gaps.iter().map(passed).sum()
    }
}

impl State {
    /// Decides on commits of one member: a verdict for each, and the rows. A commit never moves a group
    /// back.
    pub fn commit_offsets(
        &self,
        id: GroupId,
        member: MemberId,
        commits: &[Commit],
        now_ms: i64,
    ) -> (Vec<CommitVerdict>, Vec<Row>) {
        let mut rows = Vec::new();
        let verdicts = commits
            .iter()
            .map(|commit| match self.commit(id, member, commit) {
                Ok((known, true)) => {
                    let mut after = known.clone();
                    after.committed = commit.offset;
                    after.commit_time_ms = now_ms;
                    after.skipped_count += commit.skipped_from(known.committed);
                    rows.push(RowId::GroupPartition(id, commit.partition).put(&after.to_row()));
                    CommitVerdict::Committed(commit.offset)
                }
                Ok((known, false)) => CommitVerdict::Committed(known.committed),
                Err(refusal) => CommitVerdict::Refused(refusal),
            });
        (verdicts.collect(), rows)
    }

    /// How far the group is already where a commit would not move it; none where it would.
    pub(in crate::core) fn check_commit(
        &self,
        id: GroupId,
        member: MemberId,
        commit: &Commit,
    ) -> Result<Option<Offset>, CommitRefusal> {
        let (known, moves) = self.commit(id, member, commit)?;
        Ok((!moves).then_some(known.committed))
    }

    /// The partition as it is, and whether the commit moves it.
    fn commit(
        &self,
        id: GroupId,
        member: MemberId,
        commit: &Commit,
    ) -> Result<(&GroupPartition, bool), CommitRefusal> {
        let group = self.group(id);
        let known = group.and_then(|group| group.partition(commit.partition));
        let known = known.ok_or(CommitRefusal::Stale)?;
        if !known.is_owned_by(member, commit.generation) {
            return Err(CommitRefusal::Stale);
        }
        let range = self.range_of(commit.partition);
        if commit.offset > range.end {
            let requested = commit.offset;
            return Err(CommitRefusal::BeyondEnd { requested, range });
        }
        Ok((known, commit.offset > known.committed))
    }
}
