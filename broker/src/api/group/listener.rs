//! The receiving half of a Join stream: commits, credit, partitions that come back; and whether the
//! member is alive.
//!
//! A member is dead when it says nothing, or takes nothing of what it is sent, for the session time-out. How
//! long it takes to handle records says nothing: it reads on while it does, and gets no more of them than it
//! has given credit for.

use std::sync::Arc;

use tokio::time::timeout;
use tonic::{Status, Streaming};
use towpath_proto::limits::PARTITIONS_PER_GROUP_MAX;
use towpath_proto::problem::Problem;
use towpath_proto::v1;
use towpath_proto::v1::join_request::Request;
use towpath_storage::{Offset, PartitionRef};

use super::mailbox::Mailbox;
use super::seat::Seat;
use super::{Shared, unreadable};
use crate::core::{Commit, Departure, Generation};
use crate::memory::Unread;
use crate::runtime::command::ControlCommand;
use crate::runtime::group_command::GroupCommand;

/// Partitions in commits of one member that may wait for the disk, or for a member that does not read
/// its answers; it is not listened to beyond that.
const COMMITTING_MAX: usize = 2_000;

/// Listens to one member.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) shared: Arc<Shared>,
    pub(super) seat: Arc<Seat>,
    pub(super) mailbox: Arc<Mailbox>,
    /// What the member was sent and has not taken.
    pub(super) memory: Arc<Unread>,
}

impl Listener {
    /// Listens until the member goes, is dead or cannot be understood, and tells the group.
    pub(super) async fn run(self, mut requests: Streaming<v1::JoinRequest>) {
        let closed = self.seat.closed.clone();
        let untaken = self.memory.end_untaken(self.shared.session_timeout);
        let (departure, end) = tokio::select! {
            end = self.listen(&mut requests) => end,
            () = untaken => (Departure::CutOff, Err(Box::new(self.unread()))),
            () = closed.cancelled() => (Departure::CutOff, Ok(())),
        };
        // When the broker stops, everybody is cut off and comes back to what it has.
        if departure == Departure::Left || !self.shared.drain.has_begun() {
            self.push(GroupCommand::Leave {
                group: self.seat.identity.group,
                member: self.seat.identity.member,
                session: self.seat.identity.session,
                departure,
            });
        }
        self.mailbox.end(end);
    }

    async fn listen(
        &self,
        requests: &mut Streaming<v1::JoinRequest>,
    ) -> (Departure, Result<(), Box<Status>>) {
        loop {
            let request = match timeout(self.shared.session_timeout, requests.message()).await {
                Ok(Ok(Some(request))) => request,
                Ok(Ok(None)) => return (Departure::CutOff, Ok(())),
                Ok(Err(status)) => {
                    let status = unreadable::described(status);
                    return (Departure::CutOff, Err(Box::new(status)));
                }
                Err(_elapsed) => return (Departure::CutOff, Err(Box::new(self.silent()))),
            };
            match self.take(request).await {
                Ok(true) => {}
                Ok(false) => return (Departure::Left, Ok(())),
                Err(problem) => return (Departure::CutOff, Err(Box::new(problem.into()))),
            }
        }
    }

    /// Takes one step of the stream. Returns whether the member stays.
    ///
    /// # Errors
    /// What ends a stream that breaks the rules.
    async fn take(&self, request: v1::JoinRequest) -> Result<bool, Problem> {
        match request.request {
            Some(Request::Credit(credit)) => self.seat.add_credit(credit),
            Some(Request::Commit(commit)) => self.commit(&commit).await?,
            Some(Request::Return(returned)) => self.return_partitions(&returned)?,
            Some(Request::Heartbeat(_)) => {}
            Some(Request::Leave(_)) => return Ok(false),
            Some(Request::Join(_)) => {
                let message = "this stream has joined already";
                return Err(Problem::invalid_field("join", message));
            }
            None => {
                let message = "a request must be one of those that this broker knows";
                return Err(Problem::invalid_field("request", message));
            }
        }
        Ok(true)
    }

    async fn commit(&self, request: &v1::CommitOffsets) -> Result<(), Problem> {
        check_count("commit.offsets", request.offsets.len())?;
        let mut commits: Vec<Commit> = Vec::with_capacity(request.offsets.len());
        let mut places = Vec::with_capacity(request.offsets.len());
        for (number, commit) in request.offsets.iter().enumerate() {
            let field = || format!("commit.offsets[{number}]");
            let partition = self.partition(commit.handle, commit.partition, field)?;
            if commits.iter().any(|it| it.partition == partition) {
                let message = "a partition is named twice";
                return Err(Problem::invalid_field(field(), message));
            }
            let offset = Offset::new(commit.offset);
            commits.push(Commit {
                partition,
                generation: Generation(commit.generation),
                offset,
                gaps: self.seat.gaps_below(partition, offset),
            });
            places.push((commit.handle, commit.partition));
        }
        self.seat.push_commit(places);
        self.push(GroupCommand::Commit {
            group: self.seat.identity.group,
            member: self.seat.identity.member,
            commits,
            sink: Arc::<Mailbox>::clone(&self.mailbox),
        });
        self.seat.has_answered(COMMITTING_MAX).await;
        Ok(())
    }

    fn return_partitions(&self, request: &v1::ReturnPartitions) -> Result<(), Problem> {
        check_count("return.partitions", request.partitions.len())?;
        let mut partitions = Vec::with_capacity(request.partitions.len());
        for (number, it) in request.partitions.iter().enumerate() {
            let field = || format!("return.partitions[{number}]");
            let partition = self.partition(it.handle, it.partition, field)?;
            partitions.push((partition, Generation(it.generation)));
        }
        self.push(GroupCommand::Return {
            group: self.seat.identity.group,
            member: self.seat.identity.member,
            partitions,
        });
        Ok(())
    }

    fn partition(
        &self,
        handle: u32,
        partition: u32,
        field: impl Fn() -> String,
    ) -> Result<PartitionRef, Problem> {
        self.seat.partition(handle, partition).ok_or_else(|| {
            let message = format!("there is no partition {partition} of the topic {handle}");
            Problem::invalid_field(field(), message)
        })
    }

    fn silent(&self) -> Status {
        let timeout = self.shared.session_timeout;
        Status::deadline_exceeded(format!("nothing was heard of the member for {timeout:?}"))
    }

    fn unread(&self) -> Status {
        let timeout = self.shared.session_timeout;
        Status::deadline_exceeded(format!("the member has read nothing for {timeout:?}"))
    }

    fn push(&self, command: GroupCommand) {
        let command = ControlCommand::Group(command);
        if let Err(command) = self.shared.commands.push_control(command) {
            command.fail(false);
        }
    }
}

fn check_count(field: &str, count: usize) -> Result<(), Problem> {
    if count > PARTITIONS_PER_GROUP_MAX as usize {
        let message = format!("at most {PARTITIONS_PER_GROUP_MAX} partitions");
        return Err(Problem::invalid_field(field, message));
    }
    Ok(())
}
