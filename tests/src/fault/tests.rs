//! What is put on a machine is there, and goes again.

use std::io::ErrorKind;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::*;
use crate::process::Running;

const MIB: u64 = 1024 * 1024;

fn is_mounted(disk: &str) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    mounts.contains(disk)
}

#[test]
fn a_disk_keeps_what_is_on_it_and_leaves_nothing_behind() {
    if let Some(why) = Disk::missing() {
        return skip("disks", why);
    }
    let mut disk = Disk::ext4(16 * MIB);
    let file = disk.root().join("file");
    std::fs::write(&file, "content").unwrap();
    disk.unmount();
    assert!(!file.exists());
    disk.mount();
    assert_eq!(std::fs::read(&file).unwrap(), b"content");
    disk.remount("ro");
    let error = std::fs::write(&file, "other").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem);
    let root = disk.root().to_str().unwrap().to_owned();
    assert!(is_mounted(&root));
    drop(disk);
    assert!(!is_mounted(&root) && !std::fs::exists(root).unwrap());
}

/// Whether a disk comes to have so many bytes free: ext4 gives blocks back with its next commit, seconds later.
#[expect(clippy::disallowed_methods, reason = "it is the time of a real disk")]
fn is_free_again(disk: &Disk, bytes: u64) -> bool {
    let begun = Instant::now();
    while disk.available_bytes() != bytes {
        if begun.elapsed() > Duration::from_secs(30) {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

#[test]
fn ballast_takes_up_a_disk_until_it_is_removed() {
    if let Some(why) = Disk::missing() {
        return skip("ballast", why);
    }
    let disk = Disk::ext4(16 * MIB);
    let before = disk.available_bytes();
    let ballast = Ballast::leave(&disk, MIB);
    assert!(disk.available_bytes() <= MIB);
    ballast.remove();
    assert!(is_free_again(&disk, before), "{before} bytes");
    let ballast = Ballast::leave(&disk, 0);
    let error = std::fs::write(disk.root().join("file"), [1; 4096]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    ballast.remove();
}

#[test]
fn calls_are_changed_for_a_process_that_is_started() {
    if let Some(why) = Strace::missing() {
        return skip("strace", why);
    }
    let strace = Strace::failing("unlinkat", "EIO", When::Nth(2));
    let folder = tempfile::tempdir().unwrap();
    let names = ["one", "two", "three"].map(|name| folder.path().join(name));
    names
        .iter()
        .for_each(|name| std::fs::write(name, "").unwrap());
    let wrapper = strace.wrapper();
    let mut rm = Command::new(&wrapper[0]);
    rm.args(&wrapper[1..])
        .arg("rm")
        .args(&names)
        .stdin(Stdio::null());
    let ended = Running::spawn(&mut rm)
        .wait(Duration::from_secs(60))
        .unwrap();
    assert_eq!(ended.code(), Some(1), "{ended}");
    assert_eq!(names.map(|name| name.exists()), [false, true, false]);
    assert_eq!(strace.change_count(), 1);
}

#[test]
fn calls_are_changed_for_a_process_that_runs() {
    if let Some(why) = Strace::missing() {
        return skip("strace", why);
    }
    let mut cat = Command::new("cat");
    let mut cat = Running::spawn(cat.stdin(Stdio::piped()));
    let mut stdin = cat.take_stdin().unwrap();
    let strace = Strace::failing("write", "EPIPE", When::From(1));
    let attached = strace.attach(cat.pid().as_raw_pid());
    std::io::Write::write_all(&mut stdin, b"line\n").unwrap();
    let ended = cat.wait(Duration::from_secs(60)).unwrap();
    assert_eq!(ended.code(), Some(1), "{ended}");
    assert!(strace.change_count() > 0);
    drop(attached);
}

#[test]
fn a_process_goes_on_when_nothing_is_changed_any_more() {
    if let Some(why) = Strace::missing() {
        return skip("strace", why);
    }
    let cat = Running::spawn(Command::new("cat").stdin(Stdio::piped()));
    let strace = Strace::lying("fsync");
    drop(strace.attach(cat.pid().as_raw_pid()));
    assert!(test_kill_process(cat.pid()).is_ok() && !cat.has_ended());
}

#[test]
fn what_a_process_uses_is_told() {
    let own = Pid::from_raw(std::process::id().try_into().unwrap()).unwrap();
    let pid = own.as_raw_pid();
    assert!(resident_bytes(pid) > 100_000);
    assert!(descriptor_count(pid) >= 3);
    let before = cpu_time(pid);
    while cpu_time(pid) == before {
        // Uses some.
        assert!(kill_process(own, Signal::CONT).is_ok());
    }
}
