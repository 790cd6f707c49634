//! Commands about consumer groups, and what is due in groups by itself.

use towpath_proto::names::GroupName;

use super::super::group_command::{
    GroupCommand, GroupNotFound, GroupPage, GroupProgress, PartitionProgress,
};
use super::draft::{Draft, PendingAnswer};
use super::{CONTROL_ROOM_BYTES, Sequencer};
use crate::core::{
    DeleteGroupRefusal, Departure, Group, GroupDecision, GroupEvent, GroupId, GroupNotice,
    JoinGroup, JoinRefusal, MemberId, SeekGroup, SeekRefusal, SessionId, SoughtPartition,
};

/// Groups that one round looks at because something is due in them.
const GROUPS_PER_ROUND_MAX: usize = 64;

impl Sequencer {
    /// Decides on one command about a group.
    pub(super) fn take_group_command(&mut self, command: GroupCommand, draft: &mut Draft) {
        let now_ms = self.time.now_ms();
        match command {
            GroupCommand::Join { wish, sink, answer } => {
                self.sessions.insert(wish.session, sink);
                let result = self.join_group(&wish, draft);
                if result.is_err() {
                    self.sessions.remove(&wish.session);
                }
                draft
                    .answers
                    .push(PendingAnswer::JoinGroup { answer, result });
            }
            GroupCommand::Leave {
                group,
                member,
                session,
                departure,
            } => self.leave_group(group, member, session, departure),
            GroupCommand::Abandon {
                name,
                member,
                session,
            } => self.abandon_group(&name, member, session),
            GroupCommand::Return {
                group,
                member,
                partitions,
            } => {
                let state = &mut self.state;
                let rows = state.return_partitions(group, member, &partitions, now_ms);
                self.push_rows(rows, draft);
            }
            GroupCommand::Commit {
                group,
                member,
                commits,
                sink,
            } => {
                let (verdicts, rows) = self.state.commit_offsets(group, member, &commits, now_ms);
                self.push_rows(rows, draft);
                draft
                    .answers
                    .push(PendingAnswer::CommitOffsets { sink, verdicts });
            }
            GroupCommand::Seek {
                wish,
                is_dry_run,
                answer,
            } => {
                let result = self.seek_group(&wish, is_dry_run, draft);
                draft
                    .answers
                    .push(PendingAnswer::SeekGroup { answer, result });
            }
            GroupCommand::Delete {
                name,
                is_forced,
                is_dry_run,
                answer,
            } => {
                let result = self.delete_group(&name, is_forced, is_dry_run, draft);
                draft
                    .answers
                    .push(PendingAnswer::DeleteGroup { answer, result });
            }
            GroupCommand::Get { .. } | GroupCommand::List { .. } | GroupCommand::Watch { .. } => {
                draft.answers.extend(self.show_groups(command));
            }
        }
    }

    /// Answers a question, with the round: what it tells is durable then.
    fn show_groups(&self, command: GroupCommand) -> Option<PendingAnswer> {
        match command {
            GroupCommand::Get { name, answer } => {
                let group = self.state.group_named(&name).cloned();
                let result = group.ok_or(GroupNotFound { name });
                Some(PendingAnswer::GetGroup { answer, result })
            }
            GroupCommand::List {
                after,
                prefix,
                count_max,
                answer,
            } => {
                let page = self.list_groups(after.as_ref(), &prefix, count_max);
                Some(PendingAnswer::ListGroups { answer, page })
            }
            GroupCommand::Watch {
                after,
                partition_count_max,
                answer,
            } => {
                let groups = self.watch_groups(after.as_ref(), partition_count_max);
                Some(PendingAnswer::WatchGroups { answer, groups })
            }
            _ => None,
        }
    }

    fn join_group(&mut self, wish: &JoinGroup, draft: &mut Draft) -> Result<GroupId, JoinRefusal> {
        let now_ms = self.time.now_ms();
        let (id, rows) = self.state.join_group(wish, now_ms)?;
        self.push_rows(rows, draft);
        draft
            .notices
            .extend(self.state.enter_group(id, wish, now_ms));
        Ok(id)
    }

    fn leave_group(
        &mut self,
        group: GroupId,
        member: MemberId,
        session: SessionId,
        departure: Departure,
    ) {
        self.sessions.remove(&session);
        let now_ms = self.time.now_ms();
        self.state
            .leave_group(group, member, session, departure, now_ms);
    }

    fn abandon_group(&mut self, name: &GroupName, member: MemberId, session: SessionId) {
        match self.state.group_named(name).map(Group::id) {
            Some(id) => self.leave_group(id, member, session, Departure::CutOff),
            None => drop(self.sessions.remove(&session)),
        }
    }

    fn seek_group(
        &mut self,
        wish: &SeekGroup,
        is_dry_run: bool,
        draft: &mut Draft,
    ) -> Result<Vec<SoughtPartition>, SeekRefusal> {
        let now_ms = self.time.now_ms();
        let (sought, decision) = self.state.seek_group(wish, now_ms)?;
        if !is_dry_run && !decision.is_empty() {
            self.carry_out(decision, draft);
            let group = self.state.group_named(&wish.name).map(Group::id);
            if let Some(group) = group {
                self.state.look_at_group(group, now_ms);
            }
        }
        Ok(sought)
    }

    fn delete_group(
        &mut self,
        name: &GroupName,
        is_forced: bool,
        is_dry_run: bool,
        draft: &mut Draft,
    ) -> Result<(), DeleteGroupRefusal> {
        let (_, decision) = self.state.delete_group(name, is_forced)?;
        if !is_dry_run {
            self.carry_out(decision, draft);
        }
        Ok(())
    }

    fn list_groups(&self, after: Option<&GroupName>, prefix: &str, count_max: usize) -> GroupPage {
        let groups = self.state.groups_after(after);
        let mut groups = groups.filter(|group| group.name().as_str().starts_with(prefix));
        let page = groups
            .by_ref()
            .take(count_max)
            .map(Group::summary)
            .collect();
        GroupPage {
            groups: page,
            has_more: groups.next().is_some(),
        }
    }

    fn watch_groups(
        &self,
        after: Option<&GroupName>,
        partition_count_max: usize,
    ) -> Vec<GroupProgress> {
        let mut told = Vec::new();
        let mut partition_count = 0;
        for group in self.state.groups_after(after) {
            let partitions = group.partitions();
            let partitions: Vec<_> = partitions
                .map(|(partition, known)| PartitionProgress {
                    partition,
                    committed: known.committed,
                    skipped_count: known.skipped_count,
                })
                .collect();
            // A group without partitions counts as well.
            partition_count += partitions.len() + 1;
            told.push(GroupProgress {
                group: group.summary(),
                partitions,
            });
            if partition_count >= partition_count_max {
                break;
            }
        }
        told
    }

    /// Does what is due in groups: members that did not come back, partitions that were not given back,
    /// and owners to be found.
    pub(super) fn step_groups(&mut self, draft: &mut Draft) {
        let now_ms = self.time.now_ms();
        for group in self.state.due_groups(now_ms, GROUPS_PER_ROUND_MAX) {
            loop {
                if !self.fits(draft, CONTROL_ROOM_BYTES) {
                    self.state.set_group_timer(group);
                    break;
                }
                let decision = self.state.step_group(group, now_ms);
                if decision.is_empty() {
                    break;
                }
                self.carry_out(decision, draft);
            }
        }
    }

    fn carry_out(&mut self, decision: GroupDecision, draft: &mut Draft) {
        self.push_rows(decision.rows, draft);
        draft.notices.extend(decision.notices);
    }

    /// Tells members what has become durable.
    pub(super) fn tell_members(&mut self, notices: Vec<GroupNotice>) {
        for GroupNotice { session, event } in notices {
            let is_last = matches!(event, GroupEvent::Replaced | GroupEvent::Deleted);
            if let Some(sink) = self.sessions.get(&session) {
                sink.tell(event);
            }
            if is_last {
                self.sessions.remove(&session);
            }
        }
    }
}
