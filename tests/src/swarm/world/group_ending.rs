//! The end of a run for groups: two members of each handle all that there is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use towpath_broker::core::{Departure, GroupActivity, TopicStart};
use towpath_proto::names::GroupName;
use towpath_storage::TopicId;

use super::World;
use crate::swarm::members::Member;

/// Members of each group in the end.
const MEMBERS: usize = 2;
/// How often they look until everything must be done: longer than any grace.
const LOOKS: u32 = 120;
const LOOK: Duration = Duration::from_millis(250);

impl World {
    /// Everything that was not committed is handled, by members that share it evenly.
    pub(super) fn finish_groups(&mut self) {
        if self.cast.is_absent() {
            return;
        }
        // Every join is answered before.
        self.settle_down();
        for member in 0..self.cast.members.len() {
            self.part(member, Departure::Left);
        }
        self.settle_down();
        self.cast.members.clear();
        self.cast.starts.clear();
        let topics: Vec<(GroupName, BTreeSet<TopicId>)> = self
            .groups()
            .map(|group| {
                let topics = group.partitions().map(|(it, _)| it.topic);
                (group.name().clone(), topics.collect())
            })
            .collect();
        for (name, topics) in topics.iter().filter(|(_, topics)| !topics.is_empty()) {
            for _ in 0..MEMBERS {
                self.join_last(name, topics);
            }
        }
        self.settle_down();
        let has_joined = |it: &Member| it.seat().is_some();
        let have_joined = self.cast.members.iter().all(has_joined);
        assert!(have_joined, "a group knows where it is");
        let is_done = (0..LOOKS).any(|_| {
            self.work_for_groups();
            self.is_all_handled()
        });
        let left: Vec<_> = self.groups().collect();
        assert!(is_done, "not handled: {left:?}");
        self.check_shares();
    }

    fn join_last(&mut self, name: &GroupName, topics: &BTreeSet<TopicId>) {
        let number = self.cast.next_number();
        let place = self.cast.members.len();
        self.cast.members.push(Member::new(name.clone(), number));
        let topics = topics.iter().map(|topic| TopicStart {
            topic: *topic,
            starts: None,
        });
        self.join_with(place, topics.collect());
    }

    fn work_for_groups(&mut self) {
        self.clock.advance(LOOK);
        self.drive(|engine| engine.sequencer.idle());
        self.take_answers();
        self.settle_down();
        for member in 0..self.cast.members.len() {
            self.hear(member, true);
            self.handle_all(member);
            self.commit(member);
            self.give_back(member);
            self.settle_down();
        }
    }

    fn handle_all(&mut self, member: usize) {
        let Some((_, group)) = self.cast.members[member].seat() else {
            return;
        };
        let places: Vec<_> = self.cast.members[member].holdings.keys().copied().collect();
        for place in places {
            let held = |world: &Self| (place, world.cast.members[member].holdings[&place]);
            while self.read_held(member, group, held(self), 100_000) {}
            let (_, holding) = held(self);
            let count = holding.reader.offset.get() - holding.handled.get();
            self.handle_some(member, group, (place, holding), count);
        }
    }

    fn is_all_handled(&self) -> bool {
        let Some(engine) = &self.engine else {
            return false;
        };
        let topics = engine.shared.published.topics();
        self.groups().all(|group| {
            let is_read = group.partitions().all(|(partition, known)| {
                let view = topics.with_id(partition.topic);
                let handle = view.and_then(|view| view.partition(partition.partition));
                handle.is_some_and(|handle| handle.log().end() == known.committed)
            });
            is_read && group.activity() != GroupActivity::Rebalancing
        })
    }

    fn check_shares(&self) {
        for group in self.groups() {
            let mut shares: BTreeMap<_, usize> = group.members().map(|(id, _)| (id, 0)).collect();
            for (partition, known) in group.partitions() {
                let owner = known.owner.map(|owner| owner.member);
                let share = owner.and_then(|owner| shares.get_mut(&owner));
                *share.unwrap_or_else(|| panic!("nobody reads {partition}")) += 1;
            }
            let sizes: Vec<_> = shares.into_values().collect();
            let spread = sizes.iter().max().zip(sizes.iter().min());
            let is_even = spread.is_none_or(|(most, least)| most - least <= 1);
            assert!(is_even, "{}: {sizes:?}", group.name());
        }
    }
}
