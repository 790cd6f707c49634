//! The rules of groups, one by one and against schedules, over a core without a broker.

mod coming_back;
mod committing;
mod joining;
mod schedules;
mod sharing;

use std::collections::{BTreeMap, VecDeque};

use towpath_proto::names::{GroupName, TopicName};
use towpath_storage::{Offset, OffsetRange, PartitionRef, Row, StateMachine, TopicId};

use super::balance::REVOKE_GRACE_MS;
use super::membership::{RECONNECT_GRACE_MS, RESTART_GRACE_MS};
use super::*;
use crate::core::{CoreLimits, CreateTopic, State, TopicConfig};

const PARTITION_COUNT: u32 = 8;

fn member(number: u8) -> MemberId {
    MemberId::new([number; 16])
}

fn name() -> GroupName {
    "billing".parse().unwrap()
}

/// A core with what a broker does around it: rows are applied at once, and survive a restart.
struct Bench {
    state: State,
    /// Everything that was journaled.
    journal: Vec<Row>,
    now_ms: i64,
    next_session: u64,
    topic: TopicId,
    /// What was told and not yet heard, by connection.
    told: BTreeMap<SessionId, VecDeque<GroupEvent>>,
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self {
            state: State::new(CoreLimits::default()),
            journal: Vec::new(),
            now_ms: 1_000_000,
            next_session: 0,
            topic: TopicId::new(1),
            told: BTreeMap::new(),
        };
        bench.topic = bench.create_topic("orders");
        bench
    }

    fn create_topic(&mut self, name: &str) -> TopicId {
        let wish = CreateTopic {
            name: name.parse::<TopicName>().unwrap(),
            partition_count: PARTITION_COUNT,
            config: TopicConfig::default(),
        };
        let (topic, rows) = self.state.create_topic(&wish, self.now_ms).unwrap();
        self.apply(rows);
        topic
    }

    fn apply(&mut self, rows: Vec<Row>) {
        for row in rows {
            self.journal.push(row.clone());
            self.state.apply_row(row);
        }
    }

    fn tell(&mut self, notices: Vec<GroupNotice>) {
        for notice in notices {
            let told = self.told.entry(notice.session).or_default();
            told.push_back(notice.event);
        }
    }

    fn wish(&mut self, member: MemberId, topics: &[TopicId]) -> JoinGroup {
        self.next_session += 1;
        let starts = vec![Offset::ZERO; PARTITION_COUNT as usize];
        let topics = topics.iter().map(|topic| TopicStart {
            topic: *topic,
            starts: Some(starts.clone()),
        });
        JoinGroup {
            name: name(),
            member,
            session: SessionId(self.next_session),
            client_name: String::new(),
            topics: topics.collect(),
            rejoins: None,
        }
    }

    fn join(&mut self, member: MemberId) -> SessionId {
        let wish = self.wish(member, &[self.topic]);
        self.join_as(&wish)
    }

    fn join_as(&mut self, wish: &JoinGroup) -> SessionId {
        let (id, rows) = self.state.join_group(wish, self.now_ms).unwrap();
        self.apply(rows);
        let notices = self.state.enter_group(id, wish, self.now_ms);
        self.tell(notices);
        wish.session
    }

    fn group(&self) -> &Group {
        self.state.group_named(&name()).unwrap()
    }

    fn id(&self) -> GroupId {
        self.group().id()
    }

    fn leave(&mut self, member: MemberId, session: SessionId, departure: Departure) {
        let (id, now_ms) = (self.id(), self.now_ms);
        self.state
            .leave_group(id, member, session, departure, now_ms);
    }

    fn give_back(&mut self, member: MemberId, partitions: &[(PartitionRef, Generation)]) {
        let (id, now_ms) = (self.id(), self.now_ms);
        let rows = self.state.return_partitions(id, member, partitions, now_ms);
        self.apply(rows);
    }

    fn commit(&mut self, member: MemberId, commit: Commit) -> CommitVerdict {
        let (id, now_ms) = (self.id(), self.now_ms);
        let (verdicts, rows) = self.state.commit_offsets(id, member, &[commit], now_ms);
        self.apply(rows);
        verdicts[0]
    }

    /// Lets time pass, and the group do what is due.
    fn pass(&mut self, span_ms: i64) {
        self.now_ms += span_ms;
        for id in self.state.due_groups(self.now_ms, usize::MAX) {
            loop {
                let decision = self.state.step_group(id, self.now_ms);
                if decision.is_empty() {
                    break;
                }
                self.apply(decision.rows);
                self.tell(decision.notices);
            }
        }
    }

    /// The broker ends, and another one replays what was journaled. All connections are gone.
    fn restart(&mut self) {
        self.state = State::new(CoreLimits::default());
        for row in self.journal.clone() {
            self.state.apply_row(row);
        }
        self.state.await_members(self.now_ms);
        self.told.clear();
    }

    fn seek(&mut self, positions: Vec<(PartitionRef, Offset)>) -> Result<(), SeekRefusal> {
        let wish = SeekGroup {
            name: name(),
            positions,
        };
        let (_, decision) = self.state.seek_group(&wish, self.now_ms)?;
        self.apply(decision.rows);
        self.tell(decision.notices);
        let (id, now_ms) = (self.id(), self.now_ms);
        self.state.look_at_group(id, now_ms);
        Ok(())
    }

    fn owned(&self, member: MemberId) -> Vec<u32> {
        let owned = self.group().owned_by(member);
        owned.map(|(place, _)| place.partition).collect()
    }

    fn place(&self, partition: u32) -> PartitionRef {
        PartitionRef {
            topic: self.topic,
            partition,
        }
    }

    fn heard(&mut self, session: SessionId) -> Vec<GroupEvent> {
        self.told
            .get_mut(&session)
            .map(std::mem::take)
            .unwrap_or_default()
            .into()
    }
}
