//! The receiving half of a Receive stream: settlements and credit; and whether the consumer is alive.
//!
//! A consumer is dead when it says nothing, or takes nothing of what it is sent, for the session time-out:
//! nobody would handle its records, and what it is to be told would pile up.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::{Status, Streaming};
use towpath_proto::problem::Problem;
use towpath_proto::v1;
use towpath_proto::v1::receive_request::Request;

use super::news::News;
use super::receive::Seat;
use super::settle::{self, Parts, Results};
use super::{Shared, unreadable};
use crate::core::{ConsumerDeparture, Credit};
use crate::memory::Unread;
use crate::runtime::command::ControlCommand;
use crate::runtime::subscription_command::{SubscriptionCommand, SubscriptionSink};

/// Requests to settle of one consumer that may wait for the disk, or for a consumer that does not read its
/// answers; it is not listened to beyond that.
const SETTLING_MAX: usize = 1_000;

/// Listens to one consumer.
#[derive(Debug)]
pub(super) struct Listener {
    shared: Arc<Shared>,
    seat: Arc<Seat>,
    sink: Arc<dyn SubscriptionSink>,
    news: mpsc::UnboundedSender<News>,
    /// What the consumer was sent and has not taken.
    memory: Arc<Unread>,
}

impl Listener {
    pub(super) fn new(
        shared: Arc<Shared>,
        seat: Arc<Seat>,
        sink: Arc<dyn SubscriptionSink>,
        news: mpsc::UnboundedSender<News>,
        memory: Arc<Unread>,
    ) -> Self {
        Self {
            shared,
            seat,
            sink,
            news,
            memory,
        }
    }

    /// Listens until the consumer goes, falls silent or cannot be understood, and tells the subscription.
    pub(super) async fn run(self, mut requests: Streaming<v1::ReceiveRequest>) {
        let closed = self.seat.closed.clone();
        let untaken = self.memory.end_untaken(self.shared.session_timeout);
        let (departure, end) = tokio::select! {
            end = self.listen(&mut requests) => end,
            () = untaken => (ConsumerDeparture::CutOff, Err(Box::new(self.unread()))),
            () = closed.cancelled() => (ConsumerDeparture::CutOff, Ok(())),
        };
        self.push(SubscriptionCommand::Disconnect {
            subscription: self.seat.subscription,
            consumer: self.seat.consumer,
            session: self.seat.session,
            departure,
        });
        drop(self.news.send(News::Over(end)));
    }

    async fn listen(
        &self,
        requests: &mut Streaming<v1::ReceiveRequest>,
    ) -> (ConsumerDeparture, Result<(), Box<Status>>) {
        use ConsumerDeparture::{CutOff, Left};
        loop {
            let request = match timeout(self.shared.session_timeout, requests.message()).await {
                Ok(Ok(Some(request))) => request,
                Ok(Ok(None)) => return (CutOff, Ok(())),
                Ok(Err(status)) => {
                    return (CutOff, Err(Box::new(unreadable::described(status))));
                }
                Err(_elapsed) => return (CutOff, Err(Box::new(self.silent()))),
            };
            match timeout(self.shared.session_timeout, self.take(request)).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => return (Left, Ok(())),
                Ok(Err(problem)) => return (CutOff, Err(Box::new(problem.into()))),
                Err(_elapsed) => return (CutOff, Err(Box::new(self.silent()))),
            }
        }
    }

    /// Takes one step of the stream. Returns whether the consumer stays.
    ///
    /// # Errors
    /// What ends a stream that breaks the rules.
    async fn take(&self, request: v1::ReceiveRequest) -> Result<bool, Problem> {
        match request.request {
            Some(Request::Credit(credit)) => self.push(SubscriptionCommand::Credit {
                subscription: self.seat.subscription,
                consumer: self.seat.consumer,
                more: Credit::new(credit.records, credit.bytes),
            }),
            Some(Request::Stop(_)) => self.push(SubscriptionCommand::Stop {
                subscription: self.seat.subscription,
                consumer: self.seat.consumer,
            }),
            Some(Request::Settle(request)) => self.settle(&request).await?,
            Some(Request::Heartbeat(_)) => {}
            Some(Request::Leave(_)) => return Ok(false),
            Some(Request::Open(_)) => {
                let message = "this stream has opened a subscription already";
                return Err(Problem::invalid_field("open", message));
            }
            None => {
                let message = "a request must be one of those that this broker knows";
                return Err(Problem::invalid_field("request", message));
            }
        }
        Ok(true)
    }

    async fn settle(&self, request: &v1::SettleDeliveries) -> Result<(), Problem> {
        let parts = Parts::of(
            "settle.settlements",
            &request.settlements,
            self.seat.topics.partition_count(),
        )?;
        let is_empty = parts.commands.is_empty();
        self.seat.push_settling(Results::of(&parts));
        if is_empty {
            // Nobody else says so.
            drop(self.news.send(News::Settled(Ok(Vec::new()))));
        }
        settle::push(&self.shared, self.seat.subscription, parts, &self.sink);
        self.seat.has_answered(SETTLING_MAX).await;
        Ok(())
    }

    fn push(&self, command: SubscriptionCommand) {
        let command = ControlCommand::Subscription(command);
        if let Err(command) = self.shared.commands.push_control(command) {
            command.fail(false);
        }
    }

    fn unread(&self) -> Status {
        let timeout = self.shared.session_timeout;
        Status::deadline_exceeded(format!("the consumer has read nothing for {timeout:?}"))
    }

    fn silent(&self) -> Status {
        let timeout = self.shared.session_timeout;
        Status::deadline_exceeded(format!("nothing was heard of the consumer for {timeout:?}"))
    }
}
