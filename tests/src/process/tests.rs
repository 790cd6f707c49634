//! A broker is found again where it was, and nothing is left of it.

use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, test_kill_process};
use tempfile::TempDir;

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);
/// Runs the broker as a child instead of becoming it, as `strace` does.
const PARENT: [&str; 4] = ["sh", "-c", "\"$@\"; exit $?", "sh"];

fn setup() -> (TempDir, BrokerSetup) {
    let folder = tempfile::tempdir().unwrap();
    let setup = BrokerSetup::new(folder.path().join("data"));
    (folder, setup)
}

fn exists(pid: i32) -> bool {
    test_kill_process(Pid::from_raw(pid).unwrap()).is_ok()
}

#[test]
fn a_broker_comes_back_on_its_folder_and_port() {
    let (_folder, setup) = setup();
    let broker = setup.start();
    assert!(broker.ready().is_new && broker.ready().incarnation == 1);
    assert!(broker.kill().is_killed());
    let broker = setup.start();
    assert!(!broker.ready().is_new && broker.ready().incarnation == 2);
    let args = ["topic", "create", "t"];
    let cli = spawn_cli(&setup.url(), args, std::process::Stdio::null());
    assert_eq!(cli.wait(PATIENCE).unwrap().code(), Some(0));
    assert_eq!(broker.terminate(PATIENCE).code(), Some(0));
}

#[test]
fn a_broker_that_does_not_start_says_why() {
    let setup = BrokerSetup::new("/nowhere/at/all");
    let ended = setup.try_start().unwrap_err();
    assert_eq!(ended.code(), Some(4), "{ended}");
    assert!(ended.stderr.contains("/nowhere/at/all"), "{ended}");
}

#[test]
fn a_wrapped_broker_is_signalled_itself() {
    let (_folder, setup) = setup();
    let setup = setup.under(PARENT);
    assert_eq!(setup.start().terminate(PATIENCE).code(), Some(0));
    let broker = setup.start();
    assert_eq!(broker.ready().incarnation, 2);
    assert!(broker.kill().is_killed());
}

#[test]
fn nothing_is_left_when_a_broker_is_dropped() {
    let (_folder, setup) = setup();
    let broker = setup.start();
    let pid = broker.ready().pid;
    assert!(exists(pid));
    drop(broker);
    assert!(!exists(pid));

    let broker = setup.under(PARENT).start();
    let pid = broker.ready().pid;
    drop(broker);
    assert!(!exists(pid) || is_dead(pid));
}

/// Whether a process has ended that nobody has waited for yet.
fn is_dead(pid: i32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|stat| stat.contains(") Z ")) || !exists(pid)
}

#[test]
fn a_broker_may_be_killed_before_it_is_ready() {
    let (_folder, setup) = setup();
    for wrapper in [&[][..], &PARENT[..]] {
        let broker = setup.clone().under(wrapper.iter().copied()).spawn();
        drop(broker);
        // Its lock is gone with it.
        assert!(setup.start().kill().is_killed());
    }
}
