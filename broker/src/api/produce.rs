//! The service that writes records.
//!
//! A Produce stream has two halves that do not wait for each other: a task that reads, checks and
//! pushes batches ([`reader`]), and the response stream, which takes what the sequencer answered
//! ([`responses`]). Between them stands the [`outbox`].

mod check;
mod outbox;
mod publish;
mod reader;
mod responses;

use std::sync::Arc;

use tonic::{Request, Response, Status, Streaming};
use towpath_proto::v1::PublishResponse;
use towpath_proto::v1::produce_service_server::ProduceService;
use towpath_proto::wire::{self, PublishRequest};

use crate::memory::MessageMemory;

use super::placement::{Placement, Target};
use super::{InFlight, Shared, convert, status, unreadable};
use outbox::Outbox;
use reader::Reader;
use responses::Responses;

/// Answers `ProduceService`.
#[derive(Debug)]
pub(super) struct ProduceApi {
    shared: Arc<Shared>,
}

impl ProduceApi {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

#[tonic::async_trait]
impl ProduceService for ProduceApi {
    type ProduceStream = Responses;

    async fn produce(
        &self,
        request: Request<Streaming<wire::ProduceRequest>>,
    ) -> Result<Response<Responses>, Status> {
        self.shared.refuse_when_draining()?;
        let outbox = Arc::new(Outbox::new(&self.shared.metrics.refusals));
        let reader = Reader::new(Arc::clone(&self.shared), Arc::clone(&outbox));
        let tasks = self.shared.drain.tasks();
        tasks.spawn(reader.run(request.into_inner()));
        Ok(Response::new(Responses::new(outbox)))
    }

    async fn publish(
        &self,
        request: Request<PublishRequest>,
    ) -> Result<Response<PublishResponse>, Status> {
        let mut request = request;
        let memory = request.extensions_mut().remove::<MessageMemory>();
        let published = publish::publish(&self.shared, request.into_inner(), memory).await?;
        Ok(Response::new(published))
    }
}
