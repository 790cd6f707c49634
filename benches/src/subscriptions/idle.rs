//! What subscriptions cost that nothing happens in.
//!
//! ```text
//! an empty broker ──> topics ──> subscriptions, some with a consumer that waits    measured: memory
//!   for each round: nothing happens                                                measured: processor time
//!                   the broker stops and starts                                    measured: time, memory
//! ```

use std::io::Write;
use std::ops::Range;
use std::time::Duration;

use clap::Args;
use tokio::task::JoinSet;
use tokio::time::sleep;
use towpath_client::{Admin, NewSubscription, NewTopic, Start};

use super::{BrokerPlan, Idle, IdleSetting, ack_all, join_all};
use crate::broker_process::BrokerProcess;
use crate::recovery::{DataFolder, Stop};
use crate::report::Report;
use crate::{Error, Result};

/// Subscriptions that are being created at a time.
const CREATING_MAX: u32 = 32;

/// What to measure.
#[derive(Debug, Clone, Args)]
pub struct IdlePlan {
    /// The broker.
    #[command(flatten)]
    pub broker: BrokerPlan,
    /// Subscriptions, each with a topic of one partition for its dead letters.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub subscriptions: u32,
    /// Topics that they share, each of one partition.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub topics: u32,
    /// Subscriptions that have a consumer, with a connection of its own.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    pub consumers: u32,
    /// How often is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rounds: u32,
    /// How long, each time, in seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub seconds: u64,
}

/// Measures the whole plan in a folder that is empty.
///
/// Dropping the future kills the broker.
///
/// # Errors
/// The first one of any run; no figure is reported for that run.
pub async fn run<W: Write>(
    plan: &IdlePlan,
    folder: &DataFolder,
    report: &mut Report<W, Idle>,
) -> Result<()> {
    let program = &plan.broker.towpath;
    let mut broker = BrokerProcess::start(program, folder.path()).await?;
    let empty_bytes = broker.memory_bytes()?;
    let admin = broker.client()?.admin();
    create_topics(&admin, plan.topics).await?;
    create(&admin, 0..plan.subscriptions, plan.topics).await?;
    let setting = IdleSetting {
        benchmark: "subscriptions idle",
        subscriptions: plan.subscriptions,
        topics: plan.topics,
        consumers: plan.consumers,
    };
    for round in 1..=plan.rounds {
        let usage = rest(plan, &broker).await?;
        let memory_bytes = broker.memory_bytes()?;
        broker.end(Stop::Terminate).await?;
        broker = BrokerProcess::start(program, folder.path()).await?;
        let idle = Idle {
            seconds: usage.seconds,
            server_core_percent: 100.0 * usage.server_cpu_seconds.unwrap_or_default()
                / usage.seconds,
            empty_bytes,
            memory_bytes,
            ready_ms: broker.ready_after.as_secs_f64() * 1e3,
            ready_memory_bytes: broker.memory_bytes()?,
            steal_percent: usage.steal_percent,
            others_percent: usage.others_percent,
        };
        report.add(round, setting.clone(), idle)?;
    }
    Ok(())
}

/// Makes the topics that subscriptions share, each of one partition.
///
/// # Errors
/// Those of the broker.
pub(crate) async fn create_topics(admin: &Admin, topics: u32) -> Result<()> {
    for topic in 0..topics {
        let topic = NewTopic::new(topic_name(topic)).partitions(1);
        admin.create_topic(topic).await?;
    }
    Ok(())
}

/// Makes the subscriptions with these numbers of so many topics.
///
/// # Errors
/// Those of the broker.
pub(crate) async fn create(admin: &Admin, numbers: Range<u32>, topics: u32) -> Result<()> {
    let mut creating = JoinSet::new();
    for first in numbers.clone().take(CREATING_MAX as usize) {
        let (end, admin) = (numbers.end, admin.clone());
        creating.spawn(async move {
            for number in (first..end).step_by(CREATING_MAX as usize) {
                let topic = topic_name(number % topics);
                let new = NewSubscription::new(subscription_name(number), topic, Start::End);
                admin.create_subscription(new).await?;
            }
            Ok(())
        });
    }
    join_all(creating).await
}

/// Has consumers wait for records that do not come.
async fn rest(plan: &IdlePlan, broker: &BrokerProcess) -> Result<crate::host::Usage> {
    let mut consumers = JoinSet::new();
    for number in 0..plan.consumers.min(plan.subscriptions) {
        let name = subscription_name(number);
        consumers.spawn(ack_all(broker.client()?.subscriber(name).build()));
    }
    let admin = broker.client()?.admin();
    for number in 0..plan.consumers.min(plan.subscriptions) {
        while admin
            .subscription(&subscription_name(number))
            .await?
            .consumer_count
            == 0
        {
            sleep(Duration::from_millis(10)).await;
        }
    }
    let meter = broker.meter()?;
    tokio::select! {
        () = sleep(Duration::from_secs(plan.seconds)) => {}
        Some(_) = consumers.join_next() => {
            return Err(Error::Void("a consumer has ended by itself".to_owned()));
        }
    }
    meter.stop()
}

fn topic_name(number: u32) -> String {
    format!("topic-{number}")
}

fn subscription_name(number: u32) -> String {
    format!("subscription-{number}")
}
