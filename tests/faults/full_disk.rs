//! A small disk that somebody else fills, and frees again.

use std::fs::File;
use std::io::Write as _;

use tokio::time::Instant;
use towpath_tests::fault::{Ballast, Disk, cpu_time, report};
use towpath_tests::load::{Load, LoadOptions};
use towpath_tests::process::{BrokerProcess, BrokerSetup};

use crate::cli::{cli, cli_with};
use crate::{Need, PATIENCE, can, seed};

const MIB: u64 = 1024 * 1024;
const DISK_BYTES: u64 = 64 * MIB;
/// Less than a twentieth of the disk, below which produce is refused, and enough for a start.
const SCARCE_BYTES: u64 = 6 * MIB;
/// Room for a start, and less than the twentieth of the disk that is kept back.
const LOW_BYTES: u64 = 5 * MIB / 2;
/// Exit code for a limit that is reached, and for a full disk.
const LIMIT: i32 = 7;
/// Exit code for a broker that did not answer in time: the record may be written.
const NO_ANSWER: i32 = 3;
/// Most that the broker has to say about a full disk in a few seconds.
const LOG_BYTES_MAX: usize = 10_000;

#[test]
fn a_full_disk_is_a_refusal_until_there_is_room() {
    if !can("full disk", &[Need::Disks]) {
        return;
    }
    let disk = Disk::ext4(DISK_BYTES);
    let setup = BrokerSetup::new(disk.data_dir());
    let broker = setup.start();
    let url = setup.url();
    for topic in ["bulk", "idle"] {
        cli(&url, &["topic", "create", topic, "--partitions", "1"]).ok();
    }
    cli(&url, &["produce", "bulk", "before"]).ok();
    let load = Load::start(&url, &LoadOptions::new(seed()));
    load.await_ack(PATIENCE).expect("acknowledged");

    let ballast = Ballast::leave(&disk, SCARCE_BYTES);
    let said = fill(&url, 2 * SCARCE_BYTES);
    assert!(
        said.contains("the disk is full") && said.contains("STORAGE_FULL"),
        "{said}"
    );
    let records = cli(&url, &["consume", "bulk", "-e"]).ok();
    assert!(records.starts_with("before\n"), "reading goes on");
    cli(&url, &["topic", "delete", "idle", "--yes"]).ok();
    let cpu = watch(&url, &broker);

    load.forget_acks();
    let removed = Instant::now();
    ballast.remove();
    let resumed = load.await_ack(PATIENCE).expect("service resumes by itself");
    let resume_time = resumed - removed;
    broker.kill();
    let broker = setup.start();
    load.finish().assert_acknowledged("after a full disk");
    broker.kill();
    report(
        "full disk",
        format_args!(
            "{cpu:.2} of a processor while full; resumed {resume_time:.0?} after there was room"
        ),
    );
}

#[test]
fn a_broker_on_a_disk_that_is_almost_full_says_so() {
    if !can("almost full disk", &[Need::Disks]) {
        return;
    }
    let disk = Disk::ext4(DISK_BYTES);
    let setup = BrokerSetup::new(disk.data_dir());
    let broker = setup.start();
    let url = setup.url();
    cli(&url, &["produce", "t", "before", "--give-up-after", "1s"]).failed(4);
    cli(&url, &["topic", "create", "t"]).ok();
    cli(&url, &["produce", "t", "before"]).ok();
    broker.terminate(PATIENCE);

    let ballast = Ballast::leave(&disk, 0);
    // It starts if a journal file is left to be used again.
    match setup.try_start() {
        Ok(mut broker) => {
            let log = broker.stderr_so_far();
            assert!(log.contains("disk is nearly full"), "{log}");
            broker.kill();
        }
        Err(ended) => {
            assert_eq!(ended.code(), Some(LIMIT), "{ended}");
            assert!(ended.stderr.contains("make room on the disk"), "{ended}");
        }
    }
    ballast.remove();

    let ballast = Ballast::leave(&disk, LOW_BYTES);
    let mut broker = setup.start();
    let (start, before) = (Instant::now(), cpu_time(broker.ready().pid));
    let refused = cli(&url, &["produce", "t", "after", "--give-up-after", "2s"]);
    refused.failed(LIMIT);
    let used = cpu_time(broker.ready().pid).saturating_sub(before);
    let elapsed = start.elapsed();
    assert!(
        used < elapsed / 4,
        "it does not spin: {used:?} in {elapsed:?}"
    );
    let log = broker.stderr_so_far();
    assert!(log.contains("disk is nearly full"), "{log}");
    assert!(log.len() < LOG_BYTES_MAX, "{} bytes of log", log.len());
    assert_eq!(cli(&url, &["consume", "t", "-e"]).ok(), "before\n");
    ballast.remove();
    cli(&url, &["produce", "t", "after"]).ok();
    broker.kill();
}

#[test]
fn deleting_a_topic_makes_room_on_a_disk_that_the_broker_has_filled() {
    if !can("disk filled by the broker", &[Need::Disks]) {
        return;
    }
    let disk = Disk::ext4(DISK_BYTES);
    let setup = BrokerSetup::new(disk.data_dir());
    let mut broker = setup.start();
    let url = setup.url();
    for topic in ["bulk", "idle"] {
        cli(&url, &["topic", "create", topic]).ok();
    }
    fill(&url, 2 * DISK_BYTES);
    let log_bytes = broker.stderr_so_far().len();
    let cpu = watch(&url, &broker);
    let log_bytes = broker.stderr_so_far().len() - log_bytes;
    report(
        "disk filled by the broker",
        format_args!("{cpu:.2} of a processor and {log_bytes} bytes of log while full"),
    );
    assert!(cpu < 0.5, "it does not spin: {cpu}");
    assert!(log_bytes < LOG_BYTES_MAX, "{log_bytes} bytes of log");
    // What it keeps back is enough for a start too, even one after a crash.
    broker.kill();
    let broker = setup.start();
    cli(&url, &["topic", "delete", "bulk", "--yes"]).ok();
    // Tried again for so long by the command itself.
    cli(&url, &["produce", "idle", "after"]).ok();
    broker.kill();
}

/// Writes so much to the topic `bulk`, of which the disk has no room for all, and returns what the
/// command says. A disk that is slow for a moment leaves records without an answer, which is another
/// end than a full one: then it writes again.
fn fill(url: &str, bytes: u64) -> String {
    let mut lines = tempfile::NamedTempFile::new().unwrap();
    let line = "f".repeat(1000) + "\n";
    for _ in 0..bytes / 1000 {
        lines.write_all(line.as_bytes()).unwrap();
    }
    let args = ["produce", "bulk", "--give-up-after", "2s"];
    let start = Instant::now();
    loop {
        let stdin = File::open(lines.path()).unwrap();
        let answer = cli_with(url, &args, stdin);
        if answer.code != Some(NO_ANSWER) || start.elapsed() > PATIENCE {
            return answer.failed(LIMIT);
        }
    }
}

/// Share of a processor that a broker uses while somebody tries to write.
fn watch(url: &str, broker: &BrokerProcess) -> f64 {
    let pid = broker.ready().pid;
    let (start, before) = (Instant::now(), cpu_time(pid));
    fill(url, 2 * SCARCE_BYTES);
    let used = cpu_time(pid).saturating_sub(before);
    used.as_secs_f64() / start.elapsed().as_secs_f64()
}
