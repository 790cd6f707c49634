//! The service that reads records by their key.

mod history;
mod lookup;

use std::pin::Pin;
use std::sync::Arc;

use futures_core::Stream;
use futures_util::stream;
use tonic::{Request, Response, Status};
use towpath_proto::problem::Problem;
use towpath_proto::v1;
use towpath_proto::v1::key_service_server::KeyService;

use super::{Shared, convert, dead_letter, facts, status};
use history::History;
use lookup::{KeyName, ReadRecord};

/// Answers `KeyService`.
#[derive(Debug)]
pub(super) struct KeyApi {
    shared: Arc<Shared>,
}

impl KeyApi {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    async fn latest(
        &self,
        request: v1::GetLatestRequest,
    ) -> Result<v1::GetLatestResponse, Problem> {
        let shared = &self.shared;
        shared.refuse_when_draining()?;
        let name = KeyName::new(shared, &request.topic, None, request.key)?;
        if !name.topic.settings().config.has_key_heads() {
            let message = format!("topic \"{}\" does not look at keys", name.topic.name());
            return Err(Problem::invalid_field("topic", message).with_hint(
                "create a topic with key versions, or one that compares versions of entities",
            ));
        }
        let found = name.look_up(shared, 0..0).await?;
        let Some(head) = found.head else {
            return Ok(v1::GetLatestResponse::default());
        };
        let mut records = lookup::Records::new(&name);
        let version = match name.topic.settings().config.has_key_versions {
            true => head.newest_version,
            false => 0,
        };
        let record = records
            .read(shared, (head.partition, head.offset), version)
            .await?;
        let record = match record {
            ReadRecord::Found(record) => Some(*record),
            ReadRecord::Trimmed | ReadRecord::Compacted => None,
            ReadRecord::Damaged(problem) => return Err(problem),
        };
        Ok(v1::GetLatestResponse {
            record,
            current_version: head.version,
        })
    }
}

/// The messages of one `ReadKey` stream, made when the connection has room for them.
type ReadKeyResponses = Pin<Box<dyn Stream<Item = Result<v1::ReadKeyResponse, Status>> + Send>>;

#[tonic::async_trait]
impl KeyService for KeyApi {
    type ReadKeyStream = ReadKeyResponses;

    async fn read_key(
        &self,
        request: Request<v1::ReadKeyRequest>,
    ) -> Result<Response<ReadKeyResponses>, Status> {
        let history = History::open(&self.shared, request.into_inner()).await?;
        let responses = stream::unfold(history, |mut history| async move {
            let response = history.next().await?;
            Some((response.map_err(Status::from), history))
        });
        Ok(Response::new(Box::pin(responses)))
    }

    async fn get_latest(
        &self,
        request: Request<v1::GetLatestRequest>,
    ) -> Result<Response<v1::GetLatestResponse>, Status> {
        Ok(Response::new(self.latest(request.into_inner()).await?))
    }
}
