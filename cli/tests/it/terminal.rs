//! What is asked on a terminal, and what becomes of the answers.

use std::fs::File;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};

use crate::harness::{COMMAND_WAIT, TestBroker, json, numbers, text, without_settings};
use crate::subscription::subscribed;

/// Runs a command with a person at its terminal who types this line; returns its exit code and what it
/// showed there.
fn answered(broker: &TestBroker, args: &[&str], line: &str) -> (Option<i32>, String) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let person = openpt(flags).expect("a terminal");
    grantpt(&person).expect("granted");
    unlockpt(&person).expect("unlocked");
    let terminal = ioctl_tiocgptpeer(&person, flags).expect("its other side");
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("towpath"));
    without_settings(|name| {
        command.env_remove(name);
    });
    let mut child = command
        .args(args)
        .env("TOWPATH_URL", broker.url())
        .env("NO_COLOR", "1")
        .stdin(terminal.try_clone().expect("a copy"))
        .stdout(Stdio::null())
        .stderr(terminal)
        .spawn()
        .expect("the command runs");
    // It holds the last copies of the terminal, whose end is the end of the command.
    drop(command);
    let mut person = File::from(person);
    writeln!(person, "{line}").expect("typed");
    let (sender, shown) = channel();
    std::thread::spawn(move || {
        let mut shown = Vec::new();
        // A terminal that nobody has open any more ends with an error.
        drop(std::io::copy(&mut person, &mut shown));
        sender.send(shown)
    });
    let shown = shown.recv_timeout(COMMAND_WAIT);
    if shown.is_err() {
        drop(child.kill());
    }
    let status = child.wait().expect("a status");
    (status.code(), text(&shown.expect("it ends in time")))
}

fn record_count(broker: &TestBroker) -> Option<u64> {
    let args = ["topic", "list", "--prefix", "t", "-o", "json"];
    let topics = broker.ok(&args);
    (!topics.is_empty()).then(|| json(&topics)["record_count"].as_u64().unwrap_or_default())
}

/// Asks with `args`; only `y` and `yes` are consent.
fn check(args: &[&str], question: &str, refusal: &str, left: Option<u64>) {
    let broker = TestBroker::with_topic("t", 1);
    broker.ok_with(numbers(0..5), &["produce", "t"]);
    for no in ["n", "", "no", "yess"] {
        let (code, shown) = answered(&broker, args, no);
        assert_eq!(code, Some(1), "{no:?}: {shown}");
        assert!(shown.contains(question), "{no:?}: {shown}");
        assert!(shown.contains(refusal), "{no:?}: {shown}");
        assert_eq!(record_count(&broker), Some(5), "{no:?}: {shown}");
    }
    let (code, shown) = answered(&broker, args, "y");
    assert_eq!(code, Some(0), "{shown}");
    assert_eq!(record_count(&broker), left, "{shown}");
}

#[test]
fn a_trim_is_asked_about() {
    let args = ["topic", "trim", "t", "--before", "3", "-p", "0"];
    let question = "trim 3 records of topic t for good? [y/N]";
    check(&args, question, "error: nothing was trimmed", Some(2));
}

#[test]
fn a_deletion_is_asked_about() {
    let question = "delete topic t with 5 records for good? [y/N]";
    let args = ["topic", "delete", "t"];
    check(&args, question, "error: nothing was deleted", None);
}

#[test]
fn the_deletion_of_a_subscription_is_asked_about() {
    let broker = subscribed(&[]);
    let args = ["subscription", "delete", "s"];
    let (code, shown) = answered(&broker, &args, "n");
    assert_eq!(code, Some(1), "{shown}");
    let question = "delete subscription s, which has not settled 10 records, for good? [y/N]";
    assert!(shown.contains(question), "{shown}");
    broker.ok(&["subscription", "get", "s"]);
    let with_letters = ["subscription", "delete", "s", "--with-dlq"];
    let (code, shown) = answered(&broker, &with_letters, "n");
    assert_eq!(code, Some(1), "{shown}");
    let question = "delete subscription s, which has not settled 10 records, and topic s.dlq with \
                    0 records, 0 dead letters not settled, for good? [y/N]";
    assert!(shown.contains(question), "{shown}");
    broker.ok(&["topic", "get", "s.dlq"]);
    let (code, shown) = answered(&broker, &args, "y");
    assert_eq!(code, Some(0), "{shown}");
    broker.fails(4, &["subscription", "get", "s"]);
    broker.ok(&["topic", "get", "s.dlq"]);
}

#[test]
fn what_is_agreed_to_in_advance_or_changes_nothing_is_not_asked_about() {
    let broker = TestBroker::with_topic("t", 1);
    broker.ok_with(numbers(0..5), &["produce", "t"]);
    for args in [
        &["topic", "trim", "t", "--before", "1h"][..],
        &["topic", "trim", "t", "--before", "end", "--dry-run"],
        &["topic", "trim", "t", "--before", "end", "--yes"],
        &["topic", "delete", "t", "--dry-run"],
        &["topic", "delete", "t", "--yes"],
    ] {
        let (code, shown) = answered(&broker, args, "n");
        assert_eq!(code, Some(0), "{args:?}: {shown}");
        assert!(!shown.contains("[y/N]"), "{args:?}: {shown}");
    }
}
