//! What durable subscriptions cost that nothing happens in, what records cost that consumers have, and what
//! one costs the others that waits.
//!
//! Nothing is known of the broker beyond what a client and the operating system see.

mod idle;
mod in_flight;
mod rows;
mod waiting;
mod watch;

pub use idle::{IdlePlan, run as measure_idle};
pub(crate) use idle::{create, create_topics};
pub use in_flight::{InFlightPlan, run as measure_in_flight};
pub use rows::{
    Idle, IdleMedian, IdleSetting, InFlight, InFlightMedian, InFlightSetting, Waiting,
    WaitingMedian, WaitingSetting,
};
pub use waiting::{WaitingPlan, run as measure_waiting};

use std::path::PathBuf;

use clap::Args;
use tokio::task::JoinSet;
use towpath_client::Subscriber;

use crate::{Error, Result};

/// The broker that is measured.
#[derive(Debug, Clone, Args)]
pub struct BrokerPlan {
    /// The program to measure, for example `target/release/towpath`.
    #[arg(long, value_name = "FILE")]
    pub towpath: PathBuf,
    /// Data folder of the broker, missing or empty.
    #[arg(long)]
    pub dir: PathBuf,
}

/// Waits for all tasks, which have nothing to say but why they failed.
///
/// # Errors
/// Those of the first that failed.
async fn join_all(mut tasks: JoinSet<Result<()>>) -> Result<()> {
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|_panic| Error::Void("a task has ended by itself".to_owned()))??;
    }
    Ok(())
}

/// Acks whatever comes.
///
/// # Errors
/// Why no more comes.
async fn ack_all(mut subscriber: Subscriber) -> Result<()> {
    while let Some(delivery) = subscriber.next_delivery().await? {
        delivery.ack();
    }
    Ok(())
}
