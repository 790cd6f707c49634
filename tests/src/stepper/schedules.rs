//! Scheduled records of a broker that is driven by hand.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use towpath_broker::core::{
    CommitRefused, CommitSchedule, CommitWish, FindSchedule, RescheduleRefusal, ScheduleId,
    ScheduleKey, ScheduleName, ScheduleNotFound, ScheduleTime, ScheduledRecord, schedule_of_id,
};
use towpath_broker::runtime::command::{
    CommandError, CommitCommand, Committed, ControlCommand, DataCommand, Permits,
};
use towpath_broker::runtime::index_view::IndexSnapshot;
use towpath_broker::runtime::schedule_command::{RescheduleCommand, ScheduleCommand};
use towpath_proto::{schedule, v1};
use towpath_storage::{Direction, PartitionRef, RowRange, StorageError, TopicId};

use super::Stepper;
use crate::model::{AskedSchedule, KnownSchedule};

/// Where an answer comes.
#[derive(Debug)]
enum InFlight {
    Schedule(oneshot::Receiver<Result<Committed, CommandError<CommitRefused>>>),
    Cancel(oneshot::Receiver<Result<ScheduleKey, CommandError<ScheduleNotFound>>>),
    Reschedule(oneshot::Receiver<Result<ScheduleKey, CommandError<RescheduleRefusal>>>),
}

/// What was asked for about scheduled records and is not answered, by their numbers in the model.
#[derive(Debug, Default)]
pub(super) struct SchedulesInFlight(Vec<(usize, InFlight)>);

/// A record that was delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Delivered {
    due_ms: i64,
    append_time_ms: i64,
}

impl Stepper {
    /// Asks for a record to be scheduled under a name that no other has. The answer is noted by
    /// [`Stepper::note_schedules`].
    ///
    /// # Errors
    /// What stops the broker.
    pub fn begin_schedule(
        &mut self,
        topic: &str,
        partition: u32,
        when: ScheduleTime,
    ) -> Result<usize, StorageError> {
        let number = self.model.schedules.len();
        let name = format!("record-{number}");
        let topic_id = self.id_of(topic);
        self.model.schedules.push(KnownSchedule {
            topic: topic.to_owned(),
            due_ms: None,
            asked: Some(AskedSchedule::Due),
        });
        let record = v1::Record {
            value: Some(name.clone().into()),
            // Longer than a sector: a torn round may hold a part of what belongs together.
            headers: vec![v1::Header {
                name: "padding".to_owned(),
                value: vec![7; 3_000].into(),
            }],
            ..v1::Record::default()
        };
        let hash = hash(&name);
        let snapshot = self.engine.shared.index.snapshot();
        let on_disk = look_up(&snapshot, ScheduleId::Named(hash))?;
        let wish = CommitSchedule {
            operation: 0,
            partition: PartitionRef {
                topic: topic_id,
                partition,
            },
            when,
            name: Some(ScheduleName {
                text: name,
                hash,
                on_disk,
            }),
            record: record.encode_to_vec().into(),
        };
        let (answer, answered) = oneshot::channel();
        let command = DataCommand::Commit(Box::new(CommitCommand {
            wish: CommitWish {
                schedules: vec![wish],
                ..CommitWish::default()
            },
            payloads: Vec::new(),
            snapshot: None,
            facts: None,
            schedule_snapshot: Some(snapshot),
            answer,
            permits: Permits::default(),
        }));
        let pushed = self.engine.shared.commands.push_data(command);
        pushed.expect("the broker is running");
        let in_flight = InFlight::Schedule(answered);
        self.schedules_in_flight.0.push((number, in_flight));
        Ok(number)
    }

    /// Asks for a record not to be delivered.
    ///
    /// # Errors
    /// What stops the broker.
    pub fn begin_cancel(&mut self, number: usize) -> Result<(), StorageError> {
        let (wish, snapshot) = self.find_schedule(number)?;
        self.known_schedule(number).asked = Some(AskedSchedule::Gone);
        let (answer, answered) = oneshot::channel();
        let command = ControlCommand::Schedule(ScheduleCommand::Cancel {
            wish,
            snapshot,
            answer,
        });
        let pushed = self.engine.shared.commands.push_control(command);
        pushed.expect("the broker is running");
        let in_flight = InFlight::Cancel(answered);
        self.schedules_in_flight.0.push((number, in_flight));
        Ok(())
    }

    /// Asks for a record to be due at another time.
    ///
    /// # Errors
    /// What stops the broker.
    pub fn begin_reschedule(
        &mut self,
        number: usize,
        when: ScheduleTime,
    ) -> Result<(), StorageError> {
        let (wish, snapshot) = self.find_schedule(number)?;
        self.known_schedule(number).asked = Some(AskedSchedule::Due);
        let (answer, answered) = oneshot::channel();
        let command = DataCommand::Reschedule(Box::new(RescheduleCommand {
            wish,
            when,
            snapshot,
            answer,
            permits: Permits::default(),
        }));
        let pushed = self.engine.shared.commands.push_data(command);
        pushed.expect("the broker is running");
        let in_flight = InFlight::Reschedule(answered);
        self.schedules_in_flight.0.push((number, in_flight));
        Ok(())
    }

    /// Does one of these and waits for the answer.
    ///
    /// # Errors
    /// What stops the broker.
    pub fn now<T>(
        &mut self,
        what: impl FnOnce(&mut Self) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let done = what(self)?;
        self.settle_down()?;
        self.note_schedules();
        Ok(done)
    }

    /// Whether something was asked for about a record that is not answered, or it is not there any more.
    pub fn is_busy(&self, number: usize) -> bool {
        let known = self.model.schedules.get(number);
        known.is_none_or(|known| known.asked.is_some() || known.due_ms.is_none())
    }

    /// Notes the answers that came about scheduled records.
    pub fn note_schedules(&mut self) {
        let in_flight = std::mem::take(&mut self.schedules_in_flight.0);
        for (number, mut answer) in in_flight {
            let answered = match &mut answer {
                InFlight::Schedule(answer) => told(answer).map(|committed| {
                    let committed = committed.expect("scheduled");
                    Some(committed.schedules.first().expect("one").due_ms)
                }),
                InFlight::Cancel(answer) => told(answer).map(|cancelled| {
                    let before = self.known_schedule(number).due_ms;
                    // It is gone, or it was delivered before.
                    cancelled.map_or(before, |_| None)
                }),
                InFlight::Reschedule(answer) => told(answer).map(|moved| {
                    let before = self.known_schedule(number).due_ms;
                    moved.map_or(before, |key| Some(key.due_ms))
                }),
            };
            match answered {
                Some(due_ms) => {
                    let known = self.known_schedule(number);
                    (known.due_ms, known.asked) = (due_ms, None);
                }
                None => self.schedules_in_flight.0.push((number, answer)),
            }
        }
    }

    /// Compares what is scheduled, and what was delivered, with what the model knows.
    ///
    /// # Errors
    /// What stops the broker.
    pub fn check_schedules(&self) -> Result<(), StorageError> {
        let (pending, delivered) = (self.pending_schedules()?, self.delivered_schedules()?);
        let all = pending.keys().chain(delivered.keys());
        for number in all {
            let is_known = self.model.schedules.get(*number).is_some();
            assert!(is_known, "{number} was never scheduled");
        }
        for (number, known) in self.model.schedules.iter().enumerate() {
            let (waits, came) = (pending.get(&number), delivered.get(&number));
            let what = format!("{number}: {known:?}, pending {waits:?}, delivered {came:?}");
            assert!(waits.is_none() || came.is_none(), "{what}: both");
            let is_there = waits.is_some() || came.is_some();
            match (known.due_ms, known.asked) {
                (Some(due_ms), None) => {
                    assert!(is_there, "{what}: lost");
                    let is_as_told = waits.is_none_or(|at| *at == due_ms)
                        && came.is_none_or(|it| it.due_ms == due_ms);
                    assert!(is_as_told, "{what}: at another time");
                }
                (Some(_), Some(AskedSchedule::Due)) => assert!(is_there, "{what}: lost"),
                (None, None) => assert!(!is_there, "{what}: it was cancelled"),
                (Some(_), Some(AskedSchedule::Gone)) | (None, Some(_)) => {}
            }
            let is_early = |it: &Delivered| it.append_time_ms < it.due_ms;
            assert!(!came.is_some_and(is_early), "{what}: early");
        }
        let counts = self.engine.sequencer.state().schedule_counts();
        assert_eq!(counts.count, pending.len() as u64, "the count");
        Ok(())
    }

    /// Takes what is there as what was told, where nothing was told before a crash.
    ///
    /// # Errors
    /// What stops the broker.
    pub fn settle_schedules(&mut self) -> Result<(), StorageError> {
        let (pending, delivered) = (self.pending_schedules()?, self.delivered_schedules()?);
        for (number, known) in self.model.schedules.iter_mut().enumerate() {
            if known.asked.take().is_some() {
                let came = delivered.get(&number).map(|it| it.due_ms);
                known.due_ms = pending.get(&number).copied().or(came);
            }
        }
        Ok(())
    }

    /// How many records are scheduled.
    pub fn schedule_count(&self) -> u64 {
        self.engine.sequencer.state().schedule_counts().count
    }

    fn known_schedule(&mut self, number: usize) -> &mut KnownSchedule {
        let known = self.model.schedules.get_mut(number);
        known.expect("it was scheduled")
    }

    fn id_of(&mut self, topic: &str) -> TopicId {
        let id = self.model.topic(topic).id;
        TopicId::new(id.expect("the script waits for the topic"))
    }

    fn find_schedule(
        &mut self,
        number: usize,
    ) -> Result<(FindSchedule, IndexSnapshot), StorageError> {
        let topic = self.known_schedule(number).topic.clone();
        let topic = self.id_of(&topic);
        let id = ScheduleId::Named(hash(&format!("record-{number}")));
        let snapshot = self.engine.shared.index.snapshot();
        let on_disk = look_up(&snapshot, id)?;
        let key = on_disk.as_ref().and_then(schedule_of_id);
        let record_on_disk = match key {
            Some(key) => snapshot.runs.get(&key.row_key())?.value().cloned(),
            None => None,
        };
        let wish = FindSchedule {
            topic,
            id,
            on_disk,
            record_on_disk,
        };
        Ok((wish, snapshot))
    }

    /// When each record is due that is scheduled, by its number.
    fn pending_schedules(&self) -> Result<BTreeMap<usize, i64>, StorageError> {
        let mut rows: BTreeMap<ScheduleKey, Bytes> = BTreeMap::new();
        let all = RowRange::table(ScheduleKey::FIRST.row_key().table);
        let runs = self.engine.shared.index.snapshot().runs;
        for row in runs.scan(&all, Direction::Forward) {
            let (key, value) = row?;
            rows.insert(ScheduleKey::of_row(&key).expect("a key"), value);
        }
        let state = self.engine.sequencer.state();
        for (key, value) in state.schedule_rows_between(ScheduleKey::FIRST, None) {
            match value {
                Some(value) => drop(rows.insert(key, value.clone())),
                None => drop(rows.remove(&key)),
            }
        }
        let mut pending = BTreeMap::new();
        for (key, value) in rows {
            let record = ScheduledRecord::from_value(&value).expect("a record");
            let number = number(&v1::Record::decode(record.record).expect("a record"));
            let before = pending.insert(number, key.due_ms);
            assert_eq!(before, None, "{number} is scheduled twice");
        }
        Ok(pending)
    }

    /// What was delivered, by number. Checks that it came in order.
    fn delivered_schedules(&self) -> Result<BTreeMap<usize, Delivered>, StorageError> {
        let mut delivered = BTreeMap::new();
        let topics = self.engine.shared.published.topics();
        let names: std::collections::BTreeSet<_> =
            self.model.schedules.iter().map(|it| &it.topic).collect();
        let views = names
            .into_iter()
            .filter_map(|name| topics.named(&name.parse().ok()?));
        for handle in views.flat_map(|view| view.partitions()) {
            let mut last_due_ms = 0;
            for frame in self.try_read_frames(handle)? {
                let batch = v1::RecordBatch::decode(frame.payload).expect("a batch");
                for record in batch.records {
                    let mut headers = record.headers.iter();
                    let due = headers.find(|it| it.name == schedule::AT_MS);
                    let due = due.and_then(|it| std::str::from_utf8(&it.value).ok()?.parse().ok());
                    let due_ms = due.expect("it says when it was due");
                    assert!(due_ms >= last_due_ms, "{record:?} is out of order");
                    last_due_ms = due_ms;
                    let came = Delivered {
                        due_ms,
                        append_time_ms: frame.header.append_time_ms,
                    };
                    let before = delivered.insert(number(&record), came);
                    assert_eq!(before, None, "{record:?} was delivered twice");
                }
            }
        }
        Ok(delivered)
    }
}

/// The answer, if it has come. None also if the disk failed: then nothing is known.
fn told<T, R>(answer: &mut oneshot::Receiver<Result<T, CommandError<R>>>) -> Option<Result<T, R>> {
    match answer.try_recv() {
        Ok(Ok(done)) => Some(Ok(done)),
        Ok(Err(CommandError::Refused(refusal))) => Some(Err(refusal)),
        Ok(Err(CommandError::Failed | CommandError::ShuttingDown))
        | Err(TryRecvError::Empty | TryRecvError::Closed) => None,
    }
}

fn look_up(snapshot: &IndexSnapshot, id: ScheduleId) -> Result<Option<Bytes>, StorageError> {
    Ok(snapshot.runs.get(&id.row_key())?.value().cloned())
}

fn hash(name: &str) -> [u8; 16] {
    let mut hash = [0; 16];
    hash.iter_mut()
        .zip(name.bytes())
        .for_each(|(to, from)| *to = from);
    hash
}

fn number(record: &v1::Record) -> usize {
    let value = record.value.as_ref().expect("a value");
    let value = std::str::from_utf8(value).expect("a name");
    let number = value.strip_prefix("record-").expect("a name");
    number.parse().expect("a number")
}
