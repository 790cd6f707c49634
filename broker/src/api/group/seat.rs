//! What both halves of a member's stream know.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use towpath_proto::names::GroupName;
use towpath_proto::v1;
use towpath_storage::{Frame, Offset, OffsetRange, PartitionRef};

use super::members::Members;
use crate::core::{GroupId, MemberId, SessionId};
use crate::fetch::Place;
use crate::metrics::Delivered;
use crate::runtime::published::TopicView;

/// Whose connection it is.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) group: GroupId,
    pub(super) name: GroupName,
    pub(super) member: MemberId,
    pub(super) session: SessionId,
}

/// A member's place in its group, for one connection.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) identity: Identity,
    /// By handle.
    pub(super) topics: Vec<Arc<TopicView>>,
    /// Set when nobody listens to the response stream any more.
    pub(super) closed: CancellationToken,
    members: Arc<Members>,
    state: Mutex<SeatState>,
    /// Told when more may be sent.
    credited: Notify,
    /// Told when a commit was answered.
    answered: Notify,
}

#[derive(Debug)]
struct SeatState {
    records: i64,
    bytes: i64,
    /// Partitions of the commits that were not answered, oldest first.
    commits: VecDeque<Vec<(u32, u32)>>,
    /// How many these are together.
    committing_count: usize,
    /// What the member was sent and has not committed.
    delivered: Delivered,
    /// What the member was told of as gone and has not committed over.
    gaps: BTreeMap<PartitionRef, Vec<OffsetRange>>,
}

impl Seat {
    /// A place among `members`, as long as anybody holds it.
    pub(super) fn new(
        identity: Identity,
        topics: Vec<Arc<TopicView>>,
        delivered: Delivered,
        members: &Arc<Members>,
    ) -> Arc<Self> {
        let state = SeatState {
            records: 0,
            bytes: 0,
            commits: VecDeque::new(),
            committing_count: 0,
            delivered,
            gaps: BTreeMap::new(),
        };
        let seat = Arc::new(Self {
            identity,
            topics,
            closed: CancellationToken::new(),
            members: Arc::clone(members),
            state: Mutex::new(state),
            credited: Notify::new(),
            answered: Notify::new(),
        });
        members.enter(&seat);
        seat
    }

    /// The partition that a client names by its topic's handle. Of a topic that is gone, which the client
    /// may not have heard, nobody knows any more how many there were.
    pub(super) fn partition(&self, handle: u32, partition: u32) -> Option<PartitionRef> {
        let topic = self.topics.get(handle as usize)?;
        if topic.partition(partition).is_none() && !topic.is_deleted() {
            return None;
        }
        Some(PartitionRef {
            topic: topic.id(),
            partition,
        })
    }

    /// The place of a partition in this stream.
    pub(super) fn place(&self, partition: PartitionRef) -> Option<Place> {
        let source = self.topics.iter().position(|it| it.id() == partition.topic);
        source.map(|source| Place {
            source,
            partition: partition.partition,
        })
    }

    pub(super) fn add_credit(&self, credit: v1::GroupCredit) {
        let add = |to: i64, more: u64| to.saturating_add(i64::try_from(more).unwrap_or(i64::MAX));
        let mut state = self.lock();
        state.records = add(state.records, credit.records);
        state.bytes = add(state.bytes, credit.bytes);
        drop(state);
        self.credited.notify_one();
    }

    pub(super) fn has_credit(&self) -> bool {
        let state = self.lock();
        state.records > 0 && state.bytes > 0
    }

    /// Takes what a batch costs, which may be more than there is, and notes that it is sent.
    pub(super) fn send(&self, partition: Option<PartitionRef>, frame: &Frame) {
        let Frame {
            header, payload, ..
        } = frame;
        let mut state = self.lock();
        state.records -= i64::from(header.record_count);
        state.bytes -= i64::try_from(payload.len()).unwrap_or(i64::MAX);
        if let Some(partition) = partition {
            let (start, end) = (header.base_offset, header.next_offset());
            let delivered = &mut state.delivered;
            delivered.send(partition, start, end, payload.len() as u64);
        }
    }

    /// Notes that the member has got a partition.
    pub(super) fn begin(&self, partition: PartitionRef, committed: Offset) {
        self.lock().delivered.begin(partition, committed);
    }

    /// Notes that a commit of the member is durable.
    pub(super) fn note_committed(&self, partition: PartitionRef, committed: Offset) {
        let mut state = self.lock();
        state.delivered.commit(partition, committed);
        if let Some(gaps) = state.gaps.get_mut(&partition) {
            gaps.retain(|gap| gap.end > committed);
        }
    }

    /// Waits until credit was added. Safe to drop.
    pub(super) async fn credited(&self) {
        self.credited.notified().await;
    }

    /// Notes a commit that is on its way.
    pub(super) fn push_commit(&self, places: Vec<(u32, u32)>) {
        let mut state = self.lock();
        state.committing_count += weight(&places);
        state.commits.push_back(places);
    }

    /// Waits until fewer partitions than this are in commits that were not answered. Safe to drop.
    pub(super) async fn has_answered(&self, below: usize) {
        while self.lock().committing_count >= below {
            self.answered.notified().await;
        }
    }

    /// The partitions of the commit that is answered now.
    pub(super) fn pop_commit(&self) -> Vec<(u32, u32)> {
        let mut state = self.lock();
        let places = state.commits.pop_front();
        state.committing_count -= places.as_deref().map_or(0, weight);
        drop(state);
        self.answered.notify_one();
        places.unwrap_or_default()
    }

    pub(super) fn add_gap(&self, partition: PartitionRef, range: OffsetRange) {
        self.lock().gaps.entry(partition).or_default().push(range);
    }

    /// What was told as gone below an offset and is not known to be committed over. It stays until then:
    /// the commit may be refused.
    pub(super) fn gaps_below(&self, partition: PartitionRef, below: Offset) -> Vec<OffsetRange> {
        let state = self.lock();
        let gaps = state.gaps.get(&partition).into_iter().flatten();
        gaps.filter(|gap| gap.start < below).copied().collect()
    }

    /// Forgets what was told and sent of a partition that the member has lost.
    pub(super) fn forget(&self, partition: PartitionRef) {
        let mut state = self.lock();
        state.gaps.remove(&partition);
        state.delivered.forget(partition);
    }

    fn lock(&self) -> MutexGuard<'_, SeatState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.members.leave(&self.identity);
    }
}

/// What a commit counts for: one without partitions takes memory too.
fn weight(places: &[(u32, u32)]) -> usize {
    places.len().max(1)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::metrics::GroupsInFlight;

    #[test]
    fn commits_without_partitions_count_as_well() {
        let delivered = GroupsInFlight::default().enter(GroupId::new(1));
        let identity = Identity {
            group: GroupId::new(1),
            name: "billing".parse().unwrap(),
            member: MemberId::new([1; 16]),
            session: SessionId(1),
        };
        let seat = Seat::new(identity, Vec::new(), delivered, &Arc::default());
        let has_room = || seat.has_answered(3).now_or_never().is_some();
        (0..2).for_each(|_| seat.push_commit(Vec::new()));
        assert!(has_room(), "two");
        seat.push_commit(Vec::new());
        assert!(!has_room(), "three");
        seat.pop_commit();
        assert!(has_room(), "one was answered");
        seat.push_commit(vec![(0, 1), (0, 2)]);
        (0..4).for_each(|_| drop(seat.pop_commit()));
        assert!(has_room(), "all were, and one that never was");
    }
}
