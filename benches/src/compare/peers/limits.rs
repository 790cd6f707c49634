//! What is under all of them: appends with a sync each, and a connection over the loopback interface.

use std::path::PathBuf;

use futures_core::future::BoxFuture;

use crate::compare::peer::{Peer, Room};
use crate::compare::plan::Amount;
use crate::compare::rows::{Card, Done};
use crate::compare::work::{Class, Job, Work};
use crate::limits::{loopback, sync};
use crate::report::Figures;
use crate::round_file::{Durability, FileKind, RoundFileOptions, WriteMode};
use crate::size::MIB;
use crate::{Error, Result};

/// Of one append, and of one write to the connection.
const PIECE_BYTES: usize = MIB;
const FILE_BYTES: usize = 256 * MIB;

struct Disk {
    card: Card,
    dir: PathBuf,
}

struct Loopback {
    card: Card,
}

pub(super) fn start(room: Room<'_>) -> Vec<Box<dyn Peer>> {
    let card = |system: &str, class, settings: &str| Card {
        system: system.to_owned(),
        class,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        settings: settings.to_owned(),
    };
    let disk =
        "appends of 1 MiB, or of one record, O_DIRECT, overwritten file, each synced; no network";
    let loopback = "one TCP connection, writes of 1 MiB, read and dropped";
    vec![
        Box::new(Disk {
            card: card("raw disk", Class::Fsync, disk),
            dir: room.dir.to_owned(),
        }),
        Box::new(Loopback {
            card: card("raw loopback", Class::Memory, loopback),
        }),
    ]
}

fn done(figures: Figures, job: &Job) -> Done {
    Done {
        records: figures.bytes / job.size_bytes as u64,
        seconds: figures.seconds,
        client_cpu_seconds: None,
        server_cpu_seconds: None,
        latency_us: figures.latency_us,
    }
}

/// Runs on a thread that may block.
async fn blocking(measure: impl FnOnce() -> Result<Figures> + Send + 'static) -> Result<Figures> {
    let measured = tokio::task::spawn_blocking(measure).await;
    measured.map_err(|error| Error::Void(error.to_string()))?
}

impl Peer for Disk {
    fn card(&self) -> &Card {
        &self.card
    }

    fn pid(&self) -> Option<u32> {
        None
    }

    fn lacks(&self, job: &Job) -> Option<&'static str> {
        match job.work {
            Work::Produce | Work::Latency => None,
            _ => Some("it is measured by one that writes"),
        }
    }

    fn run<'a>(
        &'a mut self,
        job: &'a Job,
        amount: Amount,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Done>> {
        let file = RoundFileOptions {
            dir: self.dir.clone(),
            write: WriteMode::Direct,
            kind: FileKind::Overwritten,
            durability: Durability::Fdatasync,
            file_bytes: FILE_BYTES,
        };
        let (piece_bytes, count) = match job.work {
            Work::Latency => (job.size_bytes, amount.records),
            _ => {
                let bytes = amount.records * job.size_bytes as u64;
                (PIECE_BYTES, bytes.div_ceil(PIECE_BYTES as u64))
            }
        };
        Box::pin(async move {
            let figures =
                blocking(move || sync::measure(&file, piece_bytes, count).map(|it| it.1)).await?;
            let mut done = done(figures, job);
            done.latency_us = done.latency_us.filter(|_| job.is_of_time());
            Ok(done)
        })
    }
}

impl Peer for Loopback {
    fn card(&self) -> &Card {
        &self.card
    }

    fn pid(&self) -> Option<u32> {
        None
    }

    fn lacks(&self, job: &Job) -> Option<&'static str> {
        match job.work {
            Work::Produce | Work::Consume => None,
            _ => Some("it knows no records"),
        }
    }

    fn run<'a>(
        &'a mut self,
        job: &'a Job,
        amount: Amount,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Done>> {
        let bytes = usize::try_from(amount.records)
            .unwrap_or(usize::MAX)
            .saturating_mul(job.size_bytes);
        Box::pin(async move {
            let count = bytes.div_ceil(PIECE_BYTES);
            let figures = blocking(move || loopback::measure(PIECE_BYTES, count)).await?;
            Ok(done(figures, job))
        })
    }
}
