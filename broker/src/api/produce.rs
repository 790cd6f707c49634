//! The service that writes records.
//!
//! A Produce stream has two halves that do not wait for each other: a task that reads, checks and
//! pushes batches ([`reader`]), and the response stream, which takes what the sequencer answered
//! ([`responses`]). Between them stands the [`outbox`].

mod check;
mod memory;
mod named;
mod outbox;
mod publish;
mod reader;
mod responses;

use std::sync::Arc;

use tonic::{Request, Response, Status, Streaming};
use towpath_proto::v1;
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

    async fn open_producer(
        &self,
        request: Request<v1::OpenProducerRequest>,
    ) -> Result<Response<v1::OpenProducerResponse>, Status> {
        let opened = named::open(&self.shared, request.get_ref()).await?;
        Ok(Response::new(opened))
    }

    async fn list_producers(
        &self,
        request: Request<v1::ListProducersRequest>,
    ) -> Result<Response<v1::ListProducersResponse>, Status> {
        let page = named::list(&self.shared, request.into_inner()).await?;
        Ok(Response::new(page))
    }

    async fn delete_producer(
        &self,
        request: Request<v1::DeleteProducerRequest>,
    ) -> Result<Response<v1::DeleteProducerResponse>, Status> {
        let deleted = named::delete(&self.shared, request.get_ref()).await?;
        Ok(Response::new(deleted))
    }
}
