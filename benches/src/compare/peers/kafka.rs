//! Apache Kafka, one node, under its own client in Java.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use tokio::process::Command;

use super::loaded::Loaded;
use crate::compare::peer::{Peer, Room, Started};
use crate::compare::process::{Server, free_addresses, output};
use crate::compare::rows::Card;
use crate::compare::tools::Kafka;
use crate::compare::work::{Class, Job, Work};
use crate::{Error, Result};

const SETTINGS: &str = "one node, 1 GiB heap; clients: batch.size 131072 and linger.ms 5 where many records are \
                        in flight, acks=all; subscription: share group, acks go with the next fetch";

pub(super) async fn start(room: Room<'_>) -> Started {
    let kafka = room.tools.kafka().await?;
    let mut peers: Vec<Box<dyn Peer>> = Vec::new();
    for (class, more) in [
        (Class::PageCache, ""),
        (Class::Fsync, "log.flush.interval.messages=1\n"),
    ] {
        let dir = room.dir.join(format!("kafka-{}", peers.len()));
        let server = serve(&kafka, &dir, more).await?;
        let card = Card {
            system: "kafka".to_owned(),
            class,
            version: kafka.version.clone(),
            settings: format!("{more}{SETTINGS}").replace('\n', "; "),
        };
        let program = java("-Xmx512m", &kafka.load_path, "Load");
        peers.push(Box::new(Loaded::new(card, server, program).lacking(lacks)));
    }
    Ok(peers)
}

fn lacks(job: &Job) -> Option<&'static str> {
    (job.work == Work::Group && job.clients > 1).then_some("its load program has one member")
}

async fn serve(kafka: &Kafka, dir: &Path, more: &str) -> Result<Server> {
    fs::create_dir(dir).map_err(Error::io("make a folder"))?;
    let [clients, controller] = free_addresses().await?;
    let data = dir.join("data");
    let data = data.display();
    let properties = dir.join("server.properties");
    let text = format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@{controller}\n\
         listeners=PLAINTEXT://{clients},CONTROLLER://{controller}\n\
         advertised.listeners=PLAINTEXT://{clients}\n\
         controller.listener.names=CONTROLLER\n\
         log.dirs={data}\n\
         offsets.topic.replication.factor=1\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n\
         log.segment.delete.delay.ms=1000\n\
         {more}"
    );
    fs::write(&properties, text).map_err(Error::io("set Kafka"))?;
    let storage_tool = java("-Xmx256m", &kafka.class_path, "kafka.tools.StorageTool");
    let id = output(command(&storage_tool).arg("random-uuid")).await?;
    let mut format = command(&storage_tool);
    format
        .args(["format", "-t", id.trim(), "-c"])
        .arg(&properties);
    output(&mut format).await?;
    let mut server = command(&java("-Xms1g", &kafka.class_path, "kafka.Kafka")).into_std();
    server
        .arg(&properties)
        .env("JAVA_TOOL_OPTIONS", "-Xmx1g")
        .env("LOG_DIR", dir);
    Server::start(server, clients, dir.join("log")).await
}

/// A Java program with its first arguments.
fn java(memory: &str, class_path: &OsString, class: &str) -> Vec<OsString> {
    let [java, memory, flag, class] = ["java", memory, "-cp", class].map(OsString::from);
    vec![java, memory, flag, class_path.clone(), class]
}

fn command(program: &[OsString]) -> Command {
    let (program, arguments) = program.split_first().unzip();
    let mut command = Command::new(program.cloned().unwrap_or_default());
    command.args(arguments.unwrap_or_default());
    command
}
