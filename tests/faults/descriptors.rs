//! A process that may open few files, and clients that take all of them.

use std::net::SocketAddr;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use towpath_tests::fault::{cpu_time, descriptor_count, report};
use towpath_tests::load::{Load, LoadOptions};
use towpath_tests::process::BrokerSetup;

use crate::cli::cli;
use crate::{PATIENCE, seed};

/// Enough for everybody of a load, and far less than the flood.
const DESCRIPTOR_COUNT: usize = 160;
const CONNECTION_COUNT: usize = 500;
/// How long the broker has to do with the flood.
const FLOOD: Duration = Duration::from_secs(2);

#[test]
fn connections_do_not_take_the_descriptors_of_files() {
    let folder = tempfile::tempdir().unwrap();
    let setup = limited_setup(&folder);
    let broker = setup.start();
    let pid = broker.ready().pid;
    let load = Load::start(&setup.url(), &LoadOptions::new(seed()));
    load.await_ack(PATIENCE).expect("acknowledged");
    assert!(load.run_for(FLOOD / 4), "nobody complains");

    let flood = Flood::start(&setup);
    // Topics come and go meanwhile, and files with them.
    load.run_for(FLOOD);
    let count = descriptor_count(pid);
    load.forget_acks();
    load.await_ack(PATIENCE).expect("clients are served on");
    drop(flood);
    cli(&setup.url(), &["topic", "list"]).ok();
    load.finish()
        .assert_acknowledged("after a flood of connections");
    broker.kill();
    report(
        "descriptors",
        format_args!("{count} of {DESCRIPTOR_COUNT} open in a flood"),
    );
}

#[test]
fn a_broker_that_is_flooded_with_connections_does_not_spin() {
    let folder = tempfile::tempdir().unwrap();
    let setup = limited_setup(&folder);
    let broker = setup.start();
    let pid = broker.ready().pid;
    let flood = Flood::start(&setup);
    flood.last(FLOOD / 4);
    let before = cpu_time(pid);
    flood.last(FLOOD);
    let used = cpu_time(pid).saturating_sub(before);
    report(
        "flood of connections",
        format_args!("{used:.0?} of a processor in {FLOOD:?}"),
    );
    assert!(used < FLOOD / 4, "it does not spin: {used:?} in {FLOOD:?}");
    drop(flood);
    cli(&setup.url(), &["topic", "create", "t"]).ok();
    broker.kill();
}

/// A broker that may open few files.
fn limited_setup(folder: &TempDir) -> BrokerSetup {
    let limited = format!("ulimit -n {DESCRIPTOR_COUNT} && exec \"$0\" \"$@\"");
    BrokerSetup::new(folder.path().join("data")).under(["sh", "-c", &limited])
}

/// Connections on which nothing is said, open or waiting to be accepted.
struct Flood {
    runtime: Runtime,
    _connections: JoinSet<()>,
}

impl Flood {
    fn start(setup: &BrokerSetup) -> Self {
        let url = setup.url();
        let listen: SocketAddr = url.trim_start_matches("http://").parse().unwrap();
        let runtime = Runtime::new().unwrap();
        let mut connections = JoinSet::new();
        for _ in 0..CONNECTION_COUNT {
            let hold = async move {
                let connection = TcpStream::connect(listen).await;
                std::future::pending::<()>().await;
                drop(connection);
            };
            connections.spawn_on(hold, runtime.handle());
        }
        Self {
            runtime,
            _connections: connections,
        }
    }

    fn last(&self, duration: Duration) {
        let lasting = async { tokio::time::sleep(duration).await };
        self.runtime.block_on(lasting);
    }
}
