//! NATS with `JetStream`: one server, streams in files.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use futures_core::future::BoxFuture;
use std::process::Command;

use super::loaded::Loaded;
use crate::compare::peer::{Peer, Room, Started};
use crate::compare::plan::Amount;
use crate::compare::process::{Server, free_addresses, version};
use crate::compare::rows::{Card, Done};
use crate::compare::work::{Class, Job, Work};
use crate::{Error, Result};

const PAGE_CACHE: &str = "files, synced every 2 minutes; 4000 async publishes in flight";
const FSYNC: &str = "files, sync_interval: always; 4000 async publishes in flight";
const BATCHES: &str = "files, sync_interval: always; atomic batches of 1000 records, one in flight";

pub(super) async fn start(room: Room<'_>) -> Started {
    let program = room.tools.nats_server().await?;
    let load: [OsString; 2] = [room.tools.load().await?.into(), "nats".into()];
    let version = version(&program).await?.replace("nats-server: v", "");
    let card = |system: &str, class, settings: &str| Card {
        system: system.to_owned(),
        class,
        version: version.clone(),
        settings: settings.to_owned(),
    };
    let serve = async |name: &str, interval: &str| -> Result<Server> {
        serve(&program, &room.dir.join(name), interval).await
    };
    let default = serve("nats", "2m").await?;
    let synced = serve("nats-always", "always").await?;
    let batches = serve("nats-batches", "always").await?;
    let loaded = |card, server| Loaded::new(card, server, load.to_vec()).lacking(lacks);
    Ok(vec![
        Box::new(loaded(card("nats", Class::PageCache, PAGE_CACHE), default)),
        Box::new(Synced(loaded(card("nats", Class::Fsync, FSYNC), synced))),
        Box::new(Synced(
            loaded(card("nats batches", Class::Fsync, BATCHES), batches)
                .writing(&["-batch", "1000"]),
        )),
    ])
}

fn lacks(job: &Job) -> Option<&'static str> {
    match job.work {
        Work::Group => Some("its streams have no partitions that a group could share"),
        _ => None,
    }
}

async fn serve(program: &Path, dir: &Path, interval: &str) -> Result<Server> {
    fs::create_dir(dir).map_err(Error::io("make a folder"))?;
    let [address] = free_addresses().await?;
    let settings = dir.join("server.conf");
    let data = dir.join("data");
    let text = format!(
        "jetstream {{ store_dir: \"{}\", sync_interval: {interval} }}",
        data.display()
    );
    fs::write(&settings, text).map_err(Error::io("set NATS"))?;
    let mut server = Command::new(program);
    server.args([
        "--addr",
        "127.0.0.1",
        "--port",
        &address.port().to_string(),
        "-c",
    ]);
    server.arg(&settings);
    Server::start(server, address, dir.join("log")).await
}

/// A server that syncs each record. What it does to read does not differ from the other one, but for
/// what acks cost, and to fill it takes minutes: so only what it writes is measured.
struct Synced(Loaded);

impl Peer for Synced {
    fn card(&self) -> &Card {
        self.0.card()
    }

    fn pid(&self) -> Option<u32> {
        self.0.pid()
    }

    fn lacks(&self, job: &Job) -> Option<&'static str> {
        if job.reads() {
            return Some("measured in its other class: what is read was synced long before");
        }
        if job.is_of_time() || job.work == Work::Clients {
            return (!self.0.writing.is_empty()).then_some("one record at a time is no batch");
        }
        self.0.lacks(job)
    }

    fn prepare<'a>(&'a mut self, job: &'a Job, amount: Amount) -> BoxFuture<'a, Result<()>> {
        self.0.prepare(job, amount)
    }

    fn run<'a>(
        &'a mut self,
        job: &'a Job,
        amount: Amount,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Done>> {
        self.0.run(job, amount, name)
    }
}
