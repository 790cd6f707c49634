//! How long partitions are without an owner when the member goes that had them.
//!
//! ```text
//! for each round, for leave and kill, with a group of its own:
//!   a member as a process ── joins, owns all ── the heir joins, each owns half
//!     ── the member ends ──> the heir owns all                         measured: from the signal on
//! ```

use std::io::Write;
use std::time::Instant;

use clap::Args;
use tokio::process::Child;
use tokio::time::timeout;
use towpath_client::{GroupConsumer, GroupItem, Start};

use super::{BrokerPlan, Departure, GroupSetting, PATIENCE, Takeover, comes_to_rest, create};
use crate::broker_process::{BrokerProcess, signal};
use crate::host::Meter;
use crate::recovery::DataFolder;
use crate::report::Report;
use crate::{Error, Result};

/// What to measure.
#[derive(Debug, Clone, Args)]
pub struct TakeoverPlan {
    /// The broker.
    #[command(flatten)]
    pub broker: BrokerPlan,
    /// How often a member leaves, and how often it is killed.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
}

/// Measures the whole plan in a folder that is empty.
///
/// Dropping the future kills the broker and the members.
///
/// # Errors
/// The first one of any run; no figure is reported for that run.
pub async fn run<W: Write>(
    plan: &TakeoverPlan,
    folder: &DataFolder,
    report: &mut Report<W, Takeover>,
) -> Result<()> {
    let broker = BrokerProcess::start(&plan.broker.towpath, folder.path()).await?;
    for round in 1..=plan.rounds {
        for departure in [Departure::Leave, Departure::Kill] {
            let setting = GroupSetting {
                benchmark: "groups takeover",
                partitions: plan.broker.partitions,
                members: 2,
                departure: Some(departure),
            };
            let group = format!("{departure}-{round}");
            let takeover = measure(plan, &broker, &group, departure).await?;
            report.add(round, setting, takeover)?;
        }
    }
    Ok(())
}

async fn measure(
    plan: &TakeoverPlan,
    broker: &BrokerProcess,
    group: &str,
    departure: Departure,
) -> Result<Takeover> {
    let client = broker.client()?;
    let admin = client.admin();
    create(&admin, group, plan.broker.partitions).await?;
    let arguments = ["consume", group, "--group", group, "--from", "beginning"];
    let mut member = broker.spawn_client(&plan.broker.towpath, &arguments)?;
    comes_to_rest(&admin, group, 1).await?;
    let heir = client.group(group).topics([group]).start(Start::Beginning);
    let mut heir = heir.build();
    let mut owned = 0;
    inherit(&mut heir, &mut owned, plan.broker.partitions / 2).await?;
    comes_to_rest(&admin, group, 2).await?;
    let meter = Meter::start(None)?;
    let start = Instant::now();
    end(&mut member, departure)?;
    inherit(&mut heir, &mut owned, plan.broker.partitions).await?;
    let takeover = start.elapsed();
    let usage = meter.stop()?;
    member
        .wait()
        .await
        .map_err(Error::io("wait for a member"))?;
    heir.close().await;
    Ok(Takeover {
        ownerless_ms: takeover.as_secs_f64() * 1e3,
        steal_percent: usage.steal_percent,
        others_percent: usage.others_percent,
    })
}

fn end(member: &mut Child, departure: Departure) -> Result<()> {
    match departure {
        Departure::Leave => signal(member, rustix::process::Signal::INT),
        Departure::Kill => signal(member, rustix::process::Signal::KILL),
    }
}

/// Reads until the member owns so many partitions.
async fn inherit(heir: &mut GroupConsumer, owned: &mut u32, count: u32) -> Result<()> {
    let inheriting = async {
        while *owned < count {
            let Some(item) = heir.next_item().await else {
                return Err(Error::Void("the heir has ended by itself".to_owned()));
            };
            if let GroupItem::Assigned(partitions) = item? {
                *owned += u32::try_from(partitions.len()).unwrap_or(u32::MAX);
            }
        }
        Ok(())
    };
    let inherited = timeout(PATIENCE, inheriting).await;
    inherited.map_err(|_elapsed| Error::Void("nobody took over in time".to_owned()))?
}
