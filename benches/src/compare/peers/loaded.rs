//! A server under one of the load programs of `benches/compare`.

use std::ffi::OsString;

use futures_core::future::BoxFuture;
use tokio::process::Command;

use crate::Result;
use crate::compare::peer::Peer;
use crate::compare::plan::Amount;
use crate::compare::process::{Server, output};
use crate::compare::rows::{Card, Done};
use crate::compare::work::{Job, Work};

/// A server, and the program that measures it.
pub(super) struct Loaded {
    pub(super) card: Card,
    pub(super) server: Server,
    /// The load program with its first arguments.
    pub(super) program: Vec<OsString>,
    /// What is added to a job's flags where it writes.
    pub(super) writing: Vec<&'static str>,
    pub(super) lacks: fn(&Job) -> Option<&'static str>,
    /// What was written to be read: size, partitions and number of records.
    pub(super) filled: Vec<(usize, u32, u64)>,
}

/// Most records that are written to be read: the slower systems take long for them.
const FILLED_RECORDS_MAX: u64 = 2_000_000;

impl Loaded {
    pub(super) fn new(card: Card, server: Server, program: Vec<OsString>) -> Self {
        Self {
            card,
            server,
            program,
            writing: Vec::new(),
            lacks: |_| None,
            filled: Vec::new(),
        }
    }

    /// Adds flags for where it writes.
    pub(super) fn writing(mut self, flags: &[&'static str]) -> Self {
        self.writing = flags.to_vec();
        self
    }

    /// Adds what it cannot do.
    pub(super) fn lacking(mut self, lacks: fn(&Job) -> Option<&'static str>) -> Self {
        self.lacks = lacks;
        self
    }

    fn command(&self, work: &str, job: &Job, records: u64, stream: &str) -> Command {
        let (program, first) = self.program.split_first().unzip();
        let mut command = Command::new(program.cloned().unwrap_or_default());
        command.args(first.unwrap_or_default()).arg(work);
        command.args(["-url", &self.server.address().to_string()]);
        command.args(["-records", &records.to_string()]);
        command.args(["-size", &job.size_bytes.to_string()]);
        command.args(["-clients", &job.clients.to_string()]);
        command.args(["-stream", stream]);
        command.args(["-server-pid", &self.server.pid().to_string()]);
        command
    }

    /// The flags that only some of the load programs know.
    fn with_partitions(command: &mut Command, job: &Job) {
        if job.partitions() > 1 {
            command.args(["-partitions", &job.partitions().to_string()]);
        }
    }

    fn key(job: &Job, amount: Amount) -> (usize, u32, u64) {
        let records = amount.records.min(FILLED_RECORDS_MAX);
        (job.size_bytes, job.partitions(), records)
    }
}

fn filled_stream((size_bytes, partitions, records): (usize, u32, u64)) -> String {
    format!("filled-{size_bytes}-{partitions}-{records}")
}

impl Peer for Loaded {
    fn card(&self) -> &Card {
        &self.card
    }

    fn pid(&self) -> Option<u32> {
        Some(self.server.pid())
    }

    fn lacks(&self, job: &Job) -> Option<&'static str> {
        if job.keys.is_some() {
            return Some("it keeps no order of keys among several consumers");
        }
        (self.lacks)(job)
    }

    fn prepare<'a>(&'a mut self, job: &'a Job, amount: Amount) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let key = Self::key(job, amount);
            if !job.reads() || self.filled.contains(&key) {
                return Ok(());
            }
            let mut command = self.command("fill", job, key.2, &filled_stream(key));
            Self::with_partitions(&mut command, job);
            output(command.args(&self.writing)).await?;
            self.filled.push(key);
            Ok(())
        })
    }

    fn run<'a>(
        &'a mut self,
        job: &'a Job,
        amount: Amount,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Done>> {
        Box::pin(async move {
            let key = Self::key(job, amount);
            let mut command = match job.work {
                Work::Produce => self.command("produce", job, amount.records, name),
                Work::Latency | Work::Clients => self.command("latency", job, amount.records, name),
                Work::Consume => self.command("consume", job, key.2, &filled_stream(key)),
                Work::Subscription => self.command("settle", job, key.2, &filled_stream(key)),
                Work::Group => self.command("group", job, key.2, &filled_stream(key)),
            };
            if job.reads() {
                Self::with_partitions(&mut command, job);
                command.args(["-name", name]);
            } else {
                command.args(["-longest", &format!("{}s", amount.longest.as_secs())]);
                command.args(&self.writing);
            }
            Ok(serde_json::from_str(&output(&mut command).await?)?)
        })
    }
}
