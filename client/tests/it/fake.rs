//! A broker of the tests: keeps what docs/protocol.md says, in memory, and misbehaves on request.

mod commit;
mod connection;
mod control;
mod fetch;
mod group;
mod key;
mod log;
mod produce;
mod subscription;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use towpath_client::Client;
use towpath_proto::problem::Problem;
use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::v1::admin_service_server::AdminServiceServer;
use towpath_proto::v1::commit_service_server::CommitServiceServer;
use towpath_proto::v1::fetch_service_server::FetchServiceServer;
use towpath_proto::v1::group_service_server::GroupServiceServer;
use towpath_proto::v1::key_service_server::KeyServiceServer;
use towpath_proto::v1::produce_service_server::ProduceServiceServer;
use towpath_proto::v1::subscription_service_server::SubscriptionServiceServer;
use towpath_proto::v1::topic_service_server::TopicServiceServer;

pub(crate) use commit::OnCommit;
use connection::Listener;
pub(crate) use key::OnReadKey;
pub(crate) use log::{Log, StoredBatch};
pub(crate) use subscription::{FakeSubscription, OnSettle};

/// What to do with a batch instead of appending and answering it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum OnBatch {
    /// As it should be.
    Append,
    /// Append it and cut the connection before the answer.
    AppendAndCut,
    /// Cut the connection before anything is done.
    Cut,
    /// Append it, answer nothing, keep the connection.
    AppendInSilence,
    /// Append it and say something else about it.
    AppendAndSay(fn(&mut v1::AcceptedBatch)),
    /// Refuse it; the sequence is still awaited.
    Refuse(ErrorReason),
    /// Refuse it for good; the sequence is spent.
    Spend(ErrorReason),
}

/// What to do instead of sending the next batch to a reader.
#[derive(Debug, Clone, Copy)]
pub(crate) enum OnFetch {
    /// As it should be.
    Send,
    /// Cut the connection.
    Cut,
    /// Send nothing at all any more, not even heartbeats.
    FallSilent,
}

/// What the tests look at and change.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) log: Log,
    /// For the next batches, over all streams.
    pub(crate) on_batch: VecDeque<OnBatch>,
    /// For the next batches that are sent to readers.
    pub(crate) on_fetch: VecDeque<OnFetch>,
    /// How often batches, by partition and base offset, are sent with a wrong checksum.
    pub(crate) damaged: BTreeMap<(u32, u64), u32>,
    /// Refuses to open topics and to fetch.
    pub(crate) refuse_opening: Option<ErrorReason>,
    /// How often each kind of call came.
    pub(crate) calls: Vec<&'static str>,
    /// Fails the next calls for administration.
    pub(crate) on_call: VecDeque<ErrorReason>,
    /// What the one consumer group remembers.
    pub(crate) group: group::FakeGroup,
    /// Durable subscriptions, by name.
    pub(crate) subscriptions: BTreeMap<String, FakeSubscription>,
    /// How often each name of a producer was opened, in the order of the first times.
    pub(crate) producers: Vec<(String, u32)>,
    /// For the next commits of several things.
    pub(crate) on_commit: VecDeque<OnCommit>,
    /// The operations of each of those that were looked at.
    pub(crate) commits: Vec<Vec<String>>,
    /// What was answered to those, by their keys.
    pub(crate) remembered_commits: BTreeMap<Bytes, v1::CommitResponse>,
    /// For the next histories of keys that are read.
    pub(crate) on_read_key: VecDeque<OnReadKey>,
    /// How often another broker took the place of the one before.
    replaced_count: u32,
}

impl State {
    /// What the broker calls itself.
    pub(crate) fn broker_id(&self) -> String {
        format!("{:032x}", self.replaced_count)
    }

    fn replace(&mut self) {
        self.replaced_count += 1;
        let topics = std::mem::take(&mut self.log).topics.into_iter();
        let mut topics: Vec<_> = topics
            .map(|(name, it)| (it.topic_id, name, it.partitions.len()))
            .collect();
        topics.sort_unstable();
        for (_, name, partition_count) in topics {
            let partition_count = u32::try_from(partition_count).unwrap();
            self.log.create(&name, partition_count);
        }
    }

    /// Begins a life of a producer.
    fn open_producer(&mut self, name: &str) -> v1::OpenProducerResponse {
        let known = self.producers.iter().position(|(known, _)| known == name);
        let number = known.unwrap_or_else(|| {
            self.producers.push((name.to_owned(), 0));
            self.producers.len() - 1
        });
        let epoch = &mut self.producers[number].1;
        *epoch += 1;
        let mut id = vec![0; 16];
        id[..12].fill(u8::try_from(number + 1).unwrap());
        v1::OpenProducerResponse {
            producer_id: id.into(),
            producer_epoch: *epoch,
        }
    }

    /// Refuses older lives.
    fn check_life(&self, producer_id: &[u8], epoch: u32) -> Result<(), Problem> {
        let mut names = (1..).zip(&self.producers);
        let found = names.find(|(number, _)| producer_id[..12] == [*number; 12]);
        match found {
            Some((_, (name, newest))) if *newest != epoch => {
                let text = format!("producer \"{name}\" was opened again");
                let problem = Problem::new(ErrorReason::ProducerFenced, text);
                Err(problem.with("producer_epoch", newest))
            }
            _ => Ok(()),
        }
    }

    /// Refuses what is meant for another broker.
    fn check_broker(&self, meant: Option<&str>) -> Result<(), Problem> {
        if meant.is_none_or(|id| id == self.broker_id()) {
            return Ok(());
        }
        let problem = Problem::new(ErrorReason::TopicNotFound, "this is another broker");
        Err(problem.with("broker_id", self.broker_id()))
    }
}

/// A broker that runs until it is dropped.
#[derive(Debug, Clone)]
pub(crate) struct FakeBroker {
    shared: Arc<Shared>,
    listener: Listener,
}

/// What the services share.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Rises with every change that readers may wait for.
    version: watch::Sender<u64>,
    /// Whether answers to batches are kept back.
    is_holding: watch::Sender<bool>,
    /// Whether streams are told to drain.
    is_draining: watch::Sender<bool>,
    /// Cuts the connections that there are; replaced by a new one each time.
    cut: Mutex<CancellationToken>,
}

impl Shared {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn changed(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    /// Breaks every connection there is.
    pub(crate) fn cut(&self) {
        let mut cut = self.cut.lock().unwrap();
        std::mem::take(&mut *cut).cancel();
    }

    pub(crate) fn called(&self, call: &'static str) {
        self.state().calls.push(call);
    }
}

impl FakeBroker {
    pub(crate) fn start() -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            version: watch::Sender::new(0),
            is_holding: watch::Sender::new(false),
            is_draining: watch::Sender::new(false),
            cut: Mutex::default(),
        });
        let (listener, incoming) = Listener::new(Arc::clone(&shared));
        let service = produce::Produce(Arc::clone(&shared));
        let fetch = fetch::Fetch(Arc::clone(&shared));
        let control = control::Control(Arc::clone(&shared));
        let server = Server::builder()
            .add_service(
                ProduceServiceServer::new(service).max_decoding_message_size(8 * 1024 * 1024),
            )
            .add_service(FetchServiceServer::new(fetch))
            .add_service(
                CommitServiceServer::new(commit::Commits(Arc::clone(&shared)))
                    .max_decoding_message_size(9 * 1024 * 1024),
            )
            .add_service(KeyServiceServer::new(key::Keys(Arc::clone(&shared))))
            .add_service(GroupServiceServer::new(group::Groups(Arc::clone(&shared))))
            .add_service(SubscriptionServiceServer::new(subscription::Subscriptions(
                Arc::clone(&shared),
            )))
            .add_service(TopicServiceServer::new(control.clone()))
            .add_service(AdminServiceServer::new(control));
        tokio::spawn(server.serve_with_incoming(incoming));
        Self { shared, listener }
    }

    /// A broker with one topic, and a client for it.
    pub(crate) fn with_topic(topic: &str, partition_count: u32) -> (Self, Client) {
        let broker = Self::start();
        broker.state().log.create(topic, partition_count);
        let client = broker.client();
        (broker, client)
    }

    /// Gives a topic other settings.
    pub(crate) fn set_config(&self, topic: &str, config: v1::TopicConfig) {
        self.state().log.find_mut(topic, None).unwrap().config = config;
    }

    pub(crate) fn client(&self) -> Client {
        let listener = self.listener.clone();
        crate::logging::listen();
        Client::builder()
            .url("http://fake:7600")
            .source("/tests")
            .data_connections(2)
            .dial_with(move || std::future::ready(listener.dial()))
            .build()
            .unwrap()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    pub(crate) fn on_batches(&self, on_batch: impl IntoIterator<Item = OnBatch>) {
        self.state().on_batch.extend(on_batch);
    }

    pub(crate) fn on_fetches(&self, on_fetch: impl IntoIterator<Item = OnFetch>) {
        self.state().on_fetch.extend(on_fetch);
    }

    /// Has streams look at what a test has changed.
    pub(crate) fn tell_streams(&self) {
        self.shared.changed();
    }

    /// Appends a batch as if a producer had sent it, and returns its LSN.
    pub(crate) fn append(&self, topic: &str, partition: u32, values: &[&str]) -> u64 {
        let lsn = self.state().log.append_values(topic, partition, values);
        self.shared.changed();
        lsn
    }

    /// Appends a batch of records with keys, and returns its LSN.
    pub(crate) fn append_keyed(&self, topic: &str, records: &[(&str, &str)]) -> u64 {
        let records = records.iter().map(|(key, value)| (Some(*key), *value));
        let records: Vec<_> = records.collect();
        let lsn = self.state().log.append_records(topic, 0, &records);
        self.shared.changed();
        lsn
    }

    /// Breaks every connection there is.
    pub(crate) fn cut(&self) {
        self.shared.cut();
    }

    /// Breaks every connection and takes no new one until [`FakeBroker::go_up`].
    pub(crate) fn go_down(&self) {
        self.listener.refuse(true);
        self.cut();
    }

    pub(crate) fn go_up(&self) {
        self.listener.refuse(false);
    }

    /// Takes a new data folder, with the same topics under the same ids and nothing in them.
    pub(crate) fn replace(&self) {
        self.go_down();
        self.state().replace();
        self.go_up();
    }

    /// Number of connections that were made so far.
    pub(crate) fn connection_count(&self) -> usize {
        self.listener.connection_count()
    }

    /// Keeps the answers to batches back, or lets them go.
    pub(crate) fn hold_answers(&self, is_holding: bool) {
        self.shared.is_holding.send_replace(is_holding);
    }

    /// Tells streams to drain, or stops doing so.
    pub(crate) fn drain(&self, is_draining: bool) {
        self.shared.is_draining.send_replace(is_draining);
    }

    /// Values of all records of a partition, in offset order.
    pub(crate) fn values(&self, topic: &str, partition: u32) -> Vec<String> {
        self.state().log.values(topic, partition)
    }

    /// Waits until something holds, for at most a minute of the test's time.
    pub(crate) async fn wait_until(&self, what: &str, mut holds: impl FnMut(&State) -> bool) {
        for _ in 0..60_000 {
            if holds(&self.state()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("{what} did not come true");
    }
}
