//! Redis streams: one server with its append-only file.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use std::process::Command;

use super::loaded::Loaded;
use crate::compare::peer::{Peer, Room, Started};
use crate::compare::process::{Server, free_addresses, version};
use crate::compare::rows::Card;
use crate::compare::work::{Class, Job, Work};
use crate::{Error, Result};

const PROGRAM: &str = "redis-server";

pub(super) async fn start(room: Room<'_>) -> Started {
    let load: [OsString; 2] = [room.tools.load().await?.into(), "redis".into()];
    let version = version(Path::new(PROGRAM)).await?;
    let number = version
        .split_whitespace()
        .find_map(|word| word.strip_prefix("v="));
    let mut peers: Vec<Box<dyn Peer>> = Vec::new();
    for (class, sync) in [(Class::EverySecond, "everysec"), (Class::Fsync, "always")] {
        let server = serve(&room.dir.join(format!("redis-{sync}")), sync).await?;
        let card = Card {
            system: "redis".to_owned(),
            class,
            version: number.unwrap_or(&version).to_owned(),
            settings: format!(
                "append-only file, appendfsync {sync}, no snapshots; pipelines of 1000 XADD, one in flight; \
                 subscription: XREADGROUP, one XACK for all that was read"
            ),
        };
        peers.push(Box::new(
            Loaded::new(card, server, load.to_vec()).lacking(lacks),
        ));
    }
    Ok(peers)
}

fn lacks(job: &Job) -> Option<&'static str> {
    (job.work == Work::Group).then_some("its streams have no partitions that a group could share")
}

async fn serve(dir: &Path, sync: &str) -> Result<Server> {
    fs::create_dir(dir).map_err(Error::io("make a folder"))?;
    let [address] = free_addresses().await?;
    let mut server = Command::new(PROGRAM);
    server
        .args([
            "--bind",
            "127.0.0.1",
            "--port",
            &address.port().to_string(),
            "--dir",
        ])
        .arg(dir);
    server.args(["--appendonly", "yes", "--appendfsync", sync, "--save", ""]);
    Server::start(server, address, dir.join("log")).await
}
