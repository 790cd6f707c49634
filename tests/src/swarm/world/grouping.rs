//! Members come and go, and the broker tells them what they own.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot::{self, error::TryRecvError};
use towpath_broker::core::{
    CommitRefusal, CommitVerdict, Departure, GroupEvent as Told, GroupId, JoinGroup, JoinRefusal,
    Owner, SessionId, TopicStart,
};
use towpath_broker::runtime::command::{CommandError, ControlCommand};
use towpath_broker::runtime::group_command::GroupCommand;
use towpath_broker::runtime::published::TopicView;
use towpath_storage::Offset;

use super::World;
use crate::history::{Event, GroupEvent, Place};
use crate::swarm::members::{self, Ear, Session, to_place};

/// How long a member that was cut off is awaited.
const RECONNECT_GRACE_MS: i64 = 2_000;

impl World {
    /// Something that a member does, or that is done to its group.
    pub(super) fn act_in_group(&mut self) {
        let member = self.random.usize(..self.cast.members.len());
        match self.random.u32(..1000) {
            0..80 => self.join(member),
            80..95 => self.part(member, Departure::Left),
            95..120 => self.part(member, Departure::CutOff),
            120..140 => self.kill_member(member),
            140..155 => self.cast.members[member].is_stalled ^= true,
            155..400 => self.hear(member, false),
            400..600 => self.read_for_group(member),
            600..780 => self.handle(member),
            780..880 => self.commit(member),
            880..920 => self.give_back(member),
            920..950 => self.commit_late(),
            950..965 => self.seek_group(),
            965..968 => self.delete_group(),
            968..990 => self.pass_a_moment(),
            _ => self.drive(|engine| engine.sequencer.idle()),
        }
    }

    pub(super) fn push_group(&mut self, command: GroupCommand) {
        if let Some(engine) = &self.engine {
            let command = ControlCommand::Group(command);
            let pushed = engine.shared.commands.push_control(command);
            pushed.expect("the broker is running");
        }
    }

    /// Joins with some of the topics, also in place of an older connection.
    fn join(&mut self, member: usize) {
        let mut views = self.views();
        views.retain(|_| self.random.u8(..4) != 0);
        let is_told_where = self.random.u8(..8) != 0;
        let wanted = views.iter().map(|view| TopicStart {
            topic: view.id(),
            starts: is_told_where.then(|| self.draw_starts(view)),
        });
        let wanted: Vec<_> = wanted.collect::<Vec<_>>();
        let is_there = self.cast.members[member].session.is_some();
        if !wanted.is_empty() && (!is_there || self.random.u8(..8) == 0) {
            self.join_with(member, wanted);
        }
    }

    /// Where a group would begin in each partition.
    fn draw_starts(&mut self, view: &TopicView) -> Vec<Offset> {
        let mut starts = Vec::new();
        for (partition, handle) in (0..).zip(view.partitions()) {
            let (log_start, end) = (handle.log().log_start(), handle.log().end());
            let start = match self.random.u8(..3) {
                0 => log_start,
                1 => end,
                _ => Offset::new(self.random.u64(log_start.get()..=end.get())),
            };
            let topic = view.id().get();
            let place = Place { topic, partition };
            self.cast.starts.insert((place, start.get()));
            starts.push(start);
        }
        starts
    }

    pub(super) fn join_with(&mut self, member: usize, topics: Vec<TopicStart>) {
        let session = self.cast.members[member].session.as_ref();
        if session.is_some_and(|it| it.group.is_none()) || self.engine.is_none() {
            return;
        }
        let replaces = self.cast.members[member].seat();
        self.cast.cut_off(member);
        let id = SessionId(self.cast.next_number());
        let (sender, answer) = oneshot::channel();
        let known = &mut self.cast.members[member];
        known.session = Some(Session {
            id,
            topics: topics.iter().map(|it| it.topic.get()).collect(),
            replaces,
            group: None,
            answer: Some(answer),
            told: VecDeque::new(),
        });
        let wish = JoinGroup {
            name: known.name.clone(),
            member: known.id(),
            session: id,
            client_name: String::new(),
            topics,
            rejoins: known.group,
        };
        let sink = Arc::new(Ear {
            member,
            session: id,
            commits: Vec::new(),
            mailbox: Arc::clone(&self.cast.mailbox),
        });
        self.push_group(GroupCommand::Join {
            wish: Box::new(wish),
            sink,
            answer: sender,
        });
    }

    /// Ends a connection that the broker has answered.
    pub(super) fn part(&mut self, member: usize, departure: Departure) {
        let known = &self.cast.members[member];
        let (Some((session, group)), id) = (known.seat(), known.id()) else {
            return;
        };
        let free_from_ms = match departure {
            Departure::Left => i64::MIN,
            Departure::CutOff => self.broker_time_ms() + RECONNECT_GRACE_MS,
        };
        self.history.push(Event::MemberGone {
            group: group.get(),
            member: known.number,
            free_from_ms,
        });
        self.cast.cut_off(member);
        if departure == Departure::Left {
            self.cast.members[member].unconfirmed.clear();
        }
        self.push_group(GroupCommand::Leave {
            group,
            member: id,
            session,
            departure,
        });
    }

    /// The process ends; another one takes its place and knows nothing.
    fn kill_member(&mut self, member: usize) {
        let session = self.cast.members[member].session.as_ref();
        if session.is_some_and(|it| it.group.is_none()) {
            return;
        }
        self.part(member, Departure::CutOff);
        self.renew_member(member);
    }

    /// Another process is in the place of one that has ended.
    fn renew_member(&mut self, member: usize) {
        let number = self.cast.next_number();
        let known = &mut self.cast.members[member];
        known.unconfirmed.clear();
        known.number = number;
        known.group = None;
        known.is_stalled = false;
    }

    /// The broker is gone, and every connection with it.
    pub(super) fn cut_members_off(&mut self) {
        for member in 0..self.cast.members.len() {
            self.cast.cut_off(member);
        }
        self.cast.controls.clear();
        self.cast.mailbox.lock().unwrap().clear();
    }

    /// Takes what the broker has said since.
    pub(super) fn take_group_answers(&mut self) {
        if self.cast.is_absent() {
            return;
        }
        self.watch_rosters();
        self.watch_beginnings();
        self.take_join_answers();
        let told = std::mem::take(&mut *self.cast.mailbox.lock().unwrap());
        let mut verdicts = Vec::new();
        for told in told {
            match told {
                members::Told::Event {
                    member,
                    session,
                    event,
                } => self.take_event(member, session, event),
                members::Told::Verdicts { commits, result } => {
                    verdicts.extend(commits.into_iter().zip(result.into_iter().flatten()));
                }
            }
        }
        for (commit, verdict) in verdicts {
            self.take_verdict(commit, verdict);
        }
        self.take_group_control_answers();
    }

    fn take_join_answers(&mut self) {
        for member in 0..self.cast.members.len() {
            let known = &mut self.cast.members[member];
            let Some(session) = &mut known.session else {
                continue;
            };
            let answer = session.answer.as_mut().map(oneshot::Receiver::try_recv);
            let replaces = session.replaces;
            match answer {
                None | Some(Err(TryRecvError::Empty)) => {}
                Some(Ok(Ok(group))) => {
                    session.answer = None;
                    (session.replaces, session.group) = (None, Some(group));
                    known.group = Some(group);
                    self.end_replaced(member, replaces, true);
                    self.note_unread(member, group);
                }
                Some(Ok(Err(CommandError::Refused(
                    refusal @ (JoinRefusal::TooManyGroups
                    | JoinRefusal::TooManyMembers { .. }
                    | JoinRefusal::TooManyPartitions { .. }),
                )))) => panic!("{refusal}"),
                Some(Ok(Err(CommandError::Refused(JoinRefusal::GroupDeleted { .. })))) => {
                    known.session = None;
                    self.end_replaced(member, replaces, false);
                    // It ends with its group, and is started anew.
                    self.renew_member(member);
                }
                Some(Ok(Err(CommandError::Failed)) | Err(TryRecvError::Closed)) => {
                    // It may have happened, and nobody will say so.
                    if let Some(group) = known.group {
                        self.note_unread(member, group);
                    }
                    self.cast.members[member].session = None;
                    self.end_replaced(member, replaces, false);
                }
                Some(Ok(Err(CommandError::Refused(_) | CommandError::ShuttingDown))) => {
                    known.session = None;
                    self.end_replaced(member, replaces, false);
                }
            }
        }
    }

    /// A member that joins again gives back what it does not read any more.
    fn note_unread(&mut self, member: usize, group: GroupId) {
        let known = &self.cast.members[member];
        let (id, member) = (known.id(), known.number);
        let topics = known.session.as_ref().map(|session| &session.topics);
        let told = self.cast.told.iter().filter(|((its_group, place), owner)| {
            let is_read = topics.is_some_and(|topics| topics.contains(&place.topic));
            *its_group == group && owner.member == id && !is_read
        });
        let unread: Vec<_> = told
            .map(|((_, place), owner)| (*place, owner.generation.0))
            .collect();
        for (place, generation) in unread {
            self.note_group(group, place, GroupEvent::Returned { member, generation });
        }
    }

    /// An older connection ends, which says nothing about the member if it was replaced.
    fn end_replaced(
        &mut self,
        member: usize,
        replaced: Option<(SessionId, GroupId)>,
        is_replaced: bool,
    ) {
        let Some((session, group)) = replaced else {
            return;
        };
        let (id, number) = (
            self.cast.members[member].id(),
            self.cast.members[member].number,
        );
        if !is_replaced {
            self.history.push(Event::MemberGone {
                group: group.get(),
                member: number,
                free_from_ms: self.broker_time_ms() + RECONNECT_GRACE_MS,
            });
        }
        self.push_group(GroupCommand::Leave {
            group,
            member: id,
            session,
            departure: Departure::CutOff,
        });
    }

    /// What a connection is told that is gone, nobody hears.
    fn take_event(&mut self, member: usize, session: SessionId, event: Told) {
        let time_ms = self.broker_time_ms();
        let known = &mut self.cast.members[member];
        let (id, number) = (known.id(), known.number);
        let Some(open) = known.session.as_mut().filter(|it| it.id == session) else {
            return;
        };
        open.told.push_back(event.clone());
        let group = open.group.expect("it has joined");
        match event {
            Told::Assigned(assigned) => {
                for it in assigned {
                    self.counts.assignments += 1;
                    let (member, generation) = (id, it.generation);
                    let owner = Owner { member, generation };
                    let place = to_place(it.partition);
                    self.cast.told.insert((group, place), owner);
                    let event = GroupEvent::Assigned {
                        member: number,
                        generation: it.generation.0,
                        offset: it.committed.get(),
                        time_ms,
                    };
                    self.note_group(group, place, event);
                }
            }
            Told::Revoking {
                partitions,
                deadline_ms,
            } => {
                for it in partitions {
                    let member = number;
                    let event = GroupEvent::Revoking {
                        member,
                        deadline_ms,
                    };
                    self.note_group(group, to_place(it), event);
                }
            }
            Told::Lost(partitions) => {
                for it in partitions {
                    let member = number;
                    let event = GroupEvent::Lost { member, time_ms };
                    self.note_group(group, to_place(it), event);
                }
            }
            Told::Replaced | Told::Deleted => {}
        }
    }

    fn take_verdict(&mut self, commit: u64, verdict: CommitVerdict) {
        let is_beyond_end = self.cast.beyond_end.contains(&commit);
        match verdict {
            CommitVerdict::Committed(offset) => {
                assert!(!is_beyond_end, "there are no such records");
                self.counts.commits += 1;
                let (group, place) = self.cast.commits[&commit];
                let offset = offset.get();
                self.note_group(group, place, GroupEvent::Committed { commit, offset });
            }
            CommitVerdict::Refused(CommitRefusal::Stale) => self.counts.stale_commits += 1,
            CommitVerdict::Refused(CommitRefusal::BeyondEnd { range, .. }) => {
                assert!(is_beyond_end, "commit {commit} is within {range}");
            }
        }
    }
}
