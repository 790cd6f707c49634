//! What is asked for about scheduled records.

use bytes::Bytes;
use prost::Message as _;
use tokio::sync::oneshot;
use towpath_broker::core::{
    CommitKey, CommitSchedule, CommitWish, FindSchedule, ScheduleId, ScheduleName, ScheduleTime,
    schedule_of_id,
};
use towpath_broker::runtime::command::{CommitCommand, ControlCommand, DataCommand, Permits};
use towpath_broker::runtime::index_view::IndexSnapshot;
use towpath_broker::runtime::schedule_command::{RescheduleCommand, ScheduleCommand};
use towpath_proto::v1;
use towpath_storage::{PartitionRef, StorageError, TopicId};

use super::{Call, Request, Wish, World};
use crate::history::ScheduleEvent;

/// Requests with a key are numbers from here on in the table of keys.
const KEYS: u64 = 1 << 48;
const HOUR_MS: u64 = 3_600_000;

impl World {
    pub(super) fn schedule(&mut self, topic: TopicId) {
        if self.random.bool() && self.schedule_again(topic) {
            return;
        }
        let count = self.random.u64(1..4);
        let partitions = self.partition_count_of(topic);
        let mut records = Vec::new();
        let scheduling = self.apart.scheduling.as_mut().expect("it acts");
        let number = scheduling.record_count;
        scheduling.record_count += count;
        for record in number..number + count {
            records.push(Wish {
                record,
                partition: self.random.u32(..partitions),
                when: self.draw_time(),
                is_named: self.random.u8(..4) != 0,
                padding: self.random.usize(..3_000),
            });
            self.note_schedule(record, ScheduleEvent::Sent { request: number });
        }
        let request = Request {
            number,
            // A clock that jumps by months ends what is remembered of keys.
            is_keyed: !self.weather.has_clock_jumps && self.random.bool(),
            records,
        };
        self.push_schedules(topic, request);
    }

    /// Sends a request again that was not answered. Returns whether there was any.
    pub(super) fn schedule_again(&mut self, topic: TopicId) -> bool {
        let scheduling = self.apart.scheduling.as_mut();
        let doubtful = scheduling.and_then(|it| it.doubtful.pop());
        let is_any = doubtful.is_some();
        if let Some(request) = doubtful {
            self.push_schedules(topic, request);
        }
        is_any
    }

    fn draw_delay_ms(&mut self) -> u64 {
        match self.random.u8(..8) {
            0 => 0,
            1 => self.random.u64(..72 * HOUR_MS),
            2 | 3 => self.random.u64(..120_000),
            // So that several are due at once.
            4 => 1_000 * self.random.u64(1..5),
            _ => self.random.u64(..5_000),
        }
    }

    fn draw_time(&mut self) -> ScheduleTime {
        let delay_ms = self.draw_delay_ms();
        let now_ms = self.engine.as_ref().map(|it| it.shared.published.time_ms());
        match now_ms.filter(|_| self.random.bool()) {
            Some(now_ms) => ScheduleTime::At(now_ms - now_ms % 1_000 + delay_ms.cast_signed()),
            None => ScheduleTime::After(delay_ms),
        }
    }

    fn push_schedules(&mut self, topic: TopicId, request: Request) {
        let Some(engine) = &self.engine else { return };
        let snapshot = engine.shared.index.snapshot();
        let schedules: Result<Vec<_>, _> = (0..)
            .zip(&request.records)
            .map(|(operation, wish)| to_schedule(&snapshot, topic, operation, wish))
            .collect();
        let key = request
            .is_keyed
            .then(|| find_key(&snapshot, request.number));
        let (Ok(schedules), Ok(key)) = (schedules, key.transpose()) else {
            // The disk could not be read: nothing was sent, or nothing again.
            let scheduling = self.apart.scheduling.as_mut().expect("it acts");
            if request.is_keyed {
                scheduling.doubtful.push(request);
            }
            return;
        };
        let (sender, answer) = oneshot::channel();
        let command = CommitCommand {
            wish: CommitWish {
                schedules,
                key,
                ..CommitWish::default()
            },
            payloads: Vec::new(),
            facts: None,
            snapshot: Some(snapshot.clone()),
            schedule_snapshot: Some(snapshot),
            answer: sender,
            permits: Permits::default(),
        };
        let command = DataCommand::Commit(Box::new(command));
        let pushed = engine.shared.commands.push_data(command);
        pushed.expect("the broker is running");
        self.await_schedule(Call::Schedule(request, answer));
    }

    /// A record of which nothing is in doubt, and how to find it. Nothing else is asked for about it before
    /// that is answered, and nothing ever if the answer is lost.
    fn take_pending(&mut self, topic: TopicId) -> Option<(u64, FindSchedule, IndexSnapshot)> {
        let engine = self.engine.as_ref()?;
        let scheduling = self.apart.scheduling.as_mut()?;
        let count = scheduling.pending.len();
        // Of late ones more than of early ones, which were delivered long ago.
        let from_end = self.random.usize(..count.clamp(1, 12));
        let (&record, &id) = scheduling.pending.iter().rev().nth(from_end)?;
        let snapshot = engine.shared.index.snapshot();
        let wish = find(&snapshot, topic, id).ok()?;
        scheduling.pending.remove(&record);
        Some((record, wish, snapshot))
    }

    pub(super) fn cancel_schedule(&mut self, topic: TopicId) {
        let Some((record, wish, snapshot)) = self.take_pending(topic) else {
            return;
        };
        self.note_schedule(record, ScheduleEvent::CancelSent);
        let (sender, answer) = oneshot::channel();
        let engine = self.engine.as_ref().expect("it found it");
        let command = ControlCommand::Schedule(ScheduleCommand::Cancel {
            wish,
            snapshot,
            answer: sender,
        });
        let pushed = engine.shared.commands.push_control(command);
        pushed.expect("the broker is running");
        self.await_schedule(Call::Cancel(record, answer));
    }

    pub(super) fn move_schedule(&mut self, topic: TopicId) {
        let Some((record, wish, snapshot)) = self.take_pending(topic) else {
            return;
        };
        self.note_schedule(record, ScheduleEvent::MoveSent);
        let (when, id) = (ScheduleTime::After(self.draw_delay_ms()), wish.id);
        let (sender, answer) = oneshot::channel();
        let engine = self.engine.as_ref().expect("it found it");
        let command = DataCommand::Reschedule(Box::new(RescheduleCommand {
            wish,
            when,
            snapshot,
            answer: sender,
            permits: Permits::default(),
        }));
        let pushed = engine.shared.commands.push_data(command);
        pushed.expect("the broker is running");
        self.await_schedule(Call::Move((record, id), answer));
    }
}

/// What names a record that was given a name.
pub(super) fn named(record: u64) -> ScheduleId {
    ScheduleId::Named(hash(record))
}

fn hash(number: u64) -> [u8; 16] {
    let mut hash = [0; 16];
    hash[..8].copy_from_slice(&number.to_le_bytes());
    hash
}

fn to_schedule(
    snapshot: &IndexSnapshot,
    topic: TopicId,
    operation: usize,
    wish: &Wish,
) -> Result<CommitSchedule, StorageError> {
    let name = match wish.is_named {
        true => Some(ScheduleName {
            text: wish.record.to_string(),
            hash: hash(wish.record),
            on_disk: {
                let found = snapshot.runs.get(&named(wish.record).row_key())?;
                found.value().cloned()
            },
        }),
        false => None,
    };
    let mut value = wish.record.to_le_bytes().to_vec();
    value.resize(8 + wish.padding, 7);
    let record = v1::Record {
        value: Some(value.into()),
        ..v1::Record::default()
    };
    Ok(CommitSchedule {
        operation,
        partition: PartitionRef {
            topic,
            partition: wish.partition,
        },
        when: wish.when,
        name,
        record: record.encode_to_vec().into(),
    })
}

fn find_key(snapshot: &IndexSnapshot, request: u64) -> Result<CommitKey, StorageError> {
    let hash = hash(KEYS + request);
    let found = snapshot.runs.get(&CommitKey::row_key(&hash))?;
    Ok(CommitKey {
        hash,
        fingerprint: hash,
        on_disk: found.value().cloned(),
        told: Bytes::new(),
    })
}

fn find(
    snapshot: &IndexSnapshot,
    topic: TopicId,
    id: ScheduleId,
) -> Result<FindSchedule, StorageError> {
    let on_disk = snapshot.runs.get(&id.row_key())?.value().cloned();
    let record_on_disk = match on_disk.as_ref().and_then(schedule_of_id) {
        Some(key) => snapshot.runs.get(&key.row_key())?.value().cloned(),
        None => None,
    };
    Ok(FindSchedule {
        topic,
        id,
        on_disk,
        record_on_disk,
    })
}
