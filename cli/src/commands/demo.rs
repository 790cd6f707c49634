//! `towpath demo`: real events through a broker that is killed half-way, everything read back and
//! checked.

mod broker_process;
mod check;
mod events;
mod producing;
mod report;

use std::path::Path;

use tokio::sync::Notify;
use towpath_client::NewTopic;

use super::session::client_of;
use super::{Outcome, Session};
use crate::args::DemoArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{count, duration};

use broker_process::BrokerProcess;
use check::read_back;
use events::{KEY_FIELD, events};
use producing::{Written, produce};
use report::DemoReport;

const TOPIC: &str = "flights";
const PARTITION_COUNT: u32 = 8;
/// Any free port of this machine.
const LISTEN: &str = "127.0.0.1:0";

/// Shows the main job on a temporary folder, which is gone afterwards unless it is to stay.
pub(super) async fn run(args: &DemoArgs, session: &Session<'_>) -> Result<Outcome, Failure> {
    let folder = tempfile::Builder::new()
        .prefix("towpath-demo-")
        .disable_cleanup(args.keep)
        .tempdir()
        .map_err(|error| Failure::io("cannot make a temporary folder", &error))?;
    let data_dir = folder.path().join("data");
    let mut report = show(&data_dir, session).await?;
    report.data_dir = args.keep.then_some(data_dir);
    if !args.keep {
        folder
            .close()
            .map_err(|error| Failure::io("cannot remove the temporary folder", &error))?;
    }
    let failure = (!report.check.is_ok()).then(|| {
        Failure::new(Exit::Failed, "the broker broke a promise").hint("please report this")
    });
    Ok(Outcome::of(report).with_failure(failure))
}

async fn show(data_dir: &Path, session: &Session<'_>) -> Result<DemoReport, Failure> {
    let output = session.output;
    let events = events()?;
    let broker = BrokerProcess::start(data_dir, LISTEN).await?;
    let start_time = broker.start_time;
    output.say(format_args!(
        "started a broker on {} in {}, pid {}",
        broker.listen,
        duration(start_time),
        broker.pid()
    ))?;
    let client = client_of(Some(&broker.url()))?;
    let topic = NewTopic::new(TOPIC).partitions(PARTITION_COUNT);
    client.admin().create_topic(topic).await?;
    let all = count(events.len() as u64);
    output.say(format_args!(
        "writing {all} departures of flights to topic {TOPIC}, {PARTITION_COUNT} partitions, by \
         key {KEY_FIELD} (the aircraft)"
    ))?;

    let half_way = Notify::new();
    // The producer goes on while the broker is killed, is gone and comes back.
    let (written, broker) = tokio::try_join!(
        produce(&client, TOPIC, &events, &half_way),
        kill_and_restart(broker, &half_way, data_dir)
    )?;
    let Written {
        positions,
        acknowledged_before_kill,
    } = written;
    output.say(format_args!(
        "half-way, {} acknowledged: killed the broker (kill -9), started it again in {}",
        count(acknowledged_before_kill),
        duration(broker.start_time)
    ))?;
    output.say(format_args!("the producer went on: all {all} acknowledged"))?;
    let check = read_back(&client, TOPIC, &events, &positions).await?;
    let report = DemoReport {
        check,
        partition_count: PARTITION_COUNT,
        acknowledged_before_kill,
        start_time,
        restart_time: broker.start_time,
        data_dir: None,
    };
    broker.stop().await?;
    Ok(report)
}

/// Waits until half of the events were sent, kills the broker, and starts it where it was.
async fn kill_and_restart(
    broker: BrokerProcess,
    half_way: &Notify,
    data_dir: &Path,
) -> Result<BrokerProcess, Failure> {
    half_way.notified().await;
    let listen = broker.listen.clone();
    broker.kill().await?;
    BrokerProcess::start(data_dir, &listen).await
}
