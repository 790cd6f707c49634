//! Many connections that do nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use h2::Ping;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use towpath_tests::fault::{descriptor_count, report, resident_bytes};

use crate::peer::Peer;
use crate::stage::Stage;
use crate::{MIB, number};

/// What a broker takes that has nothing but a load, and what it may take for each connection.
pub(crate) const RESIDENT_BYTES: u64 = 400 * MIB;
pub(crate) const CONNECTION_BYTES: u64 = 64 * 1024;
/// What a load adds while a crowd comes.
const LOAD_BYTES: u64 = 12 * MIB;
/// Of a crowd so many come at once: more than fit into the line before a broker have to come again.
const COMING_COUNT_MAX: usize = 256;
/// A connection to this machine takes no time unless it has to come again.
const LINE_PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn idle_and_half_open_connections_take_little_and_nothing_stays() {
    let count = number("IDLE", 500);
    let stage = Stage::start(&["--connection-count-max", "20000"]);
    let before = (resident_bytes(stage.pid()), descriptor_count(stage.pid()));
    let crowd = crowd(&stage, count, 8);
    stage.await_that("all are in", |stage| {
        stage.metric("towpath_open_connections ") >= count / 8 * 7
    });
    let now = (resident_bytes(stage.pid()), descriptor_count(stage.pid()));
    report(
        "idle connections",
        format_args!(
            "{count} connections take {} KiB each, and {} descriptors",
            now.0.saturating_sub(before.0) / count / 1024,
            now.1 - before.1,
        ),
    );
    let grown = now.0.saturating_sub(before.0);
    let allowed = count * CONNECTION_BYTES + LOAD_BYTES;
    assert!(grown < allowed, "{} MiB more", grown / MIB);
    stage.last(seconds());
    stage.check_served();
    drop(crowd);
    stage.finish(
        "idle connections",
        RESIDENT_BYTES + count * CONNECTION_BYTES,
    );
}

#[test]
fn half_open_connections_take_little_and_are_given_up() {
    let count = number("IDLE", 300);
    let stage = Stage::start(&["--connection-count-max", "20000"]);
    let before = resident_bytes(stage.pid());
    let crowd = crowd(&stage, count, 1);
    stage.await_that("all are in", |stage| {
        stage.metric("towpath_connections_total ") >= count
    });
    let now = resident_bytes(stage.pid());
    report(
        "half-open connections",
        format_args!(
            "{count} connections that say nothing take {} KiB each",
            now.saturating_sub(before) / count / 1024,
        ),
    );
    stage.check_served();
    stage.await_that("all are given up", |stage| {
        stage.closed_count("silent") == count
    });
    drop(crowd);
    stage.finish(
        "half-open connections",
        RESIDENT_BYTES + count * CONNECTION_BYTES,
    );
}

#[test]
fn connections_that_come_at_once_stand_in_line_while_nobody_accepts() {
    let count = line_count().min(2_000);
    let stage = Stage::start(&["--connection-count-max", "4096"]);
    stage.freeze();
    let address = stage.address();
    let crowd = stage.runtime.block_on(async {
        let mut crowd = Vec::new();
        for number in 0..count {
            let connected = tokio::time::timeout(LINE_PATIENCE, TcpStream::connect(address));
            let Ok(stream) = connected.await else {
                panic!("only {number} of {count} stand in line");
            };
            crowd.push(stream.expect("a connection"));
        }
        crowd
    });
    stage.thaw();
    stage.await_that("all are in", |stage| {
        stage.metric("towpath_connections_total ") >= count as u64
    });
    stage.check_served();
    drop(crowd);
    stage.finish("connections at once", RESIDENT_BYTES);
}

#[test]
fn idle_connections_make_room_for_those_that_are_used() {
    let stage = Stage::start(&["--connection-count-max", "64"]);
    let crowd = crowd(&stage, 300, u64::MAX);
    // The first ones are refused, until connections have been idle for long.
    stage.await_that("others come in", |stage| stage.try_cli(&["topic", "list"]));
    stage.check_served();
    stage.await_that("idle ones leave", |stage| stage.closed_count("idle") > 0);
    let refused = "towpath_connections_refused_total{reason=\"connection_count\"}";
    assert!(stage.metric(refused) > 0, "the others were told");
    drop(crowd);
    stage.finish("idle connections and no room", RESIDENT_BYTES);
}

/// Connections that do nothing but to answer pings, but for one in so many, which is only open.
fn crowd(stage: &Stage, count: u64, silent_each: u64) -> JoinSet<()> {
    let mut crowd = JoinSet::new();
    let address = stage.address();
    let coming = Arc::new(Semaphore::new(COMING_COUNT_MAX));
    for number in 0..count {
        let coming = Arc::clone(&coming);
        let holding = async move {
            match (number + 1) % silent_each {
                0 => {
                    let comes = coming.acquire().await.expect("it is never closed");
                    let peer = Peer::connect("half open", address).await;
                    drop(comes);
                    drop(peer.closed().await);
                }
                _ => be_idle(address, &coming).await,
            }
        };
        crowd.spawn_on(holding, stage.runtime.handle());
    }
    crowd
}

/// Holds a connection for as long as the broker lets it.
async fn be_idle(address: SocketAddr, coming: &Semaphore) {
    let comes = coming.acquire().await.expect("it is never closed");
    let stream = TcpStream::connect(address).await.expect("a connection");
    let Ok((_requests, mut connection)) = h2::client::handshake(stream).await else {
        return;
    };
    let mut pings = connection.ping_pong().expect("nobody has taken it");
    let in_it = async {
        // The answer says that it was accepted.
        if pings.ping(Ping::opaque()).await.is_ok() {
            drop(comes);
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        _ended = connection => {}
        () = in_it => {}
    }
}

/// How many connections the operating system lets wait before a listener.
fn line_count() -> usize {
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    most.trim().parse().unwrap()
}

/// How long a crowd is looked at.
pub(crate) fn seconds() -> Duration {
    Duration::from_secs(number("SECONDS", 3))
}
