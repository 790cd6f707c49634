//! The programs as a person or a script runs them: their rows, their exit codes, their children.

#![expect(clippy::expect_used, reason = "a test helper fails by panicking")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use serde_json::Value;

const BARE_MODEL: &str = env!("CARGO_BIN_EXE_bare_model");
const RAW_LIMITS: &str = env!("CARGO_BIN_EXE_raw_limits");

fn run(program: &str, line: &str) -> Output {
    Command::new(program)
        .args(line.split_whitespace())
        .output()
        .expect("the program starts")
}

/// Runs a program that must succeed and returns its rows of one kind.
fn rows(program: &str, line: &str, kind: &str) -> Vec<Value> {
    let output = run(program, line);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {line} failed: {errors}");
    let text = String::from_utf8(output.stdout).expect("rows are UTF-8");
    text.lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a row is JSON"))
        .filter(|row| row["row"] == kind)
        .collect()
}

const SMALL_PAIR: &str = "pair -o json --rounds 2 --bytes 1MiB --size 64KiB --file-bytes 8MiB \
    --latency-count 20 --measure produce,consume,latency --write buffered,direct";

#[test]
fn a_pair_measures_every_setting_in_every_round() {
    let runs = rows(BARE_MODEL, SMALL_PAIR, "run");
    let names: Vec<_> = runs
        .iter()
        .map(|run| {
            let write = run["write"].as_str().unwrap_or("memory");
            format!(
                "{} {} {write}",
                run["round"],
                run["benchmark"].as_str().unwrap_or_default()
            )
        })
        .collect();
    let one_server = |round, write| {
        [
            format!("{round} bare_model produce {write}"),
            format!("{round} bare_model consume memory"),
            format!("{round} bare_model latency {write}"),
        ]
    };
    let expected = [
        one_server(1, "buffered"),
        one_server(1, "direct"),
        one_server(2, "buffered"),
        one_server(2, "direct"),
    ];
    assert_eq!(names, expected.concat());
}

#[test]
fn a_pair_reports_rates_costs_and_latency() {
    let medians = rows(BARE_MODEL, SMALL_PAIR, "median");
    let produce = &medians[0];
    assert_eq!(produce["rounds"], 2);
    assert_eq!(produce["durability"], "fdatasync");
    assert_eq!(produce["message_bytes"], 65_536);
    assert!(
        produce["megabytes_per_second"]["median"].as_f64() > Some(0.0),
        "{produce}"
    );
    assert!(
        produce["server_cpu_seconds_per_gb"]["median"].is_number(),
        "{produce}"
    );
    let latency = &medians[2];
    let quantile = |name: &str| latency["latency_us"][name]["median"].as_f64();
    assert!(quantile("p50") > Some(0.0), "{latency}");
    assert!(quantile("max") >= quantile("p50"), "{latency}");
}

#[test]
fn raw_limits_report_syncs_and_the_loopback_interface() {
    let sync = "sync -o json --rounds 1 --count 3 --size 4KiB --file-bytes 4MiB --file fresh";
    let runs = rows(RAW_LIMITS, sync, "run");
    assert_eq!(runs.len(), 2, "one for each way of writing");
    assert_eq!(runs[0]["bytes"], 3 * 4096);
    let loopback = "loopback -o json --rounds 1 --bytes 1MB --size 64KiB";
    assert_eq!(rows(RAW_LIMITS, loopback, "run")[0]["messages"], 16);
}

#[test]
fn a_server_that_cannot_start_ends_the_pair_with_its_reason() {
    let output = run(BARE_MODEL, &format!("{SMALL_PAIR} --dir /proc"));
    assert!(!output.status.success());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("make the file"), "{errors}");
}

#[test]
fn a_server_ends_when_the_process_that_started_it_does() {
    let mut child = Command::new(BARE_MODEL)
        .args("serve --until-stdin-closes --listen 127.0.0.1:0 --file-bytes 4MiB".split(' '))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the server starts");
    let stdout = child.stdout.take().expect("stdout is piped");
    let (sender, lines) = mpsc::channel();
    // The lines, and with them the channel, end when the server does.
    thread::spawn(move || {
        BufReader::new(stdout)
            .lines()
            .try_for_each(|line| sender.send(line))
    });
    let line = lines
        .recv_timeout(PATIENCE)
        .expect("the server announces itself");
    let listening: Value = serde_json::from_str(&line.expect("a line")).expect("it is JSON");
    assert_eq!(listening["write"], "buffered");
    drop(child.stdin.take());
    let end = lines
        .recv_timeout(PATIENCE)
        .expect_err("the server prints one line");
    child.kill().expect("the server is ended in any case");
    assert_eq!(
        end,
        RecvTimeoutError::Disconnected,
        "the server outlives its parent"
    );
    assert!(child.wait().expect("the server has ended").success());
}

const PATIENCE: Duration = Duration::from_secs(30);
