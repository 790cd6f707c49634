//! A small disk that somebody else fills, and frees again.

use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

use towpath_tests::fault::{Ballast, Disk, cpu_time, report};
use towpath_tests::load::{Load, LoadOptions};
use towpath_tests::process::{BrokerProcess, BrokerSetup};

use crate::cli::{cli, cli_with};
use crate::{Need, PATIENCE, can, seed};

const MIB: u64 = 1024 * 1024;
const DISK_BYTES: u64 = 64 * MIB;
/// Less than a twentieth of the disk, below which produce is refused, and enough for a start.
const SCARCE_BYTES: u64 = 6 * MIB;
/// Exit code for a limit that is reached, and for a full disk.
const LIMIT: i32 = 7;
/// How long the broker is watched while the disk is full.
const WATCH: Duration = Duration::from_secs(1);

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
    let load = Load::start(&url, &LoadOptions::new(seed()));
    load.await_ack(PATIENCE).expect("acknowledged");

    let ballast = Ballast::leave(&disk, SCARCE_BYTES);
    let said = fill(&url);
    assert!(
        said.contains("the disk is full") && said.contains("STORAGE_FULL"),
        "{said}"
    );
    let records = cli(&url, &["consume", "bulk", "-e"]).ok();
    assert!(records.starts_with("fffff"), "reading goes on");
    cli(&url, &["topic", "delete", "idle", "--yes"]).ok();
    let cpu = watch(&broker, &load);

    load.forget_acks();
    let removed = tokio::time::Instant::now();
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
            "used {cpu:.0?} of a processor in {WATCH:?} while full; resumed {resume_time:.0?} after there was room"
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
    let ended = setup.try_start().expect_err("there is no room for a start");
    assert_eq!(ended.code(), Some(LIMIT), "{ended}");
    assert!(ended.stderr.contains("make room on the disk"), "{ended}");
    ballast.remove();

    let ballast = Ballast::leave(&disk, SCARCE_BYTES);
    let mut broker = setup.start();
    let refused = cli(&url, &["produce", "t", "after", "--give-up-after", "1s"]);
    refused.failed(LIMIT);
    let log = broker.stderr_so_far();
    assert!(log.contains("disk is nearly full"), "{log}");
    assert_eq!(cli(&url, &["consume", "t", "-e"]).ok(), "before\n");
    ballast.remove();
    cli(&url, &["produce", "t", "after"]).ok();
    broker.kill();
}

/// Writes to the topic `bulk` until that is refused, and returns what the command says then.
fn fill(url: &str) -> String {
    let mut lines = tempfile::NamedTempFile::new().unwrap();
    let line = "f".repeat(1000) + "\n";
    for _ in 0..2 * SCARCE_BYTES / 1000 {
        lines.write_all(line.as_bytes()).unwrap();
    }
    let args = ["produce", "bulk", "--give-up-after", "2s"];
    let stdin = File::open(lines.path()).unwrap();
    cli_with(url, &args, stdin).failed(LIMIT)
}

/// Processor time that a broker uses while nothing can be written.
fn watch(broker: &BrokerProcess, load: &Load) -> Duration {
    let pid = broker.ready().pid;
    let before = cpu_time(pid);
    load.run_for(WATCH);
    cpu_time(pid).saturating_sub(before)
}
