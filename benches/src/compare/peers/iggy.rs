//! Apache Iggy under its own load program. Neither comes from a registry: both are named by the caller.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_core::future::BoxFuture;
use serde::Deserialize;

use tokio::process::Command;

use crate::compare::peer::{Peer, Room, Started};
use crate::compare::plan::Amount;
use crate::compare::process::{Server, free_addresses, output, version};
use crate::compare::rows::{Card, Done};
use crate::compare::work::{Class, Job, Work};
use crate::host::Meter;
use crate::report::LatencyUs;
use crate::{Error, Result};

/// Records of one message of throughput runs, as its load program has them by itself.
const BATCH_RECORDS: u64 = 1000;

struct Iggy {
    card: Card,
    bench: PathBuf,
    address: String,
    /// If it was started here; both classes share it, as topics are synced or not.
    server: Option<Arc<Server>>,
    reports: PathBuf,
}

/// What its load program writes, as far as it is needed.
#[derive(Debug, Deserialize)]
struct Report {
    individual_metrics: Vec<Individual>,
}

#[derive(Debug, Deserialize)]
struct Individual {
    summary: Summary,
}

#[derive(Debug, Deserialize)]
struct Summary {
    total_time_secs: f64,
    total_messages: u64,
    p50_latency_ms: f64,
    p99_latency_ms: f64,
    p999_latency_ms: f64,
    max_latency_ms: f64,
}

pub(super) async fn start(room: Room<'_>) -> Started {
    let plan = room.plan;
    let Some(bench) = plan.iggy_bench.clone() else {
        let reason = "its programs come from no registry: name them with --iggy-server or --iggy-url, and --iggy-bench";
        return Err(Error::Refused(reason.to_owned()));
    };
    let (server, address, version) = match (&plan.iggy_server, &plan.iggy_url) {
        (Some(program), _) => {
            let server = serve(program, &room.dir.join("iggy")).await?;
            let address = server.address().to_string();
            (Some(Arc::new(server)), address, version(program).await?)
        }
        (None, Some(url)) => (None, url.clone(), "unknown: it ran already".to_owned()),
        (None, None) => {
            return Err(Error::Refused(
                "name its server with --iggy-server or --iggy-url".to_owned(),
            ));
        }
    };
    let peer = |class, settings: &str| -> Box<dyn Peer> {
        Box::new(Iggy {
            card: Card {
                system: "iggy".to_owned(),
                class,
                version: version.trim_start_matches("server ").to_owned(),
                settings: format!("{settings}; TCP, messages of 1000 records, one in flight"),
            },
            bench: bench.clone(),
            address: address.clone(),
            server: server.clone(),
            reports: room.dir.join(format!("iggy-reports-{class}")),
        })
    };
    Ok(vec![
        peer(Class::Memory, "topics as by default"),
        peer(
            Class::Every1024,
            "topics with enforce_fsync: what is saved is synced",
        ),
    ])
}

async fn serve(program: &Path, dir: &Path) -> Result<Server> {
    fs::create_dir(dir).map_err(Error::io("make a folder"))?;
    let [address] = free_addresses().await?;
    let mut server = std::process::Command::new(program);
    server
        .arg("--with-default-root-credentials")
        .current_dir(dir)
        .env("IGGY_TCP_ADDRESS", address.to_string())
        .env("IGGY_HTTP_ENABLED", "false")
        .env("IGGY_QUIC_ENABLED", "false")
        .env("IGGY_WEBSOCKET_ENABLED", "false")
        .env("IGGY_SYSTEM_PATH", dir.join("data"));
    Server::start(server, address, dir.join("log")).await
}

impl Iggy {
    /// Runs the load program; `kind` is its command with the flags of that.
    async fn bench(
        &self,
        job: &Job,
        amount: Amount,
        batch: u64,
        kind: &[&str],
        reuses: bool,
    ) -> Result<Vec<Summary>> {
        let batches = amount.records / batch / u64::from(job.clients);
        let mut bench = Command::new(&self.bench);
        bench.args(["--message-size", &job.size_bytes.to_string()]);
        bench.args(["--messages-per-batch", &batch.to_string()]);
        bench.args(["--message-batches", &batches.max(1).to_string()]);
        if reuses {
            bench.arg("--reuse-streams");
        }
        if self.card.class == Class::Every1024 {
            bench.arg("--enforce-fsync");
        }
        // A run before may have left something there.
        drop(fs::remove_dir_all(&self.reports));
        bench
            .args(kind)
            .args(["tcp", "--server-address", &self.address, "output", "-o"])
            .arg(&self.reports);
        output(&mut bench).await?;
        let report =
            fs::read(report_below(&self.reports)?).map_err(Error::io("read Iggy's report"))?;
        let Report { individual_metrics } = serde_json::from_slice(&report)?;
        Ok(individual_metrics
            .into_iter()
            .map(|it| it.summary)
            .collect())
    }
}

impl Peer for Iggy {
    fn card(&self) -> &Card {
        &self.card
    }

    fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(|it| it.pid())
    }

    fn lacks(&self, job: &Job) -> Option<&'static str> {
        match job.work {
            Work::Subscription => Some("it does not ack single records"),
            Work::Clients => Some("its load program has producers write to streams of their own"),
            Work::Group => Some("its load program writes to eight partitions in no known way"),
            Work::Consume if self.card.class == Class::Every1024 => {
                Some("measured in its other class: what is read was synced long before")
            }
            _ => None,
        }
    }

    fn prepare<'a>(&'a mut self, job: &'a Job, amount: Amount) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if job.reads() {
                self.bench(job, amount, BATCH_RECORDS, &PRODUCER, false)
                    .await?;
            }
            Ok(())
        })
    }

    fn run<'a>(
        &'a mut self,
        job: &'a Job,
        amount: Amount,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Done>> {
        Box::pin(async move {
            let meter = Meter::start_with_children(self.pid())?;
            let summaries = match job.work {
                Work::Produce => {
                    self.bench(job, amount, BATCH_RECORDS, &PRODUCER, false)
                        .await?
                }
                Work::Latency => self.bench(job, amount, 1, &PRODUCER, false).await?,
                _ => {
                    self.bench(job, amount, BATCH_RECORDS, &CONSUMER, true)
                        .await?
                }
            };
            let usage = meter.stop()?;

            Ok(Done {
                records: summaries.iter().map(|it| it.total_messages).sum(),
                seconds: summaries
                    .iter()
                    .map(|it| it.total_time_secs)
                    .fold(0.0, f64::max),
                client_cpu_seconds: Some(usage.client_cpu_seconds),
                server_cpu_seconds: usage.server_cpu_seconds,
                latency_us: latencies(&summaries).filter(|_| job.is_of_time()),
            })
        })
    }
}

const PRODUCER: [&str; 5] = ["pinned-producer", "--streams", "1", "--producers", "1"];
const CONSUMER: [&str; 5] = ["pinned-consumer", "--streams", "1", "--consumers", "1"];

/// Quantiles of its one client.
fn latencies(summaries: &[Summary]) -> Option<LatencyUs> {
    let summary = summaries.first()?;
    Some(LatencyUs {
        p50: summary.p50_latency_ms * 1e3,
        p99: summary.p99_latency_ms * 1e3,
        p999: summary.p999_latency_ms * 1e3,
        max: summary.max_latency_ms * 1e3,
    })
}

/// The one report: its folder is named after what was measured.
fn report_below(dir: &Path) -> Result<PathBuf> {
    let mut entries = fs::read_dir(dir).map_err(Error::io("find Iggy's report"))?;
    let entry = entries
        .next()
        .ok_or_else(|| Error::Void("Iggy's load program wrote no report".to_owned()))?;
    Ok(entry
        .map_err(Error::io("find Iggy's report"))?
        .path()
        .join("report.json"))
}
