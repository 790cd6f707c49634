//! gRPC: parses requests, asks the runtime, converts answers. Decides nothing.

mod admin;
mod commit;
mod convert;
mod dead_letter;
mod facts;
mod fetch;
mod group;
mod index;
mod key;
mod placement;
mod places;
mod produce;
mod schedule;
mod status;
mod subscription;
mod topic;
mod unreadable;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tonic::service::Routes;
use tonic_health::pb::health_server::{Health, HealthServer};
use towpath_proto::limits::{MESSAGE_BYTES_MAX, REQUEST_BYTES_MAX};
use towpath_proto::names::TopicName;
use towpath_proto::problem::Problem;
use towpath_proto::status::DETAILS_DESCRIPTOR_SET;
use towpath_proto::{FILE_DESCRIPTOR_SET, v1};
use towpath_storage::Clock;

use crate::fetch::Reading;
use crate::metrics::{GroupsInFlight, Refusals};
use crate::runtime::command::{Answer, CommandError, ControlCommand, DataCommand};
use crate::runtime::command_queue::CommandQueue;
use crate::runtime::engine::Identity;
use crate::runtime::index_view::IndexView;
use crate::runtime::metrics::{EngineMetrics, Tally};
use crate::runtime::published::{PublishedState, TopicView};
use crate::shutdown::Drain;
use group::Members;
use unreadable::Explained;

/// What the services share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Where commands go.
    pub(crate) commands: Arc<CommandQueue>,
    /// Rows of indexes that are on disk.
    pub(crate) index: Arc<IndexView>,
    /// What may be seen.
    pub(crate) reading: Reading,
    /// Time for people; broker time is the sequencer's.
    pub(crate) clock: Arc<dyn Clock>,
    /// Who this broker is.
    pub(crate) identity: Identity,
    /// When it began to serve, milliseconds since the Unix epoch.
    pub(crate) start_time_ms: i64,
    /// Silence after which a Fetch stream says that it is alive.
    pub(crate) heartbeat_interval: Duration,
    /// After how long a member of a group that says nothing, or takes nothing, is dead.
    pub(crate) session_timeout: Duration,
    /// Memory of batches that wait to be written.
    pub(crate) in_flight: InFlight,
    /// What is counted beside the work.
    pub(crate) metrics: ApiMetrics,
    /// The stages of a stop.
    pub(crate) drain: Drain,
    /// Turns over the partitions for records without a key.
    pub(crate) turn: AtomicU32,
    /// Group members that are connected.
    pub(crate) members: Arc<Members>,
    /// Numbers the connections of group members.
    pub(crate) session: AtomicU64,
}

/// What the services count.
#[derive(Debug)]
pub(crate) struct ApiMetrics {
    /// Of batches.
    pub(crate) engine: Arc<EngineMetrics>,
    /// Of what members were sent.
    pub(crate) groups: Arc<GroupsInFlight>,
    /// Of batches in streams.
    pub(crate) refusals: Arc<Refusals>,
}

/// Memory of batches that wait to be written.
#[derive(Debug)]
pub(crate) struct InFlight {
    /// Of the whole broker.
    pub(crate) all: Arc<Semaphore>,
    /// Of one stream, bytes.
    pub(crate) bytes_per_stream_max: usize,
    /// Who has this one goes beyond the memory of the broker, by less than a request may take.
    pub(crate) beyond: Arc<Semaphore>,
}

/// All services of the broker.
pub(crate) fn routes(shared: &Arc<Shared>, health: HealthServer<impl Health>) -> Routes {
    use v1::admin_service_server::AdminServiceServer;
    use v1::commit_service_server::CommitServiceServer;
    use v1::dead_letter_service_server::DeadLetterServiceServer;
    use v1::fetch_service_server::FetchServiceServer;
    use v1::group_service_server::GroupServiceServer;
    use v1::key_service_server::KeyServiceServer;
    use v1::produce_service_server::ProduceServiceServer;
    use v1::schedule_service_server::ScheduleServiceServer;
    use v1::subscription_service_server::SubscriptionServiceServer;
    use v1::topic_service_server::TopicServiceServer;

    let produce = ProduceServiceServer::new(produce::ProduceApi::new(Arc::clone(shared)));
    let commit = CommitServiceServer::new(commit::CommitApi::new(Arc::clone(shared)));
    let schedule = ScheduleServiceServer::new(schedule::ScheduleApi::new(Arc::clone(shared)));
    let fetch = FetchServiceServer::new(fetch::FetchApi::new(Arc::clone(shared)));
    let group = GroupServiceServer::new(group::GroupApi::new(Arc::clone(shared)));
    let subscription =
        SubscriptionServiceServer::new(subscription::SubscriptionApi::new(Arc::clone(shared)));
    let dead_letter =
        DeadLetterServiceServer::new(dead_letter::DeadLetterApi::new(Arc::clone(shared)));
    let key = KeyServiceServer::new(key::KeyApi::new(Arc::clone(shared)));
    let topic = TopicServiceServer::new(topic::TopicApi::new(Arc::clone(shared)));
    let admin = AdminServiceServer::new(admin::AdminApi::new(Arc::clone(shared)));
    let mut routes = Routes::builder();
    routes
        .add_service(Explained::with_records(
            produce.max_decoding_message_size(MESSAGE_BYTES_MAX),
        ))
        .add_service(Explained::with_operations(
            commit.max_decoding_message_size(REQUEST_BYTES_MAX),
        ))
        .add_service(Explained::new(
            schedule.max_decoding_message_size(MESSAGE_BYTES_MAX),
        ))
        .add_service(Explained::new(
            fetch.max_decoding_message_size(MESSAGE_BYTES_MAX),
        ))
        .add_service(Explained::new(
            group.max_decoding_message_size(MESSAGE_BYTES_MAX),
        ))
        .add_service(Explained::new(
            subscription.max_decoding_message_size(MESSAGE_BYTES_MAX),
        ))
        .add_service(Explained::new(
            dead_letter.max_decoding_message_size(MESSAGE_BYTES_MAX),
        ))
        .add_service(Explained::new(
            key.max_decoding_message_size(MESSAGE_BYTES_MAX),
        ))
        .add_service(Explained::new(
            topic.max_decoding_message_size(MESSAGE_BYTES_MAX),
        ))
        .add_service(Explained::new(
            admin.max_decoding_message_size(MESSAGE_BYTES_MAX),
        ))
        .add_service(health);
    for outcome in add_reflection(&mut routes) {
        if let Err(error) = outcome {
            tracing::error!(%error, "reflection is not available");
        }
    }
    routes.routes()
}

/// The services, for whoever wants to know what there is.
pub(crate) const DESCRIPTOR_SETS: &[&[u8]] =
    &[FILE_DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET];

/// Tells tools such as grpcurl what there is, in both versions of the protocol that they speak.
fn add_reflection(
    routes: &mut tonic::service::RoutesBuilder,
) -> [Result<(), tonic_reflection::server::Error>; 2] {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(DETAILS_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let v1 = builder().build_v1().map(|service| {
        routes.add_service(service);
    });
    let v1alpha = builder().build_v1alpha().map(|service| {
        routes.add_service(service);
    });
    [v1, v1alpha]
}

impl Shared {
    /// What the sequencer publishes.
    fn published(&self) -> &PublishedState {
        self.reading.published()
    }

    /// Refuses what is meant for another broker.
    fn check_broker(&self, meant: Option<&str>) -> Result<(), Problem> {
        let broker_id = self.identity.broker_id;
        match meant {
            Some(meant) if meant != broker_id.to_string() => {
                Err(status::other_broker(meant, broker_id))
            }
            _ => Ok(()),
        }
    }

    /// The topic of a name as it is now.
    fn topic(&self, name: &TopicName) -> Result<Arc<TopicView>, Problem> {
        let topics = self.published().topics();
        let found = topics.named(name).map(Arc::clone);
        found.ok_or_else(|| status::topic_not_found(name, &topics))
    }

    /// Broker time as near as it can be told between two rounds.
    fn broker_time_ms(&self) -> i64 {
        let last_round_ms = self.published().time_ms();
        last_round_ms.max(self.clock.wall_ms())
    }

    /// Refuses new work once the broker stops.
    fn refuse_when_draining(&self) -> Result<(), Problem> {
        if self.drain.has_begun() {
            return Err(status::shutting_down());
        }
        Ok(())
    }

    /// Pushes a control command and waits for its answer. Dropping the future leaves the command in
    /// the queue: it may still happen.
    async fn control<T, R>(
        &self,
        command: impl FnOnce(Answer<T, R>) -> ControlCommand,
    ) -> Result<T, CommandError<R>> {
        let (answer, answered) = oneshot::channel();
        if let Err(command) = self.commands.push_control(command(answer)) {
            command.fail(false);
        }
        answered.await.unwrap_or(Err(CommandError::Failed))
    }

    /// Pushes commands that belong together and waits for all their answers, which come in order. A stop
    /// comes before all of them or after.
    async fn control_all<T, R>(
        &self,
        commands: impl IntoIterator<Item = impl FnOnce(Answer<T, R>) -> ControlCommand>,
    ) -> Vec<Result<T, CommandError<R>>> {
        let (mut asked, mut answered) = (Vec::new(), Vec::new());
        for command in commands {
            let (answer, receiver) = oneshot::channel();
            asked.push(command(answer));
            answered.push(receiver);
        }
        if let Err(commands) = self.commands.push_controls(asked) {
            commands.into_iter().for_each(|command| command.fail(false));
        }
        let mut answers = Vec::with_capacity(answered.len());
        for answer in answered {
            answers.push(answer.await.unwrap_or(Err(CommandError::Failed)));
        }
        answers
    }

    /// Pushes batches; a closed queue answers them as not begun.
    fn push(&self, command: DataCommand) {
        if let Err(command) = self.commands.push_data(command) {
            command.fail(false);
        }
    }

    /// Counts records that are admitted.
    fn tally(&self, record_count: u64) -> Tally {
        Tally::new(&self.metrics.engine, record_count, self.clock.boot())
    }

    /// The next partition for records without a key.
    fn next_turn(&self) -> u32 {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }
}

impl InFlight {
    /// Waits for memory for `bytes`, at most that of one request. None if the broker is gone.
    async fn take(memory: &Arc<Semaphore>, bytes: usize) -> Option<OwnedSemaphorePermit> {
        // Every bound holds one request of its kind; more could never be had.
        let bytes = u32::try_from(bytes.min(REQUEST_BYTES_MAX)).unwrap_or(u32::MAX);
        Arc::clone(memory).acquire_many_owned(bytes).await.ok()
    }
}
