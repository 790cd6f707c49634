//! Subscriptions against schedules: consumers come, go, handle, fail and die, the broker restarts, and
//! what each of them sees is compared with what a subscription promises.

use std::collections::{BTreeMap, BTreeSet};

use towpath_proto::names::{SubscriptionName, TopicName};
use towpath_storage::{Offset, OffsetRange, PartitionRef, Row, StateMachine, TopicId};

use super::connect::RECONNECT_GRACE_MS;
use super::waiting::Handling;
use super::*;
use crate::core::group::SessionId;
use crate::core::partition::Partition;
use crate::core::{CoreLimits, CreateTopic, State, TopicConfig};

mod rules;
mod schedule;

const ACK_DEADLINE_MS: u64 = 30_000;
/// Longer windows are not looked at after each step.
const AUDITED_RECORDS_MAX: u64 = 4_000;

fn consumer_id(number: u8) -> ConsumerId {
    ConsumerId::new([number; 16])
}

fn config(mode: Mode) -> SubscriptionConfig {
    SubscriptionConfig {
        mode,
        on_dead_letter: OnDeadLetter::Park,
        retry: RetryPolicy::default(),
        ack_deadline_ms: ACK_DEADLINE_MS,
        filter: None,
    }
}

/// A record that a consumer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    consumer: ConsumerId,
    delivery: u64,
    attempt: u32,
}

type Place = (u32, u64);

/// A core with what a broker does around it: rows are applied at once, and survive a restart; what is
/// asked to be inspected is.
struct Bench {
    state: State,
    config: SubscriptionConfig,
    /// Everything that was journaled.
    journal: Vec<Row>,
    now_ms: i64,
    incarnation: u64,
    next_session: u64,
    topic: TopicId,
    id: SubscriptionId,
    /// Keys of the records of each partition.
    logs: Vec<Vec<u64>>,
    /// Connections by consumer.
    sessions: BTreeMap<ConsumerId, SessionId>,
    /// Who has what, as consumers were told.
    held: BTreeMap<Place, Held>,
    /// Records whose consumer died with them, until they are delivered again.
    orphans: BTreeSet<Place>,
    /// Attempts that were seen of each record.
    attempts: BTreeMap<Place, u32>,
    /// Records that were handled.
    done: BTreeSet<Place>,
    /// Records of each key of a partition that were not.
    open: BTreeMap<(u32, u64), BTreeSet<u64>>,
    /// Records that their consumers called dead.
    dead: BTreeSet<Place>,
    wishes: Vec<InspectWish>,
    /// On their way to the dead letters.
    burials: Vec<BurialWish>,
    /// The dead letters of each partition, as offsets of the source.
    letters: Vec<Vec<u64>>,
    /// Those that are neither handled nor discarded, as places of the source.
    unsettled_letters: BTreeSet<Place>,
}

impl Bench {
    fn new(config: SubscriptionConfig, partition_count: u32) -> Self {
        let mut bench = Self {
            state: State::new(CoreLimits::default()),
            config: config.clone(),
            journal: Vec::new(),
            now_ms: 1_000_000,
            incarnation: 1,
            next_session: 0,
            topic: TopicId::new(1),
            id: SubscriptionId::new(1),
            logs: vec![Vec::new(); partition_count as usize],
            sessions: BTreeMap::new(),
            held: BTreeMap::new(),
            orphans: BTreeSet::new(),
            attempts: BTreeMap::new(),
            done: BTreeSet::new(),
            open: BTreeMap::new(),
            dead: BTreeSet::new(),
            wishes: Vec::new(),
            burials: Vec::new(),
            letters: vec![Vec::new(); partition_count as usize],
            unsettled_letters: BTreeSet::new(),
        };
        bench.state.begin_incarnation(1);
        let wish = CreateTopic {
            name: "orders".parse::<TopicName>().unwrap(),
            partition_count,
            config: TopicConfig::default(),
        };
        let (topic, rows) = bench.state.create_topic(&wish, bench.now_ms).unwrap();
        bench.topic = topic;
        bench.apply(rows);
        let wish = CreateSubscription {
            name: "billing".parse::<SubscriptionName>().unwrap(),
            topic,
            config,
            starts: vec![Offset::ZERO; partition_count as usize],
            hash_key: HashKey::default(),
            dead_letter_topic: "billing.dlq".parse().unwrap(),
        };
        let created = bench.state.create_subscription(&wish, bench.now_ms);
        let CreateDecision::Create { id, rows, .. } = created.unwrap() else {
            panic!("it is new");
        };
        bench.id = id;
        bench.apply(rows);
        bench
    }

    fn apply(&mut self, rows: Vec<Row>) {
        for row in rows {
            self.journal.push(row.clone());
            self.state.apply_row(row);
        }
    }

    /// Appends records with these keys to a partition.
    fn append(&mut self, partition: u32, keys: &[u64]) {
        for key in keys {
            let log = &mut self.logs[partition as usize];
            let open = self.open.entry((partition, *key)).or_default();
            open.insert(log.len() as u64);
            log.push(*key);
        }
        let end = Offset::new(self.logs[partition as usize].len() as u64);
        let place = PartitionRef {
            topic: self.topic,
            partition,
        };
        // As an append would, whose frames do not matter here.
        let known: &mut Partition = self.state.partition_mut(place).unwrap();
        known.end = end;
        self.state.subscriptions.note_append(self.topic);
    }

    fn subscription(&self) -> &Subscription {
        self.state.subscription(self.id).unwrap()
    }

    fn connect(&mut self, number: u8, credit: u64) {
        self.connect_as(number, credit, true);
    }

    fn connect_as(&mut self, number: u8, credit: u64, reports_start: bool) {
        let consumer = consumer_id(number);
        self.next_session += 1;
        let session = SessionId(self.next_session);
        // A consumer that comes back has only what it has begun with; here it forgets all of that.
        self.forget(consumer);
        self.sessions.insert(consumer, session);
        let wish = Connect {
            consumer,
            session,
            client_name: String::new(),
            credit: Credit {
                records: credit,
                bytes: u64::MAX,
            },
            reports_start,
            refuses_to_wait: false,
        };
        let decision = self.state.connect_consumer(self.id, &wish, self.now_ms);
        self.carry_out(decision.unwrap());
        self.step();
    }

    fn forget(&mut self, consumer: ConsumerId) {
        self.sessions.remove(&consumer);
        let of_consumer = self.held.iter().filter(|(_, it)| it.consumer == consumer);
        let places: Vec<_> = of_consumer.map(|(place, _)| *place).collect();
        for place in places {
            self.held.remove(&place);
            self.orphans.insert(place);
        }
    }

    fn disconnect(&mut self, number: u8, departure: ConsumerDeparture) {
        let consumer = consumer_id(number);
        let Some(session) = self.sessions.get(&consumer).copied() else {
            return;
        };
        self.forget(consumer);
        let decision =
            self.state
                .disconnect_consumer(self.id, consumer, session, departure, self.now_ms);
        self.carry_out(decision);
        self.step();
    }

    fn credit(&mut self, number: u8, records: u64) {
        let more = Credit { records, bytes: 0 };
        self.state
            .credit_consumer(self.id, consumer_id(number), more);
        self.step();
    }

    fn stop(&mut self, number: u8) {
        let decision = self.state.stop_consumer(self.id, consumer_id(number));
        self.carry_out(decision);
        self.step();
    }

    fn carry_out(&mut self, decision: SubscriptionDecision) {
        self.apply(decision.rows);
        for notice in decision.notices {
            let consumer = self.sessions.iter().find(|(_, it)| **it == notice.session);
            if let Some((consumer, _)) = consumer {
                self.hear(*consumer, notice.event);
            }
        }
        self.wishes.extend(decision.inspections);
        self.burials.extend(decision.burials);
        let windows = self.subscription().partitions.iter();
        if windows.map(|it| it.window.span()).sum::<u64>() < AUDITED_RECORDS_MAX {
            self.subscription().audit();
        }
    }

    /// Moves what is on its way to the dead letters, or fails to.
    fn bury(&mut self, succeeds: bool) {
        for wish in std::mem::take(&mut self.burials) {
            if succeeds {
                self.bury_now(&wish);
            } else {
                let reason = "the disk is full".to_owned();
                self.state
                    .burial_failed(self.id, &wish, reason, self.now_ms);
            }
        }
        self.subscription().audit();
        self.step();
    }

    fn bury_now(&mut self, wish: &BurialWish) {
        let letters = &self.letters[wish.partition as usize];
        let base = Offset::new(letters.len() as u64);
        let Some(rows) = self.state.bury(self.id, wish, base) else {
            return;
        };
        self.apply(rows);
        for buried in &wish.records {
            let place = (wish.partition, buried.offset.get());
            assert!(
                !self.held.contains_key(&place),
                "{place:?} is with a consumer"
            );
            assert!(!self.done.contains(&place), "{place:?} was handled");
            let parks = self.config.on_dead_letter == OnDeadLetter::Park;
            assert_eq!(!buried.is_parked(), self.dead.contains(&place), "{place:?}");
            assert!(parks || !buried.is_parked(), "{place:?}");
            self.letters[wish.partition as usize].push(buried.offset.get());
            self.note_done(place);
            self.done.remove(&place);
            self.unsettled_letters.insert(place);
        }
        self.check_letters(wish.partition);
    }

    /// The place in the source of a record that was delivered: of a dead letter where it came from.
    fn origin(&self, (number, offset): Place) -> Place {
        match (number as usize).checked_sub(self.logs.len()) {
            None => (number, offset),
            Some(partition) => (partition as u32, self.letters[partition][offset as usize]),
        }
    }

    fn key_of(&self, (partition, offset): Place) -> u64 {
        self.logs[partition as usize][offset as usize]
    }

    /// The dead letters of a partition that `is_wanted`, by their places in the source.
    fn letters_of(&self, partition: u32, is_wanted: impl Fn(Place) -> bool) -> Vec<DeadLetter> {
        let letters = (0..).zip(&self.letters[partition as usize]);
        let wanted = letters.filter(|(_, offset)| is_wanted((partition, **offset)));
        let wanted = wanted.map(|(offset, source)| DeadLetter {
            offset: Offset::new(offset),
            key: KeyHash(self.key_of((partition, *source))),
            bytes: 10,
            append_time_ms: self.now_ms,
        });
        wanted.collect()
    }

    /// Has dead letters delivered again.
    fn redrive(&mut self, partition: u32, letters: &[DeadLetter]) {
        for letters in letters.chunks(3) {
            let states = letters.iter().map(|it| {
                let subscription = self.subscription();
                subscription.dead_letter_state(partition, it.offset) == DeadLetterState::Dead
            });
            let states: Vec<_> = states.collect();
            let (counts, decision) = self.state.redrive(self.id, partition, letters);
            assert_eq!(counts.done, states.iter().filter(|it| **it).count());
            assert_eq!(counts.done + counts.passed, letters.len());
            for letter in letters
                .iter()
                .zip(states)
                .filter_map(|(it, is)| is.then_some(it))
            {
                let source = self.letters[partition as usize][letter.offset.get() as usize];
                let open = self.open.entry((partition, letter.key.0)).or_default();
                open.insert(source);
                // Its attempts begin anew.
                let lane = self.logs.len() as u32 + partition;
                self.attempts.remove(&(lane, letter.offset.get()));
                self.dead.remove(&(lane, letter.offset.get()));
            }
            self.carry_out(decision);
            self.step();
        }
    }

    fn discard(&mut self, partition: u32, letters: &[DeadLetter]) {
        let lane = self.logs.len() as u32 + partition;
        let with_consumers = letters.iter().filter(|it| {
            let waiting = &self.subscription().partitions[lane as usize].waiting;
            matches!(waiting.handling(it.offset), Some(Handling::Leased(_)))
        });
        let left: BTreeSet<_> = with_consumers.map(|it| it.offset).collect();
        let (counts, decision) = self.state.discard(self.id, partition, letters);
        assert_eq!(counts.left, left.len());
        for letter in letters.iter().filter(|it| !left.contains(&it.offset)) {
            let source = self.letters[partition as usize][letter.offset.get() as usize];
            let place = (partition, source);
            if self.unsettled_letters.remove(&place) {
                self.note_done(place);
            }
        }
        self.carry_out(decision);
        self.step();
    }

    /// Dead letters of a key stand in the order of the source, and none is there twice.
    fn check_letters(&self, partition: u32) {
        let log = &self.logs[partition as usize];
        let mut last: BTreeMap<u64, u64> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for offset in self.letters[partition as usize].iter().copied() {
            assert!(seen.insert(offset), "{partition}/{offset} was moved twice");
            let before = last.insert(log[offset as usize], offset);
            let in_order = !self.config.mode.is_ordered() || before.is_none_or(|it| it < offset);
            assert!(in_order, "{partition}/{offset} was moved behind {before:?}");
        }
    }

    /// Looking for dead letters page by page finds all that are not settled.
    fn check_open_letters(&self, partition: u32) {
        let count = self.letters[partition as usize].len() as u64;
        let subscription = self.subscription();
        let state = |offset| subscription.dead_letter_state(partition, Offset::new(offset));
        let is_open = |offset: &u64| state(*offset) != DeadLetterState::Settled;
        let expected: Vec<_> = (0..count).filter(is_open).collect();
        let (mut found, mut start) = (Vec::new(), Offset::ZERO);
        while start.get() < count {
            let end = Offset::new(count);
            let page = subscription.open_dead_letters(partition, OffsetRange { start, end }, 3);
            assert!(page.next > start, "it goes on behind {start}");
            found.extend(page.letters.iter().map(|it| it.offset.get()));
            start = page.next;
        }
        assert_eq!(found, expected, "open letters of partition {partition}");
    }

    /// Has everything done that is due, inspections included.
    fn step(&mut self) {
        loop {
            let decision = self.state.step_subscription(self.id, self.now_ms);
            if !decision.is_empty() {
                self.carry_out(decision);
            } else if let Some(wish) = self.wishes.pop() {
                self.inspect(wish);
            } else {
                break;
            }
        }
    }

    fn inspect(&mut self, wish: InspectWish) {
        let log = &self.logs[wish.partition as usize];
        let start = wish.start.get() as usize;
        let keys = log[start..].iter().take(wish.count_max as usize);
        let records = keys.map(|key| InspectedRecord {
            key: KeyHash(*key),
            bytes: 10,
            verdict: FilterVerdict::Deliver,
        });
        let inspected = Inspected {
            partition: wish.partition,
            start: wish.start,
            records: records.collect(),
            append_times: vec![(wish.start, self.now_ms)],
            ..Inspected::default()
        };
        self.state.take_inspected(self.id, inspected, self.now_ms);
    }

    fn hear(&mut self, consumer: ConsumerId, event: SubscriptionEvent) {
        match event {
            SubscriptionEvent::Delivered(delivery) => {
                for span in delivery.spans {
                    for offset in span.range.start.get()..span.range.end.get() {
                        let held = Held {
                            consumer,
                            delivery: delivery.number,
                            attempt: span.attempt,
                        };
                        self.take_delivery((delivery.partition, offset), held);
                    }
                }
            }
            SubscriptionEvent::Lost { partition, ranges } => {
                for offset in ranges.iter().flat_map(|it| it.start.get()..it.end.get()) {
                    let place = (partition, offset);
                    let lost = self.held.remove(&place).map(|it| it.consumer);
                    let is_forgotten = lost.is_none() && self.orphans.contains(&place);
                    assert!(lost == Some(consumer) || is_forgotten, "{place:?}");
                }
            }
            SubscriptionEvent::Replaced | SubscriptionEvent::Deleted => {}
        }
    }

    fn take_delivery(&mut self, place: Place, held: Held) {
        let source = self.origin(place);
        let (partition, offset) = source;
        assert!(!self.done.contains(&source), "{place:?} was handled");
        assert!(!self.dead.contains(&place), "{place:?} is dead");
        let other = self.held.insert(place, held);
        assert_eq!(other, None, "{place:?} is with two consumers");
        self.orphans.remove(&place);
        let seen = self.attempts.insert(place, held.attempt).unwrap_or(1);
        assert!(
            held.attempt >= seen,
            "{place:?}: attempt {seen} before {held:?}"
        );
        if !self.config.mode.is_ordered() {
            return;
        }
        let key = self.key_of(source);
        if place == source && self.config.on_dead_letter == OnDeadLetter::Park {
            let mut letters = self.unsettled_letters.iter();
            let letter = letters.find(|it| it.0 == partition && self.key_of(**it) == key);
            assert_eq!(letter, None, "{place:?}: its key has a dead letter");
        }
        if self.config.on_dead_letter == OnDeadLetter::Skip && !self.unsettled_letters.is_empty() {
            // Then order is given up for what died.
            return;
        }
        for earlier in self.open[&(partition, key)].range(..offset) {
            let before = (partition, *earlier);
            let mut with = self
                .held
                .iter()
                .filter(|(it, _)| self.origin(**it) == before);
            assert_eq!(
                with.next().map(|(_, it)| it.consumer),
                Some(held.consumer),
                "{place:?} has overtaken {before:?} of its key"
            );
        }
    }

    /// Says something about one record that a consumer has.
    fn say(&mut self, place: Place, outcome: DeliveryOutcome) {
        let Some(held) = self.held.get(&place).copied() else {
            return;
        };
        let expired = self.say_of(place, held.delivery, outcome.clone());
        assert_eq!(expired, Vec::new(), "{place:?} was with {held:?}");
        match outcome {
            DeliveryOutcome::Ack => {
                self.held.remove(&place);
                let source = self.origin(place);
                self.unsettled_letters.remove(&source);
                self.note_done(source);
            }
            DeliveryOutcome::Nack { .. } | DeliveryOutcome::Release => {
                self.held.remove(&place);
            }
            DeliveryOutcome::DeadLetter { .. } => {
                self.held.remove(&place);
                self.dead.insert(place);
                let (partition, offset) = self.origin(place);
                if (partition, offset) != place {
                    // It is a dead letter again, where it is.
                    let key = self.key_of((partition, offset));
                    self.open
                        .get_mut(&(partition, key))
                        .unwrap()
                        .remove(&offset);
                }
            }
            DeliveryOutcome::Start | DeliveryOutcome::Extend => {}
        }
        self.step();
    }

    fn say_of(
        &mut self,
        (partition, offset): Place,
        delivery: u64,
        outcome: DeliveryOutcome,
    ) -> Vec<OffsetRange> {
        let start = Offset::new(offset);
        let settlement = Settlement {
            delivery,
            partition,
            ranges: vec![OffsetRange {
                start,
                end: start.advance(1),
            }],
            outcome,
        };
        let said = self
            .state
            .settle_deliveries(self.id, &settlement, self.now_ms);
        self.carry_out(said.1);
        said.0
    }

    fn note_done(&mut self, place: Place) {
        let (partition, offset) = place;
        let key = self.logs[partition as usize][offset as usize];
        self.open
            .get_mut(&(partition, key))
            .unwrap()
            .remove(&offset);
        self.done.insert(place);
    }

    fn ack(&mut self, place: Place) {
        self.say(place, DeliveryOutcome::Ack);
    }

    fn nack(&mut self, place: Place) {
        let reason = "no".to_owned();
        let outcome = DeliveryOutcome::Nack {
            delay_ms: None,
            reason,
        };
        self.say(place, outcome);
    }

    fn pass(&mut self, ms: i64) {
        self.now_ms += ms;
        self.step();
    }

    /// Stops the broker at once, and starts it again with what was journaled.
    fn restart(&mut self) {
        let before: Vec<_> = (0..2 * self.logs.len())
            .map(|number| self.subscription().durable(number as u32))
            .collect();
        for consumer in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.forget(consumer);
        }
        self.wishes.clear();
        self.burials.clear();
        let ends: Vec<_> = self.logs.iter().map(|log| log.len() as u64).collect();
        let mut state = State::new(CoreLimits::default());
        for row in self.journal.iter().cloned() {
            state.apply_row(row);
        }
        self.incarnation += 1;
        state.begin_incarnation(self.incarnation);
        for (partition, end) in (0..).zip(ends) {
            let place = PartitionRef {
                topic: self.topic,
                partition,
            };
            state.partition_mut(place).unwrap().end = Offset::new(end);
        }
        self.state = state;
        let lanes = self.subscription().partitions.len();
        assert_eq!(lanes, 2 * self.logs.len());
        for (number, before) in (0..).zip(before) {
            let after = self.subscription().durable(number);
            assert_eq!(after.0, before.0, "floor");
            assert_eq!(after.2, before.2, "rows");
            assert!(before.1.starts_with(&after.1), "settled records");
        }
        self.subscription().audit();
    }

    /// Everything that somebody has, in order.
    fn held(&self) -> Vec<Place> {
        self.held.keys().copied().collect()
    }

    fn is_done(&self, partition: u32, offset: u64) -> bool {
        self.done.contains(&(partition, offset))
    }
}
