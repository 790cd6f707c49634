//! Many clients, each of which holds on to what it can get.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use h2::Ping;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
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
/// Calls that each connection may have open in any case.
const OWN_CALL_COUNT: usize = 8;
/// Of a crowd so many come at once: more than fit into the line before a broker have to come again.
const COMING_COUNT_MAX: usize = 256;
/// A connection to this machine takes no time unless it has to come again.
const LINE_PATIENCE: Duration = Duration::from_secs(30);

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
            match connected.await {
                Ok(stream) => crowd.push(stream.expect("a connection")),
                Err(_elapsed) => panic!("only {number} of {count} stand in line"),
            }
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
fn streams_of_many_connections_are_bounded_and_leave_others_a_few() {
    let stage = Stage::start(&["--call-count-max", "512"]);
    let (connection_count, stream_count) = (64, 64);
    fill(&stage, "history");
    stage.cli(&[
        "subscription",
        "create",
        "standing",
        "--topic",
        "history",
        "--from",
        "end",
        "--mode",
        "shared",
    ]);
    let before = resident_bytes(stage.pid());
    let url = stage.setup.url();
    let hoarding = Hoarding::NoReceiving("standing".to_owned());
    let hoarder = Hoarder::start(&url, connection_count, stream_count, &hoarding);
    let left = 512 + OWN_CALL_COUNT * connection_count;
    stage.await_that("the others are refused", |_| {
        hoarder.ended_count() + left >= connection_count * stream_count
    });
    let open = stage.metric("towpath_open_calls ");
    let now = resident_bytes(stage.pid());
    report(
        "streams",
        format_args!(
            "{open} streams are open and take {} KiB each, {} were refused",
            now.saturating_sub(before) / open / 1024,
            stage.metric("towpath_calls_refused_total "),
        ),
    );
    // Those who are well have a few.
    assert!(open <= left as u64 + 100, "{open} are open");
    stage.check_served();
    drop(hoarder);
    stage.finish("streams", RESIDENT_BYTES);
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
