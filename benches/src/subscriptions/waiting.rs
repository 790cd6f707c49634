//! What a record costs the others that waits for an hour.
//!
//! ```text
//! records of many keys are written to one partition
//!   in each round, with a subscription of its own each time, in turn:
//!     all of them are acked                                       measured: the rate
//!     the first one is nacked for an hour, all others are acked   measured: the rate
//!       all are settled but those of its key
//! ```

use std::io::Write;
use std::time::{Duration, Instant};

use clap::Args;
use tokio::task::JoinSet;
use towpath_client::{NewSubscription, NewTopic, Record, Start, Subscriber, SubscriptionDeletion};

use super::watch::{lag, until};
use super::{BrokerPlan, Waiting, WaitingSetting};
use crate::Result;
use crate::broker_process::BrokerProcess;
use crate::recovery::{DataFolder, Stop};
use crate::report::Report;

const TOPIC: &str = "waiting";
const NAME: &str = "measured";
const VALUE_BYTES: usize = 100;
const WAIT: Duration = Duration::from_hours(1);

/// What to measure.
#[derive(Debug, Clone, Args)]
pub struct WaitingPlan {
    /// The broker.
    #[command(flatten)]
    pub broker: BrokerPlan,
    /// Records that are handled beside it.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub records: u32,
    /// Their keys, in turn: what has the key of the one that waits, waits behind it.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub keys: u32,
    /// How often is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rounds: u32,
}

/// Measures the whole plan in a folder that is empty.
///
/// Dropping the future kills the broker.
///
/// # Errors
/// The first one of any run; no figure is reported for that run.
pub async fn run<W: Write>(
    plan: &WaitingPlan,
    folder: &DataFolder,
    report: &mut Report<W, Waiting>,
) -> Result<()> {
    let broker = BrokerProcess::start(&plan.broker.towpath, folder.path()).await?;
    write(plan, &broker).await?;
    for round in 1..=plan.rounds {
        for is_one_waiting in [false, true] {
            let setting = WaitingSetting {
                benchmark: "subscriptions waiting",
                is_one_waiting,
                records: plan.records,
                keys: plan.keys,
            };
            let waiting = measure(plan, &broker, is_one_waiting).await?;
            report.add(round, setting, waiting)?;
        }
    }
    broker.end(Stop::Terminate).await
}

async fn write(plan: &WaitingPlan, broker: &BrokerProcess) -> Result<()> {
    let client = broker.client()?;
    client
        .admin()
        .create_topic(NewTopic::new(TOPIC).partitions(1))
        .await?;
    let producer = client.producer(TOPIC).build();
    for number in 0..plan.records {
        let key = format!("key-{}", number % plan.keys);
        let record = Record::new(vec![b'x'; VALUE_BYTES]).key(key);
        drop(producer.enqueue(record).await?);
    }
    producer.close().await?;
    Ok(())
}

async fn measure(
    plan: &WaitingPlan,
    broker: &BrokerProcess,
    is_one_waiting: bool,
) -> Result<Waiting> {
    let admin = broker.client()?.admin();
    let subscription = NewSubscription::new(NAME, TOPIC, Start::Beginning);
    admin.create_subscription(subscription).await?;
    let left = match is_one_waiting {
        true => plan.records.div_ceil(plan.keys),
        false => 0,
    };
    let began = Instant::now();
    let mut consumers = JoinSet::new();
    let subscriber = broker.client()?.subscriber(NAME).build();
    consumers.spawn(handle(subscriber, is_one_waiting));
    until(async || Ok(lag(&admin, NAME).await? <= left.into())).await?;
    let seconds = began.elapsed().as_secs_f64();
    consumers.shutdown().await;
    let lag_records = lag(&admin, NAME).await?;
    let memory_bytes = broker.memory_bytes()?;
    admin
        .delete_subscription(SubscriptionDeletion::new(NAME))
        .await?;
    Ok(Waiting {
        seconds,
        records_per_second: f64::from(plan.records - left) / seconds,
        lag_records,
        memory_bytes,
    })
}

/// Acks whatever comes; the first record perhaps in an hour.
async fn handle(mut subscriber: Subscriber, is_one_waiting: bool) -> Result<()> {
    while let Some(delivery) = subscriber.next_delivery().await? {
        match is_one_waiting && delivery.offset().get() == 0 {
            true => delivery.nack(Some(WAIT), "not yet"),
            false => delivery.ack(),
        }
    }
    Ok(())
}
