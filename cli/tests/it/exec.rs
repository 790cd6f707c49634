//! A command for each record that a subscription hands out. Commands that have to wait for the test read
//! from a pipe with a name.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use assert_cmd::Command;
use assert_cmd::cargo::cargo_bin;
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use rustix::io::Errno;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::harness::{
    COMMAND_WAIT, TestBroker, fails, json_lines, numbers, run, stdout_of, text, towpath,
};
use crate::running::Running;
use crate::serve_process::ServeProcess;
use crate::subscription::{get, number, subscribed};

/// How often something is looked at that is to happen.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

const CONSUME: [&str; 4] = ["consume", "--subscription", "s", "--exec"];

fn exec<'a>(command: &'a str, args: &[&'a str]) -> Vec<&'a str> {
    [&CONSUME[..], &[command], args].concat()
}

/// What `--exec` tells as JSON of a consumer that succeeds, and what it says on standard error.
fn told(broker: &TestBroker, command: &str, args: &[&str]) -> (Vec<Value>, String) {
    let args = exec(command, &[args, &["-o", "json"]].concat());
    let output = run(&mut broker.command(&args));
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    (json_lines(&text(&output.stdout)), said)
}

/// A folder with a pipe that commands wait at.
struct Gate {
    folder: TempDir,
}

impl Gate {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let gate = Self { folder };
        mknodat(CWD, gate.path(), FileType::Fifo, Mode::RWXU, 0).expect("a pipe");
        gate
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("gate")
    }

    /// A command that says that it has come to the gate and, when it was opened, that it is done.
    fn command(&self) -> String {
        format!("echo started; cat {}; echo done", self.path().display())
    }

    /// Lets one command go on, once it has come here.
    fn open(&self) {
        let deadline = Instant::now() + COMMAND_WAIT;
        let flags = OFlags::WRONLY | OFlags::NONBLOCK;
        while let Err(error) = open(self.path(), flags, Mode::empty()) {
            assert_eq!(error, Errno::NXIO, "nobody reads yet");
            assert!(Instant::now() < deadline, "no command waits");
            std::thread::park_timeout(LOOK_INTERVAL);
        }
    }
}

fn start(broker: &TestBroker, command: &str, args: &[&str]) -> Running {
    let url = broker.url();
    let args = exec(command, &[args, &["--url", &url]].concat());
    Running::start_with(&args, Stdio::null())
}

#[test]
fn a_command_gets_the_value_and_all_else_of_a_record() {
    let broker = TestBroker::with_topic("t", 1);
    broker.ok(&[
        "subscription",
        "create",
        "s",
        "--topic",
        "t",
        "--from",
        "beginning",
    ]);
    let record = json!({
        "key": "4'2\n", "value": "{\"a\":1}\n",
        "headers": [
            {"name": "ce-type", "value": "order.placed"},
            {"name": "ce-type", "value": "later"},
            {"name": "raw", "value_b64": "/w=="},
        ],
        "event_time": "2026-11-21T09:00:00.000Z",
    });
    broker.ok_with(record.to_string(), &["produce", "t", "--input", "json"]);
    let command = "cat; for name in SUBSCRIPTION TOPIC PARTITION OFFSET LSN ATTEMPT APPEND_TIME \
                   EVENT_TIME KEY HEADER_CE_TYPE HEADER_RAW HEADER_RAW_B64 TOMBSTONE; \
                   do eval echo \"$name=\\${TOWPATH_$name-absent}\"; done";
    let args = exec(command, &["-n", "1"]);
    // As if this consumer ran in a command for another record.
    let mut consumer = broker.command(&args);
    consumer
        .env("TOWPATH_HEADER_RAW", "inherited")
        .env("TOWPATH_TOMBSTONE", "inherited");
    let printed = stdout_of(&mut consumer);
    let read = &broker.records("t")[0];
    let (lsn, time) = (&read["lsn"], read["timestamp"].as_str());
    let time = time.expect("a time");
    let expected = format!(
        "{{\"a\":1}}\nSUBSCRIPTION=s\nTOPIC=t\nPARTITION=0\nOFFSET=0\nLSN={lsn}\nATTEMPT=1\n\
         APPEND_TIME={time}\n\
         EVENT_TIME=2026-11-21T09:00:00.000Z\nKEY=4'2\nHEADER_CE_TYPE=order.placed\n\
         HEADER_RAW=absent\nHEADER_RAW_B64=/w==\nTOMBSTONE=absent\n"
    );
    assert_eq!(printed, expected, "what the command found");
}

#[test]
fn what_is_absent_or_no_text_is_told_apart() {
    let broker = TestBroker::with_topic("t", 1);
    broker.ok(&[
        "subscription",
        "create",
        "s",
        "--topic",
        "t",
        "--from",
        "beginning",
    ]);
    let records =
        "{\"value\":\"\"}\n{\"key\":\"\",\"value\":null}\n{\"key_b64\":\"/w==\",\"value\":\"\"}\n";
    broker.ok_with(records, &["produce", "t", "--input", "json"]);
    let command =
        "wc -c; echo ${TOWPATH_KEY-absent},${TOWPATH_KEY_B64-absent},${TOWPATH_TOMBSTONE-absent}";
    let printed = broker.ok(&exec(command, &["-n", "3"]));
    let expected = "0\nabsent,absent,absent\n0\n,absent,1\n0\nabsent,/w==,absent\n";
    assert_eq!(printed, expected, "nothing, empty, bytes");
}

#[test]
fn the_exit_status_says_what_becomes_of_the_record() {
    let broker = subscribed(&["--backoff-min", "1h", "--backoff-max", "1h"]);
    let folder = tempfile::tempdir().expect("a folder");
    let seen = folder.path().join("seen");
    let command = format!(
        "case $(cat) in \
         1) echo some >&2; echo 'no such order' >&2; exit 3;; \
         2) kill -9 $$;; \
         3) [ -e {seen} ] || {{ touch {seen}; exit 75; }};; \
         esac",
        seen = seen.display()
    );
    let (handled, said) = told(&broker, &command, &["-e"]);
    let of = |offset: u64| -> Vec<Value> {
        let of = handled.iter().filter(|it| it["offset"] == offset);
        of.map(|it| {
            json!([
                it["outcome"],
                it["attempt"],
                it["exit_status"],
                it["signal"],
                it["reason"]
            ])
        })
        .collect()
    };
    assert_eq!(of(0), [json!(["ack", 1, 0, null, null])], "0");
    let reason = "exit status 3: no such order";
    assert_eq!(of(1), [json!(["nack", 1, 3, null, reason])], "1");
    assert_eq!(
        of(2),
        [json!(["nack", 1, null, 9, "killed by signal 9"])],
        "2"
    );
    let twice = [
        json!(["release", 1, 75, null, null]),
        json!(["ack", 1, 0, null, null]),
    ];
    assert_eq!(of(3), twice, "no attempt counts");
    assert_eq!(handled.len(), 11, "{handled:?}");
    assert!(
        said.starts_with("some\nno such order\n"),
        "passed on: {said}"
    );
    assert!(
        said.ends_with(
            "note: 2 records left, to be tried again later, or behind one of the same key that is\n"
        ),
        "{said}"
    );
    let left = (
        number(&broker, "lag_records"),
        number(&broker, "waiting_records"),
    );
    assert_eq!(left, (2, 2), "those that failed");
}

#[test]
fn a_dead_letter_says_why() {
    let broker = TestBroker::with_topic("t", 1);
    for value in ["poison", "behind"] {
        broker.ok(&["produce", "t", value, "-k", "k"]);
    }
    let create = [
        "subscription",
        "create",
        "s",
        "--topic",
        "t",
        "--from",
        "beginning",
    ];
    broker.ok(&[&create[..], &["--max-attempts", "1"]].concat());
    let output = run(&mut broker.command(&exec("echo 'no such customer' >&2; exit 1", &["-e"])));
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let warning = "warning: t/0@0 failed, attempt 1: exit status 1: no such customer\n";
    assert!(said.contains(warning), "{said}");
    let note = "note: 1 key parked behind dead letters, in topic s.dlq\n";
    assert!(said.ends_with(note), "{said}");
    let letters = broker.records("s.dlq");
    let headers = letters[0]["headers"].as_array().expect("headers");
    let failure = headers
        .iter()
        .find(|it| it["name"] == "towpath-dlq-failure");
    let failure = failure
        .and_then(|it| it["value"].as_str())
        .expect("a reason");
    assert!(
        failure.ends_with(" exit status 1: no such customer"),
        "{failure}"
    );
    let shown = broker.ok(&["subscription", "get", "s"]);
    assert!(
        shown.ends_with("1 key parked behind dead letters, in topic s.dlq\n"),
        "{shown}"
    );
    broker.ok(&["subscription", "seek", "s", "--to", "beginning"]);
    let output = run(&mut broker.command(&exec("cat", &["-e"])));
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "it ends: {said}");
    let left = "left, until the dead letters of their keys are redriven or discarded\n";
    assert!(said.contains(left), "{said}");
    broker.ok(&["dlq", "discard", "s", "--reason", "looked at", "--yes"]);
    let output = run(&mut broker.command(&exec("cat", &["-e"])));
    assert_ne!(text(&output.stdout), "", "it comes again");
}

#[test]
fn a_command_that_is_not_found_or_not_allowed_fails_its_record_only() {
    let broker = subscribed(&["--backoff-min", "1h", "--backoff-max", "1h"]);
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("script");
    std::fs::write(&script, "").expect("a file that may not be run");
    let script = script.display();
    let command = format!("case $(cat) in 1) ./nope;; 2) {script};; 3) ./nope;; esac");
    let (handled, said) = told(&broker, &command, &["-e"]);
    let mut failed: Vec<_> = handled.iter().filter(|it| it["outcome"] != "ack").collect();
    failed.sort_by_key(|it| it["offset"].as_u64());
    let failed: Vec<_> = failed
        .into_iter()
        .map(|it| {
            json!([
                it["offset"],
                it["outcome"],
                it["attempt"],
                it["exit_status"]
            ])
        })
        .collect();
    let expected = [
        json!([1, "nack", 1, 127]),
        json!([2, "nack", 1, 126]),
        json!([3, "nack", 1, 127]),
    ];
    assert_eq!(failed, expected, "the status says so, and no other record");
    assert_eq!(handled.len(), 10, "all others were handled: {said}");
    let notes = said.matches("note: a shell ends with 127 if it does not find a command");
    assert_eq!(notes.count(), 1, "what that means is told once: {said}");
}

#[test]
fn without_a_shell_the_consumer_ends_and_no_record_fails() {
    let broker = subscribed(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let mut without_shell = broker.command(&exec("true", &[]));
    let said = fails(4, without_shell.env("PATH", folder.path()));
    assert!(said.contains("the command could not be started"), "{said}");
    let (handled, said) = told(&broker, "true", &["-e"]);
    assert_eq!(handled.len(), 10, "{said}");
    assert!(handled.iter().all(|it| it["attempt"] == 1), "{handled:?}");
}

#[test]
fn a_record_that_is_too_large_for_an_environment_fails_and_no_other() {
    let broker = TestBroker::with_topic("t", 1);
    let header = |number| json!({"name": format!("h{number}"), "value_b64": "/".repeat(80_000)});
    let headers: Vec<_> = (0..14).map(header).collect();
    for record in [
        json!({"key": "a", "value": "too large", "headers": headers}),
        json!({"key": "a", "value": "behind"}),
        json!({"key": "b", "value": "other"}),
    ] {
        broker.ok_with(record.to_string(), &["produce", "t", "--input", "json"]);
    }
    let create = ["subscription", "create", "s", "--topic", "t"];
    broker.ok(&[&create[..], &["--from", "beginning", "--max-attempts", "1"]].concat());
    let url = broker.url();
    // A quarter of the stack is what arguments and environment may have.
    let consume = "ulimit -s 4096; exec \"$0\" \"$@\"";
    let mut limited = Command::new("sh");
    limited
        .args(["-c", consume])
        .arg(cargo_bin!("towpath"))
        .args(exec("cat", &["-e", "-o", "json", "--url", &url]))
        .timeout(COMMAND_WAIT);
    let output = run(&mut limited);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.starts_with("other"), "what could be handled: {said}");
    let handled = json_lines(&text(&output.stdout));
    let failed: Vec<_> = handled.iter().filter(|it| it["offset"] == 0).collect();
    assert_eq!(failed.len(), 1, "{handled:?}");
    let failed = failed[0];
    assert_eq!(
        [
            &failed["outcome"],
            &failed["attempt"],
            &failed["exit_status"]
        ],
        [&json!("nack"), &json!(1), &Value::Null],
        "an attempt that counts"
    );
    let reason = failed["reason"].as_str().expect("a reason");
    let expected = "the command could not be started: the key and headers are too large for its \
                    environment: ";
    assert!(reason.starts_with(expected), "{reason}");
    let letters = json_lines(&broker.ok(&["dlq", "list", "s", "-o", "json"]));
    let kinds: Vec<_> = letters.iter().map(|it| it["kind"].clone()).collect();
    assert_eq!(kinds, ["DEAD", "PARKED"], "{letters:?}");
    let why = letters[0]["failures"][0]["reason"].as_str().unwrap_or("");
    assert!(why.contains(expected), "{why}");
}

#[test]
fn keys_are_handled_side_by_side_and_each_in_order() {
    let broker = TestBroker::with_topic("t", 2);
    broker.ok(&[
        "subscription",
        "create",
        "s",
        "--topic",
        "t",
        "--from",
        "beginning",
    ]);
    for number in 0..8 {
        let key = ["a", "b"][number % 2];
        broker.ok(&["produce", "t", &number.to_string(), "-k", key]);
    }
    let folder = tempfile::tempdir().expect("a folder");
    // The first record of one key takes until the third of the other one is handled, or for ever.
    let command = format!(
        "read -r value; case $value in \
         0) i=0; until [ -e {done} ]; do sleep 0.01; i=$((i+1)); [ $i -lt 1000 ] || exit 1; done;; \
         5) touch {done};; \
         esac; echo $TOWPATH_KEY $value",
        done = folder.path().join("done").display(),
    );
    let output = run(&mut broker.command(&exec(&command, &["-e", "--parallel", "2"])));
    let (printed, said) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(said, "", "none waited in vain");
    for (key, values) in [("a", ["0", "2", "4", "6"]), ("b", ["1", "3", "5", "7"])] {
        let of_key = printed.lines().filter_map(|line| line.strip_prefix(key));
        let of_key: Vec<_> = of_key.map(str::trim).collect();
        assert_eq!(of_key, values, "{key}: {printed}");
    }
}

#[test]
fn values_of_any_size_are_given_to_commands_that_need_not_read_them() {
    let broker = TestBroker::with_topic("t", 1);
    let value = vec![b'x'; 1024 * 1024];
    for _ in 0..2 {
        broker.ok_with(value.clone(), &["produce", "t", "--input", "whole"]);
    }
    broker.ok(&[
        "subscription",
        "create",
        "s",
        "--topic",
        "t",
        "--from",
        "beginning",
    ]);
    assert_eq!(
        broker.ok(&exec("wc -c", &["-n", "1"])),
        "1048576\n",
        "all of it"
    );
    assert_eq!(broker.ok(&exec("true", &["-e"])), "", "none of it");
    assert_eq!(number(&broker, "lag_records"), 0, "both are handled");
}

#[test]
fn as_json_only_what_became_of_records_is_printed() {
    let broker = subscribed(&[]);
    let (handled, said) = told(&broker, "echo printed", &["-n", "2"]);
    assert_eq!(handled.len(), 2, "{said}");
    assert_eq!(
        said, "printed\nprinted\n",
        "what commands print is elsewhere"
    );
    let text = broker.ok(&exec("echo printed", &["-n", "1"]));
    assert_eq!(text, "printed\n", "and here for people");
    assert_eq!(number(&broker, "lag_records"), 7, "no more than asked for");
}

#[test]
fn what_a_command_leaves_in_the_background_is_not_waited_for() {
    let broker = subscribed(&[]);
    let gate = Gate::new();
    let command = format!("cat {} >&2 & echo started >&2", gate.path().display());
    let (handled, said) = told(&broker, &command, &["-n", "1"]);
    assert_eq!((handled.len(), said.as_str()), (1, "started\n"), "it ended");
    gate.open();
}

#[test]
fn a_command_that_runs_is_finished_when_the_consumer_is_interrupted() {
    for signal in [Signal::INT, Signal::TERM] {
        let broker = subscribed(&[]);
        let gate = Gate::new();
        let running = start(&broker, &gate.command(), &[]);
        assert_eq!(running.stdout.next(), "started");
        running.signal(signal);
        running
            .stderr
            .until("note: waiting up to 10 s for 1 command");
        gate.open();
        assert_eq!(running.stdout.next(), "done", "to its end");
        assert_eq!(running.wait(), (Some(130), String::new()), "exit code");
        assert_eq!(number(&broker, "lag_records"), 9, "acked");
        assert_eq!(get(&broker)["consumer_count"], 0, "it has left");
    }
}

/// Waits until a process is gone.
fn wait_for_end(pid: &str) {
    let deadline = Instant::now() + COMMAND_WAIT;
    while is_running(pid) {
        assert!(Instant::now() < deadline, "process {pid} does not end");
        std::thread::park_timeout(LOOK_INTERVAL);
    }
}

fn is_running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    // Behind the name, which is in brackets; nobody may have asked for a zombie's end.
    stat.is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .is_some_and(|it| it.starts_with(" Z"))
    })
}

/// A command that tells the processes it has begun, and never ends.
const ENDLESS: &str = "echo $$; sleep 1000 & echo $!; wait";

#[test]
fn what_takes_too_long_is_terminated_with_all_it_has_begun_and_given_back() {
    let deaf = format!("trap '' TERM; {ENDLESS}; {ENDLESS}");
    for (command, patience) in [(ENDLESS, "100ms"), (&deaf, "0s")] {
        let broker = subscribed(&[]);
        let running = start(&broker, command, &["--drain", patience]);
        let pids = [running.stdout.next(), running.stdout.next()];
        assert!(pids.iter().all(|pid| is_running(pid)), "{pids:?}");
        running.signal(Signal::INT);
        let (code, said) = running.wait();
        assert_eq!(code, Some(130), "{said}");
        assert!(!said.contains("failed"), "{said}");
        pids.iter().for_each(|pid| wait_for_end(pid));
        let (handled, said) = told(&broker, "true", &["-e"]);
        assert_eq!(handled.len(), 10, "{said}");
        assert!(handled.iter().all(|it| it["attempt"] == 1), "{handled:?}");
    }
}

#[test]
fn a_second_interrupt_kills_what_runs() {
    let broker = subscribed(&[]);
    let running = start(&broker, ENDLESS, &["--drain", "1h"]);
    let pids = [running.stdout.next(), running.stdout.next()];
    running.signal(Signal::INT);
    running.stderr.until("another interrupt kills at once");
    running.signal(Signal::INT);
    let (code, said) = running.wait();
    assert_eq!(code, Some(130), "{said}");
    pids.iter().for_each(|pid| wait_for_end(pid));
}

#[test]
fn what_runs_at_the_deadline_is_finished() {
    let broker = subscribed(&[]);
    let gate = Gate::new();
    let running = start(&broker, &gate.command(), &["--timeout", "1s"]);
    assert_eq!(running.stdout.next(), "started");
    running.stderr.until("waiting up to 10 s for 1 command");
    gate.open();
    assert_eq!(running.wait(), (Some(0), String::new()), "in time");
    assert_eq!(number(&broker, "lag_records"), 9, "acked");
}

#[test]
fn what_the_broker_did_not_confirm_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = ServeProcess::start(folder.path());
    let url = broker.url().to_owned();
    let command = |args: &[&str]| towpath(&[args, &["--url", &url]].concat());
    stdout_of(&mut command(&["topic", "create", "t"]));
    stdout_of(command(&["produce", "t"]).write_stdin(numbers(0..1)));
    stdout_of(&mut command(&[
        "subscription",
        "create",
        "s",
        "--topic",
        "t",
        "--from",
        "beginning",
    ]));
    let gate = Gate::new();
    let waiting = gate.command();
    let args = exec(&waiting, &["-n", "1", "--url", &url]);
    let running = Running::start_with(&args, Stdio::null());
    assert_eq!(running.stdout.next(), "started");
    drop(broker);
    gate.open();
    let (code, said) = running.wait();
    assert_eq!(code, Some(3), "{said}");
    let message = "error: what was handled last is not confirmed: it may come again";
    assert!(said.contains(message), "{said}");
}
