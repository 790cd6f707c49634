//! `ScheduleService` of the fake broker, whose clock stands still at one second.

use std::sync::Arc;

use prost::Message;
use tonic::{Request, Response, Status};
use towpath_proto::problem::Problem;
use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::v1::schedule_service_server::ScheduleService;
use towpath_proto::v1::schedule_time::Time;
use towpath_proto::wire;

use super::{Shared, State};

/// What the broker's clock says.
pub(crate) const NOW_MS: i64 = 1_000;

#[derive(Debug, Clone)]
pub(crate) struct Schedules(pub(crate) Arc<Shared>);

impl Schedules {
    fn called(&self, call: &'static str) -> Result<(), Status> {
        self.0.called(call);
        match self.0.state().on_call.pop_front() {
            Some(reason) => Err(Problem::new(reason, "as the test wants").into()),
            None => Ok(()),
        }
    }
}

#[tonic::async_trait]
impl ScheduleService for Schedules {
    async fn list_schedules(
        &self,
        request: Request<v1::ListSchedulesRequest>,
    ) -> Result<Response<v1::ListSchedulesResponse>, Status> {
        self.called("list_schedules")?;
        let request = request.into_inner();
        let mut state = self.0.state();
        state.schedules.sort_by_key(|it| it.due_ms);
        let is_listed =
            |it: &&v1::ScheduledRecord| request.topic.is_empty() || it.topic == request.topic;
        let all: Vec<_> = state.schedules.iter().filter(is_listed).collect();
        let from: usize = request.page_token.parse().unwrap_or(0);
        // Pages of two, whatever was asked for.
        let records = all.iter().skip(from).take(2).copied().cloned();
        let next = (from + 2 < all.len()).then(|| (from + 2).to_string());
        Ok(Response::new(v1::ListSchedulesResponse {
            records: records.collect(),
            next_page_token: next.unwrap_or_default(),
            scheduled_count: all.len() as u64,
            scheduled_bytes: all.iter().map(|it| it.record_bytes).sum(),
        }))
    }

    async fn cancel_schedule(
        &self,
        request: Request<v1::CancelScheduleRequest>,
    ) -> Result<Response<v1::CancelScheduleResponse>, Status> {
        self.called("cancel_schedule")?;
        let request = request.into_inner();
        let mut state = self.0.state();
        let place = find(&state, &request.topic, &request.schedule_id)?;
        let due_ms = state.schedules.remove(place).due_ms;
        Ok(Response::new(v1::CancelScheduleResponse { due_ms }))
    }

    async fn reschedule(
        &self,
        request: Request<v1::RescheduleRequest>,
    ) -> Result<Response<v1::RescheduleResponse>, Status> {
        self.called("reschedule")?;
        let request = request.into_inner();
        let mut state = self.0.state();
        let place = find(&state, &request.topic, &request.schedule_id)?;
        let due_ms = due_ms(request.time.as_ref());
        state.schedules[place].due_ms = due_ms;
        Ok(Response::new(v1::RescheduleResponse { due_ms }))
    }
}

fn find(state: &State, topic: &str, id: &str) -> Result<usize, Problem> {
    let is_it = |it: &v1::ScheduledRecord| it.topic == topic && it.schedule_id == id;
    let place = state.schedules.iter().position(is_it);
    place.ok_or_else(|| Problem::new(ErrorReason::ScheduleNotFound, "no"))
}

fn due_ms(time: Option<&v1::ScheduleTime>) -> i64 {
    match time.unwrap().time.unwrap() {
        Time::AtMs(at_ms) => at_ms,
        Time::DelayMs(delay_ms) => NOW_MS + i64::try_from(delay_ms).unwrap(),
    }
}

/// Whether a record can be scheduled.
pub(super) fn check(state: &State, asked: &wire::ScheduleRecord) -> Result<(), Problem> {
    state.log.find(&asked.topic, None)?;
    match find(state, &asked.topic, &asked.schedule_id) {
        Ok(_) => Err(Problem::new(ErrorReason::ScheduleExists, "no")),
        Err(_) => Ok(()),
    }
}

/// Schedules a record.
pub(super) fn schedule(state: &mut State, asked: &wire::ScheduleRecord) -> v1::ScheduledPosition {
    let encoded = asked.record.clone().unwrap();
    let record = v1::Record::decode(encoded.clone()).unwrap();
    let schedule_id = match asked.schedule_id.as_str() {
        "" => format!("@{}", state.schedules.len()),
        id => id.to_owned(),
    };
    let scheduled = v1::ScheduledRecord {
        topic: asked.topic.clone(),
        partition: asked.partition.unwrap_or(0),
        schedule_id: schedule_id.clone(),
        due_ms: due_ms(asked.time.as_ref()),
        accept_time_ms: NOW_MS,
        key: record.key,
        record_bytes: encoded.len() as u64,
    };
    let position = v1::ScheduledPosition {
        partition: scheduled.partition,
        schedule_id,
        due_ms: scheduled.due_ms,
    };
    state.schedules.push(scheduled);
    position
}
