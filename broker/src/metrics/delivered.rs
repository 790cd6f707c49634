//! What members of groups were sent and have not committed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use towpath_storage::{Offset, PartitionRef};

use crate::core::GroupId;

/// Batches of one partition that are told apart; of more, neighbours count as one.
const MARKS_MAX: usize = 256;

/// What each group has in flight.
#[derive(Debug, Default)]
pub(crate) struct GroupsInFlight {
    groups: Mutex<BTreeMap<GroupId, Weak<InFlight>>>,
}

/// What the members of one group have in flight together.
#[derive(Debug, Default)]
struct InFlight {
    records: AtomicU64,
    bytes: AtomicU64,
}

/// What one member was sent and has not committed; forgotten when dropped.
#[derive(Debug)]
pub(crate) struct Delivered {
    of_group: Arc<InFlight>,
    partitions: BTreeMap<PartitionRef, Partition>,
}

/// What was sent of one partition.
#[derive(Debug, Default)]
struct Partition {
    committed: Offset,
    marks: VecDeque<Mark>,
    /// Of all marks.
    bytes: u64,
}

/// A batch, or several.
#[derive(Debug)]
struct Mark {
    start: Offset,
    end: Offset,
    bytes: u64,
}

impl GroupsInFlight {
    /// Counts for one more member of a group.
    pub(crate) fn enter(&self, group: GroupId) -> Delivered {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let known = groups.get(&group).and_then(Weak::upgrade);
        let of_group = known.unwrap_or_else(|| {
            groups.retain(|_, known| known.strong_count() > 0);
            let new = Arc::default();
            groups.insert(group, Arc::downgrade(&new));
            new
        });
        Delivered {
            of_group,
            partitions: BTreeMap::new(),
        }
    }

    /// Records and bytes in flight of a group.
    pub(super) fn of(&self, group: GroupId) -> (u64, u64) {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let known = groups.get(&group).and_then(Weak::upgrade);
        known.map_or((0, 0), |it| {
            let bytes = it.bytes.load(Ordering::Relaxed);
            (it.records.load(Ordering::Relaxed), bytes)
        })
    }
}

impl Delivered {
    /// The member got a partition that was committed up to here.
    pub(crate) fn begin(&mut self, partition: PartitionRef, committed: Offset) {
        self.forget(partition);
        let known = Partition {
            committed,
            ..Partition::default()
        };
        self.partitions.insert(partition, known);
    }

    /// It was sent a batch of the offsets from `start` to `end`.
    pub(crate) fn send(&mut self, partition: PartitionRef, start: Offset, end: Offset, bytes: u64) {
        self.change(partition, |known| known.push(Mark { start, end, bytes }));
    }

    /// It has committed up to here.
    pub(crate) fn commit(&mut self, partition: PartitionRef, committed: Offset) {
        self.change(partition, |known| known.commit(committed));
    }

    /// It has lost the partition.
    pub(crate) fn forget(&mut self, partition: PartitionRef) {
        self.change(partition, Partition::clear);
        self.partitions.remove(&partition);
    }

    fn change(&mut self, partition: PartitionRef, change: impl FnOnce(&mut Partition)) {
        let Some(known) = self.partitions.get_mut(&partition) else {
            return;
        };
        let before = known.in_flight();
        change(known);
        let after = known.in_flight();
        // Wrapping: what is taken off was put there.
        let InFlight { records, bytes } = &*self.of_group;
        records.fetch_add(after.0.wrapping_sub(before.0), Ordering::Relaxed);
        bytes.fetch_add(after.1.wrapping_sub(before.1), Ordering::Relaxed);
    }
}

impl Drop for Delivered {
    fn drop(&mut self) {
        let partitions: Vec<_> = self.partitions.keys().copied().collect();
        partitions.into_iter().for_each(|it| self.forget(it));
    }
}

impl Partition {
    fn push(&mut self, mark: Mark) {
        if self.marks.len() >= MARKS_MAX {
            self.merge();
        }
        self.bytes += mark.bytes;
        self.marks.push_back(mark);
    }

    fn clear(&mut self) {
        self.marks.clear();
        self.bytes = 0;
    }

    /// Makes one mark of each two neighbours.
    fn merge(&mut self) {
        let mut marks = std::mem::take(&mut self.marks).into_iter();
        while let Some(mut mark) = marks.next() {
            if let Some(next) = marks.next() {
                mark.end = next.end;
                mark.bytes += next.bytes;
            }
            self.marks.push_back(mark);
        }
    }

    fn commit(&mut self, committed: Offset) {
        // Commits beside the member's stream may be noted in another order.
        self.committed = self.committed.max(committed);
        while let Some(mark) = self.marks.pop_front_if(|it| it.end <= committed) {
            self.bytes -= mark.bytes;
        }
    }

    /// Records above the committed offset, and the bytes of batches that have any.
    fn in_flight(&self) -> (u64, u64) {
        let (Some(first), Some(last)) = (self.marks.front(), self.marks.back()) else {
            return (0, 0);
        };
        let start = first.start.max(self.committed);
        let records = last.end.max(start).since(start);
        (records, self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use towpath_storage::TopicId;

    use super::*;

    const GROUP: GroupId = GroupId::new(1);

    fn place(partition: u32) -> PartitionRef {
        PartitionRef {
            topic: TopicId::new(1),
            partition,
        }
    }

    fn send(member: &mut Delivered, partition: u32, offsets: std::ops::Range<u64>) {
        let (start, end) = (Offset::new(offsets.start), Offset::new(offsets.end));
        member.send(place(partition), start, end, 100);
    }

    #[test]
    fn what_is_sent_is_in_flight_until_it_is_committed() {
        let groups = GroupsInFlight::default();
        let mut member = groups.enter(GROUP);
        member.begin(place(0), Offset::new(2));
        // A batch is sent whole, although two of its records were committed before.
        send(&mut member, 0, 0..5);
        send(&mut member, 0, 5..10);
        assert_eq!(groups.of(GROUP), (8, 200));
        member.commit(place(0), Offset::new(7));
        assert_eq!(groups.of(GROUP), (3, 100), "half of a batch is left");
        member.commit(place(0), Offset::new(10));
        assert_eq!(groups.of(GROUP), (0, 0), "all");
        send(&mut member, 7, 0..5);
        assert_eq!(groups.of(GROUP), (0, 0), "not its partition");
    }

    #[test]
    fn what_a_member_loses_or_leaves_behind_is_not_in_flight() {
        let groups = GroupsInFlight::default();
        let (mut one, mut other) = (groups.enter(GROUP), groups.enter(GROUP));
        for (member, partition) in [(&mut one, 0), (&mut other, 1)] {
            member.begin(place(partition), Offset::new(0));
            send(member, partition, 0..4);
        }
        assert_eq!(groups.of(GROUP), (8, 200), "both");
        one.forget(place(0));
        assert_eq!(groups.of(GROUP), (4, 100), "lost");
        drop(other);
        assert_eq!(groups.of(GROUP), (0, 0), "gone");
        drop(one);
        drop(groups.enter(GroupId::new(2)));
        assert_eq!(groups.groups.lock().unwrap().len(), 1, "forgotten");
    }

    #[test]
    fn a_member_that_never_commits_takes_no_more_room() {
        let groups = GroupsInFlight::default();
        let mut member = groups.enter(GROUP);
        member.begin(place(0), Offset::new(0));
        for number in 0..10_000 {
            send(&mut member, 0, number..number + 1);
        }
        assert_eq!(groups.of(GROUP), (10_000, 1_000_000));
        let marks = &member.partitions[&place(0)].marks;
        assert!(marks.len() <= MARKS_MAX, "{}", marks.len());
        member.commit(place(0), Offset::new(9_999));
        assert_eq!(groups.of(GROUP).0, 1, "records are exact");
    }
}
