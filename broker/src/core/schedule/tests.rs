//! Scheduled records against a naive model: random commands with checkpoints, restarts, deleted topics and
//! jobs that take their time; and the rules one by one.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use towpath_proto::names::TopicName;
use towpath_storage::{Lsn, StateMachine};

use super::*;
use crate::core::{CommitDecision, CommitWish, CoreLimits, CreateTopic, TopicConfig};

mod rules;

/// Records in the window, and rows that a refill reads.
const WINDOW_MAX: usize = 4;
const REFILL_MAX: usize = 3;

fn limits() -> CoreLimits {
    CoreLimits {
        schedule_window_max: WINDOW_MAX,
        ..CoreLimits::default()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Schedule {
        topic: usize,
        partition: u32,
        name: Option<u8>,
        when: ScheduleTime,
    },
    /// By the place of one among all that there ever were.
    Cancel(usize),
    Reschedule(usize, ScheduleTime),
    /// Time passes, and what is due is asked for.
    Tick(i64),
    ReadRefill,
    TakeRefill,
    Fire,
    FireUnreadable,
    Checkpoint,
    Restart,
    DeleteTopic(usize),
}

fn when() -> impl Strategy<Value = ScheduleTime> {
    prop_oneof![
        // Counted from the time of the bench.
        (-6_000..20_i64).prop_map(ScheduleTime::At),
        (0..20_u64).prop_map(ScheduleTime::After),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..2_usize, 0..2_u32, proptest::option::of(0..4_u8), when()).prop_map(
            |(topic, partition, name, when)| Step::Schedule { topic, partition, name, when }
        ),
        2 => (0..20_usize).prop_map(Step::Cancel),
        2 => (0..20_usize, when()).prop_map(|(which, when)| Step::Reschedule(which, when)),
        6 => (0..8_i64).prop_map(Step::Tick),
        3 => Just(Step::ReadRefill),
        3 => Just(Step::TakeRefill),
        4 => Just(Step::Fire),
        1 => Just(Step::FireUnreadable),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Restart),
        1 => (0..2_usize).prop_map(Step::DeleteTopic),
    ]
}

/// What the model knows of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    topic: TopicId,
    partition: PartitionRef,
    id: ScheduleId,
    record: Bytes,
}

/// The state with a disk, and the model beside it.
struct Bench {
    state: State,
    now_ms: i64,
    topics: [TopicId; 2],
    /// What the last checkpoint has, and what was journaled since.
    checkpoint: BTreeMap<RowKey, Bytes>,
    runs: BTreeMap<RowKey, Bytes>,
    journal: Vec<Row>,
    due: Vec<DueRecord>,
    /// A refill that was asked for, or that was read and is on its way.
    asked: Option<ScheduleKey>,
    read: Option<Refill>,
    /// Checkpoints whose rows may not be forgotten while something is on its way.
    done_checkpoints: usize,
    pending: BTreeMap<ScheduleKey, Known>,
    /// Every id that was ever given out.
    ids: Vec<(TopicId, ScheduleId)>,
    delivered: BTreeSet<u64>,
    set_aside: BTreeSet<ScheduleKey>,
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self {
            state: State::new(limits()),
            now_ms: 100_000,
            topics: [TopicId::new(0); 2],
            checkpoint: BTreeMap::new(),
            runs: BTreeMap::new(),
            journal: Vec::new(),
            due: Vec::new(),
            asked: None,
            read: None,
            done_checkpoints: 0,
            pending: BTreeMap::new(),
            ids: Vec::new(),
            delivered: BTreeSet::new(),
            set_aside: BTreeSet::new(),
        };
        bench.topics = [0, 1].map(|number| bench.create(number));
        bench
    }

    fn create(&mut self, number: usize) -> TopicId {
        let wish = CreateTopic {
            name: topic_name(number),
            partition_count: 2,
            config: TopicConfig::default(),
        };
        let (id, rows) = self.state.create_topic(&wish, self.now_ms).unwrap();
        self.apply(rows);
        id
    }

    fn apply(&mut self, rows: Vec<Row>) {
        for row in rows {
            self.state.apply_row(row.clone());
            self.journal.push(row);
        }
    }

    fn time(&self, when: ScheduleTime) -> ScheduleTime {
        match when {
            ScheduleTime::At(from_now) => ScheduleTime::At(self.now_ms + from_now),
            after @ ScheduleTime::After(_) => after,
        }
    }

    /// When the model says that it is due; none if that has passed for too long.
    fn due_ms(&self, when: ScheduleTime) -> Option<i64> {
        match self.time(when) {
            ScheduleTime::At(at_ms) if at_ms < self.now_ms - 5_000 => None,
            ScheduleTime::At(at_ms) => Some(at_ms.max(self.now_ms)),
            ScheduleTime::After(delay_ms) => Some(self.now_ms + i64::try_from(delay_ms).unwrap()),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Schedule {
                topic,
                partition,
                name,
                when,
            } => self.schedule(topic, partition, name, when),
            Step::Cancel(which) => self.cancel(which),
            Step::Reschedule(which, when) => self.reschedule(which, when),
            Step::Tick(passed_ms) => {
                self.now_ms += passed_ms;
                self.ask();
            }
            Step::ReadRefill => self.read_refill(),
            Step::TakeRefill => {
                if let Some(refill) = self.read.take() {
                    self.state.take_refill(Some(refill), self.now_ms);
                    self.forget();
                }
            }
            Step::Fire => self.fire(false),
            Step::FireUnreadable => self.fire(true),
            Step::Checkpoint => self.take_checkpoint(),
            Step::Restart => self.restart(),
            Step::DeleteTopic(number) => self.delete_topic(number),
        }
        let sizes = self.pending.values().map(|it| it.record.len() as u64);
        let counts = self.state.schedule_counts();
        assert_eq!(counts.count, self.pending.len() as u64, "pending");
        assert!(counts.size_bytes >= sizes.sum::<u64>(), "bytes");
        assert!(
            self.state.schedules.window.len() <= WINDOW_MAX,
            "the window"
        );
    }

    fn schedule(&mut self, topic: usize, partition: u32, name: Option<u8>, when: ScheduleTime) {
        let topic = self.topics[topic];
        let partition = PartitionRef { topic, partition };
        let name = name.map(|name| {
            let mut hash = [name; 16];
            hash[0] = u8::try_from(topic.get()).unwrap();
            ScheduleName {
                text: name.to_string(),
                hash,
                on_disk: self.on_disk(&ScheduleId::Named(hash).row_key()),
            }
        });
        let record = Bytes::copy_from_slice(&self.ids.len().to_le_bytes());
        let wish = CommitSchedule {
            operation: 0,
            partition,
            when: self.time(when),
            name,
            record: record.clone(),
        };
        let commit = CommitWish {
            schedules: vec![wish.clone()],
            ..CommitWish::default()
        };
        let decision = self.state.decide_commit(&commit, Lsn::new(9), self.now_ms);
        let id = wish.name.as_ref().map(|name| ScheduleId::Named(name.hash));
        let is_taken = id.is_some_and(|id| self.pending.values().any(|it| it.id == id));
        let expected = self.due_ms(when).filter(|_| !is_taken);
        assert_eq!(decision.is_ok(), expected.is_some(), "{wish:?}");
        let Some(due_ms) = expected else { return };
        assert_eq!(decision, Ok(CommitDecision::Commit(Vec::new())));
        let (rows, keys) = self.state.schedule_rows(&[wish], self.now_ms);
        self.apply(rows);
        assert_eq!(keys.len(), 1);
        assert_eq!(keys[0].due_ms, due_ms);
        let id = id.unwrap_or(ScheduleId::Numbered(keys[0].number));
        let known = Known {
            topic,
            partition,
            id,
            record,
        };
        assert!(self.pending.insert(keys[0], known).is_none(), "numbers");
        self.ids.push((topic, id));
    }

    fn find(&self, which: usize) -> Option<(FindSchedule, Option<ScheduleKey>)> {
        let (topic, id) = *self.ids.get(which % self.ids.len().max(1))?;
        let on_disk = self.on_disk(&id.row_key());
        let key = on_disk.as_ref().and_then(schedule_of_id);
        let wish = FindSchedule {
            topic,
            id,
            on_disk,
            record_on_disk: key.and_then(|key| self.on_disk(&key.row_key())),
        };
        let mut found = self.pending.iter().filter(|(_, it)| it.id == id);
        Some((wish, found.next().map(|(key, _)| *key)))
    }

    fn cancel(&mut self, which: usize) {
        let Some((wish, expected)) = self.find(which) else {
            return;
        };
        let cancelled = self.state.cancel_schedule(&wish);
        assert_eq!(cancelled.as_ref().ok().map(|(key, _)| *key), expected);
        if let Ok((key, rows)) = cancelled {
            self.apply(rows);
            self.pending.remove(&key);
        }
    }

    fn reschedule(&mut self, which: usize, when: ScheduleTime) {
        let Some((wish, before)) = self.find(which) else {
            return;
        };
        let due_ms = self.due_ms(when);
        let moved = self.state.reschedule(&wish, self.time(when), self.now_ms);
        assert_eq!(moved.is_ok(), before.is_some() && due_ms.is_some());
        if let Ok((key, rows)) = moved {
            self.apply(rows);
            assert_eq!(Some(key.due_ms), due_ms);
            let known = self.pending.remove(&before.unwrap()).unwrap();
            assert!(self.pending.insert(key, known).is_none(), "numbers");
        }
    }

    fn ask(&mut self) {
        let step = self.state.step_schedules(self.now_ms);
        if !step.due.is_empty() {
            assert!(self.due.is_empty(), "one at a time");
            self.due = step.due;
        }
        if step.refill.is_some() {
            assert!(self.asked.is_none() && self.read.is_none(), "one at a time");
            self.asked = step.refill;
        }
    }

    fn read_refill(&mut self) {
        let Some(from) = self.asked.take() else {
            return;
        };
        let rows = self.runs.range(from.row_key()..);
        let rows = rows.filter_map(|(key, value)| {
            let record = ScheduledRecord::from_value(value)?;
            Some(FoundSchedule::new(ScheduleKey::of_row(key)?, &record))
        });
        let found: Vec<_> = rows.take(REFILL_MAX).collect();
        let until = found.get(REFILL_MAX - 1).map(|last| last.key.next());
        self.read = Some(Refill { from, until, found });
    }

    /// Appends what was made ready, as far as it can be read.
    fn fire(&mut self, is_first_unreadable: bool) {
        let mut due = std::mem::take(&mut self.due);
        if due.is_empty() {
            return;
        }
        if is_first_unreadable {
            let first = due.remove(0).key;
            self.state.set_aside(&[first], self.now_ms);
            self.set_aside.insert(first);
        }
        let keys: Vec<_> = due.iter().map(|it| it.key).collect();
        let is_pending = keys.iter().all(|key| self.pending.contains_key(key));
        assert_eq!(self.state.are_pending(&keys), is_pending);
        if !is_pending {
            let failure = FireFailure::Changed;
            return self.state.fire_failed(&[], &failure, self.now_ms);
        }
        for due in &due {
            let known = self.pending.get(&due.key).expect("pending");
            // What is read when it is made ready is there until it is fired.
            let row = due.row.clone().or_else(|| self.on_disk(&due.key.row_key()));
            let record = row.as_ref().and_then(ScheduledRecord::from_value);
            assert_eq!(record.map(|it| it.record), Some(known.record.clone()));
            assert_eq!(due.partition, known.partition);
            assert!(due.key.due_ms <= self.now_ms, "early");
            let number = u64::from_le_bytes(known.record[..].try_into().unwrap());
            assert!(self.delivered.insert(number), "twice");
        }
        let rows = self.state.fire(&keys);
        self.apply(rows);
        for key in &keys {
            let fired = self.pending.remove(key).expect("pending");
            let is_before = |(other, it): (&ScheduleKey, &Known)| {
                other < key && it.partition == fired.partition && !self.set_aside.contains(other)
            };
            assert!(!self.pending.iter().any(is_before), "out of order");
        }
    }

    fn on_disk(&self, key: &RowKey) -> Option<Bytes> {
        self.runs.get(key).cloned()
    }

    fn take_checkpoint(&mut self) {
        let before = self.state.index_checkpoint_count();
        for row in self.state.take_changed() {
            let place = match row.key.table >= towpath_storage::INDEX_TABLES {
                true => &mut self.runs,
                false => &mut self.checkpoint,
            };
            match row.value {
                Some(value) => place.insert(row.key, value),
                None => place.remove(&row.key),
            };
        }
        self.journal.clear();
        self.done_checkpoints += self.state.index_checkpoint_count() - before;
        self.forget();
    }

    /// Forgets what is on disk for everybody.
    fn forget(&mut self) {
        while self.read.is_none() && self.done_checkpoints > 0 {
            self.done_checkpoints -= 1;
            self.state.forget_index_rows();
        }
    }

    fn restart(&mut self) {
        self.state = State::new(limits());
        for (key, value) in &self.checkpoint {
            self.state.apply_row(Row {
                key: key.clone(),
                value: Some(value.clone()),
            });
        }
        self.state.checkpoint_loaded();
        for row in self.journal.clone() {
            self.state.apply_row(row);
        }
        (self.due, self.asked, self.read) = (Vec::new(), None, None);
        self.set_aside.clear();
        self.done_checkpoints = 0;
        self.take_checkpoint();
    }

    fn delete_topic(&mut self, number: usize) {
        let (id, rows) = self.state.delete_topic(&topic_name(number), None).unwrap();
        self.apply(rows);
        self.pending.retain(|_, it| it.topic != id);
        self.topics[number] = self.create(number);
    }

    /// Lets everything become due, and be delivered.
    fn drain(&mut self) {
        self.now_ms += 100_000;
        for _ in 0..1_000 {
            self.ask();
            self.read_refill();
            self.step(Step::TakeRefill);
            self.fire(false);
            // Those that were set aside are tried again.
            self.now_ms += 100;
            if self.pending.is_empty() {
                return;
            }
        }
        panic!("never delivered: {:?}", self.pending);
    }
}

fn topic_name(number: usize) -> TopicName {
    TopicName::new(["orders", "reminders"][number]).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// None is early, lost or twice; those of a partition come in due order; who cancels wins or loses.
    #[test]
    fn scheduled_records_behave_as_the_model_says(
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let mut bench = Bench::new();
        for step in steps {
            bench.step(step);
        }
        bench.drain();
    }
}
