//! Workers of a subscription and members of a group that handle each record with a commit: one entry appends
//! what comes of it, acks it and moves the group. They come and go, are late, and send again what was not
//! answered, in the producers' weather.

mod committing;
mod ending;
mod hearing;
mod joining;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use fastrand::Rng;
use tokio::sync::oneshot;
use towpath_broker::core::{
    CommitOffsets, CommitRefused, CommitSettlement, ConsumerId, Generation, Group, GroupId,
    MemberId, SessionId, SubscriptionId, TopicConfig,
};
use towpath_broker::core::{GroupEvent, SubscriptionEvent};
use towpath_broker::runtime::command::{CommandError, Committed};
use towpath_storage::TopicId;

use super::World;
use super::following::Follower;
use crate::history::{Event, Place, Source};

/// What is handled, and what comes of it: topics in which nothing else is written.
pub(super) const SOURCES: &str = "sources";
pub(super) const RESULTS: &str = "results";
/// The subscription and the group.
const WORKERS: &str = "workers";
const MOVERS: &str = "movers";
/// Their numbers in the history.
const SUBSCRIPTION_LANE: u64 = 0;
const GROUP_LANE: u64 = 1;

/// What a connection was told and has not heard.
#[derive(Debug, Default)]
struct Ear {
    deliveries: Mutex<Vec<SubscriptionEvent>>,
    notices: Mutex<Vec<GroupEvent>>,
}

/// A consumer of the subscription.
#[derive(Debug)]
struct Worker {
    id: ConsumerId,
    seat: Option<(SessionId, SubscriptionId)>,
    ear: Arc<Ear>,
    /// What it has: the delivery of each record, by partition and offset.
    held: BTreeMap<(u32, u64), u64>,
}

/// A member of the group.
#[derive(Debug)]
struct Mover {
    id: MemberId,
    seat: Option<(SessionId, GroupId)>,
    ear: Arc<Ear>,
    /// What it owns: in which generation, and how far the group was then.
    owned: BTreeMap<u32, (Generation, u64)>,
}

/// A commit, as it is sent and sent again.
#[derive(Debug, Clone)]
struct Forward {
    number: u64,
    /// Whether a key names it, so that it happens once however often it is sent.
    is_keyed: bool,
    settlement: Option<CommitSettlement>,
    /// Which member moves the group, and how.
    offsets: Option<(usize, CommitOffsets)>,
    /// What it handles.
    sources: Vec<Source>,
}

#[derive(Debug)]
struct Call {
    forward: Forward,
    answer: oneshot::Receiver<Result<Committed, CommandError<CommitRefused>>>,
}

/// Those who handle records, and what is known of it.
#[derive(Debug)]
pub(super) struct Forwarding {
    /// The last number that was given to anything.
    number: u64,
    waiting: Vec<Call>,
    /// Commits with a key that were not answered: they are sent until they are.
    doubtful: Vec<Forward>,
    /// Some that were sent, for those who are late.
    claims: Vec<Forward>,
    workers: [Worker; 2],
    movers: [Mover; 2],
    /// How far the group is in each partition, as was acknowledged.
    moved: BTreeMap<u32, u64>,
    followers: Vec<Follower>,
}

impl Default for Forwarding {
    fn default() -> Self {
        let worker = |number| Worker {
            id: ConsumerId::new([number; 16]),
            seat: None,
            ear: Arc::default(),
            held: BTreeMap::new(),
        };
        let mover = |number| Mover {
            id: MemberId::new([number; 16]),
            seat: None,
            ear: Arc::default(),
            owned: BTreeMap::new(),
        };
        Self {
            number: 0,
            waiting: Vec::new(),
            doubtful: Vec::new(),
            claims: Vec::new(),
            workers: [worker(1), worker(2)],
            movers: [mover(1), mover(2)],
            moved: BTreeMap::new(),
            followers: Vec::new(),
        }
    }
}

impl Forwarding {
    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// Whether something is under way, or in doubt, that moves the group in a partition: what comes next
    /// rests on it.
    fn is_moving(&self, partition: u32) -> bool {
        let waiting = self.waiting.iter().map(|call| &call.forward);
        let offsets = waiting.chain(&self.doubtful).flat_map(|it| &it.offsets);
        let mut commits = offsets.flat_map(|(_, wish)| &wish.commits);
        commits.any(|commit| commit.partition.partition == partition)
    }

    /// Notes how far the group is.
    fn note_moved(&mut self, forward: &Forward) {
        let offsets = forward.offsets.iter();
        for commit in offsets.flat_map(|(_, wish)| &wish.commits) {
            let (partition, offset) = (commit.partition.partition, commit.offset.get());
            let moved = self.moved.entry(partition).or_default();
            *moved = offset.max(*moved);
        }
    }

    /// Keeps some of what was sent.
    fn keep(&mut self, forward: &Forward, random: &mut Rng) {
        const CLAIMS: usize = 20;
        match self.claims.len() {
            CLAIMS => self.claims[random.usize(..CLAIMS)] = forward.clone(),
            _ => self.claims.push(forward.clone()),
        }
    }
}

impl World {
    fn forwarding(&mut self) -> &mut Forwarding {
        self.apart.forwarding.as_mut().expect("it acts")
    }

    /// Lets somebody do something about records that are handled by commits.
    pub(super) fn act_on_forwards(&mut self) {
        let config = TopicConfig::default();
        let sources = self.topic_apart(SOURCES, config);
        let results = self.topic_apart(RESULTS, config);
        let (Some(sources), Some(results)) = (sources, results) else {
            return;
        };
        let (who, replaces) = (self.random.usize(..2), self.random.u8(..8) == 0);
        match self.random.u8(..32) {
            0..5 => self.write_source(sources),
            5..7 => self.connect_worker(who, sources, replaces),
            7 => self.part_worker(who),
            8..10 => self.join_mover(who, sources, replaces),
            10 => self.part_mover(who),
            11..14 => self.hear_worker(who),
            14..17 => self.hear_mover(who),
            17..25 => self.forward(sources, results),
            25 => self.forward_late(results),
            26 => self.pass_time(),
            27 => self.read_results(results),
            _ => self.drive(|engine| {
                engine.step_inspect();
                Ok(())
            }),
        }
    }

    /// The broker is gone, and every connection with it.
    pub(super) fn reopen_forwards(&mut self) {
        if let Some(forwarding) = &mut self.apart.forwarding {
            for worker in &mut forwarding.workers {
                worker.seat = None;
                worker.ear = Arc::default();
                worker.held.clear();
            }
            for mover in &mut forwarding.movers {
                mover.seat = None;
                mover.ear = Arc::default();
                mover.owned.clear();
            }
            forwarding.followers.iter_mut().for_each(Follower::reopen);
            self.note_forwards();
        }
    }

    /// Notes where the group is.
    fn note_forwards(&mut self) {
        let groups = self.groups();
        let partitions = groups.flat_map(Group::partitions);
        let found: Vec<_> = partitions
            .map(|(of, known)| (of.topic.get(), of.partition, known.committed.get()))
            .collect();
        for (topic, partition, offset) in found {
            self.history.push(Event::ForwardsAt {
                lane: GROUP_LANE,
                place: Place { topic, partition },
                offset,
            });
        }
    }

    /// Where the group and the subscription are not known yet, they are not there.
    fn subscription_of_workers(&self) -> Option<SubscriptionId> {
        let state = self.engine.as_ref()?.sequencer.state();
        let found = state.subscription_named(&WORKERS.parse().unwrap())?;
        Some(found.id())
    }

    fn end_of_topic(&self, topic: TopicId) -> Vec<u64> {
        let topic_number = topic.get();
        let partitions = 0..self.partition_count_of(topic);
        let ends = partitions.map(|partition| {
            let place = Place {
                topic: topic_number,
                partition,
            };
            self.end_of(place).map_or(0, |end| end.get())
        });
        ends.collect()
    }
}
