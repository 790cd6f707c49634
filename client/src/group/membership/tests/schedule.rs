//! A member against a model of a broker that moves partitions about and of connections that break
//! anywhere: in one generation each record is handed out once and none is left out, nothing is handed out
//! of what was lost, and every commit is answered.

use super::*;

/// A partition as the model's broker sees it.
#[derive(Debug, Default, Clone)]
struct Known {
    committed: u64,
    /// In which generation the member owns it.
    owned: Option<u64>,
    is_revoked: bool,
    /// What goes over the present stream next.
    next: u64,
}

/// The other end, and what the member's owner has seen.
struct World {
    random: fastrand::Rng,
    member: Membership,
    partitions: Vec<Known>,
    generation: u64,
    /// On its way to the member.
    wire: VecDeque<Response>,
    is_connected: bool,
    credit: i64,
    /// What was handed out last of each partition: generation and next offset.
    seen: BTreeMap<u32, (u64, u64)>,
    /// Owned as far as the owner of the member was told.
    told: BTreeMap<u32, Assignment>,
    revoking: Vec<Vec<Assignment>>,
    returned: BTreeSet<Assignment>,
    answers: Vec<oneshot::Receiver<Result<(), Error>>>,
}

impl World {
    fn new(random: fastrand::Rng) -> Self {
        Self {
            random,
            member: Membership::new(options(), [1; 16]),
            partitions: vec![Known::default(); PARTITIONS as usize],
            generation: 0,
            wire: VecDeque::new(),
            is_connected: false,
            credit: 0,
            seen: BTreeMap::new(),
            told: BTreeMap::new(),
            revoking: Vec::new(),
            returned: BTreeSet::new(),
            answers: Vec::new(),
        }
    }

    fn step(&mut self) {
        let partition = self.random.u32(0..PARTITIONS);
        match self.random.u32(0..21) {
            0 if self.is_connected => self.cut(),
            0..=2 if !self.is_connected => self.connect(),
            1 => self.assign(partition),
            2 => self.lose(partition),
            3 => self.revoke(partition),
            4 => self.commit(partition),
            5 => self.give_back(),
            6 if self.is_connected => self.wire.push_back(heartbeat()),
            7 => self.member.hurry(),
            8..=12 => self.send_batch(partition),
            13..=16 => self.arrive(),
            _ => self.take_item(),
        }
        self.pump();
    }

    fn known(&mut self, partition: u32) -> &mut Known {
        &mut self.partitions[partition as usize]
    }

    fn connect(&mut self) {
        self.member.begin();
        self.is_connected = true;
        self.credit = 0;
        self.wire.push_back(joined());
        for number in 0..PARTITIONS {
            let known = self.known(number);
            let Some(generation) = known.owned else {
                continue;
            };
            known.next = known.committed;
            let (committed, is_revoked) = (known.committed, known.is_revoked);
            self.wire.push_back(assigned(generation, number, committed));
            if is_revoked {
                self.tell_revoking(number, generation);
            }
        }
    }

    /// What was on the way is lost, and some partitions go to others meanwhile.
    fn cut(&mut self) {
        self.is_connected = false;
        self.wire.clear();
        self.member.disconnect();
        for number in 0..PARTITIONS {
            if self.random.u32(0..3) == 0 {
                let advance = self.random.u64(0..3);
                let known = self.known(number);
                known.owned = None;
                known.is_revoked = false;
                known.committed += advance;
            }
        }
    }

    fn assign(&mut self, partition: u32) {
        self.generation += 1;
        let generation = self.generation;
        let is_connected = self.is_connected;
        let known = self.known(partition);
        if known.owned.is_some() || !is_connected {
            return;
        }
        known.owned = Some(generation);
        known.next = known.committed;
        let committed = known.committed;
        self.wire
            .push_back(assigned(generation, partition, committed));
    }

    fn lose(&mut self, partition: u32) {
        let is_connected = self.is_connected;
        let known = self.known(partition);
        let Some(generation) = known.owned.take_if(|_| is_connected) else {
            return;
        };
        known.is_revoked = false;
        let partitions = refs(partition, generation);
        self.wire.push_back(Response::Lost(v1::Lost { partitions }));
    }

    fn revoke(&mut self, partition: u32) {
        let is_connected = self.is_connected;
        let known = self.known(partition);
        if let Some(generation) = known.owned
            && is_connected
            && !known.is_revoked
        {
            known.is_revoked = true;
            self.tell_revoking(partition, generation);
        }
    }

    fn tell_revoking(&mut self, partition: u32, generation: u64) {
        self.wire.push_back(Response::Revoking(v1::Revoking {
            partitions: refs(partition, generation),
            grace_ms: 1_000,
        }));
    }

    fn send_batch(&mut self, partition: u32) {
        let count = self.random.u32(1..6);
        let may_send = self.is_connected && self.credit > 0;
        let known = self.known(partition);
        if known.owned.is_none() || known.is_revoked || !may_send {
            return;
        }
        let batch = batch_of(partition, known.next, count);
        known.next += u64::from(count);
        self.credit -= i64::from(count);
        self.wire.push_back(Response::Batch(batch));
    }

    fn arrive(&mut self) {
        let Some(response) = self.wire.pop_front() else {
            return;
        };
        let heard = self.member.take(Some(response));
        assert!(matches!(heard, Heard::GoOn | Heard::Joined), "{heard:?}");
    }

    /// The broker hears what the member has to say.
    fn pump(&mut self) {
        while self.is_connected
            && let Some(request) = self.member.take_request()
        {
            match request.request.unwrap() {
                Request::Credit(credit) => self.credit += i64::try_from(credit.records).unwrap(),
                Request::Commit(commit) => self.take_commit(&commit),
                Request::Return(returned) => {
                    for it in returned.partitions {
                        let known = self.known(it.partition);
                        if known.owned == Some(it.generation) {
                            known.owned = None;
                            known.is_revoked = false;
                        }
                    }
                }
                Request::Join(join) => assert_eq!(join.member_id.as_ref(), [1; 16]),
                other => panic!("{other:?}"),
            }
        }
    }

    fn take_commit(&mut self, commit: &v1::CommitOffsets) {
        let mut results = Vec::new();
        for it in &commit.offsets {
            let known = self.known(it.partition);
            let stale = Problem::new(ErrorReason::GenerationStale, "stale");
            let error = (known.owned != Some(it.generation)).then(|| stale.into());
            if error.is_none() {
                known.committed = known.committed.max(it.offset);
            }
            results.push(v1::CommitResult {
                handle: 0,
                partition: it.partition,
                committed_offset: known.committed,
                error,
            });
        }
        self.wire
            .push_back(Response::Committed(v1::Committed { results }));
    }

    fn take_item(&mut self) {
        let Some(item) = self.member.take_item() else {
            return;
        };
        match item.unwrap() {
            GroupItem::Assigned(partitions) => {
                for it in partitions {
                    let number = it.assignment.partition.get();
                    let generation = it.assignment.generation.get();
                    let before = self.seen.get(&number).map_or(0, |(before, _)| *before);
                    assert!(before < generation, "assigned twice in one generation");
                    self.seen
                        .insert(number, (generation, it.committed_offset.get()));
                    self.told.insert(number, it.assignment);
                }
            }
            GroupItem::Lost(partitions) => {
                for it in partitions {
                    let told = self.told.remove(&it.partition.get());
                    // It may have been lost just before it was given back.
                    let is_known = told.as_ref() == Some(&it) || self.returned.contains(&it);
                    assert!(is_known, "{told:?} {it:?}");
                }
            }
            GroupItem::Revoking(revoking) => self.revoking.push(revoking.partitions),
            GroupItem::Batch(batch) => {
                assert!(self.is_connected, "nobody knows whose it is now");
                let number = batch.partition().get();
                let told = &self.told[&number];
                assert_eq!(told.generation, batch.generation(), "owned");
                let seen = self.seen.get_mut(&number).unwrap();
                let offsets = (batch.offsets().start().get(), batch.offsets().end().get());
                assert_eq!(seen.1, offsets.0, "none twice, none left out");
                seen.1 = offsets.1;
            }
            other => panic!("{other:?}"),
        }
    }

    fn commit(&mut self, partition: u32) {
        let (Some(told), Some((_, next))) = (self.told.get(&partition), self.seen.get(&partition))
        else {
            return;
        };
        let (answer, answered) = oneshot::channel();
        let offset = GroupOffset::new(told, Offset::new(*next));
        self.member.commit(&[offset], answer);
        self.answers.push(answered);
    }

    fn give_back(&mut self) {
        if let Some(partitions) = self.revoking.pop() {
            self.member.give_back(&partitions);
            for it in partitions {
                if self.told.get(&it.partition.get()) == Some(&it) {
                    self.told.remove(&it.partition.get());
                }
                self.returned.insert(it);
            }
        }
    }

    /// Everything that was begun comes to its end.
    fn come_to_rest(&mut self) {
        if !self.is_connected {
            self.connect();
        }
        self.member.hurry();
        self.pump();
        while !self.wire.is_empty() {
            self.arrive();
            self.pump();
        }
        self.wire.push_back(heartbeat());
        self.arrive();
        while self.member.is_ready() {
            self.take_item();
        }
    }
}

#[test]
fn in_one_generation_each_record_is_handed_out_once() {
    for_seeds(2_000, |random| {
        let mut world = World::new(random);
        for _ in 0..400 {
            world.step();
        }
        world.come_to_rest();
        for answered in &mut world.answers {
            drop(answered.try_recv().expect("every commit is answered"));
        }
        let owned = world
            .partitions
            .iter()
            .zip(0..)
            .filter_map(|(known, number)| {
                let generation = known.owned.filter(|_| !known.is_revoked)?;
                Some((number, generation, known.next))
            });
        for (number, generation, next) in owned {
            let (seen_in, seen) = world.seen[&number];
            assert_eq!(seen_in, generation, "the generation of {number}");
            // What it had before a reconnect may be ahead of what was sent since.
            assert!(next <= seen, "all of {number}");
        }
    });
}
