//! `towpath serve`: the broker, from start to stop.

mod failure;
mod report;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::time::Instant;
use towpath_broker::{Broker, Config, StartError};
use tracing::{info, warn};

use super::{Outcome, Session};
use crate::args::ServeArgs;
use crate::exit::Exit;
use crate::failure::Failure;

pub(super) use failure::start_failure;
use report::{ConfigReport, ReadyReport};

/// Runs a broker until it is told to stop or cannot go on. `start` is when the process started.
///
/// # Errors
///
/// Why it did not start, or could not go on.
pub(super) async fn run(
    args: &ServeArgs,
    session: &Session<'_>,
    start: Instant,
) -> Result<Outcome, Failure> {
    let config = args.to_config();
    if args.check_config {
        check(&config)?;
        return Ok(Outcome::of(ConfigReport::of(&config)));
    }
    let config = match raise_descriptor_limit() {
        Some(count) => config.within_descriptors(count),
        None => config,
    };
    let data_dir = config.data_dir.clone();
    // A start that is given up leaves nothing that the next one does not bring in order.
    let broker = tokio::select! {
        broker = Broker::start(config) => broker.map_err(start_failure)?,
        () = session.interrupt.wait() => {
            info!("stopped before it was ready");
            return Ok(Outcome::silent(Exit::Done));
        }
    };
    if let Some(listen) = broker.local_addr() {
        let admin_listen = broker.admin_addr().map(tracing::field::display);
        info!(%listen, admin_listen, "serving");
        let ready = ReadyReport::of(&broker, listen, &data_dir, start.elapsed());
        session.output.report(&ready)?;
    }
    tokio::select! {
        biased;
        cause = broker.failed() => return Err(broker_failure(&cause)),
        () = session.interrupt.wait() => info!("stopping"),
    }
    tokio::select! {
        biased;
        cause = broker.failed() => return Err(broker_failure(&cause)),
        () = broker.shutdown() => info!("stopped"),
    }
    Ok(Outcome::silent(Exit::Done))
}

fn check(config: &Config) -> Result<(), Failure> {
    let problems = config.validate();
    if !problems.is_empty() {
        return Err(start_failure(StartError::InvalidConfig { problems }));
    }
    match config.remote() {
        Some((listener, listen)) if !config.insecure_allow_remote => {
            Err(start_failure(StartError::RemoteRefused {
                listener,
                listen,
            }))
        }
        _ => Ok(()),
    }
}

fn broker_failure(cause: &str) -> Failure {
    Failure::new(
        Exit::BrokerFailed,
        format!("the broker cannot go on: {cause}"),
    )
    .hint("look at the disk; the next start finds out what it holds")
}

/// Lets the process open as many files and connections as it may; returns how many these are, if
/// there is a limit.
fn raise_descriptor_limit() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let limit = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        warn!(%error, "limit of open files not raised");
        return current;
    }
    maximum
}
