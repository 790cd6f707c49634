//! Groups as the broker has them, compared with what was seen of them before.

use std::collections::BTreeMap;

use towpath_broker::core::{self, Group, GroupId};

use super::World;
use crate::history::{Event, GroupEvent, Place};
use crate::swarm::members::{Member, Roster, to_place};

/// How long members are awaited after a restart of the broker.
const RESTART_GRACE_MS: i64 = 15_000;

impl World {
    pub(super) fn note_group(&mut self, group: GroupId, place: Place, event: GroupEvent) {
        let group = group.get();
        self.history.push(Event::Group {
            group,
            place,
            event,
        });
    }

    /// Broker time as of the last round.
    pub(super) fn broker_time_ms(&self) -> i64 {
        let engine = self.engine.as_ref();
        engine.map_or(0, |engine| engine.shared.published.time_ms())
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = &Group> {
        let state = self.engine.as_ref().map(|it| it.sequencer.state());
        state.into_iter().flat_map(|it| it.groups_after(None))
    }

    /// After a restart: where every group is, is seen anew.
    pub(super) fn note_broker_gone(&mut self) {
        if self.cast.is_absent() && self.crowd.is_absent() {
            return;
        }
        let free_from_ms = self.broker_time_ms() + RESTART_GRACE_MS;
        self.history.push(Event::BrokerGone { free_from_ms });
        self.cast.rosters.clear();
        let positions: Vec<_> = self.positions().collect();
        for ((group, place), committed) in positions {
            if self.cast.positions.contains_key(&(group, place)) {
                self.note_group(group, place, GroupEvent::Resumed { offset: committed });
            }
        }
    }

    /// Notes groups whose members or partitions are others than before.
    pub(super) fn watch_rosters(&mut self) {
        let rosters: BTreeMap<_, _> = self.groups().map(|it| (it.id(), roster_of(it))).collect();
        for (group, roster) in &rosters {
            if self.cast.rosters.get(group) != Some(roster) {
                let group = group.get();
                self.history.push(Event::GroupChanged { group });
            }
        }
        self.cast.rosters = rosters;
    }

    /// Notes groups that begin, and where.
    pub(super) fn watch_beginnings(&mut self) {
        let known = &self.cast.positions;
        let fresh = self.positions().filter(|(it, _)| !known.contains_key(it));
        for ((group, place), offset) in fresh.collect::<Vec<_>>() {
            let was_asked_for = self.cast.starts.contains(&(place, offset));
            assert!(was_asked_for, "{group} begins in {place:?} at {offset}");
            self.cast.positions.insert((group, place), offset);
            self.note_group(group, place, GroupEvent::Sought { offset });
            self.note_group(group, place, GroupEvent::Resumed { offset });
            let group = group.get();
            self.history.push(Event::GroupChanged { group });
        }
    }

    /// Whoever is there was told of everything that is its own.
    fn check_told(&self) {
        for group in self.groups() {
            for (partition, known) in group.partitions() {
                let Some(owner) = known.owner else { continue };
                let there = self.cast.members.iter().find(|it| it.id() == owner.member);
                let session = there.and_then(Member::seat).map(|(session, _)| session);
                let connected = group.members().find(|(id, _)| *id == owner.member);
                let connected = connected.and_then(|(_, it)| it.session());
                let place = (group.id(), to_place(partition));
                let told = self.cast.told.get(&place);
                assert!(
                    session.is_none() || session != connected || told == Some(&owner),
                    "{partition} is of {owner:?}, who was told {told:?}"
                );
            }
        }
    }

    /// Notes where groups are, and that none is forgotten.
    pub(super) fn observe_groups(&mut self) {
        if self.cast.is_absent() || self.engine.is_none() {
            return;
        }
        self.watch_beginnings();
        self.check_told();
        let now: BTreeMap<_, _> = self.positions().collect();
        for (&(group, place), &offset) in &now {
            if self.cast.positions.insert((group, place), offset) != Some(offset) {
                self.note_group(group, place, GroupEvent::Resumed { offset });
            }
        }
        let gone = self
            .cast
            .positions
            .keys()
            .filter(|it| !now.contains_key(it));
        for (group, place) in gone.copied().collect::<Vec<_>>() {
            let is_doomed =
                self.cast.doomed.contains(&group) || self.cast.doomed_topics.contains(&place.topic);
            assert!(is_doomed, "group {group} is forgotten in {place:?}");
            self.cast.positions.remove(&(group, place));
        }
    }

    fn positions(&self) -> impl Iterator<Item = ((GroupId, Place), u64)> {
        self.groups().flat_map(|group| {
            let partitions = group.partitions();
            partitions.map(|(it, known)| ((group.id(), to_place(it)), known.committed.get()))
        })
    }
}

fn roster_of(group: &Group) -> Roster {
    let is_there = |it: &core::Member| it.session().is_some();
    let members = group.members();
    let members = members.map(|(id, it)| (id, (it.topics.clone(), is_there(it))));
    let partitions = group.partitions().map(|(partition, _)| partition);
    Roster {
        members: members.collect(),
        partitions: partitions.collect(),
    }
}
