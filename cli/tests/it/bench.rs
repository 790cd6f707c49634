use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{TestBroker, fails, json, json_lines, run, stdout_of, towpath};
use crate::running::Running;
use crate::serve_process::ServeProcess;

#[track_caller]
fn check(broker: &TestBroker, args: &[&str], bytes: u64) -> Value {
    let report = json(&broker.ok(&[&["bench"], args, &["-o", "json"]].concat()));
    for name in ["seconds", "records_per_second", "megabytes_per_second"] {
        assert!(report[name].as_f64() > Some(0.0), "{name} in {report}");
    }
    let latency = |name: &str| report["latency_us"][name].as_f64().expect(name);
    assert!(
        latency("p50") <= latency("p99") && latency("p99") <= latency("p999"),
        "{report}"
    );
    assert!(latency("p999") <= latency("max"), "{report}");
    assert!(
        report["durability"]
            .as_str()
            .is_some_and(|text| text.contains("sync")),
        "{report}"
    );
    assert_eq!(report["bytes"], bytes, "{report}");
    report
}

#[test]
fn every_measurement_tells_its_figures_and_leaves_nothing_behind() {
    let broker = TestBroker::start();
    let load = [
        "--records",
        "1000",
        "--size",
        "100",
        "--partitions",
        "3",
        "--clients",
        "2",
    ];
    for command in ["produce", "consume", "group", "latency", "end-to-end"] {
        let report = check(&broker, &[&[command][..], &load].concat(), 100_000);
        assert_eq!(
            (&report["bench"], &report["records"]),
            (&command.into(), &1000.into())
        );
        let joining = report["joining_seconds"].as_f64();
        assert_eq!(joining.is_some(), command == "group", "{report}");
    }
    for (mode, keys) in [("shared", "7"), ("key-shared", "7")] {
        let options = ["--mode", mode, "--keys", keys, "--in-flight", "50"];
        let args = [&["subscription"][..], &load, &options].concat();
        let report = check(&broker, &args, 100_000);
        assert_eq!(report["mode"], mode, "{report}");
        assert_eq!(
            (&report["keys"], &report["in_flight"]),
            (&7.into(), &50.into())
        );
    }
    let readers = ["--readers", "2", "--rate", "20000"];
    for paced in [
        [&["latency"][..], &load, &readers[2..]].concat(),
        [&["end-to-end"][..], &load, &readers].concat(),
    ] {
        let report = check(&broker, &paced, 100_000);
        assert_eq!(report["rate"], 20_000, "{report}");
        assert!(
            report["records_per_second"].as_f64() < Some(25_000.0),
            "{report}"
        );
    }
    let options = ["--mode", "shared", "--in-flight", "5", "--appends", "4"];
    let commits = [&["commit"][..], &load, &options].concat();
    let report = check(&broker, &commits, 400_000);
    assert_eq!(
        (&report["appends"], &report["in_flight"]),
        (&4.into(), &5.into())
    );
    for (place, passes, bytes) in [("tail", "3", 300_000), ("disk", "1", 100_000)] {
        let options = ["--from", place, "--passes", passes];
        let report = check(
            &broker,
            &[&["consume"][..], &load, &options].concat(),
            bytes,
        );
        let read_from = report["read_from"].as_str().expect("a place");
        let is_memory = read_from == "the broker's memory";
        assert_eq!(is_memory, place == "tail", "{report}");
    }
    assert_eq!(broker.ok(&["topic", "list", "-o", "json"]), "", "topics");
    assert_eq!(broker.ok(&["group", "list", "-o", "json"]), "", "groups");
}

#[test]
fn figures_of_the_broker_and_the_topic_are_there_on_request() {
    let broker = TestBroker::start();
    let pid = std::process::id().to_string();
    let args = [
        "produce",
        "--records",
        "10",
        "--size",
        "1KiB",
        "--server-pid",
        &pid,
    ];
    let args = [&args[..], &["--keep-topic", "--batch-bytes", "64KiB"]].concat();
    let report = check(&broker, &args, 10_240);
    assert!(
        report["server"]["memory_bytes"].as_u64() > Some(0),
        "{report}"
    );
    let topic = json(&broker.ok(&["topic", "list", "-o", "json"]));
    assert_eq!(topic["record_count"], 11, "{topic}");
}

#[test]
fn a_load_that_makes_no_sense_is_refused() {
    let broker = TestBroker::start();
    broker.fails(
        2,
        &["bench", "consume", "--partitions", "1", "--clients", "2"],
    );
    broker.fails(2, &["bench", "end-to-end", "--readers", "2"]);
    for command in ["end-to-end", "commit"] {
        let said = broker.fails(2, &["bench", command, "--size", "7"]);
        assert!(said.contains("at least 8 bytes"), "{said}");
    }
    let said = broker.fails(2, &["bench", "consume", "--from", "tail"]);
    assert!(said.contains("--passes"), "{said}");
    broker.fails(2, &["bench", "produce", "--size", "2MiB"]);
    broker.fails(2, &["bench", "produce", "--records", "0"]);
    let warm_up = ["bench", "latency", "--records", "9", "--warm-up", "9"];
    let said = broker.fails(2, &warm_up);
    assert!(said.contains("nothing is left"), "{said}");
    broker.fails(4, &["bench", "produce", "--server-pid", "4294967295"]);
}

/// Names of a broker's topics.
fn topics(url: &str) -> Vec<String> {
    let list = ["topic", "list", "-o", "json", "--url", url];
    let topics = json_lines(&stdout_of(&mut towpath(&list)));
    let name = |topic: Value| topic["name"].as_str().expect("a name").to_owned();
    topics.into_iter().map(name).collect()
}

/// Runs a measurement that does not end by itself, until it has a topic; returns that.
fn begin(url: &str, args: &[&str]) -> (Running, String) {
    let before = topics(url);
    let mut running = Running::start(&[&["bench"], args, &["--url", url]].concat());
    while running.is_running() {
        let mut now = topics(url).into_iter();
        if let Some(topic) = now.find(|topic| !before.contains(topic)) {
            return (running, topic);
        }
    }
    panic!("{args:?} has ended: {:?}", running.wait());
}

const FOR_EVER: [&str; 2] = ["--records", "1000000000"];

#[test]
fn a_run_that_is_interrupted_leaves_nothing_behind() {
    let broker = TestBroker::start();
    for command in ["latency", "produce", "end-to-end"] {
        let (running, _topic) = begin(&broker.url(), &[&[command][..], &FOR_EVER].concat());
        running.signal(Signal::INT);
        let (code, said) = running.wait();
        assert_eq!(code, Some(130), "{command}: {said}");
        assert_eq!(broker.ok(&["topic", "list", "-o", "json"]), "", "{command}");
    }
}

#[test]
fn a_run_whose_records_are_not_all_there_is_void() {
    let broker = TestBroker::start();
    let passes = ["consume", "--records", "10", "--passes", "1000000000"];
    let (running, topic) = begin(&broker.url(), &passes);
    // Also before the run has written anything.
    let trim = ["topic", "trim", &topic, "--before", "1", "-p", "0", "--yes"];
    while run(&mut broker.command(&trim)).status.code() != Some(0) {}
    let (code, said) = running.wait();
    assert_eq!(code, Some(1), "{said}");
    // Which of them sees it first depends on when the record went.
    let seen = [
        "void: records are missing",
        "void: the broker has 10 records",
    ];
    assert!(seen.iter().any(|how| said.contains(how)), "{said}");
    assert_eq!(broker.ok(&["topic", "list", "-o", "json"]), "", "topics");
}

#[test]
fn checkpoints_are_counted_where_the_broker_tells_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let data_dir = folder.path().join("data");
    let args = ["--admin-listen", "127.0.0.1:0"];
    let broker = ServeProcess::start_on(&data_dir, "127.0.0.1:0", &args);
    let admin = broker.ready["admin_listen"].as_str().expect("an address");
    let args = ["bench", "produce", "--records", "10", "--url", broker.url()];
    let asking =
        |address| towpath(&[&args[..], &["-o", "json", "--server-admin", address]].concat());
    let report = json(&stdout_of(&mut asking(admin)));
    assert!(report["checkpoints"].is_u64(), "{report}");
    let said = fails(3, &mut asking(broker.listen()));
    assert!(said.contains("--admin-listen"), "{said}");
    assert_eq!(topics(broker.url()), [""; 0], "topics");
}

#[test]
fn a_broker_that_goes_away_ends_the_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = ServeProcess::start(&folder.path().join("data"));
    let commands = ["latency", "end-to-end"].map(|command| {
        let args = [&[command][..], &FOR_EVER].concat();
        begin(broker.url(), &args)
    });
    broker.process.signal(Signal::KILL);
    for (running, _topic) in commands {
        let (code, said) = running.wait();
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains("was left behind"), "{said}");
    }
}
