//! The service of durable subscriptions.
//!
//! A Receive stream has two halves, as a Join stream has: a task that takes what the consumer says
//! ([`listener`]), and the response stream, which reads the records that the sequencer decides to deliver
//! ([`teller`]).

mod change;
mod convert;
mod explain;
mod listener;
mod news;
mod pending;
mod place;
mod pull;
mod receive;
mod records;
mod seek;
mod settle;
mod show;
mod teller;
mod update;

pub(super) use convert::settlement;
pub(super) use show::find;

use std::sync::Arc;

use tonic::{Request, Response, Status, Streaming};
use towpath_proto::names::SubscriptionName;
use towpath_proto::problem::Problem;
use towpath_proto::v1::subscription_service_server::SubscriptionService;
use towpath_proto::{v1, wire};

use super::{Shared, fetch, status, unreadable};
use crate::memory::{Unread, UnreadShare};
use crate::server::{Elsewhere, streamed};

/// Answers `SubscriptionService`.
#[derive(Debug)]
pub(super) struct SubscriptionApi {
    shared: Arc<Shared>,
}

impl SubscriptionApi {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

/// Reads the name of a subscription from the field `field`.
fn subscription_name(field: &str, name: &str) -> Result<SubscriptionName, Problem> {
    SubscriptionName::new(name).map_err(|error| status::invalid_name(field, error))
}

/// The messages of one Receive stream, made when the connection has room for them.
type ReceiveResponses = Elsewhere<wire::ReceiveResponse>;

#[tonic::async_trait]
impl SubscriptionService for SubscriptionApi {
    type ReceiveStream = ReceiveResponses;

    async fn create_subscription(
        &self,
        request: Request<v1::CreateSubscriptionRequest>,
    ) -> Result<Response<v1::CreateSubscriptionResponse>, Status> {
        let created = change::create(&self.shared, request.into_inner()).await?;
        Ok(Response::new(created))
    }

    async fn get_subscription(
        &self,
        request: Request<v1::GetSubscriptionRequest>,
    ) -> Result<Response<v1::GetSubscriptionResponse>, Status> {
        let shown = show::get(&self.shared, request.get_ref()).await?;
        Ok(Response::new(shown))
    }

    async fn list_subscriptions(
        &self,
        request: Request<v1::ListSubscriptionsRequest>,
    ) -> Result<Response<v1::ListSubscriptionsResponse>, Status> {
        let page = show::list(&self.shared, request.into_inner()).await?;
        Ok(Response::new(page))
    }

    async fn update_subscription(
        &self,
        request: Request<v1::UpdateSubscriptionRequest>,
    ) -> Result<Response<v1::UpdateSubscriptionResponse>, Status> {
        let updated = update::update(&self.shared, request.into_inner()).await?;
        Ok(Response::new(updated))
    }

    async fn seek_subscription(
        &self,
        request: Request<v1::SeekSubscriptionRequest>,
    ) -> Result<Response<v1::SeekSubscriptionResponse>, Status> {
        let sought = seek::seek(&self.shared, request.get_ref()).await?;
        Ok(Response::new(sought))
    }

    async fn pause_subscription(
        &self,
        request: Request<v1::PauseSubscriptionRequest>,
    ) -> Result<Response<v1::PauseSubscriptionResponse>, Status> {
        change::pause(&self.shared, &request.get_ref().name, true).await?;
        Ok(Response::new(v1::PauseSubscriptionResponse {}))
    }

    async fn resume_subscription(
        &self,
        request: Request<v1::ResumeSubscriptionRequest>,
    ) -> Result<Response<v1::ResumeSubscriptionResponse>, Status> {
        change::pause(&self.shared, &request.get_ref().name, false).await?;
        Ok(Response::new(v1::ResumeSubscriptionResponse {}))
    }

    async fn delete_subscription(
        &self,
        request: Request<v1::DeleteSubscriptionRequest>,
    ) -> Result<Response<v1::DeleteSubscriptionResponse>, Status> {
        change::delete(&self.shared, request.get_ref()).await?;
        Ok(Response::new(v1::DeleteSubscriptionResponse {}))
    }

    async fn receive(
        &self,
        request: Request<Streaming<v1::ReceiveRequest>>,
    ) -> Result<Response<ReceiveResponses>, Status> {
        let mut request = request;
        let share = request.extensions_mut().remove::<UnreadShare>();
        let share = share.ok_or_else(fetch::without_connection)?;
        let memory = Unread::new(&share.0);
        let messages = receive::receive(&self.shared, request.into_inner(), &memory).await?;
        Ok(streamed(messages, memory))
    }

    async fn pull(
        &self,
        request: Request<v1::PullRequest>,
    ) -> Result<Response<wire::PullResponse>, Status> {
        let pulled = pull::pull(&self.shared, request.get_ref()).await?;
        Ok(Response::new(pulled))
    }

    async fn settle(
        &self,
        request: Request<v1::SettleRequest>,
    ) -> Result<Response<v1::SettleResponse>, Status> {
        let settled = settle::settle(&self.shared, request.get_ref()).await?;
        Ok(Response::new(settled))
    }

    async fn list_pending(
        &self,
        request: Request<v1::ListPendingRequest>,
    ) -> Result<Response<v1::ListPendingResponse>, Status> {
        let page = pending::list(&self.shared, request.get_ref()).await?;
        Ok(Response::new(page))
    }

    async fn explain_record(
        &self,
        request: Request<v1::ExplainRecordRequest>,
    ) -> Result<Response<v1::ExplainRecordResponse>, Status> {
        let explained = explain::explain(&self.shared, request.get_ref()).await?;
        Ok(Response::new(explained))
    }
}
