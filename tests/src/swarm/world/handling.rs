//! Members at work: hearing, reading, handling, committing, giving back.

use std::sync::Arc;
use std::time::Duration;

use towpath_broker::core::{
    AssignedPartition, Commit, GroupEvent as Told, GroupId, MemberId, SessionId,
};
use towpath_broker::runtime::group_command::GroupCommand;
use towpath_storage::{Offset, OffsetRange};

use super::World;
use super::reading::Progress;
use crate::history::{Event, GroupEvent, Place};
use crate::swarm::actors::Reader;
use crate::swarm::members::{Ear, Holding, number_of, to_place, to_ref};

/// Beyond the end of every partition.
const FAR: Offset = Offset::new(1 << 40);

impl World {
    pub(super) fn pass_a_moment(&mut self) {
        let span_ms = match self.random.u8(..8) {
            0 => self.random.u64(2_000..12_000),
            _ => self.random.u64(1..300),
        };
        self.clock.advance(Duration::from_millis(span_ms));
    }

    /// Hears some of what it was told, or all of it.
    pub(super) fn hear(&mut self, member: usize, is_all: bool) {
        let known = &mut self.cast.members[member];
        if known.is_stalled || known.seat().is_none() {
            return;
        }
        let Some(session) = &mut known.session else {
            return;
        };
        let count = match is_all {
            true => session.told.len(),
            false => self.random.usize(..=session.told.len()),
        };
        for event in session.told.drain(..count).collect::<Vec<_>>() {
            match event {
                Told::Assigned(assigned) => {
                    for it in assigned {
                        self.take_up(member, it);
                    }
                }
                Told::Revoking { partitions, .. } => {
                    let holdings = &mut self.cast.members[member].holdings;
                    for it in partitions {
                        let holding = holdings.get_mut(&to_place(it));
                        holding.into_iter().for_each(|it| it.is_revoked = true);
                    }
                }
                Told::Lost(partitions) => {
                    for it in partitions {
                        self.let_go(member, to_place(it));
                    }
                }
                Told::Replaced | Told::Deleted => {
                    self.cast.cut_off(member);
                    self.cast.members[member].unconfirmed.clear();
                    return;
                }
            }
        }
    }

    /// Goes on with what it had in this generation, else where the group is.
    fn take_up(&mut self, member: usize, assigned: AssignedPartition) {
        let place = to_place(assigned.partition);
        let is_same = |it: &Holding| it.generation == assigned.generation;
        let known = &mut self.cast.members[member];
        if known.holdings.get(&place).is_some_and(is_same) {
            return;
        }
        if let Some(holding) = known.unconfirmed.remove(&place).filter(is_same) {
            let is_revoked = false;
            let holding = Holding {
                is_revoked,
                ..holding
            };
            known.holdings.insert(place, holding);
            return;
        }
        self.let_go(member, place);
        let reader = Reader {
            number: self.cast.next_number(),
            place,
            offset: assigned.committed,
            cursor: None,
        };
        self.history.push(Event::ReadFrom {
            reader: reader.number,
            place,
            offset: reader.offset.get(),
        });
        let holding = Holding {
            generation: assigned.generation,
            reader,
            handled: assigned.committed,
            gap: None,
            is_revoked: false,
        };
        self.cast.members[member].holdings.insert(place, holding);
    }

    fn let_go(&mut self, member: usize, place: Place) {
        if let Some(holding) = self.cast.members[member].holdings.remove(&place) {
            self.cast.keep(member, place, holding);
        }
    }

    fn pick_holding(&mut self, member: usize) -> Option<(GroupId, Place, Holding)> {
        let known = &self.cast.members[member];
        let (_, group) = known.seat()?;
        let count = known.holdings.len();
        if known.is_stalled || count == 0 {
            return None;
        }
        let (place, holding) = known.holdings.iter().nth(self.random.usize(..count))?;
        Some((group, *place, *holding))
    }

    pub(super) fn read_for_group(&mut self, member: usize) {
        if let Some((group, place, holding)) = self.pick_holding(member) {
            let bytes_max = self.random.usize(1..30_000);
            self.read_held(member, group, (place, holding), bytes_max);
        }
    }

    /// Reads on in a partition that is not to be given back; returns whether there was anything.
    pub(super) fn read_held(
        &mut self,
        member: usize,
        group: GroupId,
        (place, mut holding): (Place, Holding),
        bytes_max: usize,
    ) -> bool {
        let start = holding.reader.offset.get();
        if holding.is_revoked {
            return false;
        }
        let progress = self.read_on(&mut holding.reader, bytes_max);
        if progress == Progress::Skipped {
            let end = holding.reader.offset.get();
            holding.gap = Some(OffsetRange {
                start: Offset::new(start),
                end: Offset::new(end),
            });
            self.note_group(group, place, GroupEvent::Handled { start, end });
        }
        self.cast.members[member].holdings.insert(place, holding);
        matches!(progress, Progress::Read | Progress::Skipped)
    }

    /// Is done with some of what it has read, which may have taken as long as it likes.
    pub(super) fn handle(&mut self, member: usize) {
        if let Some((group, place, holding)) = self.pick_holding(member) {
            let read = holding.reader.offset.get() - holding.handled.get();
            let count = self.random.u64(0..=read);
            self.handle_some(member, group, (place, holding), count);
        }
    }

    pub(super) fn handle_some(
        &mut self,
        member: usize,
        group: GroupId,
        (place, mut holding): (Place, Holding),
        count: u64,
    ) {
        let (start, end) = (holding.handled.get(), holding.handled.get() + count);
        self.note_group(group, place, GroupEvent::Handled { start, end });
        holding.handled = Offset::new(end);
        self.cast.members[member].holdings.insert(place, holding);
    }

    /// Commits what is done, in some of its partitions.
    pub(super) fn commit(&mut self, member: usize) {
        let known = &self.cast.members[member];
        let (Some((session, group)), id) = (known.seat(), known.id()) else {
            return;
        };
        let mut places: Vec<_> = known.holdings.keys().copied().collect();
        places.retain(|_| self.random.u8(..3) != 0);
        let mut commits = Vec::new();
        for place in places {
            let holding = self.cast.members[member].holdings.get_mut(&place);
            commits.extend(holding.map(|it| Commit {
                partition: to_ref(place),
                generation: it.generation,
                offset: it.handled,
                gaps: it.gap.into_iter().collect(),
            }));
        }
        self.send_commits(group, id, (member, session), &commits);
    }

    fn send_commits(
        &mut self,
        group: GroupId,
        id: MemberId,
        (member, session): (usize, SessionId),
        commits: &[Commit],
    ) {
        let mut numbers = Vec::new();
        for it in commits {
            let commit = self.cast.next_number();
            let place = to_place(it.partition);
            numbers.push(commit);
            self.cast.commits.insert(commit, (group, place));
            if it.offset == FAR {
                self.cast.beyond_end.insert(commit);
                continue;
            }
            let event = GroupEvent::CommitSent {
                commit,
                member: number_of(id),
                generation: it.generation.0,
                offset: it.offset.get(),
            };
            self.note_group(group, place, event);
        }
        let sink = Arc::new(Ear {
            member,
            session,
            commits: numbers,
            mailbox: Arc::clone(&self.cast.mailbox),
        });
        self.push_group(GroupCommand::Commit {
            group,
            member: id,
            commits: commits.to_vec(),
            sink,
        });
    }

    /// Commits as somebody who may have lost the partition, who never had it, or beyond the end.
    pub(super) fn commit_late(&mut self) {
        let count = self.cast.claims.len();
        if count == 0 {
            return;
        }
        let claim = self.cast.claims[self.random.usize(..count)];
        let mut commit = Commit {
            partition: to_ref(claim.place),
            generation: claim.generation,
            offset: claim.handled,
            gaps: Vec::new(),
        };
        let stranger = self.random.usize(..self.cast.members.len());
        let mut id = claim.member;
        match self.random.u8(..4) {
            0 => commit.offset = FAR,
            1 => id = self.cast.members[stranger].id(),
            _ => {}
        }
        let nobody = (stranger, SessionId(0));
        self.send_commits(claim.group, id, nobody, &[commit]);
    }

    /// Gives back what it was asked for, mostly after a last commit; sometimes other things as well.
    pub(super) fn give_back(&mut self, member: usize) {
        if self.random.u8(..4) != 0 {
            self.commit(member);
        }
        let is_generous = self.random.u8(..8) == 0;
        let known = &self.cast.members[member];
        let (Some((_, group)), id) = (known.seat(), known.id()) else {
            return;
        };
        let holdings = known.holdings.iter();
        let returned = holdings.filter(|(_, it)| it.is_revoked || is_generous);
        let returned: Vec<_> = returned
            .map(|(it, known)| (*it, known.generation))
            .collect();
        if returned.is_empty() || known.is_stalled {
            return;
        }
        if is_generous {
            // What else is free then changes who gets what.
            let group = group.get();
            self.history.push(Event::GroupChanged { group });
        }
        for (place, generation) in &returned {
            let member = number_of(id);
            let generation = generation.0;
            self.note_group(group, *place, GroupEvent::Returned { member, generation });
        }
        for (place, _) in &returned {
            self.let_go(member, *place);
        }
        let partitions = returned.iter().map(|(place, it)| (to_ref(*place), *it));
        self.push_group(GroupCommand::Return {
            group,
            member: id,
            partitions: partitions.collect(),
        });
    }
}
