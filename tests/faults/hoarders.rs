//! Clients that make the broker hold memory, and what others notice of them.
//!
//! Goal: whatever they do, the broker's memory stays within the bounds of docs/architecture.md, and
//! everybody else is served. What is asserted is far from the figures of a good run, and far from
//! those of a broker without bounds, which takes more than a gigabyte.

use std::time::Duration;

use tempfile::TempDir;
use towpath_client::{Client, Record};
use towpath_tests::fault::{Hoarder, Hoarding, report, resident_bytes_peak};
use towpath_tests::process::{BrokerProcess, BrokerSetup};

use crate::PATIENCE;
use crate::cli::cli;

const MIB: u64 = 1024 * 1024;
const CONNECTION_COUNT: usize = 4;
const STREAM_COUNT: usize = 64;
/// What a half-sent message would have.
const MESSAGE_BYTES: u32 = 4_000_000;
/// How long they hoard before others come.
const HEAD_START: Duration = Duration::from_secs(1);
/// Far above what a broker with these limits takes: 20 MiB idle, 32 for windows, 16 for each limit and
/// as much for what is exceeded by one message, the caches of a few records.
const RESIDENT_BYTES_MAX: u64 = 320 * MIB;

#[test]
fn half_sent_messages_take_no_more_memory_than_there_is() {
    check_requests("half-sent messages", &Hoarding::HalfSent(MESSAGE_BYTES));
}

#[test]
fn requests_that_do_not_end_take_no_more_memory_than_there_is() {
    check_requests(
        "requests without an end",
        &Hoarding::NotEnded(MESSAGE_BYTES),
    );
}

fn check_requests(test: &str, hoarding: &Hoarding) {
    let folder = tempfile::tempdir().unwrap();
    let setup = small_setup(&folder);
    let broker = setup.start();
    cli(&setup.url(), &["topic", "create", "orders"]).ok();
    let hoarder = Hoarder::start(&setup.url(), CONNECTION_COUNT, STREAM_COUNT, hoarding);
    hoarder.last(HEAD_START);

    cli(&setup.url(), &["produce", "orders", "written meanwhile"]).ok();
    publish_large(&setup, 2);
    let read = cli(&setup.url(), &["consume", "orders", "--end"]).ok();
    assert!(read.contains("written meanwhile"), "{read}");
    check_memory(test, &broker, &hoarder);
    drop(hoarder);
    broker.kill();
}

#[test]
fn readers_that_open_no_window_take_no_more_memory_than_there_is() {
    check_unread("no window", Hoarding::NoWindow);
}

#[test]
fn readers_that_leave_their_sockets_alone_take_no_more_memory_than_there_is() {
    check_unread("no reading", Hoarding::NoReading);
}

#[test]
fn a_stop_does_not_wait_for_readers_that_never_read() {
    let folder = tempfile::tempdir().unwrap();
    // Longer than the test has patience.
    let setup = small_setup(&folder).args(["--drain-deadline", "10m"]);
    let broker = setup.start();
    publish_large(&setup, 4);
    let hoarders = [Hoarding::NoWindow, Hoarding::NoReading].map(|hoarding| {
        let hoarding = hoarding("large".to_owned());
        Hoarder::start(&setup.url(), 1, STREAM_COUNT, &hoarding)
    });
    hoarders[0].last(HEAD_START);
    let ended = broker.terminate(PATIENCE);
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    drop(hoarders);
}

fn check_unread(test: &str, hoarding: impl Fn(String) -> Hoarding) {
    let folder = tempfile::tempdir().unwrap();
    let setup = small_setup(&folder);
    let broker = setup.start();
    publish_large(&setup, 8);
    let hoarding = hoarding("large".to_owned());
    let hoarder = Hoarder::start(&setup.url(), CONNECTION_COUNT, STREAM_COUNT, &hoarding);
    hoarder.last(HEAD_START);

    let read = cli(
        &setup.url(),
        &["consume", "large", "--end", "--output", "json"],
    )
    .ok();
    assert_eq!(read.lines().count(), 8 * 4, "records");
    check_memory(test, &broker, &hoarder);
    drop(hoarder);
    broker.kill();
}

/// A broker with as little memory for clients as there can be.
fn small_setup(folder: &TempDir) -> BrokerSetup {
    BrokerSetup::new(folder.path().join("data")).args([
        "--receiving-bytes-max",
        "16MiB",
        "--unread-bytes-max",
        "16MiB",
        "--stall-deadline",
        "200ms",
    ])
}

/// Writes batches of the largest size to a topic of one partition, which is made.
fn publish_large(setup: &BrokerSetup, batch_count: usize) {
    cli(
        &setup.url(),
        &["topic", "create", "large", "--partitions", "1"],
    )
    .ok();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = Client::connect(setup.url()).unwrap();
        for _ in 0..batch_count {
            let records = (0..4).map(|_| Record::new(vec![b'v'; 1_000_000]));
            client.publish("large", records).await.unwrap();
        }
    });
}

fn check_memory(test: &str, broker: &BrokerProcess, hoarder: &Hoarder) {
    let peak_bytes = resident_bytes_peak(broker.ready().pid);
    report(
        test,
        format_args!(
            "{} MiB held at most, {} MiB sent by hoarders, {} of their streams ended",
            peak_bytes / MIB,
            hoarder.sent_bytes() as u64 / MIB,
            hoarder.ended_count(),
        ),
    );
    assert!(peak_bytes < RESIDENT_BYTES_MAX, "{} MiB", peak_bytes / MIB);
}
