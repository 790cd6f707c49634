//! Groups against schedules: members come, go, stall and die, the broker restarts, and what each member
//! believes is compared with what it may believe.

use super::*;

/// What one member believes.
#[derive(Debug, Default, Clone)]
struct Belief {
    session: Option<SessionId>,
    /// What it owns, in which generation, and up to where it has handled the records.
    owned: BTreeMap<PartitionRef, (Generation, Offset)>,
    revoking: Vec<PartitionRef>,
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
