use serde_json::Value;

use crate::harness::{TestBroker, json};

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
    for command in ["produce", "consume", "group", "latency"] {
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
    let paced = [&["latency"][..], &load, &["--rate", "20000"]].concat();
    let report = check(&broker, &paced, 100_000);
    assert_eq!(report["rate"], 20_000, "{report}");
    assert!(
        report["records_per_second"].as_f64() < Some(25_000.0),
        "{report}"
    );
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
    broker.fails(2, &["bench", "produce", "--size", "2MiB"]);
    broker.fails(2, &["bench", "produce", "--records", "0"]);
    broker.fails(4, &["bench", "produce", "--server-pid", "4294967295"]);
}
