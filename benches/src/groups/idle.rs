//! What members cost that have nothing to do.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use tokio::task::JoinSet;
use tokio::time::sleep;
use towpath_client::{GroupConsumer, Start};

use super::{BrokerPlan, GroupSetting, Idle, comes_to_rest, create};
use crate::broker_process::BrokerProcess;
use crate::recovery::DataFolder;
use crate::report::Report;
use crate::{Error, Result};

const GROUP: &str = "idle";

/// What to measure.
#[derive(Debug, Clone, Args)]
pub struct IdlePlan {
    /// The broker.
    #[command(flatten)]
    pub broker: BrokerPlan,
    /// Members, each with a connection of its own.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub members: u32,
    /// How often is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// How long, each time, in seconds.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3_600))]
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
    let broker = BrokerProcess::start(&plan.broker.towpath, folder.path()).await?;
    let client = broker.client()?;
    let admin = client.admin();
    create(&admin, GROUP, plan.broker.partitions).await?;
    let mut members = JoinSet::new();
    for _ in 0..plan.members {
        let member = client.group(GROUP).topics([GROUP]).start(Start::Beginning);
        members.spawn(wait(member.build()));
    }
    comes_to_rest(&admin, GROUP, plan.members).await?;
    let setting = GroupSetting {
        benchmark: "groups idle",
        partitions: plan.broker.partitions,
        members: plan.members,
        departure: None,
    };
    for round in 1..=plan.rounds {
        let meter = broker.meter()?;
        tokio::select! {
            () = sleep(Duration::from_secs(plan.seconds)) => {}
            Some(ended) = members.join_next() => return Err(void(ended)),
        }
        let idle = Idle::of(&meter.stop()?);
        report.add(round, setting.clone(), idle)?;
    }
    Ok(())
}

/// Waits for records that do not come.
async fn wait(mut member: GroupConsumer) -> Result<()> {
    while member.next_batch().await?.is_some() {}
    Ok(())
}

fn void(ended: std::result::Result<Result<()>, tokio::task::JoinError>) -> Error {
    match ended {
        Ok(Err(error)) => error,
        Ok(Ok(())) | Err(_) => Error::Void("a member has ended by itself".to_owned()),
    }
}
