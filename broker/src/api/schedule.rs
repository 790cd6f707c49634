//! The service of scheduled records, and what commits that schedule some have in common with it.

mod list;

use std::hash::Hasher;
use std::sync::Arc;

use siphasher::sip128::{Hasher128, SipHasher13};
use tokio::sync::oneshot;
use tonic::{Request, Response, Status};
use towpath_proto::limits::{RECORD_BYTES_MAX, SCHEDULE_ID_BYTES_MAX};
use towpath_proto::problem::Problem;
use towpath_proto::v1;
use towpath_proto::v1::schedule_service_server::ScheduleService;
use towpath_storage::TopicId;

use super::index::look_up;
use super::{InFlight, Shared, convert, status};
use crate::core::{FindSchedule, ScheduleId, ScheduleKey, ScheduleTime, schedule_of_id};
use crate::runtime::command::{CommandError, ControlCommand, DataCommand, Permits};
use crate::runtime::index_view::IndexSnapshot;
use crate::runtime::published::TopicView;
use crate::runtime::schedule_command::{RescheduleCommand, ScheduleCommand};

/// What ids begin with that the broker makes.
const NUMBERED: char = '@';

/// Answers `ScheduleService`.
#[derive(Debug)]
pub(super) struct ScheduleApi {
    shared: Arc<Shared>,
}

impl ScheduleApi {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    async fn cancel(
        &self,
        request: v1::CancelScheduleRequest,
    ) -> Result<v1::CancelScheduleResponse, Problem> {
        self.shared.refuse_when_draining()?;
        let topic = self.topic(&request.topic)?;
        let (wish, snapshot) = find(&self.shared, topic.id(), &request.schedule_id, false).await?;
        let command = |answer| {
            ControlCommand::Schedule(ScheduleCommand::Cancel {
                wish,
                snapshot,
                answer,
            })
        };
        let cancelled = self.shared.control(command).await;
        let key = cancelled.map_err(|error| {
            status::command_failed(error, |_not_found| {
                status::schedule_not_found(topic.name(), &request.schedule_id)
            })
        })?;
        Ok(v1::CancelScheduleResponse { due_ms: key.due_ms })
    }

    async fn reschedule(
        &self,
        request: v1::RescheduleRequest,
    ) -> Result<v1::RescheduleResponse, Problem> {
        self.shared.refuse_when_draining()?;
        let topic = self.topic(&request.topic)?;
        let when = when("time", request.time.as_ref())?;
        let permit = InFlight::take(&self.shared.in_flight.all, RECORD_BYTES_MAX).await;
        let (wish, snapshot) = find(&self.shared, topic.id(), &request.schedule_id, true).await?;
        let (answer, moved) = oneshot::channel();
        self.shared
            .push(DataCommand::Reschedule(Box::new(RescheduleCommand {
                wish,
                when,
                snapshot,
                answer,
                permits: Permits {
                    held: Vec::from_iter(permit),
                    tally: None,
                },
            })));
        let moved = moved.await.unwrap_or(Err(CommandError::Failed));
        let key = moved.map_err(|error| {
            status::command_failed(error, |refusal| {
                status::reschedule_refused(refusal, topic.name(), &request.schedule_id)
            })
        })?;
        Ok(v1::RescheduleResponse { due_ms: key.due_ms })
    }

    fn topic(&self, name: &str) -> Result<Arc<TopicView>, Problem> {
        let name = convert::topic_name("topic", name)?;
        self.shared.topic(&name)
    }
}

#[tonic::async_trait]
impl ScheduleService for ScheduleApi {
    async fn list_schedules(
        &self,
        request: Request<v1::ListSchedulesRequest>,
    ) -> Result<Response<v1::ListSchedulesResponse>, Status> {
        let page = list::list(&self.shared, &request.into_inner()).await?;
        Ok(Response::new(page))
    }

    async fn cancel_schedule(
        &self,
        request: Request<v1::CancelScheduleRequest>,
    ) -> Result<Response<v1::CancelScheduleResponse>, Status> {
        Ok(Response::new(self.cancel(request.into_inner()).await?))
    }

    async fn reschedule(
        &self,
        request: Request<v1::RescheduleRequest>,
    ) -> Result<Response<v1::RescheduleResponse>, Status> {
        let request = request.into_inner();
        Ok(Response::new(ScheduleApi::reschedule(self, request).await?))
    }
}

/// What is on disk of the record of an id, and of the record itself if it `reads_record`.
async fn find(
    shared: &Shared,
    topic: TopicId,
    text: &str,
    reads_record: bool,
) -> Result<(FindSchedule, IndexSnapshot), Problem> {
    let id = parse_id(shared, topic, text)?;
    let snapshot = shared.index.snapshot();
    let mut found = look_up(shared, &snapshot, vec![id.row_key()]).await?;
    let on_disk = found.pop().flatten();
    let key = on_disk.as_ref().and_then(schedule_of_id);
    let mut record_on_disk = None;
    if let Some(key) = key.filter(|_| reads_record) {
        let mut found = look_up(shared, &snapshot, vec![key.row_key()]).await?;
        record_on_disk = found.pop().flatten();
    }
    let wish = FindSchedule {
        topic,
        id,
        on_disk,
        record_on_disk,
    };
    Ok((wish, snapshot))
}

fn parse_id(shared: &Shared, topic: TopicId, text: &str) -> Result<ScheduleId, Problem> {
    let invalid = |message: &str| Err(Problem::invalid_field("schedule_id", message));
    match text.strip_prefix(NUMBERED) {
        Some(number) => match number.parse() {
            Ok(number) => Ok(ScheduleId::Numbered(number)),
            Err(_error) => invalid("an id that begins with @ is one that the broker made"),
        },
        None if text.is_empty() => invalid("the id is empty"),
        None => {
            check_length("schedule_id", text)?;
            Ok(ScheduleId::Named(hash(shared, topic, text)))
        }
    }
}

/// Checks an id that a client gives.
///
/// # Errors
/// It is too long, or one that the broker makes.
pub(super) fn check_id(field: &str, text: &str) -> Result<(), Problem> {
    if text.starts_with(NUMBERED) {
        let message = "an id does not begin with @";
        return Err(Problem::invalid_field(field, message)
            .with_hint("such ids are made by the broker, for records that are given none"));
    }
    check_length(field, text)
}

fn check_length(field: &str, text: &str) -> Result<(), Problem> {
    if text.len() > SCHEDULE_ID_BYTES_MAX {
        let length = text.len();
        let message = format!("an id has at most {SCHEDULE_ID_BYTES_MAX} bytes, not {length}");
        return Err(Problem::invalid_field(field, message));
    }
    Ok(())
}

/// The hash of an id in a topic. Nobody can find two ids with the same one, since it has a key.
pub(super) fn hash(shared: &Shared, topic: TopicId, text: &str) -> [u8; 16] {
    let mut hasher = SipHasher13::new_with_key(shared.identity.broker_id.as_bytes());
    hasher.write_u64(topic.get());
    hasher.write(text.as_bytes());
    hasher.finish128().as_bytes()
}

/// The id of a record as it is told: the one that it was given, or its number.
pub(super) fn id_text(name: String, number: u64) -> String {
    match name.is_empty() {
        true => format!("{NUMBERED}{number}"),
        false => name,
    }
}

/// Reads when a record is due.
///
/// # Errors
/// It is not said.
pub(super) fn when(field: &str, time: Option<&v1::ScheduleTime>) -> Result<ScheduleTime, Problem> {
    use v1::schedule_time::Time;
    match time.and_then(|time| time.time) {
        Some(Time::AtMs(at_ms)) => Ok(ScheduleTime::At(at_ms)),
        Some(Time::DelayMs(delay_ms)) => Ok(ScheduleTime::After(delay_ms)),
        None => {
            let message = "it is not said when the record is due";
            Err(Problem::invalid_field(field, message).with_hint("set at_ms or delay_ms"))
        }
    }
}

/// A key in a token of a page.
fn token(key: ScheduleKey) -> String {
    format!("{}-{}", key.due_ms, key.number)
}

/// Reads what [`token`] wrote.
fn parse_token(text: &str) -> Result<ScheduleKey, Problem> {
    if text.is_empty() {
        return Ok(ScheduleKey::FIRST);
    }
    let parse = || {
        let (due_ms, number) = text.split_once('-')?;
        let due_ms: u64 = due_ms.parse().ok()?;
        Some(ScheduleKey {
            due_ms: i64::try_from(due_ms).ok()?,
            number: number.parse().ok()?,
        })
    };
    let message = "page token is not one that this broker gave";
    parse().ok_or_else(|| Problem::invalid_field("page_token", message))
}
