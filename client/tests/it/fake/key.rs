//! `KeyService` of the fake broker.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status};
use towpath_proto::problem::Problem;
use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::v1::key_service_server::KeyService;

use super::{Shared, State};

/// What to do with a history instead of telling it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum OnReadKey {
    /// Tell so many answers and cut the connection.
    CutAfter(usize),
    /// Tell so many answers and end the stream.
    EndAfter(usize),
    /// Refuse it.
    Refuse(ErrorReason),
    /// Leave the first record out.
    LeaveOut,
    /// Tell that the first versions, up to this one, are gone.
    Trim(u64),
}

#[derive(Debug, Clone)]
pub(crate) struct Keys(pub(crate) Arc<Shared>);

#[tonic::async_trait]
impl KeyService for Keys {
    type ReadKeyStream = UnboundedReceiverStream<Result<v1::ReadKeyResponse, Status>>;

    async fn read_key(
        &self,
        request: Request<v1::ReadKeyRequest>,
    ) -> Result<Response<Self::ReadKeyStream>, Status> {
        self.0.called("read_key");
        let request = request.into_inner();
        let mut state = self.0.state();
        let on_read = state.on_read_key.pop_front();
        if let Some(OnReadKey::Refuse(reason)) = on_read {
            return Err(Problem::new(reason, "no").into());
        }
        let mut told = history(&state, &request, on_read)?;
        drop(state);
        let (answers, responses) = mpsc::unbounded_channel();
        match on_read {
            Some(OnReadKey::CutAfter(count) | OnReadKey::EndAfter(count)) => told.truncate(count),
            Some(OnReadKey::LeaveOut) => {
                told[1].current_version = told[0].current_version;
                told[1].topic_id = told[0].topic_id;
                told[1].broker_id = told.remove(0).broker_id;
            }
            Some(OnReadKey::Refuse(_) | OnReadKey::Trim(_)) | None => {}
        }
        for answer in told {
            answers.send(Ok(answer)).unwrap();
        }
        if matches!(on_read, Some(OnReadKey::CutAfter(_))) {
            let shared = Arc::clone(&self.0);
            tokio::spawn(async move {
                // Once what was told is read, which the connection does by itself.
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                shared.cut();
                answers.closed().await;
            });
        }
        Ok(Response::new(UnboundedReceiverStream::new(responses)))
    }

    async fn get_latest(
        &self,
        request: Request<v1::GetLatestRequest>,
    ) -> Result<Response<v1::GetLatestResponse>, Status> {
        self.0.called("get_latest");
        let request = request.into_inner();
        let mut state = self.0.state();
        if let Some(reason) = state.on_call.pop_front() {
            return Err(Problem::new(reason, "as the test wants").into());
        }
        let memory = &state.log.find(&request.topic, None)?.memory;
        let records = memory.keys.get(&request.key[..]);
        Ok(Response::new(v1::GetLatestResponse {
            record: records.and_then(|it| it.last().cloned()),
            current_version: records.map_or(0, |it| it.len() as u64),
        }))
    }
}

/// The answers to a request, a record or a gap in each.
fn history(
    state: &State,
    request: &v1::ReadKeyRequest,
    on_read: Option<OnReadKey>,
) -> Result<Vec<v1::ReadKeyResponse>, Problem> {
    state.check_broker(request.broker_id.as_deref())?;
    let topic = state.log.find(&request.topic, request.topic_id)?;
    let records = topic.memory.keys.get(&request.key[..]);
    let records = records.map_or(&[][..], |it| &it[..]);
    let gone = match on_read {
        Some(OnReadKey::Trim(last)) => last,
        _ => 0,
    };
    let lowest = request.from_version.max(1);
    let wanted = records
        .iter()
        .filter(|it| it.version >= lowest.max(gone + 1));
    let tell = |record: &v1::KeyRecord| v1::ReadKeyResponse {
        records: vec![record.clone()],
        ..v1::ReadKeyResponse::default()
    };
    let mut told: Vec<_> = wanted.map(tell).collect();
    if request.newest_first {
        told.reverse();
    }
    if request.record_count_max > 0 {
        told.truncate(usize::try_from(request.record_count_max).unwrap());
    }
    if lowest <= gone {
        let gap = v1::ReadKeyResponse {
            gap: Some(v1::KeyGap {
                first_version: lowest,
                last_version: gone,
                reason: v1::key_gap::Reason::Trimmed.into(),
            }),
            ..v1::ReadKeyResponse::default()
        };
        let place = if request.newest_first { told.len() } else { 0 };
        told.insert(place, gap);
    }
    if told.is_empty() {
        told.push(v1::ReadKeyResponse::default());
    }
    told[0].current_version = records.len() as u64;
    told[0].topic_id = topic.topic_id;
    told[0].broker_id = state.broker_id();
    Ok(told)
}
