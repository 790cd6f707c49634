//! Commands about consumer groups.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use towpath_proto::names::GroupName;
use towpath_storage::{Offset, PartitionRef};

use super::command::{Answer, CommandError, fail};
use crate::core::{
    Commit, CommitVerdict, DeleteGroupRefusal, Departure, Generation, Group, GroupEvent, GroupId,
    GroupSummary, JoinGroup, JoinRefusal, MemberId, SeekGroup, SeekRefusal, SessionId,
    SoughtPartition,
};

/// Where a member's connection hears of its partitions. Called by the sequencer after the sync; must not
/// block.
pub trait GroupSink: Send + Sync + fmt::Debug {
    /// Takes an event.
    fn tell(&self, event: GroupEvent);

    /// Takes the verdicts on one commit, in the order of the commits.
    fn answer(&self, verdicts: Result<Vec<CommitVerdict>, CommandError<Infallible>>);
}

/// There is no group of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("group \"{name}\" not found")]
pub struct GroupNotFound {
    /// The name.
    pub name: GroupName,
}

/// A page of groups.
#[derive(Debug, Clone)]
pub struct GroupPage {
    /// In the order of their names.
    pub groups: Vec<GroupSummary>,
    /// Whether there are more behind them.
    pub has_more: bool,
}

/// How far a group has come.
#[derive(Debug, Clone)]
pub struct GroupProgress {
    /// Which, and what it is doing.
    pub group: GroupSummary,
    /// Its partitions.
    pub partitions: Vec<PartitionProgress>,
}

/// How far a group has come in one partition.
#[derive(Debug, Clone, Copy)]
pub struct PartitionProgress {
    /// Which.
    pub partition: PartitionRef,
    /// Offset of the next record that nobody has handled.
    pub committed: Offset,
    /// Records that were gone before the group came to them.
    pub skipped_count: u64,
}

/// A command about a group.
#[derive(Debug)]
pub enum GroupCommand {
    /// A member connects.
    Join {
        /// Who, and what it wants.
        wish: Box<JoinGroup>,
        /// Where its connection hears of its partitions.
        sink: Arc<dyn GroupSink>,
        /// Where the answer goes.
        answer: Answer<GroupId, JoinRefusal>,
    },
    /// A member's connection has ended.
    Leave {
        /// Of which group.
        group: GroupId,
        /// Which member.
        member: MemberId,
        /// The connection.
        session: SessionId,
        /// How it ended.
        departure: Departure,
    },
    /// A member that was let in is not there any more: its call was given up before it heard of that.
    Abandon {
        /// Of which group.
        name: GroupName,
        /// Which member.
        member: MemberId,
        /// The connection.
        session: SessionId,
    },
    /// A member gives partitions back.
    Return {
        /// Of which group.
        group: GroupId,
        /// Which member.
        member: MemberId,
        /// Which, each with the generation in which the member got it.
        partitions: Vec<(PartitionRef, Generation)>,
    },
    /// A member says how far it is.
    Commit {
        /// Of which group.
        group: GroupId,
        /// Which member.
        member: MemberId,
        /// How far. At most as many as a group may have partitions.
        commits: Vec<Commit>,
        /// Where the verdicts go.
        sink: Arc<dyn GroupSink>,
    },
    /// Move a group.
    Seek {
        /// Which, and where to.
        wish: SeekGroup,
        /// Only say what would happen.
        is_dry_run: bool,
        /// Where the answer goes.
        answer: Answer<Vec<SoughtPartition>, SeekRefusal>,
    },
    /// Delete a group.
    Delete {
        /// Which.
        name: GroupName,
        /// Also if members are connected.
        is_forced: bool,
        /// Only say whether it would be deleted.
        is_dry_run: bool,
        /// Where the answer goes.
        answer: Answer<(), DeleteGroupRefusal>,
    },
    /// Show a group.
    Get {
        /// Which.
        name: GroupName,
        /// Where the answer goes.
        answer: Answer<Group, GroupNotFound>,
    },
    /// Show a page of groups.
    List {
        /// Those behind this name.
        after: Option<GroupName>,
        /// Only names that begin with this.
        prefix: String,
        /// Most groups.
        count_max: usize,
        /// Where the answer goes.
        answer: Answer<GroupPage, Infallible>,
    },
    /// Tell how far groups have come.
    Watch {
        /// Those behind this name.
        after: Option<GroupName>,
        /// Groups until they have so many partitions, one at least.
        partition_count_max: usize,
        /// Where the answer goes: nothing if there are no more.
        answer: Answer<Vec<GroupProgress>, Infallible>,
    },
}

impl GroupCommand {
    /// Answers that the broker stops, or that the disk failed.
    pub(super) fn fail(self, is_begun: bool) {
        match self {
            Self::Join { answer, .. } => fail(answer, is_begun),
            Self::Commit { sink, .. } => sink.answer(Err(if is_begun {
                CommandError::Failed
            } else {
                CommandError::ShuttingDown
            })),
            Self::Seek { answer, .. } => fail(answer, is_begun),
            Self::Delete { answer, .. } => fail(answer, is_begun),
            Self::Get { answer, .. } => fail(answer, is_begun),
            Self::List { answer, .. } => fail(answer, is_begun),
            Self::Watch { answer, .. } => fail(answer, is_begun),
            Self::Leave { .. } | Self::Abandon { .. } | Self::Return { .. } => {}
        }
    }
}
