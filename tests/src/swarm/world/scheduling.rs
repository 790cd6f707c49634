//! Somebody who schedules records, cancels them and moves them, and somebody who reads what comes of it, with
//! the producers' weather: crashes, power losses, clocks that jump.

mod asking;
mod watching;

use std::collections::BTreeMap;

use tokio::sync::oneshot;
use towpath_broker::core::{
    AppendRefusal, CommitRefusalCause, CommitRefused, RescheduleRefusal, ScheduleId, ScheduleKey,
    ScheduleNotFound, ScheduleRefusal, ScheduleTime, TopicConfig,
};
use towpath_broker::runtime::command::{CommandError, Committed};

use super::World;
use super::following::Follower;
use super::told::{Told, told};
use crate::history::{Event, ScheduleEvent};

/// The topic of scheduled records, in which nothing else is written.
pub(super) const REMINDERS: &str = "reminders";

/// Somebody who schedules, and what is known of it.
#[derive(Debug, Default)]
pub(super) struct Scheduling {
    record_count: u64,
    waiting: Vec<Call>,
    /// Requests with a key that were not answered: they are sent until they are.
    doubtful: Vec<Request>,
    /// What names each record that was accepted, was not cancelled, and of which nothing is in doubt.
    pending: BTreeMap<u64, ScheduleId>,
    followers: Vec<Follower>,
    set_aside_count: usize,
}

/// Records that are scheduled together.
#[derive(Debug, Clone)]
struct Request {
    number: u64,
    /// Whether a key names it, so that it happens once however often it is sent.
    is_keyed: bool,
    records: Vec<Wish>,
}

/// One of them.
#[derive(Debug, Clone)]
struct Wish {
    record: u64,
    partition: u32,
    when: ScheduleTime,
    is_named: bool,
    padding: usize,
}

/// What was asked for and is not answered.
#[derive(Debug)]
enum Call {
    Schedule(
        Request,
        oneshot::Receiver<Result<Committed, CommandError<CommitRefused>>>,
    ),
    Cancel(
        u64,
        oneshot::Receiver<Result<ScheduleKey, CommandError<ScheduleNotFound>>>,
    ),
    Move(
        (u64, ScheduleId),
        oneshot::Receiver<Result<ScheduleKey, CommandError<RescheduleRefusal>>>,
    ),
}

impl World {
    /// Lets somebody do something about scheduled records.
    pub(super) fn act_on_schedules(&mut self) {
        let Some(topic) = self.topic_apart(REMINDERS, TopicConfig::default()) else {
            return;
        };
        match self.random.u8(..16) {
            0..5 => self.schedule(topic),
            5..7 => self.cancel_schedule(topic),
            7..9 => self.move_schedule(topic),
            9..11 => self.pass_time(),
            11..13 => self.read_schedules(topic),
            _ => self.drive(|engine| {
                engine.step_inspect();
                Ok(())
            }),
        }
    }

    /// Takes the answers that came.
    pub(super) fn take_schedule_answers(&mut self) {
        let Some(scheduling) = &mut self.apart.scheduling else {
            return;
        };
        for call in std::mem::take(&mut scheduling.waiting) {
            match call {
                Call::Schedule(request, mut answer) => match told(&mut answer) {
                    Told::Nothing => self.await_schedule(Call::Schedule(request, answer)),
                    told => self.take_scheduled(request, told),
                },
                Call::Cancel(record, mut answer) => match told(&mut answer) {
                    Told::Nothing => self.await_schedule(Call::Cancel(record, answer)),
                    Told::Lost => {}
                    Told::Done(_) => self.note_schedule(record, ScheduleEvent::Cancelled),
                    Told::Refused(ScheduleNotFound) => self.note_not_found(record),
                },
                Call::Move((record, id), mut answer) => match told(&mut answer) {
                    Told::Nothing => self.await_schedule(Call::Move((record, id), answer)),
                    Told::Lost => {}
                    Told::Done(key) => {
                        self.note_due(record, key);
                        self.note_pending(record, id);
                    }
                    Told::Refused(RescheduleRefusal::NotFound(_)) => self.note_not_found(record),
                    Told::Refused(RescheduleRefusal::StorageFull) => {
                        self.note_schedule(record, ScheduleEvent::Refused);
                        self.note_pending(record, id);
                    }
                    Told::Refused(refused) => {
                        panic!("unexpected answer {refused:?} to record {record}")
                    }
                },
            }
        }
    }

    fn take_scheduled(&mut self, request: Request, told: Told<Committed, CommitRefused>) {
        match told {
            Told::Nothing | Told::Lost => {
                let scheduling = self.apart.scheduling.as_mut();
                if let Some(it) = scheduling.filter(|_| request.is_keyed) {
                    it.doubtful.push(request);
                }
            }
            Told::Done(committed) => {
                let keys = committed.schedules;
                assert_eq!(keys.len(), request.records.len(), "a place for each");
                for (wish, key) in request.records.iter().zip(keys) {
                    self.note_due(wish.record, key);
                    let id = match wish.is_named {
                        true => asking::named(wish.record),
                        false => ScheduleId::Numbered(key.number),
                    };
                    self.note_pending(wish.record, id);
                }
            }
            Told::Refused(CommitRefused {
                cause:
                    CommitRefusalCause::Append(AppendRefusal::StorageFull)
                    | CommitRefusalCause::Schedule(ScheduleRefusal::InPast { .. }),
                ..
            }) => {
                for wish in &request.records {
                    self.note_schedule(wish.record, ScheduleEvent::Refused);
                }
            }
            Told::Refused(refused) => panic!("unexpected answer {refused:?} to {request:?}"),
        }
    }

    fn note_due(&mut self, record: u64, key: ScheduleKey) {
        let ScheduleKey { due_ms, number } = key;
        self.note_schedule(record, ScheduleEvent::Due { due_ms, number });
    }

    fn note_not_found(&mut self, record: u64) {
        let engine = self.engine.as_ref();
        let time_ms = engine.map_or(i64::MAX, |engine| engine.shared.published.time_ms());
        self.note_schedule(record, ScheduleEvent::NotFound { time_ms });
    }

    fn note_schedule(&mut self, record: u64, event: ScheduleEvent) {
        self.history.push(Event::Schedule { record, event });
    }

    fn note_pending(&mut self, record: u64, id: ScheduleId) {
        if let Some(scheduling) = &mut self.apart.scheduling {
            scheduling.pending.insert(record, id);
        }
    }

    fn await_schedule(&mut self, call: Call) {
        if let Some(scheduling) = &mut self.apart.scheduling {
            scheduling.waiting.push(call);
        }
    }
}
