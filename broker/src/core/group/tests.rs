//! Groups against schedules: members come, go, stall and die, the broker restarts, and what each member
//! believes is compared with what it may believe.

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

/// What one member believes.
#[derive(Debug, Default, Clone)]
struct Belief {
    session: Option<SessionId>,
    /// What it owns, in which generation, and up to where it has handled the records.
    owned: BTreeMap<PartitionRef, (Generation, Offset)>,
    revoking: Vec<PartitionRef>,
}

#[test]
fn a_single_member_gets_everything_and_a_second_one_half_of_it() {
    let mut bench = Bench::new();
    let first = bench.join(member(1));
    bench.pass(100);
    let heard = bench.heard(first);
    let [GroupEvent::Assigned(assigned)] = &heard[..] else {
        panic!("{heard:?}");
    };
    assert_eq!(assigned.len(), 8);
    let second = bench.join(member(2));
    bench.pass(100);
    let heard = bench.heard(first);
    let [GroupEvent::Revoking { partitions, .. }] = &heard[..] else {
        panic!("{heard:?}");
    };
    assert_eq!(partitions.len(), 4);
    assert_eq!(bench.heard(second), [], "nothing is free yet");

    let generation = Generation(1);
    let back: Vec<_> = partitions.iter().map(|it| (*it, generation)).collect();
    bench.give_back(member(1), &back);
    bench.pass(0);
    let heard = bench.heard(second);
    let [GroupEvent::Assigned(assigned)] = &heard[..] else {
        panic!("{heard:?}");
    };
    let given: Vec<_> = assigned.iter().map(|it| it.partition).collect();
    assert_eq!(given, *partitions);
    assert_eq!(assigned[0].generation, Generation(2));
    assert_eq!(bench.heard(first), [], "what it keeps, it never hears of");
}

#[test]
fn a_partition_that_is_not_given_back_is_lost_when_the_grace_is_over() {
    let mut bench = Bench::new();
    let first = bench.join(member(1));
    bench.pass(100);
    bench.join(member(2));
    bench.pass(100);
    bench.heard(first);
    bench.pass(REVOKE_GRACE_MS - 1);
    assert_eq!(bench.owned(member(1)).len(), 8);
    bench.pass(1);
    assert_eq!(bench.owned(member(1)).len(), 4);
    assert_eq!(bench.owned(member(2)).len(), 4);
    let heard = bench.heard(first);
    assert!(matches!(&heard[..], [GroupEvent::Lost(lost)] if lost.len() == 4));
    let lost = bench.owned(member(2))[0];
    let late = Commit {
        partition: bench.place(lost),
        generation: Generation(1),
        offset: Offset::ZERO,
        gaps: Vec::new(),
    };
    let verdict = bench.commit(member(1), late);
    assert_eq!(verdict, CommitVerdict::Refused(CommitRefusal::Stale));
}

#[test]
fn a_member_that_comes_back_in_time_keeps_what_it_has() {
    let mut bench = Bench::new();
    let first = bench.join(member(1));
    bench.join(member(2));
    bench.pass(100);
    let owned = bench.owned(member(1));
    bench.leave(member(1), first, Departure::CutOff);
    bench.pass(RECONNECT_GRACE_MS - 1);
    let again = bench.join(member(1));
    bench.pass(10_000);
    assert_eq!(bench.owned(member(1)), owned);
    let heard = bench.heard(again);
    let [GroupEvent::Assigned(assigned)] = &heard[..] else {
        panic!("{heard:?}");
    };
    assert!(assigned.iter().all(|it| it.generation == Generation(1)));
}

#[test]
fn a_topic_that_a_member_does_not_name_again_is_free_for_others() {
    let mut bench = Bench::new();
    let payments = bench.create_topic("payments");
    let both = [bench.topic, payments];
    let wish = bench.wish(member(1), &both);
    bench.join_as(&wish);
    bench.pass(100);
    let wish = bench.wish(member(2), &[payments]);
    let second = bench.join_as(&wish);
    // It reads less from now on, and does not know what it had.
    let orders = bench.topic;
    let wish = bench.wish(member(1), &[orders]);
    let first = bench.join_as(&wish);
    bench.pass(100);
    let heard = bench.heard(first);
    let [GroupEvent::Assigned(kept)] = &heard[..] else {
        panic!("nothing is asked of it: {heard:?}");
    };
    assert!(kept.iter().all(|it| it.partition.topic == orders));
    assert_eq!(kept.len(), 8);
    let heard = bench.heard(second);
    assert!(matches!(&heard[..], [GroupEvent::Assigned(given)] if given.len() == 8));
    bench.pass(REVOKE_GRACE_MS);
    assert_eq!(bench.heard(first), []);
}

#[test]
fn who_joins_again_goes_on_without_the_topics_that_are_gone() {
    let mut bench = Bench::new();
    let first = bench.join(member(1));
    bench.pass(100);
    bench.leave(member(1), first, Departure::CutOff);
    let gone = TopicId::new(99);
    let mut wish = bench.wish(member(1), &[gone, bench.topic]);
    let refused = bench.state.join_group(&wish, bench.now_ms).unwrap_err();
    assert_eq!(refused, JoinRefusal::TopicNotFound { topic: gone });
    wish.rejoins = Some(bench.id());
    let again = bench.join_as(&wish);
    let heard = bench.heard(again);
    assert!(matches!(&heard[..], [GroupEvent::Assigned(owned)] if owned.len() == 8));
}

#[test]
fn a_member_that_does_not_come_back_is_replaced() {
    let mut bench = Bench::new();
    let first = bench.join(member(1));
    bench.join(member(2));
    bench.pass(100);
    bench.leave(member(1), first, Departure::CutOff);
    bench.pass(RECONNECT_GRACE_MS);
    assert_eq!(bench.owned(member(2)).len(), 8);
}

#[test]
fn after_a_restart_everyone_goes_on_with_what_it_had() {
    let mut bench = Bench::new();
    bench.join(member(1));
    bench.join(member(2));
    bench.pass(100);
    let (first, second) = (bench.owned(member(1)), bench.owned(member(2)));
    let generation = bench.group().generation();
    bench.restart();
    bench.pass(RESTART_GRACE_MS - 1);
    bench.join(member(2));
    bench.join(member(1));
    bench.pass(60_000);
    assert_eq!(bench.owned(member(1)), first);
    assert_eq!(bench.owned(member(2)), second);
    assert_eq!(bench.group().generation(), generation, "nothing has moved");
}

#[test]
fn what_a_member_that_is_awaited_has_is_revoked_when_it_is_back() {
    let mut bench = Bench::new();
    bench.join(member(1));
    bench.pass(100);
    bench.restart();
    let visitor = bench.join(member(2));
    bench.pass(1_000);
    bench.leave(member(2), visitor, Departure::Left);
    bench.pass(1_000);
    let first = bench.join(member(1));
    bench.pass(1_000);
    let heard = bench.heard(first);
    assert!(matches!(&heard[..], [GroupEvent::Assigned(_)]), "{heard:?}");

    bench.restart();
    bench.join(member(2));
    bench.pass(1_000);
    let first = bench.join(member(1));
    bench.pass(100);
    let heard = bench.heard(first);
    let [
        GroupEvent::Assigned(_),
        GroupEvent::Revoking { partitions, .. },
    ] = &heard[..]
    else {
        panic!("{heard:?}");
    };
    assert_eq!(partitions.len(), 4);
}

#[test]
fn what_is_free_goes_to_who_is_there() {
    let mut bench = Bench::new();
    let sessions = [1, 2, 3].map(|number| bench.join(member(number)));
    bench.pass(100);
    bench.leave(member(1), sessions[0], Departure::CutOff);
    bench.leave(member(2), sessions[1], Departure::Left);
    let kept = bench.owned(member(1)).len();
    bench.pass(0);
    assert_eq!(bench.owned(member(1)).len(), kept, "nobody would read more");
    assert_eq!(bench.owned(member(3)).len(), 8 - kept);
    bench.join(member(1));
    bench.pass(100);
    bench.pass(REVOKE_GRACE_MS);
    assert_eq!(bench.owned(member(1)).len(), 4, "it gets its share again");
}

#[test]
fn a_group_with_an_old_name_knows_nothing_of_old_generations() {
    let mut bench = Bench::new();
    bench.join(member(1));
    bench.pass(100);
    let (_, decision) = bench.state.delete_group(&name(), true).unwrap();
    bench.apply(decision.rows);
    bench.join(member(1));
    bench.restart();
    bench.join(member(1));
    bench.pass(RESTART_GRACE_MS);
    let late = Commit {
        partition: bench.place(0),
        generation: Generation(1),
        offset: Offset::ZERO,
        gaps: Vec::new(),
    };
    let verdict = bench.commit(member(1), late);
    assert_eq!(verdict, CommitVerdict::Refused(CommitRefusal::Stale));
}

#[test]
fn many_members_at_once_cost_one_change() {
    let mut bench = Bench::new();
    for number in 0..200 {
        bench.join(member(number));
        bench.pass(1);
    }
    bench.pass(1_000);
    assert!(bench.group().generation() <= Generation(2));
    let owners = (0..200).filter(|number| !bench.owned(member(*number)).is_empty());
    assert!(owners.count() <= 8, "the others wait");
}

#[test]
fn members_that_had_nothing_come_and_go_without_a_change_each_time() {
    let mut bench = Bench::new();
    let sessions: Vec<_> = (1..=8).map(|number| bench.join(member(number))).collect();
    bench.pass(100);
    assert_eq!(bench.group().balance, None, "each has a partition");
    let mut change_count = 0;
    for number in 0..190 {
        let visitor = member(9 + number % 50);
        let session = bench.join(visitor);
        bench.leave(visitor, session, Departure::Left);
        // Of these the first do not come back while others come.
        let cut_off = member(60 + number);
        let session = bench.join(cut_off);
        bench.leave(cut_off, session, Departure::CutOff);
        bench.pass(20);
        change_count += u32::from(bench.group().balance.is_none());
    }
    assert!(change_count <= 4, "{change_count} in four seconds");
    // Who waits for a partition that is free does not wait for them.
    bench.join(member(9));
    bench.leave(member(1), sessions[0], Departure::Left);
    bench.join(member(10));
    let visitor = bench.join(member(11));
    bench.leave(member(11), visitor, Departure::Left);
    bench.pass(0);
    let owned: usize = (2..=11)
        .map(|number| bench.owned(member(number)).len())
        .sum();
    assert_eq!(owned, 8, "given away at once");
}

#[test]
fn commits_never_move_back_and_never_beyond_the_end() {
    let mut bench = Bench::new();
    bench.join(member(1));
    bench.pass(100);
    let commit = |offset| Commit {
        partition: PartitionRef {
            topic: TopicId::new(1),
            partition: 0,
        },
        generation: Generation(1),
        offset: Offset::new(offset),
        gaps: Vec::new(),
    };
    bench.state.partition_mut(commit(0).partition).unwrap().end = Offset::new(10);
    let committed = |offset| CommitVerdict::Committed(Offset::new(offset));
    assert_eq!(bench.commit(member(1), commit(7)), committed(7));
    assert_eq!(bench.commit(member(1), commit(3)), committed(7));
    let range = OffsetRange {
        start: Offset::ZERO,
        end: Offset::new(10),
    };
    let requested = Offset::new(11);
    let beyond = CommitVerdict::Refused(CommitRefusal::BeyondEnd { requested, range });
    assert_eq!(bench.commit(member(1), commit(11)), beyond);
    let stale = CommitVerdict::Refused(CommitRefusal::Stale);
    assert_eq!(bench.commit(member(2), commit(8)), stale);
    let older = Commit {
        generation: Generation(0),
        ..commit(8)
    };
    assert_eq!(bench.commit(member(1), older), stale);
    bench.seek(vec![(bench.place(0), Offset::new(2))]).unwrap();
    assert_eq!(bench.commit(member(1), commit(8)), stale);
    assert_eq!(
        bench.group().partition(bench.place(0)).unwrap().committed,
        Offset::new(2)
    );
}

#[test]
fn a_group_needs_to_be_told_where_to_start_once_for_each_topic() {
    let mut bench = Bench::new();
    let mut wish = bench.wish(member(1), &[bench.topic]);
    let starts = wish.topics[0].starts.take();
    let refused = bench.state.join_group(&wish, bench.now_ms).unwrap_err();
    assert!(matches!(refused, JoinRefusal::StartUnset { .. }));
    wish.topics[0].starts = starts;
    bench.join_as(&wish);
    wish.topics[0].starts = None;
    bench.join_as(&wish);
    let other = bench.create_topic("payments");
    wish.topics.push(TopicStart {
        topic: other,
        starts: None,
    });
    let refused = bench.state.join_group(&wish, bench.now_ms).unwrap_err();
    assert!(matches!(refused, JoinRefusal::StartUnset { topics, .. } if topics == [other]));
}

#[test]
fn a_group_without_partitions_is_not_moved() {
    let mut bench = Bench::new();
    bench.join(member(1));
    bench.pass(100);
    let name = "orders".parse().unwrap();
    let (_, rows) = bench.state.delete_topic(&name, None).unwrap();
    bench.apply(rows);
    let generation = bench.group().generation();
    bench.seek(Vec::new()).unwrap();
    assert_eq!(bench.group().generation(), generation, "nothing moved");
}

#[test]
fn nothing_is_left_of_deleted_groups_and_topics() {
    let mut bench = Bench::new();
    let session = bench.join(member(1));
    bench.pass(100);
    let (topic, rows) = {
        let name = "orders".parse().unwrap();
        bench.state.delete_topic(&name, None).unwrap()
    };
    bench.apply(rows);
    assert!(!bench.group().reads(topic));
    let in_use = bench.state.delete_group(&name(), false).unwrap_err();
    assert!(matches!(
        in_use,
        DeleteGroupRefusal::InUse {
            member_count: 1,
            ..
        }
    ));
    bench.heard(session);
    let (id, decision) = bench.state.delete_group(&name(), true).unwrap();
    bench.apply(decision.rows);
    bench.tell(decision.notices);
    assert_eq!(bench.heard(session), [GroupEvent::Deleted]);
    assert!(bench.state.group(id).is_none());
    let wish = bench.wish(member(1), &[]);
    let (next, _) = bench.state.join_group(&wish, bench.now_ms).unwrap();
    assert!(next > id, "numbers are never used again");
}

/// One schedule: members with delays of their own, restarts, seeks.
struct Schedule {
    bench: Bench,
    random: fastrand::Rng,
    beliefs: BTreeMap<u8, Belief>,
    /// The highest committed offset since the last seek, by partition.
    committed: BTreeMap<PartitionRef, Offset>,
}

impl Schedule {
    fn run(seed: u64) {
        let mut schedule = Self {
            bench: Bench::new(),
            random: fastrand::Rng::with_seed(seed),
            beliefs: BTreeMap::new(),
            committed: BTreeMap::new(),
        };
        schedule.bench.join(member(0));
        for _ in 0..schedule.random.u32(20..300) {
            schedule.act();
            schedule.check(seed);
        }
        schedule.settle(seed);
    }

    fn act(&mut self) {
        let number = self.random.u8(1..6);
        match self.random.u32(0..100) {
            0..20 => self.bench.pass(self.random.i64(0..300)),
            20..25 => self.bench.pass(self.random.i64(0..20_000)),
            25..40 => self.connect(number),
            40..45 => self.go(number, Departure::Left),
            45..52 => self.go(number, Departure::CutOff),
            52..75 => self.listen(number),
            75..90 => self.work(number),
            90..96 => self.finish(number),
            96..98 => self.seek(),
            _ => {
                self.bench.restart();
                for belief in self.beliefs.values_mut() {
                    belief.session = None;
                }
            }
        }
    }

    fn connect(&mut self, number: u8) {
        let session = self.bench.join(member(number));
        let belief = self.beliefs.entry(number).or_default();
        // What it has is told again.
        *belief = Belief {
            session: Some(session),
            ..Belief::default()
        };
    }

    fn go(&mut self, number: u8, departure: Departure) {
        let Some(belief) = self.beliefs.get_mut(&number) else {
            return;
        };
        let Some(session) = belief.session.take() else {
            return;
        };
        if departure == Departure::Left {
            belief.owned.clear();
        }
        self.bench.leave(member(number), session, departure);
    }

    /// Hears what it was told, all or some of it.
    fn listen(&mut self, number: u8) {
        let Some(belief) = self.beliefs.get_mut(&number) else {
            return;
        };
        let Some(told) = belief.session.and_then(|it| self.bench.told.get_mut(&it)) else {
            return;
        };
        let count = self.random.usize(0..=told.len());
        for event in told.drain(..count) {
            match event {
                GroupEvent::Assigned(assigned) => {
                    for it in assigned {
                        let begun = (it.generation, it.committed);
                        belief.owned.insert(it.partition, begun);
                    }
                }
                GroupEvent::Revoking { partitions, .. } => belief.revoking.extend(partitions),
                GroupEvent::Lost(partitions) => {
                    for partition in partitions {
                        belief.owned.remove(&partition);
                        belief.revoking.retain(|it| *it != partition);
                    }
                }
                GroupEvent::Replaced | GroupEvent::Deleted => belief.session = None,
            }
        }
    }

    /// Handles a record and commits it. Also one that is cut off, as a stalled process would that does
    /// not know yet.
    fn work(&mut self, number: u8) {
        let Some(belief) = self.beliefs.get_mut(&number) else {
            return;
        };
        let owned: Vec<_> = belief
            .owned
            .iter()
            .map(|(it, so_far)| (*it, *so_far))
            .collect();
        if owned.is_empty() {
            return;
        }
        let (partition, (generation, offset)) = owned[self.random.usize(..owned.len())];
        let next = offset.advance(1);
        if let Some(log) = self.bench.state.partition_mut(partition) {
            log.end = log.end.max(next);
        }
        let known = self.bench.group().partition(partition).cloned().unwrap();
        let commit = Commit {
            partition,
            generation,
            offset: next,
            gaps: Vec::new(),
        };
        match self.bench.commit(member(number), commit) {
            CommitVerdict::Committed(_) => {
                assert_eq!(
                    known.committed, offset,
                    "member {number} goes on where the group is in {partition}"
                );
                self.committed.insert(partition, next);
                belief.owned.insert(partition, (generation, next));
            }
            CommitVerdict::Refused(refusal) => {
                assert_eq!(refusal, CommitRefusal::Stale);
                belief.owned.remove(&partition);
            }
        }
    }

    /// Gives back what it was asked for.
    fn finish(&mut self, number: u8) {
        let Some(belief) = self.beliefs.get_mut(&number) else {
            return;
        };
        let partitions: Vec<_> = std::mem::take(&mut belief.revoking)
            .into_iter()
            .filter_map(|it| Some((it, belief.owned.remove(&it)?.0)))
            .collect();
        self.bench.give_back(member(number), &partitions);
    }

    fn seek(&mut self) {
        let partition = self.bench.place(self.random.u32(..PARTITION_COUNT));
        let end = self.bench.state.partition(partition).unwrap().end;
        let to = Offset::new(self.random.u64(0..=end.get()));
        self.bench.seek(vec![(partition, to)]).unwrap();
        self.committed.insert(partition, to);
    }

    fn check(&self, seed: u64) {
        let group = self.bench.group();
        for (partition, known) in group.partitions() {
            let committed = self.committed.get(&partition).copied();
            assert_eq!(
                known.committed,
                committed.unwrap_or(Offset::ZERO),
                "seed {seed}: {partition} is where it was left"
            );
            // Whoever believes to own it in the owner's generation is the owner.
            let Some(owner) = known.owner else { continue };
            assert!(owner.generation <= group.generation(), "seed {seed}");
            let believers = self.beliefs.iter().filter(|(_, belief)| {
                let believed = belief.owned.get(&partition);
                believed.is_some_and(|it| it.0 == owner.generation)
            });
            for (number, _) in believers {
                assert_eq!(
                    member(*number),
                    owner.member,
                    "seed {seed}: two owners of {partition} in {:?}",
                    owner.generation
                );
            }
        }
    }

    /// When everybody behaves, everything is owned by somebody who is there, and evenly.
    fn settle(&mut self, seed: u64) {
        for number in 1..4 {
            self.connect(number);
        }
        for number in 4..6 {
            self.go(number, Departure::CutOff);
        }
        self.bench.pass(RESTART_GRACE_MS);
        for _ in 0..40 {
            for number in 1..4 {
                while self
                    .beliefs
                    .get(&number)
                    .and_then(|it| self.bench.told.get(&it.session?))
                    .is_some_and(|told| !told.is_empty())
                {
                    self.listen(number);
                }
                self.finish(number);
            }
            self.bench.pass(1_100);
        }
        let is_there = |member: &MemberId| {
            let group = self.bench.group();
            group.members().any(|(id, _)| id == *member)
        };
        let readers: Vec<_> = (0..6).map(member).filter(is_there).collect();
        let sizes: Vec<_> = readers
            .iter()
            .map(|it| self.bench.owned(*it).len())
            .collect();
        let sum: usize = sizes.iter().sum();
        assert_eq!(sum, PARTITION_COUNT as usize, "seed {seed}: {sizes:?}");
        let spread = sizes.iter().max().unwrap() - sizes.iter().min().unwrap();
        assert!(spread <= 1, "seed {seed}: {sizes:?}");
        for number in 1..4 {
            let believed: Vec<_> = self.beliefs[&number].owned.keys().collect();
            let owned = self.bench.group().owned_by(member(number));
            let owned: Vec<_> = owned.map(|(place, _)| place).collect();
            assert_eq!(believed, owned.iter().collect::<Vec<_>>(), "seed {seed}");
        }
    }
}

#[test]
fn no_schedule_gives_a_partition_to_two_members_or_loses_a_place() {
    for seed in 0..2_000 {
        Schedule::run(seed);
    }
}
