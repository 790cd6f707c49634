//! Starting brokers and speaking to them. Every wait has a bound.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};
use towpath_broker::{Broker, Config};
use towpath_proto::batch::NewRecord;
use towpath_proto::limits::MESSAGE_BYTES_MAX;
use towpath_proto::problem::Problem;
use towpath_proto::reason::ErrorReason;
use towpath_proto::status::code_of;
use towpath_proto::v1::admin_service_client::AdminServiceClient;
use towpath_proto::v1::fetch_service_client::FetchServiceClient;
use towpath_proto::v1::produce_response::Response;
use towpath_proto::v1::produce_service_client::ProduceServiceClient;
use towpath_proto::v1::topic_service_client::TopicServiceClient;
use towpath_proto::wire::fetch_response::Response as Fetched;
use towpath_proto::wire::{FetchResponse, FetchedBatch, ProduceBatch, ProduceRequest};
use towpath_proto::{batch, v1};
use towpath_storage::Environment;
use towpath_storage::vfs::sim::{SimDisk, SimOptions};
use towpath_storage::{SimEntropy, SystemClock};

/// What is told to people about each reason.
const ERRORS: &str = include_str!("../../../docs/errors.md");

/// Longest that anything here may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for something that must come.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what)
        .await
        .expect("it comes in time")
}

/// A broker and a connection to it.
pub(crate) struct TestBroker {
    pub(crate) broker: Broker,
    pub(crate) channel: Channel,
    pub(crate) config: Config,
    /// Where its data is, unless it is on a simulated disk. Removed with it.
    dir: Option<TempDir>,
}

/// Settings of a test: any free port, quick heartbeats, a short drain.
pub(crate) fn config() -> Config {
    let mut config = Config {
        listen: "127.0.0.1:0".parse().ok(),
        data_dir: PathBuf::new(),
        drain_deadline: Duration::from_secs(5),
        heartbeat_interval: Duration::from_millis(20),
        ..Config::default()
    };
    // Less to write before the first record.
    config.engine.storage.journal_file_bytes = Some(4 * 1024 * 1024);
    config
}

/// Settings of a test that reads from disk: nothing stays in memory once it is settled.
pub(crate) fn config_without_cache() -> Config {
    let mut config = config();
    config.engine.sequencer.tail_cache_bytes = 0;
    config
}

/// An environment on a simulated disk, with the machine's clock.
pub(crate) fn simulated(total_bytes: u64) -> (SimDisk, Environment) {
    let disk = SimDisk::new(SimOptions {
        total_bytes,
        ..SimOptions::default()
    });
    let environment = Environment {
        vfs: disk.vfs(),
        clock: std::sync::Arc::new(SystemClock),
        entropy: std::sync::Arc::new(SimEntropy::new(1)),
    };
    (disk, environment)
}

impl TestBroker {
    pub(crate) async fn start() -> Self {
        Self::start_with(config()).await
    }

    /// Starts on a new folder.
    pub(crate) async fn start_with(config: Config) -> Self {
        let dir = TempDir::new().unwrap();
        let config = Config {
            data_dir: dir.path().join("data"),
            ..config
        };
        let broker = soon(Broker::start(config.clone())).await.unwrap();
        Self::connect(broker, config, Some(dir)).await
    }

    pub(crate) async fn start_in(config: Config, environment: Environment) -> Self {
        let broker = Broker::start_in(config.clone(), environment);
        let broker = soon(broker).await.unwrap();
        Self::connect(broker, config, None).await
    }

    async fn connect(broker: Broker, config: Config, dir: Option<TempDir>) -> Self {
        let channel = connect(&broker).await.unwrap();
        Self {
            broker,
            channel,
            config,
            dir,
        }
    }

    /// Drops the broker without a word to anyone, and starts another one on its folder.
    pub(crate) async fn restart(self) -> Self {
        let Self {
            broker,
            config,
            dir,
            ..
        } = self;
        drop_in_its_own_time(broker).await;
        let broker = soon(Broker::start(config.clone())).await.unwrap();
        Self::connect(broker, config, dir).await
    }

    /// Drops the broker without a word to anyone; returns what it was started with.
    pub(crate) async fn stop(self) -> Config {
        let Self { broker, config, .. } = self;
        drop_in_its_own_time(broker).await;
        config
    }

    pub(crate) fn topics(&self) -> TopicServiceClient<Channel> {
        TopicServiceClient::new(self.channel.clone())
    }

    pub(crate) fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel.clone())
    }

    pub(crate) fn produce(&self) -> ProduceServiceClient<Channel> {
        ProduceServiceClient::new(self.channel.clone())
    }

    pub(crate) fn fetch(&self) -> FetchServiceClient<Channel> {
        FetchServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// What the broker calls itself.
    pub(crate) async fn id(&self) -> String {
        let asked = soon(self.admin().get_server_info(v1::GetServerInfoRequest {})).await;
        asked.unwrap().into_inner().broker_id
    }

    /// Creates a topic and returns its id.
    pub(crate) async fn create(&self, name: &str, partition_count: u32) -> u64 {
        let request = v1::CreateTopicRequest {
            name: name.to_owned(),
            partition_count,
            ..v1::CreateTopicRequest::default()
        };
        let created = soon(self.topics().create_topic(request)).await.unwrap();
        created.into_inner().topic.unwrap().topic_id
    }

    pub(crate) async fn delete(&self, name: &str) {
        let request = v1::DeleteTopicRequest {
            name: name.to_owned(),
            ..v1::DeleteTopicRequest::default()
        };
        soon(self.topics().delete_topic(request)).await.unwrap();
    }

    /// Publishes values to one partition, in one entry.
    pub(crate) async fn publish(
        &self,
        topic: &str,
        partition: u32,
        values: &[&str],
    ) -> v1::PublishResponse {
        let records = values.iter().map(|value| record(None, value));
        let request = v1::PublishRequest {
            topic: topic.to_owned(),
            records: records.collect(),
            partition: Some(partition),
        };
        soon(self.produce().publish(request))
            .await
            .unwrap()
            .into_inner()
    }

    /// Opens a Produce stream.
    pub(crate) async fn producer(&self) -> Producer {
        let (requests, receiver) = mpsc::channel(1_000);
        let answers = self.produce().produce(ReceiverStream::new(receiver)).await;
        Producer {
            requests: Some(requests),
            answers: answers.unwrap().into_inner(),
            accepted: VecDeque::new(),
        }
    }

    /// Opens a Produce stream with one topic under handle 1, for the producer whose id is all `id`.
    pub(crate) async fn producer_of(&self, topic: &str, id: u8) -> Producer {
        let mut producer = self.producer().await;
        producer.open(1, topic, id).await;
        match producer.next().await {
            Response::Opened(opened) => assert_eq!(opened.handle, 1, "handle"),
            other => panic!("{other:?}"),
        }
        producer
    }

    pub(crate) async fn reader(&self, request: v1::FetchRequest) -> Reader {
        let responses = soon(self.fetch().fetch(request)).await.unwrap();
        let mut reader = Reader {
            responses: responses.into_inner(),
            opened: v1::FetchOpened::default(),
        };
        match reader.next().await {
            Some(Fetched::Opened(opened)) => reader.opened = opened,
            other => panic!("{other:?}"),
        }
        reader
    }

    /// Reads a topic from where it is told to its end.
    pub(crate) async fn read_all(&self, source: v1::FetchSource) -> Vec<Fetched> {
        let request = v1::FetchRequest {
            sources: vec![source],
            ..v1::FetchRequest::default()
        };
        self.reader(request).await.rest().await
    }
}

async fn drop_in_its_own_time(broker: Broker) {
    tokio::task::spawn_blocking(move || drop(broker))
        .await
        .unwrap();
}

pub(crate) async fn connect(broker: &Broker) -> Result<Channel, tonic::transport::Error> {
    let url = format!("http://{}", broker.local_addr().unwrap());
    Endpoint::from_shared(url)?.connect().await
}

/// The client's end of a Produce stream.
pub(crate) struct Producer {
    requests: Option<mpsc::Sender<ProduceRequest>>,
    answers: Streaming<v1::ProduceResponse>,
    /// Batches that came in one message with another one. How many come together is by chance.
    accepted: VecDeque<v1::AcceptedBatch>,
}

impl Producer {
    pub(crate) async fn open(&self, handle: u32, topic: &str, id: u8) {
        self.send(ProduceRequest::open(v1::OpenTopic {
            handle,
            topic: topic.to_owned(),
            producer_id: vec![id; 16].into(),
            ..v1::OpenTopic::default()
        }))
        .await;
    }

    pub(crate) async fn produce(&self, batch: ProduceBatch) {
        self.send(ProduceRequest::produce(batch)).await;
    }

    pub(crate) async fn send(&self, request: ProduceRequest) {
        let requests = self.requests.as_ref().expect("the stream is open");
        soon(requests.send(request)).await.unwrap();
    }

    /// Closes the sending side.
    pub(crate) fn close(&mut self) {
        self.requests = None;
    }

    pub(crate) async fn next(&mut self) -> Response {
        self.try_next().await.unwrap().expect("an answer comes")
    }

    /// The next answer, or that the stream has ended. Accepted batches come one by one.
    pub(crate) async fn try_next(&mut self) -> Result<Option<Response>, Status> {
        loop {
            if let Some(batch) = self.accepted.pop_front() {
                let batches = vec![batch];
                return Ok(Some(Response::Accepted(v1::Accepted { batches })));
            }
            let message = soon(self.answers.message()).await?;
            match message.map(|message| message.response.expect("a known answer")) {
                Some(Response::Accepted(accepted)) => self.accepted.extend(accepted.batches),
                other => return Ok(other),
            }
        }
    }

    /// The next batch that is accepted; nothing else may come.
    pub(crate) async fn accepted(&mut self) -> v1::AcceptedBatch {
        match self.next().await {
            Response::Accepted(accepted) if accepted.batches.len() == 1 => {
                accepted.batches[0].clone()
            }
            other => panic!("{other:?}"),
        }
    }

    /// The next batch that is refused; nothing else may come.
    pub(crate) async fn refused(&mut self) -> (v1::Refused, Problem) {
        match self.next().await {
            Response::Refused(refused) => {
                let problem = problem_of(refused.error.as_ref());
                (refused, problem)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Closes, and returns the answers that are left as (sequence, accepted?), in order.
    pub(crate) async fn finish(mut self) -> Vec<(u64, bool)> {
        self.close();
        let mut answers = Vec::new();
        while let Some(answer) = self.try_next().await.unwrap() {
            match answer {
                Response::Accepted(accepted) => {
                    answers.extend(accepted.batches.iter().map(|it| (it.sequence, true)));
                }
                Response::Refused(refused) => answers.push((refused.sequence, false)),
                other => panic!("{other:?}"),
            }
        }
        answers
    }
}

/// The client's end of a Fetch stream.
pub(crate) struct Reader {
    responses: Streaming<FetchResponse>,
    pub(crate) opened: v1::FetchOpened,
}

impl Reader {
    pub(crate) async fn next(&mut self) -> Option<Fetched> {
        self.try_next().await.unwrap()
    }

    pub(crate) async fn try_next(&mut self) -> Result<Option<Fetched>, Status> {
        let message = soon(self.responses.message()).await?;
        Ok(message.map(|message| message.response.expect("a known message")))
    }

    /// The next message that is no heartbeat.
    pub(crate) async fn next_event(&mut self) -> Fetched {
        let event = async {
            loop {
                match self.next().await.expect("the stream goes on") {
                    Fetched::Heartbeat(_) => {}
                    event => return event,
                }
            }
        };
        soon(event).await
    }

    /// The next batch; only heartbeats and the news of being caught up may come before.
    pub(crate) async fn batch(&mut self) -> FetchedBatch {
        loop {
            match self.next_event().await {
                Fetched::Batch(batch) => return batch,
                Fetched::CaughtUp(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Everything up to the end of the stream.
    pub(crate) async fn rest(mut self) -> Vec<Fetched> {
        let mut all = Vec::new();
        while let Some(message) = self.next().await {
            all.push(message);
        }
        all
    }
}

/// A record with a value and perhaps a key.
pub(crate) fn record(key: Option<&str>, value: &str) -> v1::Record {
    v1::Record {
        key: key.map(|key| Bytes::copy_from_slice(key.as_bytes())),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        ..v1::Record::default()
    }
}

/// The bytes of a batch of values.
pub(crate) fn encode(values: &[&str]) -> Bytes {
    let mut bytes = BytesMut::new();
    for value in values {
        let record = NewRecord {
            key: None,
            value: Some(value.as_bytes()),
            headers: std::iter::empty(),
            event_time_ms: None,
        };
        record.put(&mut bytes);
    }
    bytes.freeze()
}

/// A batch for partition 0 under handle 1.
pub(crate) fn batch_of(sequence: u64, values: &[&str]) -> ProduceBatch {
    ProduceBatch {
        handle: 1,
        sequence,
        batch: encode(values),
        ..ProduceBatch::default()
    }
}

/// The values of a batch, which must be intact.
pub(crate) fn values(batch: &FetchedBatch) -> Vec<String> {
    assert_eq!(batch.crc, batch::crc(&batch.batch), "crc");
    let records = batch::Records::new(&batch.batch);
    let values: Vec<_> = records
        .map(|record| String::from_utf8(record.unwrap().value().unwrap().to_vec()).unwrap())
        .collect();
    assert_eq!(values.len(), batch.record_count as usize, "count");
    values
}

/// The values of all batches among some messages.
pub(crate) fn all_values(messages: &[Fetched]) -> Vec<String> {
    let batches = messages.iter().filter_map(|message| match message {
        Fetched::Batch(batch) => Some(values(batch)),
        _ => None,
    });
    batches.flatten().collect()
}

/// All of a topic, from the beginning.
pub(crate) fn source(topic: &str) -> v1::FetchSource {
    v1::FetchSource {
        topic: topic.to_owned(),
        ..v1::FetchSource::default()
    }
}

/// A position.
pub(crate) fn position(position: v1::position::Position) -> v1::Position {
    v1::Position {
        position: Some(position),
    }
}

/// What was told about a refusal in a stream; all of it is documented.
#[track_caller]
pub(crate) fn problem_of(error: Option<&v1::Error>) -> Problem {
    let problem = Problem::from_stream(error.expect("it says why")).expect("a known reason");
    check_documented(&problem);
    problem
}

/// Checks that the page of the errors lists every fact that a problem carries under its reason.
#[track_caller]
fn check_documented(problem: &Problem) {
    let title = format!("\n### {}\n", problem.reason());
    let section = ERRORS.split_once(&title).expect("a section").1;
    let lines = section.lines().take_while(|line| !line.starts_with('#'));
    let mut listed = lines.filter(|line| line.starts_with("Metadata: "));
    let listed = listed.next().expect("a line about metadata");
    let of_any_reason = ERRORS.split_once("\n## ").expect("sections").0;
    for name in problem.metadata().keys() {
        let name = format!("`{name}`");
        let is_listed = listed.contains(&name) || of_any_reason.contains(&name);
        assert!(is_listed, "{name} is not in docs/errors.md: {problem:?}");
    }
}

/// Checks why a call was refused, and returns what was told about it.
#[track_caller]
pub(crate) fn refusal<T: std::fmt::Debug>(
    result: Result<T, Status>,
    reason: ErrorReason,
) -> Problem {
    let status = result.expect_err("it is refused");
    let problem = Problem::from_status(&status).unwrap_or_else(|| panic!("no reason: {status:?}"));
    assert_eq!(problem.reason(), reason, "{problem}");
    assert_eq!(status.code(), code_of(reason), "{problem}");
    check_documented(&problem);
    problem
}

/// Checks the facts that a problem carries.
#[track_caller]
pub(crate) fn check_facts(problem: &Problem, facts: &[(&str, &str)]) {
    for (name, value) in facts {
        let found = problem.metadata().get(*name).map(String::as_str);
        assert_eq!(found, Some(*value), "{name} of {problem:?}");
    }
}
