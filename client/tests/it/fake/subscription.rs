//! `SubscriptionService` of the fake broker: settings that are kept and shown, and streams.

mod deliver;
mod pending;
mod state;
mod stream;

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use towpath_proto::problem::Problem;
use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::v1::receive_request::Request as Step;
use towpath_proto::v1::subscription_service_server::SubscriptionService;
use towpath_proto::wire;

use super::Shared;
pub(crate) use state::{FakeSubscription, OnSettle};
use stream::ReceiveStream;

#[derive(Debug, Clone)]
pub(crate) struct Subscriptions(pub(crate) Arc<Shared>);

impl Subscriptions {
    fn called(&self, call: &'static str) -> Result<(), Status> {
        self.0.called(call);
        match self.0.state().on_call.pop_front() {
            Some(reason) => Err(Problem::new(reason, "as the test wants").into()),
            None => Ok(()),
        }
    }

    /// Changes a subscription, and says what it is then.
    fn change(
        &self,
        name: &str,
        change: impl FnOnce(&mut v1::Subscription),
    ) -> Result<v1::Subscription, Status> {
        let mut state = self.0.state();
        let found = state.subscriptions.get_mut(name);
        let found = found.ok_or_else(|| not_found(name))?;
        change(&mut found.shown);
        let shown = found.shown.clone();
        drop(state);
        self.0.changed();
        Ok(shown)
    }
}

fn not_found(name: &str) -> Problem {
    let problem = Problem::new(ErrorReason::SubscriptionNotFound, "there is none");
    problem.with("subscription", name)
}

#[tonic::async_trait]
impl SubscriptionService for Subscriptions {
    type ReceiveStream = ReceiverStream<Result<wire::ReceiveResponse, Status>>;

    async fn create_subscription(
        &self,
        request: Request<v1::CreateSubscriptionRequest>,
    ) -> Result<Response<v1::CreateSubscriptionResponse>, Status> {
        self.called("create_subscription")?;
        let request = request.into_inner();
        let mut state = self.0.state();
        let config = state::with_defaults(request.config.unwrap_or_default());
        if let Some(found) = state.subscriptions.get(&request.name) {
            if found.shown.config.as_ref() != Some(&config) {
                let problem = Problem::new(ErrorReason::SubscriptionExists, "another one");
                return Err(problem.with("config", "differs").into());
            }
            return Ok(Response::new(v1::CreateSubscriptionResponse {
                subscription: Some(found.shown.clone()),
                existed: true,
            }));
        }
        let topic_id = state.log.find(&request.topic, None)?.topic_id;
        let shown = v1::Subscription {
            name: request.name.clone(),
            subscription_id: 1 + state.subscriptions.len() as u64,
            topic: request.topic,
            topic_id,
            config: Some(config),
            create_time_ms: 1000,
            etag: "1".to_owned(),
            ..v1::Subscription::default()
        };
        if !request.validate_only {
            let created = FakeSubscription::new(shown.clone(), request.start);
            state.subscriptions.insert(request.name, created);
        }
        Ok(Response::new(v1::CreateSubscriptionResponse {
            subscription: Some(shown),
            existed: false,
        }))
    }

    async fn get_subscription(
        &self,
        request: Request<v1::GetSubscriptionRequest>,
    ) -> Result<Response<v1::GetSubscriptionResponse>, Status> {
        self.called("get_subscription")?;
        let name = request.into_inner().name;
        let shown = self.change(&name, |_| {})?;
        let consumers = vec![v1::SubscriptionConsumer {
            consumer_id: vec![1; 16].into(),
            client_name: "/tests".to_owned(),
            is_active: true,
            ..v1::SubscriptionConsumer::default()
        }];
        let partitions = vec![v1::SubscriptionPartition {
            lag_records: 3,
            lag_ms: 1_500,
            halt_reason: "damaged".to_owned(),
            parked_keys: 2,
            ..v1::SubscriptionPartition::default()
        }];
        Ok(Response::new(v1::GetSubscriptionResponse {
            subscription: Some(v1::Subscription {
                consumers,
                partitions,
                dead_letter_topic: format!("{name}.dlq"),
                dead_letter_problem: "it is full".to_owned(),
                ..shown
            }),
            lsn: self.0.state().log.lsn,
        }))
    }

    async fn list_subscriptions(
        &self,
        request: Request<v1::ListSubscriptionsRequest>,
    ) -> Result<Response<v1::ListSubscriptionsResponse>, Status> {
        self.called("list_subscriptions")?;
        let request = request.into_inner();
        let state = self.0.state();
        let listed = state.subscriptions.values().map(|it| &it.shown);
        let listed = listed.filter(|it| {
            let is_of_topic = request.topic.is_empty() || request.topic == it.topic;
            it.name.starts_with(&request.name_prefix) && it.name > request.page_token && is_of_topic
        });
        // Pages of two, whatever was asked for.
        let mut subscriptions: Vec<_> = listed.cloned().collect();
        let has_more = subscriptions.len() > 2;
        subscriptions.truncate(2);
        let last = subscriptions.last().filter(|_| has_more);
        Ok(Response::new(v1::ListSubscriptionsResponse {
            next_page_token: last.map(|it| it.name.clone()).unwrap_or_default(),
            subscriptions,
        }))
    }

    async fn update_subscription(
        &self,
        request: Request<v1::UpdateSubscriptionRequest>,
    ) -> Result<Response<v1::UpdateSubscriptionResponse>, Status> {
        self.called("update_subscription")?;
        let request = request.into_inner();
        let given = request.config.unwrap_or_default();
        let paths = request.update_mask.unwrap_or_default().paths;
        let etag = self.change(&request.name, |_| {})?.etag;
        if !request.etag.is_empty() && request.etag != etag {
            let problem = Problem::new(ErrorReason::EtagMismatch, "changed by someone else");
            return Err(problem.with("etag", etag).into());
        }
        let is_named = |name: &str| paths.iter().any(|path| path == name);
        let subscription = self.change(&request.name, |it| {
            let mut config = it.config.clone().unwrap_or_default();
            if is_named("ack_deadline_ms") {
                config.ack_deadline_ms = given.ack_deadline_ms;
            }
            if is_named("backoff_min_ms") && is_named("backoff_max_ms") {
                config.backoff_min_ms = given.backoff_min_ms;
                config.backoff_max_ms = given.backoff_max_ms;
            }
            if is_named("attempts_max") {
                config.attempts_max = given.attempts_max;
            }
            if is_named("age_max_ms") {
                config.age_max_ms = given.age_max_ms;
            }
            if is_named("filter") {
                config.filter.clone_from(&given.filter);
            }
            if is_named("on_filter_error") {
                config.on_filter_error = given.on_filter_error;
            }
            it.config = Some(config);
            it.etag = format!("{}1", it.etag);
        })?;
        Ok(Response::new(v1::UpdateSubscriptionResponse {
            subscription: Some(subscription),
        }))
    }

    async fn pause_subscription(
        &self,
        request: Request<v1::PauseSubscriptionRequest>,
    ) -> Result<Response<v1::PauseSubscriptionResponse>, Status> {
        self.called("pause_subscription")?;
        self.change(&request.into_inner().name, |it| it.is_paused = true)?;
        Ok(Response::new(v1::PauseSubscriptionResponse {}))
    }

    async fn resume_subscription(
        &self,
        request: Request<v1::ResumeSubscriptionRequest>,
    ) -> Result<Response<v1::ResumeSubscriptionResponse>, Status> {
        self.called("resume_subscription")?;
        self.change(&request.into_inner().name, |it| it.is_paused = false)?;
        Ok(Response::new(v1::ResumeSubscriptionResponse {}))
    }

    async fn seek_subscription(
        &self,
        request: Request<v1::SeekSubscriptionRequest>,
    ) -> Result<Response<v1::SeekSubscriptionResponse>, Status> {
        self.called("seek_subscription")?;
        let request = request.into_inner();
        self.change(&request.name, |_| {})?;
        let Some(v1::position::Position::Offset(to_offset)) =
            request.position.and_then(|it| it.position)
        else {
            return Err(Problem::invalid_field("position", "not here").into());
        };
        let partitions =
            request
                .partitions
                .into_iter()
                .map(|partition| v1::SoughtSubscriptionPartition {
                    partition,
                    to_offset,
                    lag_records: u64::from(request.validate_only),
                    ..v1::SoughtSubscriptionPartition::default()
                });
        Ok(Response::new(v1::SeekSubscriptionResponse {
            partitions: partitions.collect(),
        }))
    }

    async fn delete_subscription(
        &self,
        request: Request<v1::DeleteSubscriptionRequest>,
    ) -> Result<Response<v1::DeleteSubscriptionResponse>, Status> {
        self.called("delete_subscription")?;
        let request = request.into_inner();
        self.change(&request.name, |_| {})?;
        if !request.validate_only {
            self.0.state().subscriptions.remove(&request.name);
        }
        Ok(Response::new(v1::DeleteSubscriptionResponse {}))
    }

    async fn receive(
        &self,
        request: Request<Streaming<v1::ReceiveRequest>>,
    ) -> Result<Response<Self::ReceiveStream>, Status> {
        self.0.called("receive");
        let mut requests = request.into_inner();
        let first = requests.message().await?.and_then(|it| it.request);
        let Some(Step::Open(open)) = first else {
            return Err(Problem::invalid_field("request", "nobody receives").into());
        };
        let (messages, responses) = mpsc::channel(1);
        let stream = ReceiveStream::open(Arc::clone(&self.0), open, requests, messages)?;
        tokio::spawn(stream.run());
        Ok(Response::new(ReceiverStream::new(responses)))
    }

    async fn pull(
        &self,
        _request: Request<v1::PullRequest>,
    ) -> Result<Response<wire::PullResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn settle(
        &self,
        _request: Request<v1::SettleRequest>,
    ) -> Result<Response<v1::SettleResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn list_pending(
        &self,
        request: Request<v1::ListPendingRequest>,
    ) -> Result<Response<v1::ListPendingResponse>, Status> {
        self.called("list_pending")?;
        let request = request.into_inner();
        self.change(&request.subscription, |_| {})?;
        Ok(Response::new(pending::page(&request)))
    }

    async fn explain_record(
        &self,
        request: Request<v1::ExplainRecordRequest>,
    ) -> Result<Response<v1::ExplainRecordResponse>, Status> {
        self.called("explain_record")?;
        let request = request.into_inner();
        self.change(&request.subscription, |_| {})?;
        Ok(Response::new(pending::explanation(&request)))
    }
}
