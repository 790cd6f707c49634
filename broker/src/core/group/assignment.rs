//! Who should read what: even, and moving as little as possible.

use std::collections::{BTreeMap, BTreeSet};

use towpath_storage::{PartitionRef, TopicId};

use super::MemberId;

/// Gives every partition that some member reads to one of the members that read it.
///
/// A partition stays where it is unless that makes another member's share smaller by two or more. Where
/// all members read the same topics, shares differ by at most one. `members` with their topics;
/// `partitions` with their owners, who may be gone.
pub(super) fn assign(
    members: &BTreeMap<MemberId, &BTreeSet<TopicId>>,
    partitions: &BTreeMap<PartitionRef, Option<MemberId>>,
) -> BTreeMap<PartitionRef, MemberId> {
    let mut shares = Shares::new(members);
    for (partition, owner) in partitions {
        if let Some(owner) = owner
            && shares.may_read(*owner, *partition)
        {
            shares.give(*owner, *partition);
        }
    }
    for partition in partitions.keys() {
        if !shares.owners.contains_key(partition)
            && let Some(member) = shares.least_laden(partition.topic)
        {
            shares.give(member, *partition);
        }
    }
    shares.even_out();
    shares.owners
}

struct Shares<'a> {
    members: &'a BTreeMap<MemberId, &'a BTreeSet<TopicId>>,
    owned: BTreeMap<MemberId, BTreeSet<PartitionRef>>,
    /// Members by the size of their share.
    by_size: BTreeSet<(usize, MemberId)>,
    owners: BTreeMap<PartitionRef, MemberId>,
}

impl<'a> Shares<'a> {
    fn new(members: &'a BTreeMap<MemberId, &'a BTreeSet<TopicId>>) -> Self {
        Self {
            members,
            owned: members.keys().map(|id| (*id, BTreeSet::new())).collect(),
            by_size: members.keys().map(|id| (0, *id)).collect(),
            owners: BTreeMap::new(),
        }
    }

    fn may_read(&self, member: MemberId, partition: PartitionRef) -> bool {
        let topics = self.members.get(&member);
        topics.is_some_and(|topics| topics.contains(&partition.topic))
    }

    fn size(&self, member: MemberId) -> usize {
        self.owned.get(&member).map_or(0, BTreeSet::len)
    }

    /// Gives a partition to a member, from whoever has it.
    fn give(&mut self, member: MemberId, partition: PartitionRef) {
        if let Some(before) = self.owners.insert(partition, member) {
            self.resize(before, |owned| owned.remove(&partition));
        }
        self.resize(member, |owned| owned.insert(partition));
    }

    fn resize(
        &mut self,
        member: MemberId,
        change: impl FnOnce(&mut BTreeSet<PartitionRef>) -> bool,
    ) {
        let Some(owned) = self.owned.get_mut(&member) else {
            return;
        };
        self.by_size.remove(&(owned.len(), member));
        change(owned);
        self.by_size.insert((owned.len(), member));
    }

    fn least_laden(&self, topic: TopicId) -> Option<MemberId> {
        let reads = |id: &MemberId| self.members.get(id).is_some_and(|it| it.contains(&topic));
        let mut ascending = self.by_size.iter().map(|(_, member)| *member);
        ascending.find(reads)
    }

    /// Moves partitions from large shares to shares that are smaller by two or more. Each move makes the
    /// sum of the squares of all sizes smaller, so it comes to an end.
    fn even_out(&mut self) {
        // From the largest share down: what cannot shrink now cannot later, since others only grow
        // towards it.
        while let Some((partition, to)) = self.next_move() {
            self.give(to, partition);
        }
    }

    fn next_move(&self) -> Option<(PartitionRef, MemberId)> {
        let smallest = self.by_size.first()?.0;
        for (size, from) in self.by_size.iter().rev() {
            if *size < smallest + 2 {
                return None;
            }
            let topics: BTreeSet<_> = self.owned.get(from)?.iter().map(|it| it.topic).collect();
            let targets = topics.into_iter().filter_map(|topic| {
                let to = self.least_laden(topic)?;
                (self.size(to) + 2 <= *size).then_some((self.size(to), to, topic))
            });
            let Some((_, to, topic)) = targets.min() else {
                continue;
            };
            // The last ones, so that a member's first partitions are those it keeps.
            let last = self.owned.get(from)?.iter().rev();
            let partition = last.copied().find(|it| it.topic == topic)?;
            return Some((partition, to));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn member(number: u8) -> MemberId {
        MemberId::new([number; 16])
    }

    fn partition(topic: u64, partition: u32) -> PartitionRef {
        PartitionRef {
            topic: TopicId::new(topic),
            partition,
        }
    }

    /// Members as (number, topics), partitions as (topic, partition, owner).
    fn run(
        members: &[(u8, Vec<u64>)],
        partitions: &[(u64, u32, Option<u8>)],
    ) -> BTreeMap<PartitionRef, MemberId> {
        let topics: Vec<BTreeSet<TopicId>> = members
            .iter()
            .map(|(_, topics)| topics.iter().map(|it| TopicId::new(*it)).collect())
            .collect();
        let members = members.iter().zip(&topics);
        let members = members.map(|((id, _), topics)| (member(*id), topics));
        let partitions = partitions
            .iter()
            .map(|(topic, number, owner)| (partition(*topic, *number), owner.map(member)));
        assign(&members.collect(), &partitions.collect())
    }

    fn sizes(assigned: &BTreeMap<PartitionRef, MemberId>, members: &[u8]) -> Vec<usize> {
        let of = |id: &u8| assigned.values().filter(|it| **it == member(*id)).count();
        members.iter().map(of).collect()
    }

    #[test]
    fn shares_are_even() {
        let partitions: Vec<_> = (0..8).map(|number| (1, number, None)).collect();
        let assigned = run(&[(1, vec![1]), (2, vec![1]), (3, vec![1])], &partitions);
        assert_eq!(assigned.len(), 8);
        let mut sizes = sizes(&assigned, &[1, 2, 3]);
        sizes.sort_unstable();
        assert_eq!(sizes, [2, 3, 3]);
    }

    #[test]
    fn a_new_member_takes_only_its_share() {
        let partitions: Vec<_> = (0..8)
            .map(|number| (1, number, Some(if number < 4 { 1 } else { 2 })))
            .collect();
        let assigned = run(&[(1, vec![1]), (2, vec![1]), (3, vec![1])], &partitions);
        let moved = partitions
            .iter()
            .filter(|(topic, number, owner)| {
                assigned.get(&partition(*topic, *number)) != owner.map(member).as_ref()
            })
            .count();
        assert_eq!(moved, 2);
    }

    #[test]
    fn more_members_than_partitions_leave_some_without() {
        let members: Vec<_> = (0..200).map(|id| (id, vec![1])).collect();
        let partitions: Vec<_> = (0..8).map(|number| (1, number, None)).collect();
        let assigned = run(&members, &partitions);
        let owners: BTreeSet<_> = assigned.values().collect();
        assert_eq!((assigned.len(), owners.len()), (8, 8));
    }

    #[test]
    fn a_partition_goes_only_to_who_reads_its_topic() {
        let assigned = run(
            &[(1, vec![1]), (2, vec![2])],
            &[(1, 0, Some(2)), (1, 1, None), (2, 0, None), (3, 0, None)],
        );
        assert_eq!(sizes(&assigned, &[1, 2]), [2, 1]);
        assert!(!assigned.contains_key(&partition(3, 0)), "nobody reads it");
    }

    proptest! {
        #[test]
        fn assignments_are_complete_even_and_at_rest(
            members in proptest::collection::btree_map(0u8..12, proptest::collection::btree_set(1u64..4, 1..4), 0..8),
            owners in proptest::collection::vec((1u64..4, proptest::option::of(0u8..14)), 0..40),
        ) {
            let members: Vec<_> = members
                .into_iter()
                .map(|(id, topics)| (id, topics.into_iter().collect::<Vec<_>>()))
                .collect();
            let partitions: Vec<_> = (0..)
                .zip(&owners)
                .map(|(number, (topic, owner))| (*topic, number, *owner))
                .collect();
            let assigned = run(&members, &partitions);
            let ids: Vec<u8> = members.iter().map(|(id, _)| *id).collect();
            let sizes: BTreeMap<_, _> = ids.iter().copied().zip(sizes(&assigned, &ids)).collect();
            for (topic, number, _) in &partitions {
                let readers: Vec<_> = members.iter().filter(|(_, it)| it.contains(topic)).collect();
                let owner = assigned.get(&partition(*topic, *number));
                prop_assert_eq!(owner.is_some(), !readers.is_empty());
                let Some(owner) = owner else { continue };
                let owner = readers.iter().find(|(id, _)| member(*id) == *owner);
                prop_assert!(owner.is_some(), "given to one that does not read it");
                let size = owner.map_or(0, |(id, _)| sizes[id]);
                for (other, _) in readers {
                    prop_assert!(size <= sizes[other] + 1, "{:?}", sizes);
                }
            }
            // Done again, nothing moves.
            let again: Vec<_> = partitions
                .iter()
                .map(|(topic, number, _)| {
                    let owner = assigned.get(&partition(*topic, *number));
                    (*topic, *number, owner.map(|it| it.as_bytes()[0]))
                })
                .collect();
            prop_assert_eq!(run(&members, &again), assigned);
        }
    }
}
