//! The bare model of the hot path, synced and not.

use std::path::PathBuf;
use std::time::Instant;

use futures_core::future::BoxFuture;
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use crate::compare::peer::{Peer, Room, Started};
use crate::compare::plan::Amount;
use crate::compare::rows::{Card, Done};
use crate::compare::work::{Class, Job, Work};
use crate::host::Meter;
use crate::model::client::{Client, Load};
use crate::model::server_process::ServerProcess;
use crate::report::LatencyUs;
use crate::round_file::{Durability, FileKind, RoundFileOptions, WriteMode};
use crate::size::{KIB, MIB};
use crate::{Error, Result};

/// Records travel in messages of the size of the SDK's batches.
const MESSAGE_BYTES: usize = 128 * KIB;
const IN_FLIGHT_BYTES: usize = 16 * MIB;
const FILE_BYTES: usize = 512 * MIB;

struct Model {
    card: Card,
    server: ServerProcess,
}

pub(super) fn start(room: Room<'_>) -> Started {
    let program = program()?;
    let mut peers: Vec<Box<dyn Peer>> = Vec::new();
    for (class, durability, write, settings) in [
        (
            Class::Fsync,
            Durability::Fdatasync,
            WriteMode::Direct,
            "O_DIRECT, overwritten file",
        ),
        (
            Class::PageCache,
            Durability::None,
            WriteMode::Buffered,
            "buffered, overwritten file",
        ),
    ] {
        let file = RoundFileOptions {
            dir: room.dir.to_owned(),
            write,
            kind: FileKind::Overwritten,
            durability,
            file_bytes: FILE_BYTES,
        };
        let server = ServerProcess::start(&program, &file)?;
        let settings =
            format!("{settings}; messages of 128 KiB, 16 MiB in flight; no records, no state");
        peers.push(Box::new(Model {
            card: Card {
                system: "bare model".to_owned(),
                class,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                settings,
            },
            server,
        }));
    }
    Ok(peers)
}

/// The program of the model, which cargo builds beside this one.
fn program() -> Result<PathBuf> {
    let program = std::env::current_exe().map_err(Error::io("find this program"))?;
    let program = program.with_file_name("bare_model");
    if program.exists() {
        return Ok(program);
    }
    Err(Error::Refused(
        "bare_model is not built: cargo build --release -p towpath-benches".to_owned(),
    ))
}

impl Model {
    async fn measure(&self, job: &Job, amount: Amount) -> Result<Done> {
        let address = self.server.listening().address;
        let mut clients = Vec::new();
        for _ in 0..job.clients {
            clients.push(Client::connect(address).await?);
        }
        let bytes = usize::try_from(amount.records)
            .unwrap_or(usize::MAX)
            .saturating_mul(job.size_bytes);
        let bulk = Load {
            message_count: (bytes / MESSAGE_BYTES).max(1) as u64,
            message_bytes: MESSAGE_BYTES,
        };
        let single = Load {
            message_count: amount.records / u64::from(job.clients),
            message_bytes: job.size_bytes,
        };
        if let (Work::Produce, Some(client)) = (job.work, clients.first_mut()) {
            let warm_up = Load {
                message_count: bulk.message_count.div_ceil(8),
                ..bulk
            };
            client.produce(warm_up, IN_FLIGHT_BYTES).await?;
        }
        let meter = Meter::start(Some(self.server.pid()))?;
        let start = Instant::now();
        let mut nanoseconds = Histogram::<u64>::new(3)?;
        let mut running = JoinSet::new();
        for mut client in clients {
            let work = job.work;
            running.spawn(async move {
                match work {
                    Work::Produce => client.produce(bulk, IN_FLIGHT_BYTES).await.map(|()| None),
                    Work::Consume => client.consume(bulk).await.map(|()| None),
                    _ => client.ping_pong(single).await.map(Some),
                }
            });
        }
        while let Some(joined) = running.join_next().await {
            let joined = joined.map_err(|error| Error::Void(error.to_string()))?;
            if let Some(times) = joined? {
                nanoseconds
                    .add(times)
                    .map_err(|error| Error::Report(error.to_string()))?;
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        let usage = meter.stop()?;
        let (records, latency_us) = match job.work {
            Work::Produce | Work::Consume => (
                bulk.message_count * MESSAGE_BYTES as u64 / job.size_bytes as u64,
                None,
            ),
            _ => (
                single.message_count * u64::from(job.clients),
                Some(LatencyUs::of(&nanoseconds)),
            ),
        };
        Ok(Done {
            records,
            seconds,
            client_cpu_seconds: Some(usage.client_cpu_seconds),
            server_cpu_seconds: usage.server_cpu_seconds,
            latency_us,
        })
    }
}

impl Peer for Model {
    fn card(&self) -> &Card {
        &self.card
    }

    fn pid(&self) -> Option<u32> {
        Some(self.server.pid())
    }

    fn lacks(&self, job: &Job) -> Option<&'static str> {
        match job.work {
            Work::Subscription | Work::Group => Some("it has no state"),
            Work::Consume if self.card.class == Class::Fsync => {
                Some("it sends from memory, in either class")
            }
            Work::Produce | Work::Consume if job.size_bytes < KIB => {
                Some("it has no records: see those of 1 KiB")
            }
            _ => None,
        }
    }

    fn run<'a>(
        &'a mut self,
        job: &'a Job,
        amount: Amount,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Done>> {
        Box::pin(self.measure(job, amount))
    }
}
