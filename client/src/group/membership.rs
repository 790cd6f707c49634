//! What a member of a group knows: what it owns, what came, what it has still to say.
//!
//! A pure state machine. Connections come and go; the member keeps its id, its partitions as long as the
//! broker confirms them, what it has received of them, and the commits that were not answered. Nothing
//! is handed out twice in one generation, and nothing of a partition that it does not own.

mod buffer;
mod commits;
mod hearing;
mod holding;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use towpath_proto::ids::Offset;
use towpath_proto::names::TopicName;
use towpath_proto::v1;
use towpath_proto::v1::join_request::Request;

use super::builder::GroupOptions;
use super::item::{Assignment, GroupItem};
use super::offset::GroupOffset;
use crate::Error;
use crate::error::Effects;
use crate::flow::Cost;
use buffer::Buffer;
use commits::Commits;
use holding::{Holding, Place, Stage};

pub(super) use commits::CommitAnswer;
pub(super) use hearing::Heard;

/// A member of a group, from its first connection to its end.
#[derive(Debug)]
pub(super) struct Membership {
    options: GroupOptions,
    member_id: [u8; 16],
    phase: Phase,
    is_leaving: bool,
    has_left: bool,
    /// Whether everything that the member owned before is known over the present stream.
    is_settled: bool,
    /// The group and the topics that were found first: those of the same names may be other ones.
    joined: Option<v1::Rejoin>,
    /// By handle, as they were found first.
    topics: Vec<TopicName>,
    failed_topics: BTreeSet<u32>,
    holdings: BTreeMap<Place, Holding>,
    /// Handed out before what is in the buffer.
    news: VecDeque<GroupItem>,
    buffer: Buffer,
    commits: Commits,
    outbox: VecDeque<Request>,
    /// A batch that arrived damaged: once may be the way here, twice is the broker.
    damaged: Option<(Place, Offset)>,
    /// Why it ended, if nobody asked it to.
    failure: Option<Error>,
    /// Whether that was handed out.
    is_failure_told: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// There is no stream.
    Absent,
    /// The stream was not answered.
    Joining,
    /// The member belongs to the group.
    Open,
    /// Nothing more will happen.
    Ended,
}

impl Membership {
    pub(super) fn new(options: GroupOptions, member_id: [u8; 16]) -> Self {
        let max = Cost {
            records: options.records_max,
            bytes: options.bytes_max,
        };
        let failure = options.check().err();
        Self {
            options,
            member_id,
            phase: if failure.is_some() {
                Phase::Ended
            } else {
                Phase::Absent
            },
            is_leaving: false,
            has_left: false,
            is_settled: false,
            joined: None,
            topics: Vec::new(),
            failed_topics: BTreeSet::new(),
            holdings: BTreeMap::new(),
            news: VecDeque::new(),
            buffer: Buffer::new(max),
            commits: Commits::default(),
            outbox: VecDeque::new(),
            damaged: None,
            failure,
            is_failure_told: false,
        }
    }

    /// A new stream is made: it begins by joining.
    pub(super) fn begin(&mut self) {
        self.phase = Phase::Joining;
        self.commits.begin();
        self.outbox = VecDeque::from([Request::Join(v1::JoinGroup {
            group: self.options.group.clone(),
            member_id: self.member_id.to_vec().into(),
            client_name: self.options.client_name.clone(),
            topics: self.options.topics.clone(),
            start: self.options.start.as_ref().and_then(|it| it.to_position()),
            skip_data_loss: self.options.skip_data_loss,
            stop_at_trimmed: self.options.stop_at_trimmed,
            rejoin: self.joined.clone(),
            // What is on its way to a member is bounded in bytes as they are sent, and what it has taken is
            // kept decompressed: plain, both are the same.
            accepted_codecs: Vec::new(),
        })]);
    }

    /// The stream is gone. Nothing is handed out until the broker says what the member still owns.
    pub(super) fn disconnect(&mut self) {
        if self.phase == Phase::Ended {
            return;
        }
        self.phase = Phase::Absent;
        self.is_settled = false;
        self.outbox.clear();
        for holding in self.holdings.values_mut() {
            holding.is_confirmed = false;
        }
    }

    /// Whether something is to be sent over the present stream.
    pub(super) fn has_request(&self) -> bool {
        self.is_commit_due()
            || !self.outbox.is_empty()
            || self.is_credit_due()
            || self.is_leave_due()
    }

    /// Takes what is to be sent next over the present stream.
    pub(super) fn take_request(&mut self) -> Option<v1::JoinRequest> {
        let commit = self.is_commit_due().then(|| self.commits.take_request());
        let commit = commit.flatten().map(Request::Commit);
        let request = match commit.or_else(|| self.outbox.pop_front()) {
            Some(request) => request,
            None if self.is_credit_due() => Request::Credit(self.buffer.take_credit()),
            None if self.is_leave_due() => {
                self.has_left = true;
                Request::Leave(v1::LeaveGroup {})
            }
            None => return None,
        };
        Some(v1::JoinRequest {
            request: Some(request),
        })
    }

    fn is_commit_due(&self) -> bool {
        self.phase == Phase::Open && self.commits.is_due()
    }

    fn is_credit_due(&self) -> bool {
        self.phase == Phase::Open && !self.is_leaving && self.buffer.is_credit_due()
    }

    /// The stream of a member that leaves ends at once: what it has to say and to hear comes before.
    fn is_leave_due(&self) -> bool {
        let has_more = !self.outbox.is_empty() || !self.commits.is_empty();
        self.phase == Phase::Open && self.is_leaving && !self.has_left && !has_more
    }

    /// Takes what is to be handed out next.
    pub(super) fn take_item(&mut self) -> Option<Result<GroupItem, Error>> {
        if let Some(news) = self.news.pop_front() {
            return Some(Ok(news));
        }
        let holdings = &self.holdings;
        let taken = self.buffer.take(|place| is_ready(holdings, place));
        taken.or_else(|| self.take_failure().map(Err))
    }

    fn take_failure(&mut self) -> Option<Error> {
        let failure = self.failure.as_ref().filter(|_| !self.is_failure_told)?;
        self.is_failure_told = true;
        Some(failure.clone())
    }

    /// Whether there is something to be handed out, or nothing will ever be.
    pub(super) fn is_ready(&self) -> bool {
        let may_take = |place| is_ready(&self.holdings, place);
        !self.news.is_empty() || self.phase == Phase::Ended || self.buffer.has(may_take)
    }

    /// Whether nothing more will happen and that was told.
    pub(super) fn is_finished(&self) -> bool {
        self.is_ended() && (self.failure.is_none() || self.is_failure_told)
    }

    /// Whether nothing more will happen.
    pub(super) fn is_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// Whether the broker has taken the member in over the present stream.
    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether the member goes.
    pub(super) const fn is_leaving(&self) -> bool {
        self.is_leaving
    }

    /// Takes news of what the member owns, and nothing else.
    pub(super) fn take_news(&mut self) -> Option<GroupItem> {
        self.news.pop_front()
    }

    /// Whether there is news of what the member owns.
    pub(super) fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// Whether records that were handed out belong to a partition that the member still reads.
    pub(super) fn may_go_on(&self, assignment: &Assignment) -> bool {
        let holding = self
            .place_of(assignment)
            .and_then(|place| self.holdings.get(&place));
        holding.is_some_and(|it| it.generation == assignment.generation && it.is_held())
    }

    /// Says how far the member is. `answer` is told when that is durable, or why it is not.
    pub(super) fn commit(&mut self, offsets: &[GroupOffset], answer: CommitAnswer) {
        let outcome = match self.to_commits(offsets) {
            Ok(offsets) if offsets.is_empty() => Ok(()),
            Ok(_) if self.phase == Phase::Ended || self.is_leaving => {
                Err(self.failure.clone().unwrap_or_else(gone))
            }
            Ok(offsets) => {
                let is_sound = offsets
                    .iter()
                    .all(|(place, it)| self.has_received(*place, it));
                self.commits.push(offsets, is_sound, answer);
                return;
            }
            Err(error) => Err(error),
        };
        drop(answer.send(outcome));
    }

    /// The group, and the member's id.
    pub(super) fn name(&self) -> (String, [u8; 16]) {
        (self.options.group.clone(), self.member_id)
    }

    /// The group is so far, which was not said here: what is below need not be said any more.
    pub(super) fn overtake(&mut self, offsets: &[GroupOffset]) {
        if let Ok(offsets) = self.to_commits(offsets) {
            self.commits.overtake(&offsets);
        }
    }

    /// Somebody waits for what was committed, or it has waited for long enough to be sent.
    pub(super) fn hurry(&mut self) {
        self.commits.hurry();
    }

    /// Whether there is a commit that nobody waits for.
    pub(super) fn has_idle_commit(&self) -> bool {
        self.phase == Phase::Open && self.commits.is_idle()
    }

    /// Gives partitions back: nothing more of them is handed out.
    pub(super) fn give_back(&mut self, assignments: &[Assignment]) {
        let mut partitions = Vec::new();
        for assignment in assignments {
            let Some(place) = self.place_of(assignment) else {
                continue;
            };
            let holding = self.holdings.get_mut(&place);
            let is_same = |it: &&mut Holding| {
                it.generation == assignment.generation && it.stage != Stage::Returned
            };
            if let Some(holding) = holding.filter(is_same) {
                holding.stage = Stage::Returned;
                partitions.push(holding.to_ref(place));
                self.buffer.drop_place(place);
            }
        }
        if !partitions.is_empty() {
            self.commits.close();
        }
        if self.phase == Phase::Open && !partitions.is_empty() {
            let request = Request::Return(v1::ReturnPartitions { partitions });
            self.outbox.push_back(request);
        }
    }

    /// Takes no more records, and goes once everything was said.
    pub(super) fn leave(&mut self) {
        if self.is_leaving || self.phase == Phase::Ended {
            return;
        }
        self.is_leaving = true;
        self.commits.hurry();
        self.news.clear();
        self.buffer.clear();
    }

    /// Gives everything up: hands out why.
    pub(super) fn fail(&mut self, error: Error) {
        if self.phase != Phase::Ended {
            self.commits.fail(&error.clone().in_doubt());
            self.close();
            self.failure = Some(error);
        }
    }

    /// Nothing more will happen, and there is nothing to tell.
    pub(super) fn finish(&mut self) {
        if self.phase != Phase::Ended {
            self.commits.fail(&gone().in_doubt());
            self.close();
        }
    }

    fn close(&mut self) {
        self.phase = Phase::Ended;
        self.outbox.clear();
        // Which topics are gone is told before the end.
        self.buffer.drop_places();
        self.holdings.clear();
    }

    fn place_of(&self, assignment: &Assignment) -> Option<Place> {
        let handle = self.handle_of(&assignment.topic)?;
        Some((handle, assignment.partition.get()))
    }

    fn handle_of(&self, topic: &TopicName) -> Option<u32> {
        let mut topics = (0..).zip(&self.topics);
        topics.find_map(|(handle, it)| (it == topic).then_some(handle))
    }

    /// One commit for each partition: the furthest one.
    fn to_commits(
        &self,
        offsets: &[GroupOffset],
    ) -> Result<BTreeMap<Place, v1::OffsetCommit>, Error> {
        let mut commits: BTreeMap<Place, v1::OffsetCommit> = BTreeMap::new();
        for it in offsets {
            let handle = self.handle_of(it.topic()).ok_or_else(|| {
                Error::invalid("offsets", "this consumer does not read the topic")
                    .with("topic", it.topic())
            })?;
            let commit = v1::OffsetCommit {
                handle,
                partition: it.partition().get(),
                generation: it.generation().get(),
                offset: it.offset().get(),
            };
            let known = commits.entry((handle, commit.partition)).or_insert(commit);
            if known.generation != commit.generation {
                let text = "a partition is committed in two generations at once";
                return Err(Error::invalid("offsets", text)
                    .with("topic", it.topic())
                    .with("partition", it.partition()));
            }
            known.offset = known.offset.max(commit.offset);
        }
        Ok(commits)
    }

    /// Whether everything below an offset was received; so no broker refuses it for being beyond the end.
    fn has_received(&self, place: Place, commit: &v1::OffsetCommit) -> bool {
        let holding = self.holdings.get(&place);
        holding.is_some_and(|it| it.next_offset().get() >= commit.offset)
    }
}

fn is_ready(holdings: &BTreeMap<Place, Holding>, place: Place) -> bool {
    let holding = holdings.get(&place);
    holding.is_some_and(|it| it.is_confirmed && it.is_held())
}

fn gone() -> Error {
    Error::closed(Effects::None, "the consumer has left its group")
}

#[cfg(test)]
mod tests;
