//! Records that wait for their turn, and how far each partition is done.

use std::collections::{BTreeSet, HashMap, VecDeque};

use bytes::Bytes;
use towpath_proto::ids::{Generation, Offset, PartitionId};
use towpath_proto::names::TopicName;

use crate::group::item::Assignment;
use crate::group::offset::GroupOffset;

/// What has to stay in order: a key of a partition, or all of it that has no key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct LaneKey {
    pub(super) topic: TopicName,
    pub(super) partition: PartitionId,
    pub(super) key: Option<Bytes>,
}

/// A record that is being handled.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    lane: LaneKey,
    generation: Generation,
    offset: Offset,
    bytes: u64,
}

/// Records of type `R` that wait or are being handled.
#[derive(Debug)]
pub(super) struct Work<R> {
    limits: (u64, u64),
    held_records: u64,
    held_bytes: u64,
    lanes: HashMap<LaneKey, Lane<R>>,
    /// Lanes of which a record may be begun, in the order in which they came to that.
    ready: VecDeque<LaneKey>,
    partitions: HashMap<(TopicName, PartitionId), Partition>,
}

#[derive(Debug)]
struct Lane<R> {
    waiting: VecDeque<(Ticket, R)>,
    is_busy: bool,
}

/// How far one partition is done.
#[derive(Debug)]
struct Partition {
    assignment: Assignment,
    /// Came and are not done.
    unfinished: BTreeSet<Offset>,
    /// One past everything that came.
    end: Offset,
    /// What was committed last.
    committed: Offset,
    running_count: usize,
    is_revoked: bool,
}

impl Partition {
    /// The first offset that is not done.
    fn done(&self) -> Offset {
        self.unfinished.first().copied().unwrap_or(self.end)
    }
}

impl<R> Work<R> {
    /// Room for so many records and bytes; a last batch may go beyond.
    pub(super) fn new(limits: (u64, u64)) -> Self {
        Self {
            limits,
            held_records: 0,
            held_bytes: 0,
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            partitions: HashMap::new(),
        }
    }

    /// Whether more may be taken.
    pub(super) fn has_room(&self) -> bool {
        self.held_records < self.limits.0 && self.held_bytes < self.limits.1
    }

    /// A partition is owned from now on.
    pub(super) fn assign(&mut self, assignment: Assignment, committed: Offset) {
        let place = (assignment.topic.clone(), assignment.partition);
        let partition = Partition {
            assignment,
            unfinished: BTreeSet::new(),
            end: committed,
            committed,
            running_count: 0,
            is_revoked: false,
        };
        self.partitions.insert(place, partition);
    }

    /// A record came. It is passed over if its partition is not owned any more.
    pub(super) fn push(
        &mut self,
        assignment: &Assignment,
        lane: LaneKey,
        offset: Offset,
        bytes: u64,
        record: R,
    ) {
        let Some(partition) = self.partition(assignment).filter(|it| !it.is_revoked) else {
            return;
        };
        partition.unfinished.insert(offset);
        partition.end = partition.end.max(offset.next());
        self.held_records += 1;
        self.held_bytes += bytes;
        let ticket = Ticket {
            lane: lane.clone(),
            generation: assignment.generation,
            offset,
            bytes,
        };
        let known = self.lanes.entry(lane).or_insert_with_key(|key| {
            self.ready.push_back(key.clone());
            Lane {
                waiting: VecDeque::new(),
                is_busy: false,
            }
        });
        known.waiting.push_back((ticket, record));
    }

    /// Offsets up to `end` hold no record.
    pub(super) fn skip(&mut self, topic: &TopicName, partition: PartitionId, end: Offset) {
        let known = self.partitions.get_mut(&(topic.clone(), partition));
        if let Some(known) = known {
            known.end = known.end.max(end);
        }
    }

    /// Begins the next record that may be begun.
    pub(super) fn start(&mut self) -> Option<(Ticket, R)> {
        while let Some(key) = self.ready.pop_front() {
            let Some(lane) = self.lanes.get_mut(&key) else {
                continue;
            };
            let Some((ticket, record)) = lane.waiting.pop_front() else {
                self.lanes.remove(&key);
                continue;
            };
            lane.is_busy = true;
            if let Some(partition) = self.partition_of(&ticket) {
                partition.running_count += 1;
            }
            return Some((ticket, record));
        }
        None
    }

    /// A record was handled.
    pub(super) fn finish(&mut self, ticket: Ticket) {
        if let Some(partition) = self.partition_of(&ticket) {
            partition.unfinished.remove(&ticket.offset);
        }
        self.fail(ticket);
    }

    /// The group is committed up to and including a record that is being handled.
    pub(super) fn note_committed(&mut self, ticket: &Ticket) {
        let end = ticket.offset.next();
        if let Some(partition) = self.partition_of(ticket) {
            partition.committed = partition.committed.max(end);
        }
    }

    /// A record was begun and is not done: nothing is committed beyond it.
    pub(super) fn fail(&mut self, ticket: Ticket) {
        if let Some(partition) = self.partition_of(&ticket) {
            partition.running_count -= 1;
        }
        self.let_go(1, ticket.bytes);
        let Some(lane) = self.lanes.get_mut(&ticket.lane) else {
            return;
        };
        lane.is_busy = false;
        if lane.waiting.is_empty() {
            self.lanes.remove(&ticket.lane);
        } else {
            self.ready.push_back(ticket.lane);
        }
    }

    /// Others are to get a partition: nothing more of it is begun.
    pub(super) fn revoke(&mut self, assignment: &Assignment) {
        if let Some(partition) = self.partition(assignment) {
            partition.is_revoked = true;
            self.drop_waiting_of(|ticket| ticket.is_of(assignment));
        }
    }

    /// A partition is not owned any more.
    pub(super) fn lose(&mut self, assignment: &Assignment) {
        self.drop_waiting_of(|ticket| ticket.is_of(assignment));
        if self.partition(assignment).is_some() {
            let place = (assignment.topic.clone(), assignment.partition);
            self.partitions.remove(&place);
        }
    }

    /// Begins nothing of what waits.
    pub(super) fn drop_waiting(&mut self) {
        self.drop_waiting_of(|_| true);
    }

    fn drop_waiting_of(&mut self, is_dropped: impl Fn(&Ticket) -> bool) {
        let (mut records, mut bytes) = (0, 0);
        self.lanes.retain(|_, lane| {
            lane.waiting.retain(|(ticket, _)| {
                let stays = !is_dropped(ticket);
                if !stays {
                    records += 1;
                    bytes += ticket.bytes;
                }
                stays
            });
            lane.is_busy || !lane.waiting.is_empty()
        });
        let lanes = &self.lanes;
        self.ready.retain(|key| lanes.contains_key(key));
        self.let_go(records, bytes);
    }

    fn let_go(&mut self, records: u64, bytes: u64) {
        self.held_records -= records;
        self.held_bytes -= bytes;
    }

    /// Takes the partitions that others are to get and of which nothing is being handled, each with how
    /// far it is done.
    pub(super) fn take_idle_revoked(&mut self) -> Vec<(Assignment, GroupOffset)> {
        let is_idle = |it: &Partition| it.is_revoked && it.running_count == 0;
        let idle = self.partitions.extract_if(|_, it| is_idle(it));
        idle.map(|(_, it)| {
            let offset = GroupOffset::new(&it.assignment, it.done());
            (it.assignment, offset)
        })
        .collect()
    }

    /// Takes what is done and was not committed.
    pub(super) fn take_commits(&mut self) -> Vec<GroupOffset> {
        let mut commits = Vec::new();
        for partition in self.partitions.values_mut() {
            let done = partition.done();
            if partition.committed < done {
                partition.committed = done;
                commits.push(GroupOffset::new(&partition.assignment, done));
            }
        }
        commits
    }

    fn partition(&mut self, assignment: &Assignment) -> Option<&mut Partition> {
        let place = (assignment.topic.clone(), assignment.partition);
        let partition = self.partitions.get_mut(&place);
        partition.filter(|it| it.assignment.generation == assignment.generation)
    }

    fn partition_of(&mut self, ticket: &Ticket) -> Option<&mut Partition> {
        let place = (ticket.lane.topic.clone(), ticket.lane.partition);
        let partition = self.partitions.get_mut(&place);
        partition.filter(|it| it.assignment.generation == ticket.generation)
    }
}

impl Ticket {
    fn is_of(&self, assignment: &Assignment) -> bool {
        self.generation == assignment.generation
            && self.lane.partition == assignment.partition
            && self.lane.topic == assignment.topic
    }
}

#[cfg(test)]
mod tests;
