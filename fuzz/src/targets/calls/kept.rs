//! A broker that is kept from one input to the next, since starting and stopping one takes as long as some
//! hundred calls. What an input has made is deleted, so that each finds a broker with nothing in it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prost::Message;
use tokio::runtime::{self, Runtime};
use towpath_broker::{Broker, Config};
use towpath_proto::v1;
use towpath_storage::vfs::sim::{SimDisk, SimOptions, Trace};
use towpath_storage::{Environment, SimClock, SimEntropy};

use super::Caller;

/// Inputs of one broker: what cannot be deleted stays bounded.
const INPUT_COUNT_MAX: u32 = 1_000;
/// Times that everything is deleted: what an input has begun may still go on the first time.
const CLEAR_COUNT_MAX: u32 = 50;
/// Broker time at the start.
const START_MS: i64 = 1_700_000_000_000;

/// That of the last input.
static KEPT: Mutex<Option<Kept>> = Mutex::new(None);

pub(super) struct Kept {
    pub(super) broker: Broker,
    pub(super) runtime: Runtime,
    input_count: u32,
}

impl Kept {
    /// The one that is kept, for one input alone.
    pub(super) fn take() -> Self {
        let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner).take();
        kept.unwrap_or_else(Self::start)
    }

    fn start() -> Self {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let broker = runtime.block_on(Broker::start_in(config(), environment()));
        Self {
            broker: broker.expect("a broker"),
            runtime,
            input_count: 0,
        }
    }

    /// Keeps it for the next input, or stops it.
    pub(super) fn put_back(mut self) {
        self.input_count += 1;
        if self.input_count >= INPUT_COUNT_MAX {
            self.runtime.block_on(self.broker.shutdown());
            return;
        }
        *KEPT.lock().unwrap_or_else(PoisonError::into_inner) = Some(self);
    }

    /// Deletes all that there is, which must be possible whatever was done before; so the broker still serves.
    pub(super) async fn clear(&self) {
        let mut caller = Caller::connect(&self.broker).await;
        for _ in 0..CLEAR_COUNT_MAX {
            if clear_once(&mut caller).await == 0 {
                return;
            }
        }
        panic!("what was made cannot be deleted");
    }
}

/// Returns how much there was.
async fn clear_once(caller: &mut Caller) -> usize {
    let mut count = 0;
    let found: v1::ListSubscriptionsResponse =
        caller.list("SubscriptionService/ListSubscriptions").await;
    for subscription in found.subscriptions {
        let request = v1::DeleteSubscriptionRequest {
            name: subscription.name,
            with_dlq: true,
            ..v1::DeleteSubscriptionRequest::default()
        };
        caller
            .ask("SubscriptionService/DeleteSubscription", &request)
            .await;
        count += 1;
    }
    let found: v1::ListGroupsResponse = caller.list("GroupService/ListGroups").await;
    for group in found.groups {
        let request = v1::DeleteGroupRequest {
            name: group.name,
            force: true,
            ..v1::DeleteGroupRequest::default()
        };
        caller.ask("GroupService/DeleteGroup", &request).await;
        count += 1;
    }
    let found: v1::ListProducersResponse = caller.list("ProduceService/ListProducers").await;
    for producer in found.producers {
        let request = v1::DeleteProducerRequest {
            name: producer.name,
            ..v1::DeleteProducerRequest::default()
        };
        caller.ask("ProduceService/DeleteProducer", &request).await;
        count += 1;
    }
    let found: v1::ListTopicsResponse = caller.list("TopicService/ListTopics").await;
    for topic in found.topics {
        let request = v1::DeleteTopicRequest {
            name: topic.name,
            ..v1::DeleteTopicRequest::default()
        };
        caller.ask("TopicService/DeleteTopic", &request).await;
        count += 1;
    }
    count
}

impl Caller {
    /// The first page of a list.
    async fn list<M: Message + Default>(&mut self, name: &'static str) -> M {
        let answer = self.ask(name, &()).await;
        M::decode(&answer[..]).expect("an answer of its type")
    }
}

fn config() -> Config {
    let mut config = Config {
        listen: None,
        data_dir: PathBuf::from("fuzz"),
        drain_deadline: Duration::ZERO,
        ..Config::default()
    };
    config.engine.storage.journal_file_bytes = Some(1024 * 1024);
    config
}

fn environment() -> Environment {
    let disk = SimDisk::new(SimOptions {
        trace: Trace::Off,
        ..SimOptions::default()
    });
    Environment {
        vfs: disk.vfs(),
        clock: Arc::new(SimClock::new(START_MS)),
        entropy: Arc::new(SimEntropy::new(1)),
    }
}
