//! The service that reads records.

pub(super) mod events;
pub(super) mod request;

use std::sync::Arc;

use futures_util::stream;
use tonic::{Request, Response, Status};
use towpath_proto::problem::Problem;
use towpath_proto::reason::ErrorReason;
use towpath_proto::v1::fetch_service_server::FetchService;
use towpath_proto::v1::{FetchRequest, LookupOffsetsRequest, LookupOffsetsResponse};
use towpath_proto::wire;

use super::{Shared, convert, status};
use crate::fetch::Fetch;
use crate::memory::{Unread, UnreadShare};
use crate::server::{Elsewhere, streamed};
use events::Telling;

/// Answers `FetchService`.
#[derive(Debug)]
pub(super) struct FetchApi {
    shared: Arc<Shared>,
}

impl FetchApi {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    async fn open(
        &self,
        request: FetchRequest,
        memory: Arc<Unread>,
    ) -> Result<Response<FetchResponses>, Problem> {
        self.shared.refuse_when_draining()?;
        let opened = request::open(&self.shared, &request).await?;
        let fetch = Fetch::new(
            self.shared.reading.clone(),
            &opened.sources,
            opened.lsn,
            request::options(&self.shared, &request, &memory),
        );
        let telling = Telling::new(Arc::clone(&self.shared), opened, fetch, Arc::clone(&memory));
        // One allocation for the stream: the generator holds the box while it waits, and nothing runs
        // unless the connection asks for the next message.
        let messages = stream::unfold(Box::new(telling), |mut telling| async move {
            let response = telling.next().await?;
            Some((response, telling))
        });
        Ok(streamed(Box::pin(messages), memory))
    }
}

/// The server gives every request the share of its connection.
pub(super) fn without_connection() -> Problem {
    Problem::new(ErrorReason::Internal, "the request came from no connection")
}

/// The messages of one Fetch stream are made when the connection has room for them.
type FetchResponses = Elsewhere<wire::FetchResponse>;

#[tonic::async_trait]
impl FetchService for FetchApi {
    type FetchStream = FetchResponses;

    async fn fetch(
        &self,
        request: Request<FetchRequest>,
    ) -> Result<Response<FetchResponses>, Status> {
        let mut request = request;
        let share = request.extensions_mut().remove::<UnreadShare>();
        let share = share.ok_or_else(without_connection)?;
        let memory = Unread::new(&share.0);
        Ok(self.open(request.into_inner(), memory).await?)
    }

    async fn lookup_offsets(
        &self,
        request: Request<LookupOffsetsRequest>,
    ) -> Result<Response<LookupOffsetsResponse>, Status> {
        let found = request::look_up(&self.shared, request.get_ref()).await?;
        Ok(Response::new(found))
    }
}
