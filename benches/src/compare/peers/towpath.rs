//! Towpath under `towpath bench`.

use std::path::PathBuf;

use futures_core::future::BoxFuture;
use serde::Deserialize;
use tokio::process::Command;

use crate::broker_process::BrokerProcess;
use crate::compare::TOWPATH;
use crate::compare::peer::{Peer, Room};
use crate::compare::plan::Amount;
use crate::compare::process::{output, version};
use crate::compare::rows::{Card, Done};
use crate::compare::work::{Class, Job, Work};
use crate::report::LatencyUs;
use crate::{Error, Result};

struct Towpath {
    card: Card,
    program: PathBuf,
    broker: BrokerProcess,
}

/// What `towpath bench -o json` says, as far as it is needed.
#[derive(Debug, Deserialize)]
struct BenchReport {
    records: u64,
    seconds: f64,
    client_cpu_seconds: Option<f64>,
    server: Option<ServerReport>,
    latency_us: Option<LatencyUs>,
}

#[derive(Debug, Deserialize)]
struct ServerReport {
    cpu_seconds: f64,
}

pub(super) async fn start(room: Room<'_>) -> Result<Box<dyn Peer>> {
    let program = room.plan.towpath.clone().unwrap_or_default();
    let version = version(&program).await?;
    let broker = BrokerProcess::start(&program, &room.dir.join(TOWPATH)).await?;
    Ok(Box::new(Towpath {
        card: Card {
            system: TOWPATH.to_owned(),
            class: Class::Fsync,
            version: version.trim_start_matches("towpath ").to_owned(),
            settings: "defaults; the SDK's batches of 128 KiB".to_owned(),
        },
        program,
        broker,
    }))
}

impl Towpath {
    fn bench(&self, job: &Job, amount: Amount) -> Command {
        let work = match job.work {
            Work::Produce => "produce",
            Work::Consume => "consume",
            Work::Latency | Work::Clients => "latency",
            Work::Subscription => "subscription",
            Work::Group => "group",
        };
        let mut bench = Command::new(&self.program);
        bench.args(["bench", work, "-o", "json", "--url", self.broker.url()]);
        bench.args(["--records", &amount.records.to_string()]);
        bench.args(["--size", &job.size_bytes.to_string()]);
        bench.args(["--partitions", &job.partitions().to_string()]);
        bench.args(["--clients", &job.clients.to_string()]);
        if let Some(pid) = self.broker.pid() {
            bench.args(["--server-pid", &pid.to_string()]);
        }
        match (job.work, job.keys) {
            // Others write through the page cache, and are read from there.
            (Work::Consume, _) => bench.args(["--from", "cache"]),
            (Work::Subscription, None) => bench.args(["--mode", "shared"]),
            (Work::Subscription, Some(keys)) => {
                bench.args(["--mode", "key-shared", "--keys", &keys.to_string()])
            }
            _ => &mut bench,
        };
        bench
    }
}

impl Peer for Towpath {
    fn card(&self) -> &Card {
        &self.card
    }

    fn pid(&self) -> Option<u32> {
        self.broker.pid()
    }

    fn lacks(&self, _: &Job) -> Option<&'static str> {
        None
    }

    fn run<'a>(
        &'a mut self,
        job: &'a Job,
        amount: Amount,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Done>> {
        Box::pin(async move {
            let printed = output(&mut self.bench(job, amount)).await?;
            let last = printed.lines().last().unwrap_or_default();
            let report: BenchReport = serde_json::from_str(last)?;
            if report.records != amount.records {
                return Err(Error::Void(
                    "towpath bench has not done everything".to_owned(),
                ));
            }
            let is_timed = matches!(job.work, Work::Latency | Work::Clients);
            Ok(Done {
                records: report.records,
                seconds: report.seconds,
                client_cpu_seconds: report.client_cpu_seconds,
                server_cpu_seconds: report.server.map(|it| it.cpu_seconds),
                latency_us: report.latency_us.filter(|_| is_timed),
            })
        })
    }
}
