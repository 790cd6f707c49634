//! A disk that may not be written.

use towpath_tests::fault::Disk;
use towpath_tests::process::BrokerSetup;

use crate::cli::cli;
use crate::{Need, PATIENCE, can};

const DISK_BYTES: u64 = 64 * 1024 * 1024;
/// Exit code for what is not allowed.
const NOT_ALLOWED: i32 = 5;

#[test]
fn a_read_only_disk_is_told_at_the_start() {
    if !can("read-only disk", &[Need::Disks]) {
        return;
    }
    let disk = Disk::ext4(DISK_BYTES);
    let setup = BrokerSetup::new(disk.data_dir());
    let check = |what: &str| {
        let ended = setup.try_start().expect_err("nothing can be written");
        assert_eq!(ended.code(), Some(NOT_ALLOWED), "{what}: {ended}");
        assert!(
            ended.stderr.contains("Read-only file system"),
            "{what}: {ended}"
        );
        assert!(
            ended.stderr.contains("mount the file system for writing"),
            "{what}: {ended}"
        );
    };
    disk.remount("ro");
    check("without a folder");
    disk.remount("rw");

    let broker = setup.start();
    let url = setup.url();
    cli(&url, &["topic", "create", "t"]).ok();
    cli(&url, &["produce", "t", "value"]).ok();
    broker.terminate(PATIENCE);
    disk.remount("ro");
    check("with a folder");
    disk.remount("rw");

    let broker = setup.start();
    assert_eq!(cli(&url, &["consume", "t", "-e"]).ok(), "value\n");
    broker.kill();
}
