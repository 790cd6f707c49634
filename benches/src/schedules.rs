//! What many scheduled records cost, and how fast they come when they are overdue.
//!
//! ```text
//! in each round, on a topic of its own:
//!   records are scheduled, due soon after the last one   measured: the rate, memory
//!   the broker is stopped until they are due
//!   it is started again                                  measured: until it is ready, memory
//!     all are delivered                                  measured: the rate, memory
//! ```
//!
//! Nothing is known of the broker beyond what a client and the operating system see.

mod rows;

pub use rows::{Schedules, SchedulesMedian, SchedulesSetting};

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use tokio::task::JoinSet;
use tokio::time::sleep;
use towpath_client::{Admin, Client, NewTopic, Record, Schedule, ScheduleList, TopicDeletion};

use crate::broker_process::BrokerProcess;
use crate::recovery::{DataFolder, Stop};
use crate::report::Report;
use crate::{Error, Result};

const TOPIC: &str = "schedules";
const PARTITIONS: u32 = 4;
const VALUE_BYTES: usize = 100;
/// How often is looked at what is left.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// What to measure.
#[derive(Debug, Clone, Args)]
pub struct SchedulesPlan {
    /// The program to measure, for example `target/release/towpath`.
    #[arg(long, value_name = "FILE")]
    pub towpath: PathBuf,
    /// Data folder of the broker, missing or empty.
    #[arg(long)]
    pub dir: PathBuf,
    /// Records that are scheduled, each with a key and an id.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=2_000_000))]
    pub records: u32,
    /// Records of one commit.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub records_per_commit: u32,
    /// Commits that are under way at once.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub in_flight: u32,
    /// After so many seconds they are due: as long as scheduling them takes, and more.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub due_after: u64,
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
    plan: &SchedulesPlan,
    folder: &DataFolder,
    report: &mut Report<W, Schedules>,
) -> Result<()> {
    for round in 1..=plan.rounds {
        let setting = SchedulesSetting {
            benchmark: "schedules",
            records: plan.records,
            records_per_commit: plan.records_per_commit,
        };
        let measured = measure(plan, folder).await?;
        report.add(round, setting, measured)?;
    }
    Ok(())
}

async fn measure(plan: &SchedulesPlan, folder: &DataFolder) -> Result<Schedules> {
    let broker = BrokerProcess::start(&plan.towpath, folder.path()).await?;
    let client = broker.client()?;
    let topic = NewTopic::new(TOPIC).partitions(PARTITIONS);
    client.admin().create_topic(topic).await?;
    let empty_bytes = broker.memory_bytes()?;
    let due_after = Duration::from_secs(plan.due_after);
    let (began, due) = (Instant::now(), SystemTime::now() + due_after);
    schedule(plan, &client, due).await?;
    let scheduled_per_second = f64::from(plan.records) / began.elapsed().as_secs_f64();
    if left(&client.admin()).await? < plan.records.into() {
        let message = "they were due before all were scheduled: a longer --due-after is needed";
        return Err(Error::Void(message.to_owned()));
    }
    let memory_bytes = broker.memory_bytes()?;
    broker.end(Stop::Terminate).await?;
    sleep(due_after.saturating_sub(began.elapsed())).await;

    let broker = BrokerProcess::start(&plan.towpath, folder.path()).await?;
    let (began, ready_ms) = (Instant::now(), broker.ready_after.as_secs_f64() * 1e3);
    let ready_memory_bytes = broker.memory_bytes()?;
    let admin = broker.client()?.admin();
    while left(&admin).await? > 0 {
        sleep(LOOK_INTERVAL).await;
    }
    let delivered_per_second = f64::from(plan.records) / began.elapsed().as_secs_f64();
    let delivered_memory_bytes = broker.memory_bytes()?;
    admin.delete_topic(TopicDeletion::new(TOPIC)).await?;
    broker.end(Stop::Terminate).await?;
    Ok(Schedules {
        scheduled_per_second,
        empty_bytes,
        memory_bytes,
        ready_ms,
        ready_memory_bytes,
        delivered_memory_bytes,
        delivered_per_second,
    })
}

async fn schedule(plan: &SchedulesPlan, client: &Client, due: SystemTime) -> Result<()> {
    let mut commits: JoinSet<Result<()>> = JoinSet::new();
    let mut next = 0;
    while next < plan.records {
        let end = plan.records.min(next + plan.records_per_commit);
        let mut commit = client.commit();
        for number in next..end {
            let record = Record::new(vec![b'x'; VALUE_BYTES]).key(format!("key-{number}"));
            // Not all at one time, so that there is an order.
            let at = due + Duration::from_millis(u64::from(number) / 1_000);
            let schedule = Schedule::new(TOPIC, record).at(at);
            commit = commit.schedule(schedule.id(format!("id-{number}")));
        }
        next = end;
        if commits.len() >= plan.in_flight as usize {
            join(commits.join_next().await)?;
        }
        commits.spawn(async move {
            commit.send().await.map_err(towpath_client::Error::from)?;
            Ok(())
        });
    }
    while let Some(ended) = commits.join_next().await {
        join(Some(ended))?;
    }
    Ok(())
}

fn join(ended: Option<std::result::Result<Result<()>, tokio::task::JoinError>>) -> Result<()> {
    let ended = ended.unwrap_or(Ok(Ok(())));
    ended.map_err(|_panic| Error::Void("a task has ended by itself".to_owned()))?
}

/// How many are scheduled.
async fn left(admin: &Admin) -> Result<u64> {
    let list = ScheduleList::new().topic(TOPIC).page_size(1);
    Ok(admin.list_schedules(list).await?.scheduled_count)
}
