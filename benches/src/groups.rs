//! What a consumer group costs and how fast it heals: how long its partitions are without an owner when
//! a member goes, and what members cost that have nothing to do.
//!
//! Nothing is known of the broker beyond what a client sees.

mod idle;
mod rows;
mod takeover;

pub use idle::{IdlePlan, run as measure_idle};
pub use rows::{Departure, GroupSetting, Idle, IdleMedian, Takeover, TakeoverMedian};
pub use takeover::{TakeoverPlan, run as measure_takeover};

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep};
use towpath_client::{Admin, GroupState, NewTopic};

use crate::{Error, Result};

/// Longest time that a change of owners may take; reached only when something hangs.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often a group is looked at that is to come to rest.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// The broker that is measured.
#[derive(Debug, Clone, Args)]
pub struct BrokerPlan {
    /// The program to measure, for example `target/release/towpath`.
    #[arg(long, value_name = "FILE")]
    pub towpath: PathBuf,
    /// Data folder of the broker, missing or empty.
    #[arg(long)]
    pub dir: PathBuf,
    /// Partitions of the topics.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(2..=1000))]
    pub partitions: u32,
}

/// Makes a topic for a group of the same name.
async fn create(admin: &Admin, name: &str, partitions: u32) -> Result<()> {
    let topic = NewTopic::new(name).partitions(partitions);
    admin.create_topic(topic).await?;
    Ok(())
}

/// Waits until a group has so many members and every partition its owner.
///
/// # Errors
/// Those of the broker but for a group that is not there yet; [`Error::Void`] if it does not come to rest.
async fn comes_to_rest(admin: &Admin, name: &str, member_count: u32) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        match admin.group(name).await {
            Ok(it) if it.member_count == member_count && it.state == GroupState::Stable => {
                return Ok(());
            }
            Err(error) if error.reason() != Some(towpath_client::ErrorReason::GroupNotFound) => {
                return Err(error.into());
            }
            Ok(_) | Err(_) => sleep(LOOK_INTERVAL).await,
        }
    }
    Err(Error::Void(format!("{name} has not come to rest in time")))
}
