//! Members of consumer groups: what each believes, and what it was told and has not heard yet.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use fastrand::Rng;
use tokio::sync::oneshot::Receiver;
use towpath_broker::core::{
    CommitVerdict, DeleteGroupRefusal, Generation, GroupEvent, GroupId, JoinRefusal, MemberId,
    Owner, SeekRefusal, SessionId, SoughtPartition,
};
use towpath_broker::runtime::command::CommandError;
use towpath_broker::runtime::group_command::GroupSink;
use towpath_proto::names::GroupName;
use towpath_storage::{Offset, OffsetRange, PartitionRef, TopicId};

use super::actors::Reader;
use crate::history::Place;

/// How many members there may be.
const MEMBERS: usize = 5;
/// The groups to which they belong.
const GROUPS: [&str; 2] = ["billing", "audit"];
/// How many claims are kept to be tried when they are out of date.
const CLAIMS_MAX: usize = 24;

/// Something that the broker said to a connection.
#[derive(Debug)]
pub(super) enum Told {
    /// About partitions.
    Event {
        member: usize,
        session: SessionId,
        event: GroupEvent,
    },
    /// What became of a commit; the commits by their numbers.
    Verdicts {
        commits: Vec<u64>,
        result: Result<Vec<CommitVerdict>, CommandError<Infallible>>,
    },
}

/// What the broker has said to all members.
pub(super) type GroupMailbox = Mutex<Vec<Told>>;

/// One connection of a member, or one commit of it.
#[derive(Debug)]
pub(super) struct Ear {
    pub(super) member: usize,
    pub(super) session: SessionId,
    /// Numbers of the commits that are answered here.
    pub(super) commits: Vec<u64>,
    pub(super) mailbox: Arc<GroupMailbox>,
}

impl Ear {
    fn push(&self, told: Told) {
        self.mailbox.lock().unwrap().push(told);
    }
}

impl GroupSink for Ear {
    fn tell(&self, event: GroupEvent) {
        let (member, session) = (self.member, self.session);
        self.push(Told::Event {
            member,
            session,
            event,
        });
    }

    fn answer(&self, result: Result<Vec<CommitVerdict>, CommandError<Infallible>>) {
        let commits = self.commits.clone();
        self.push(Told::Verdicts { commits, result });
    }
}

/// What a member believes of a partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holding {
    pub(super) generation: Generation,
    /// Another one for each time that the partition was given to it.
    pub(super) reader: Reader,
    /// The next offset that it handles.
    pub(super) handled: Offset,
    /// Records that it was told of last as gone.
    pub(super) gap: Option<OffsetRange>,
    pub(super) is_revoked: bool,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    /// What it reads.
    pub(super) topics: BTreeSet<u64>,
    /// The connection that it replaces, which ends when this one is answered.
    pub(super) replaces: Option<(SessionId, GroupId)>,
    /// None until the broker has answered.
    pub(super) group: Option<GroupId>,
    pub(super) answer: Option<Receiver<Result<GroupId, CommandError<JoinRefusal>>>>,
    /// Told and not heard.
    pub(super) told: VecDeque<GroupEvent>,
}

/// One process after the other that reads for a group.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: GroupName,
    /// Of its present identity.
    pub(super) number: u64,
    pub(super) session: Option<Session>,
    /// The group that took it in last.
    pub(super) group: Option<GroupId>,
    /// By what the broker has confirmed over the present connection.
    pub(super) holdings: BTreeMap<Place, Holding>,
    /// What it had over the last one.
    pub(super) unconfirmed: BTreeMap<Place, Holding>,
    /// It hears and handles nothing, but its connection is there.
    pub(super) is_stalled: bool,
}

impl Member {
    pub(super) fn new(name: GroupName, number: u64) -> Self {
        Self {
            name,
            number,
            session: None,
            group: None,
            holdings: BTreeMap::new(),
            unconfirmed: BTreeMap::new(),
            is_stalled: false,
        }
    }

    pub(super) fn id(&self) -> MemberId {
        let mut bytes = [2; 16];
        bytes[..8].copy_from_slice(&self.number.to_le_bytes());
        MemberId::new(bytes)
    }

    /// Its connection and its group, once that has taken it in.
    pub(super) fn seat(&self) -> Option<(SessionId, GroupId)> {
        let session = self.session.as_ref()?;
        Some((session.id, session.group?))
    }
}

/// The number of a member in the history.
pub(super) fn number_of(id: MemberId) -> u64 {
    let bytes = id.as_bytes();
    u64::from_le_bytes(std::array::from_fn(|place| bytes[place]))
}

/// A claim to a partition that may be out of date.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim {
    pub(super) group: GroupId,
    pub(super) member: MemberId,
    pub(super) place: Place,
    pub(super) generation: Generation,
    pub(super) handled: Offset,
}

/// A command about a group that was not answered.
#[derive(Debug)]
pub(super) enum PendingGroupControl {
    Seek {
        /// None if it is not to be moved: it is only asked, or there are no such records.
        group: Option<GroupId>,
        is_dry_run: bool,
        answer: Receiver<Result<Vec<SoughtPartition>, CommandError<SeekRefusal>>>,
    },
    Delete {
        group: GroupId,
        answer: Receiver<Result<(), CommandError<DeleteGroupRefusal>>>,
    },
}

/// Who shares what: members with their topics and whether they are connected, and the partitions.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Roster {
    pub(super) members: BTreeMap<MemberId, (BTreeSet<TopicId>, bool)>,
    pub(super) partitions: BTreeSet<PartitionRef>,
}

/// All members, and what is known of their groups.
#[derive(Debug, Default)]
pub(super) struct Cast {
    /// None if the run has no groups.
    pub(super) members: Vec<Member>,
    pub(super) mailbox: Arc<GroupMailbox>,
    pub(super) controls: Vec<PendingGroupControl>,
    /// What members had once, the oldest first.
    pub(super) claims: VecDeque<Claim>,
    /// Where groups were asked to begin.
    pub(super) starts: BTreeSet<(Place, u64)>,
    /// Where groups were when they were last looked at.
    pub(super) positions: BTreeMap<(GroupId, Place), u64>,
    /// Members and partitions as of the last look.
    pub(super) rosters: BTreeMap<GroupId, Roster>,
    /// Who was told last that it owns a partition.
    pub(super) told: BTreeMap<(GroupId, Place), Owner>,
    /// Groups that may be gone, since somebody has asked for that.
    pub(super) doomed: BTreeSet<GroupId>,
    /// The same of topics.
    pub(super) doomed_topics: BTreeSet<u64>,
    /// Where each commit is for, by its number.
    pub(super) commits: BTreeMap<u64, (GroupId, Place)>,
    /// Commits beyond the end of their partition, by number.
    pub(super) beyond_end: BTreeSet<u64>,
    last_number: u64,
}

impl Cast {
    pub(super) fn draw(random: &mut Rng) -> Self {
        let mut cast = Self::default();
        // One group of all, or two.
        let group_count = random.usize(1..=GROUPS.len());
        for place in 0..random.usize(1..=MEMBERS) {
            let number = cast.next_number();
            let name = GROUPS[place % group_count].parse().unwrap();
            cast.members.push(Member::new(name, number));
        }
        cast
    }

    /// A number that nobody else has: of a member, a connection, a reader or a commit.
    pub(super) fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        // The readers outside of groups have lower ones.
        1_000 + self.last_number
    }

    /// Keeps a claim that may be tried when it is out of date.
    pub(super) fn keep(&mut self, member: usize, place: Place, holding: Holding) {
        let member = &self.members[member];
        let Some(group) = member.group else { return };
        self.claims.push_back(Claim {
            group,
            member: member.id(),
            place,
            generation: holding.generation,
            handled: holding.handled,
        });
        if self.claims.len() > CLAIMS_MAX {
            self.claims.pop_front();
        }
    }

    /// The member has no connection any more; what it has is as good as its next one says.
    pub(super) fn cut_off(&mut self, member: usize) {
        let known = &mut self.members[member];
        known.session = None;
        let holdings = std::mem::take(&mut known.holdings);
        known.unconfirmed.extend(&holdings);
        for (place, holding) in holdings {
            self.keep(member, place, holding);
        }
    }

    pub(super) fn is_absent(&self) -> bool {
        self.members.is_empty()
    }
}

pub(super) fn to_ref(place: Place) -> PartitionRef {
    PartitionRef {
        topic: TopicId::new(place.topic),
        partition: place.partition,
    }
}

pub(super) fn to_place(partition: PartitionRef) -> Place {
    Place {
        topic: partition.topic.get(),
        partition: partition.partition,
    }
}
