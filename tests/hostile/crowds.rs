//! Many clients, each of which holds on to what it can get.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use towpath_client::{Client, Record};
use towpath_tests::fault::{Hoarder, Hoarding, descriptor_count, report, resident_bytes};

use crate::peer::Peer;
use crate::stage::Stage;
use crate::{MIB, number};

/// What a broker takes that has nothing but a load, and what it may take for each connection.
const RESIDENT_BYTES: u64 = 400 * MIB;
const CONNECTION_BYTES: u64 = 64 * 1024;
/// The windows and frames of connections beyond the budget for windows.
const WINDOW_BYTES: u64 = 96 * 1024;
/// The topic of those who are well.
const HEALTHY: &str = "healthy";
/// What a half-sent message would have.
const MESSAGE_BYTES: u32 = 4_000_000;

#[test]
fn idle_and_half_open_connections_take_little_and_nothing_stays() {
    let count = number("IDLE", 300);
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
    stage.last(seconds());
    stage.check_served();
    drop(crowd);
    stage.finish(
        "idle connections",
        RESIDENT_BYTES + count * CONNECTION_BYTES,
    );
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

#[test]
fn connections_with_full_windows_stay_within_their_bounds() {
    let count = number("FULL", 100);
    let flags = [
        "--connection-count-max",
        "2048",
        "--window-bytes-max",
        "64MiB",
        "--receiving-bytes-max",
        "16MiB",
        "--stall-deadline",
        "1s",
    ];
    let stage = Stage::start(&flags);
    let hoarding = Hoarding::HalfSent(MESSAGE_BYTES);
    let hoarder = Hoarder::start(&stage.setup.url(), count_of(count), 4, &hoarding);
    stage.last(seconds());
    stage.check_served();
    report(
        "full windows",
        format_args!(
            "{} connections have sent {} MiB, {} of their streams ended",
            count,
            hoarder.sent_bytes() as u64 / MIB,
            hoarder.ended_count()
        ),
    );
    drop(hoarder);
    let windows = 64 * MIB + count * WINDOW_BYTES;
    stage.finish(
        "full windows",
        RESIDENT_BYTES + 2 * windows + count * CONNECTION_BYTES,
    );
}

#[test]
fn readers_and_consumers_that_stand_still_keep_nobody_from_being_served() {
    let count = count_of(number("STALLED", 100));
    let flags = [
        "--connection-count-max",
        "4096",
        "--unread-bytes-max",
        "32MiB",
        "--stall-deadline",
        "1s",
    ];
    let stage = Stage::start(&flags);
    fill(&stage, "history");
    stage.cli(&[
        "subscription",
        "create",
        "standing",
        "--topic",
        "history",
        "--from",
        "beginning",
        "--mode",
        "shared",
    ]);
    stage.cli(&["topic", "create", HEALTHY, "--partitions", "1"]);
    let alone = latencies(&stage, seconds());
    let kinds = [
        Hoarding::NoReceiving("standing".to_owned()),
        Hoarding::NoWindow("history".to_owned()),
        Hoarding::NoReading("history".to_owned()),
    ];
    let counts = [count, count / 2, count - count / 2];
    let hoarders: Vec<_> = kinds.iter().zip(counts).collect();
    let url = stage.setup.url();
    let hoarders = hoarders
        .into_iter()
        .map(|(kind, count)| Hoarder::start(&url, count, 1, kind));
    let hoarders: Vec<_> = hoarders.collect();
    let beside = latencies(&stage, seconds());
    stage.check_served();
    let ended: Vec<_> = hoarders.iter().map(Hoarder::ended_count).collect();
    report(
        "stalled readers",
        format_args!(
            "{count} consumers and {count} readers stand still, {ended:?} were ended; publishing takes {alone} alone, {beside} beside them",
        ),
    );
    drop(hoarders);
    stage.finish(
        "stalled readers",
        RESIDENT_BYTES + 2 * count as u64 * CONNECTION_BYTES,
    );
}

#[test]
fn producers_that_never_read_their_answers_stop_by_themselves() {
    let stage = Stage::start(&[]);
    stage.cli(&["topic", "create", "unheard", "--partitions", "1"]);
    let hoarding = Hoarding::NoAnswers("unheard".to_owned());
    let hoarder = Hoarder::start(&stage.setup.url(), 4, 8, &hoarding);
    let mut before = 0;
    // They come to a halt: the broker reads no more than it can answer.
    loop {
        stage.last(seconds());
        let sent = hoarder.sent_bytes();
        if sent == before && sent > 0 {
            break;
        }
        before = sent;
    }
    stage.check_served();
    report(
        "producers that never read",
        format_args!("32 streams have sent {} MiB", before as u64 / MIB),
    );
    drop(hoarder);
    stage.finish("producers that never read", RESIDENT_BYTES);
}

/// Connections that do nothing but to answer pings, but for one in so many, which is only open.
fn crowd(stage: &Stage, count: u64, silent_each: u64) -> JoinSet<()> {
    let mut crowd = JoinSet::new();
    let address = stage.address();
    for number in 0..count {
        let holding = async move {
            match (number + 1) % silent_each {
                0 => drop(Peer::connect(address).await.closed().await),
                _ => be_idle(address).await,
            }
        };
        crowd.spawn_on(holding, stage.runtime.handle());
    }
    crowd
}

/// Holds a connection for as long as the broker lets it.
async fn be_idle(address: SocketAddr) {
    let stream = TcpStream::connect(address).await.expect("a connection");
    if let Ok((_requests, connection)) = h2::client::handshake(stream).await {
        drop(connection.await);
    }
}

/// Writes what readers have to stop in the middle of.
fn fill(stage: &Stage, topic: &str) {
    stage.cli(&["topic", "create", topic, "--partitions", "4"]);
    stage.runtime.block_on(async {
        let client = Client::connect(stage.setup.url()).unwrap();
        for number in 0..64 {
            let value = vec![b'v'; 100_000];
            let records = (0..4).map(|_| Record::new(value.clone()).key(format!("{number}")));
            client.publish(topic, records).await.unwrap();
        }
    });
}

/// Publishes one record after the other for so long; tells how long that takes.
fn latencies(stage: &Stage, duration: Duration) -> String {
    let mut times = stage.runtime.block_on(async {
        let client = Client::connect(stage.setup.url()).unwrap();
        let begun = Instant::now();
        let mut times = Vec::new();
        while begun.elapsed() < duration {
            let sent = Instant::now();
            let published = client.publish(HEALTHY, [Record::new("x")]);
            if let Err(error) = published.await {
                panic!("{error}");
            }
            times.push(sent.elapsed());
        }
        times
    });
    times.sort();
    let at = |percent: usize| times[times.len() * percent / 100];
    let count = times.len();
    format!("p50 {:.1?}, p99 {:.1?} of {count}", at(50), at(99))
}

fn seconds() -> Duration {
    Duration::from_secs(number("SECONDS", 3))
}

fn count_of(number: u64) -> usize {
    usize::try_from(number).expect("a number of connections")
}
