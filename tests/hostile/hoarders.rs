//! Many clients, each of which holds on to what it can get.

use std::time::Duration;

use tokio::time::Instant;
use towpath_client::{Client, Record};
use towpath_tests::fault::{Hoarder, Hoarding, report, resident_bytes};

use crate::crowds::{CONNECTION_BYTES, RESIDENT_BYTES, seconds};
use crate::stage::Stage;
use crate::{MIB, PATIENCE, number};

/// The windows and frames of connections beyond the budget for windows.
const WINDOW_BYTES: u64 = 96 * 1024;
/// The topic of those who are well.
const HEALTHY: &str = "healthy";
/// What a half-sent message would have.
const MESSAGE_BYTES: u32 = 4_000_000;
/// Calls that each connection may have open in any case.
const OWN_CALL_COUNT: usize = 8;

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
    subscribe(&stage, "beginning");
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
    let read_in = read_all(&stage, "history");
    stage.check_served();
    let ended: Vec<_> = hoarders.iter().map(Hoarder::ended_count).collect();
    report(
        "stalled readers",
        format_args!(
            "{count} consumers and {count} readers stand still, {ended:?} were ended; publishing takes {alone} alone, {beside} beside them; another reader has all in {read_in:.1?}",
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
    subscribe(&stage, "end");
    let before = resident_bytes(stage.pid());
    let url = stage.setup.url();
    let hoarding = Hoarding::NoReceiving("standing".to_owned());
    let hoarder = Hoarder::start(&url, connection_count, stream_count, &hoarding);
    let left = 512 + OWN_CALL_COUNT * connection_count;
    stage.await_that("the others are refused", |stage| {
        let refused = stage.metric("towpath_calls_refused_total ");
        refused >= (connection_count * stream_count - left) as u64
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
    let hoarder = Hoarder::start(&stage.setup.url(), 4, 2, &hoarding);
    let mut before = 0;
    // They come to a halt: the broker reads no more than it can answer.
    loop {
        stage.last(seconds());
        let sent = hoarder.sent_bytes();
        // Each stream may have 10,000 answers waiting, of batches of 300 bytes, and its window.
        assert!((sent as u64) < 128 * MIB, "{sent} bytes, and no end");
        if sent == before && sent > 0 {
            break;
        }
        before = sent;
    }
    stage.check_served();
    report(
        "producers that never read",
        format_args!(
            "8 streams have sent {} MiB, {} have ended",
            before as u64 / MIB,
            hoarder.ended_count(),
        ),
    );
    assert_eq!(stage.closed_count("flood"), 0, "nobody was cut off");
    assert_eq!(hoarder.ended_count(), 0, "they wait");
    drop(hoarder);
    stage.finish("producers that never read", RESIDENT_BYTES);
}

/// Has a subscription of what [`fill`] writes.
fn subscribe(stage: &Stage, from: &str) {
    stage.cli(&[
        "subscription",
        "create",
        "standing",
        "--topic",
        "history",
        "--from",
        from,
        "--mode",
        "shared",
    ]);
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

/// Reads what those who stand still hold memory for; tells how long that takes.
fn read_all(stage: &Stage, topic: &str) -> Duration {
    stage.runtime.block_on(async {
        let client = Client::connect(stage.setup.url()).unwrap();
        let begun = Instant::now();
        let mut reader = client.reader([topic]).build();
        let reading = async { while reader.next_record().await.unwrap().is_some() {} };
        let read = tokio::time::timeout(PATIENCE, reading).await;
        read.expect("others get memory in time");
        begun.elapsed()
    })
}

fn count_of(number: u64) -> usize {
    usize::try_from(number).expect("a number of connections")
}
