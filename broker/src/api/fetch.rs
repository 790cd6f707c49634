//! The service that reads records.

mod events;
pub(super) mod request;

use std::pin::Pin;
use std::sync::Arc;

use futures_core::Stream;
use futures_util::stream;
use tonic::{Request, Response, Status};
use towpath_proto::problem::Problem;
use towpath_proto::v1::fetch_service_server::FetchService;
use towpath_proto::v1::{FetchRequest, LookupOffsetsRequest, LookupOffsetsResponse};
use towpath_proto::wire;

use super::{Shared, convert, status};
use crate::fetch::Fetch;
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

    async fn open(&self, request: FetchRequest) -> Result<FetchResponses, Problem> {
        self.shared.refuse_when_draining()?;
        let opened = request::open(&self.shared, &request).await?;
        let fetch = Fetch::new(
            self.shared.reading.clone(),
            &opened.sources,
            opened.lsn,
            request::options(&self.shared, &request),
        );
        let telling = Telling::new(Arc::clone(&self.shared), opened, fetch);
        // One allocation for the stream: the generator holds the box while it waits, and nothing runs
        // unless the connection asks for the next message.
        Ok(Box::pin(stream::unfold(
            Box::new(telling),
            |mut telling| async move {
                let response = telling.next().await?;
                Some((response, telling))
            },
        )))
    }
}

/// The messages of one Fetch stream, made when the connection has room for them.
type FetchResponses = Pin<Box<dyn Stream<Item = Result<wire::FetchResponse, Status>> + Send>>;

#[tonic::async_trait]
impl FetchService for FetchApi {
    type FetchStream = FetchResponses;

    async fn fetch(
        &self,
        request: Request<FetchRequest>,
    ) -> Result<Response<FetchResponses>, Status> {
        Ok(Response::new(self.open(request.into_inner()).await?))
    }

    async fn lookup_offsets(
        &self,
        request: Request<LookupOffsetsRequest>,
    ) -> Result<Response<LookupOffsetsResponse>, Status> {
        let found = request::look_up(&self.shared, request.get_ref()).await?;
        Ok(Response::new(found))
    }
}
