//! The service of dead letters: looking at them, giving them back, and being done with them.
//!
//! The records are read from the topic of the dead letters; what stands where, the state machine says. A
//! redrive goes in steps of a few letters: each is one entry, so that a letter is in one place whenever
//! it is interrupted.

mod filter;
mod job;
mod letter;
mod list;
mod republish;
pub(super) mod scan;
mod token;

use std::pin::Pin;
use std::sync::Arc;

use futures_core::Stream;
use tonic::{Request, Response, Status};
use towpath_proto::problem::Problem;
use towpath_proto::v1;
use towpath_proto::v1::dead_letter_service_server::DeadLetterService;

use super::subscription::find;
use super::{Shared, status};
use crate::core::{OnDeadLetter, SubscriptionId};
use crate::runtime::published::TopicView;

/// Answers `DeadLetterService`.
#[derive(Debug)]
pub(super) struct DeadLetterApi {
    shared: Arc<Shared>,
}

impl DeadLetterApi {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

/// The dead letters of one subscription.
#[derive(Debug, Clone)]
struct Letters {
    name: String,
    subscription: SubscriptionId,
    on_dead_letter: OnDeadLetter,
    topic: Arc<TopicView>,
}

/// Looks up the dead letters of a subscription.
async fn letters_of(shared: &Shared, name: &str) -> Result<Letters, Problem> {
    let (found, _) = find(shared, "subscription", name).await?;
    let topics = shared.published().topics();
    let topic = found.dead_letter_topic.and_then(|id| topics.with_id(id));
    let topic = topic.ok_or_else(|| status::dead_letter_topic_gone(&found.name))?;
    let subscription = found.id;
    Ok(Letters {
        subscription: subscription.ok_or_else(|| status::subscription_deleted(&found.name))?,
        name: found.name.to_string(),
        on_dead_letter: found.config.on_dead_letter,
        topic: Arc::clone(topic),
    })
}

/// The messages of a call that tells how far it is.
type Progress<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl DeadLetterService for DeadLetterApi {
    type RedriveDeadLettersStream = Progress<v1::RedriveDeadLettersResponse>;
    type DiscardDeadLettersStream = Progress<v1::DiscardDeadLettersResponse>;

    async fn list_dead_letters(
        &self,
        request: Request<v1::ListDeadLettersRequest>,
    ) -> Result<Response<v1::ListDeadLettersResponse>, Status> {
        let page = list::list(&self.shared, request.get_ref()).await?;
        Ok(Response::new(page))
    }

    async fn get_dead_letter(
        &self,
        request: Request<v1::GetDeadLetterRequest>,
    ) -> Result<Response<v1::GetDeadLetterResponse>, Status> {
        let shown = list::get(&self.shared, request.get_ref()).await?;
        Ok(Response::new(shown))
    }

    async fn redrive_dead_letters(
        &self,
        request: Request<v1::RedriveDeadLettersRequest>,
    ) -> Result<Response<Self::RedriveDeadLettersStream>, Status> {
        let progress = job::redrive(&self.shared, request.into_inner()).await?;
        Ok(Response::new(progress))
    }

    async fn discard_dead_letters(
        &self,
        request: Request<v1::DiscardDeadLettersRequest>,
    ) -> Result<Response<Self::DiscardDeadLettersStream>, Status> {
        let progress = job::discard(&self.shared, request.into_inner()).await?;
        Ok(Response::new(progress))
    }
}
