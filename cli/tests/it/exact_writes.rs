//! Events that are written once, records that rest on versions of their keys, old news, histories of keys.

use serde_json::{Value, json};

use crate::harness::{TestBroker, field, json as one_json, json_lines};

fn broker(topic: &str, settings: &[&str]) -> TestBroker {
    let broker = TestBroker::start();
    let create = ["topic", "create", topic, "--partitions", "2"];
    broker.ok(&[&create[..], settings].concat());
    broker
}

fn values(broker: &TestBroker, topic: &str) -> Vec<String> {
    let records = broker.records(topic);
    let values = field(&records, "value");
    values.into_iter().map(str::to_owned).collect()
}

fn told(broker: &TestBroker, input: &str, args: &[&str]) -> (Value, String) {
    let args = [args, &["-o", "json"]].concat();
    let output = broker.command(&args).write_stdin(input).output();
    let output = output.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    (one_json(&String::from_utf8_lossy(&output.stdout)), said)
}

#[test]
fn an_event_that_is_sent_again_is_told_where_it_is() {
    let broker = broker("orders", &["--dedupe-window", "10m"]);
    let event = [
        "produce", "orders", "v", "-p", "0", "--source", "/shop", "--id", "1",
    ];
    assert_eq!(broker.ok(&event), "orders/0@0\n", "first");
    // The same event for another partition.
    let elsewhere = [
        "produce", "orders", "w", "-p", "1", "--source", "/shop", "--id", "1",
    ];
    assert_eq!(broker.ok(&elsewhere), "orders/0@0\n", "again");
    let (again, said) = told(&broker, "", &event);
    assert_eq!(again["is_repeated"], true, "{again}");
    assert!(said.contains("note: the event was there already"), "{said}");
    // Of another source it is another event, also with --type.
    let other = [
        "produce", "orders", "x", "-p", "0", "--type", "placed", "--source", "/till", "--id", "1",
    ];
    assert_eq!(broker.ok(&other), "orders/0@1\n", "of another source");
    assert_eq!(broker.ok(&other), "orders/0@1\n", "again");
    // Without a source it is that of the program.
    let own = ["produce", "orders", "y", "-p", "0", "--id", "1"];
    assert_eq!(broker.ok(&own), "orders/0@2\n", "of the program");
    assert_eq!(broker.ok(&own), "orders/0@2\n", "again");
    assert_eq!(values(&broker, "orders"), ["v", "x", "y"], "log");

    let broker = broker.restart();
    assert_eq!(broker.ok(&event), "orders/0@0\n", "after a restart");
    broker.ok(&["topic", "update", "orders", "--dedupe-window", "none"]);
    assert_eq!(broker.ok(&event), "orders/0@3\n", "nothing is compared");
}

#[test]
fn what_was_consumed_is_produced_once() {
    let broker = broker("orders", &["--dedupe-window", "10m"]);
    let line = |id: u32| {
        let headers = json!([
            {"name": "ce-source", "value": "/shop"},
            {"name": "ce-id", "value": id.to_string()},
        ]);
        format!(
            "{}\n",
            json!({"value": format!("v{id}"), "key": "k", "headers": headers})
        )
    };
    let args = ["produce", "orders", "--input", "json"];
    let (all, _) = told(&broker, &(line(1) + &line(2)), &args);
    assert_eq!(all["repeated_count"], 0, "{all}");
    let (some, _) = told(&broker, &(line(2) + &line(3) + &line(1)), &args);
    assert_eq!(
        (&some["records"], &some["repeated_count"]),
        (&json!(3), &json!(2))
    );
    let places = some["repeated"].as_array().expect("places");
    let lines: Vec<_> = places
        .iter()
        .map(|it| (it["line"].as_u64(), it["offset"].as_u64()))
        .collect();
    assert_eq!(lines, [(Some(1), Some(1)), (Some(3), Some(0))], "{some}");
    let command = broker.command(&args).write_stdin(line(3)).output();
    let said = String::from_utf8_lossy(&command.expect("it runs").stderr).into_owned();
    assert!(
        said.contains("1 of them were there already:\n  line 1: orders/"),
        "{said}"
    );
    assert_eq!(values(&broker, "orders").len(), 3, "log");
}

#[test]
fn a_record_is_written_only_behind_the_version_that_is_expected() {
    let broker = broker("accounts", &["--key-versions"]);
    let write = |version: &'static str| {
        [
            "produce",
            "accounts",
            "v",
            "-k",
            "alice",
            "--expect-version",
            version,
        ]
    };
    broker.ok(&write("0"));
    let error = broker.fails(6, &write("0"));
    assert!(error.contains("(EXPECTED_VERSION_MISMATCH)"), "{error}");
    assert!(
        error.contains("the key has version 1: expected 0"),
        "{error}"
    );
    let lines = ["produce", "accounts", "-k", "alice", "--expect-version"];
    broker.ok_with("b\nc\n", &[&lines[..], &["1"]].concat());
    let error = broker.fails_with("x\ny\n", 6, &[&lines[..], &["4"]].concat());
    assert!(error.contains("error: line 1: "), "{error}");
    assert!(error.contains("on disk: 0 records"), "{error}");
    let error = broker.fails(2, &["produce", "accounts", "v", "--expect-version", "0"]);
    assert!(error.contains("needs --key"), "{error}");
    assert_eq!(values(&broker, "accounts"), ["v", "b", "c"], "log");

    // Where keys have no versions nothing can rest on them.
    broker.ok(&["topic", "create", "plain"]);
    let plain = ["produce", "plain", "v", "-k", "a", "--expect-version", "0"];
    let error = broker.fails(2, &plain);
    assert!(error.contains("no versions to rest on"), "{error}");
    assert!(
        error.contains("create a topic with key versions"),
        "{error}"
    );
}

#[test]
fn a_plan_rests_on_the_version_of_a_key() {
    let broker = broker("accounts", &["--key-versions", "--dedupe-window", "10m"]);
    let plan = |version: u64| {
        let records = json!([{"key": "alice", "value": "a"}, {"key": "alice", "value": "b"}]);
        let append = json!({"topic": "accounts", "expected_version": version, "records": records});
        json!({"operations": [{"append": append}]}).to_string()
    };
    let commit = ["commit", "-f", "-"];
    broker.ok_with(plan(0), &commit);
    let error = broker.fails_with(plan(0), 6, &commit);
    assert!(error.contains("operations[0], line 1: "), "{error}");
    assert!(error.contains("(EXPECTED_VERSION_MISMATCH)"), "{error}");
    assert!(error.contains("nothing of it was done"), "{error}");
    broker.ok_with(plan(2), &commit);
    let several = plan(4).replacen("alice", "bob", 1);
    let error = broker.fails_with(several, 1, &commit);
    assert!(
        error.contains("records that all have the same key"),
        "{error}"
    );

    let event = r#"{"operations": [{"append": {"topic": "accounts", "records":
        [{"key": "alice", "value": "c", "headers": [{"name": "ce-source", "value": "/s"},
                                                    {"name": "ce-id", "value": "1"}]}]}}]}"#;
    let place = broker.ok_with(event, &commit);
    let repeated = format!("{}  repeated\n", place.trim_end());
    assert_eq!(broker.ok_with(event, &commit), repeated, "told");
    assert_eq!(
        values(&broker, "accounts"),
        ["a", "b", "a", "b", "c"],
        "log"
    );
}

#[test]
fn old_news_is_refused_or_marked() {
    let refusing = broker("users", &["--stale-records", "refuse"]);
    let write = |value: &'static str, version: &'static str| {
        [
            "produce",
            "users",
            value,
            "-k",
            "alice",
            "--entity-version",
            version,
        ]
    };
    refusing.ok(&write("three", "3"));
    let error = refusing.fails(6, &write("three again", "3"));
    assert!(error.contains("(STALE_ENTITY_VERSION)"), "{error}");
    assert!(
        error.contains("the entity has version 3 already"),
        "{error}"
    );
    refusing.fails(6, &write("one", "1"));
    refusing.ok(&write("five", "5"));
    assert_eq!(values(&refusing, "users"), ["three", "five"], "log");
    let error = refusing.fails(2, &["produce", "users", "v", "-k", "alice"]);
    assert!(
        error.contains("needs the header towpath-entity-version"),
        "{error}"
    );
    let error = refusing.fails(2, &["produce", "users", "v", "--entity-version", "9"]);
    assert!(error.contains("a record needs a key"), "{error}");

    let marking = broker("users", &["--stale-records", "mark"]);
    marking.ok(&write("three", "3"));
    marking.ok(&write("one", "1"));
    let records = marking.records("users");
    let headers = records[1]["headers"].to_string();
    assert!(
        headers.contains(r#"{"name":"towpath-stale","value":"3"}"#),
        "{headers}"
    );
    let latest = one_json(&marking.ok(&["key", "latest", "users", "alice", "-o", "json"]));
    assert_eq!(latest["value"], "three", "{latest}");
}

#[test]
fn the_history_of_a_key_is_read_alone() {
    let broker = broker("accounts", &["--key-versions"]);
    for value in ["a", "b", "c"] {
        for key in ["alice", "bob"] {
            broker.ok(&["produce", "accounts", value, "-k", key]);
        }
    }
    let read = |args: &[&str]| {
        let line = ["key", "read", "accounts", "alice"];
        broker.ok(&[&line[..], args].concat())
    };
    assert_eq!(read(&[]), "a\nb\nc\n", "all");
    assert_eq!(read(&["--from-version", "2"]), "b\nc\n", "from");
    assert_eq!(read(&["--newest-first", "-n", "2"]), "c\nb\n", "backwards");
    let records = json_lines(&read(&["-o", "json"]));
    let versions: Vec<_> = records
        .iter()
        .map(|it| it["key_version"].as_u64())
        .collect();
    assert_eq!(versions, [Some(1), Some(2), Some(3)], "{records:?}");
    // What is printed can be written again.
    broker.ok(&["topic", "create", "copy"]);
    broker.ok_with(
        read(&["-o", "json"]),
        &["produce", "copy", "--input", "json"],
    );
    assert_eq!(values(&broker, "copy"), ["a", "b", "c"], "copy");

    let latest = one_json(&broker.ok(&["key", "latest", "accounts", "alice", "-o", "json"]));
    assert_eq!(
        (&latest["value"], &latest["key_version"]),
        (&json!("c"), &json!(3))
    );
    assert_eq!(
        broker.ok(&["key", "read", "accounts", "nobody"]),
        "",
        "no records"
    );
    let error = broker.fails(4, &["key", "latest", "accounts", "nobody"]);
    assert!(error.contains("the key has no record"), "{error}");

    broker.ok(&["topic", "trim", "accounts", "--before", "end", "--yes"]);
    broker.ok(&[
        "produce",
        "accounts",
        "d",
        "-k",
        "alice",
        "--expect-version",
        "3",
    ]);
    let output = broker
        .command(&["key", "read", "accounts", "alice"])
        .output();
    let output = output.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("versions 1 to 3 of the key are gone: retention"),
        "{said}"
    );
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "d\n",
        "what is left"
    );
    let error = broker.fails(4, &["key", "latest", "accounts", "bob"]);
    assert!(error.contains("version 3, is gone"), "{error}");

    let error = broker.fails(2, &["key", "read", "copy", "alice"]);
    assert!(error.contains("have no history"), "{error}");
    broker.fails(4, &["key", "read", "nowhere", "alice"]);
    broker.fails(2, &["key", "read", "accounts", "alice", "-n", "0"]);
}

#[test]
fn a_topic_shows_what_it_compares() {
    let settings = [
        "--dedupe-window",
        "10m",
        "--key-versions",
        "--stale-records",
        "mark",
    ];
    let broker = TestBroker::start();
    let create = [
        &["topic", "create", "t", "--partitions", "1"],
        &settings[..],
    ]
    .concat();
    let created = broker.ok(&create);
    let compared = "dedupe window 10 min, key versions, stale records: mark";
    assert_eq!(
        created,
        format!("created topic t: 1 partition, {compared}, acknowledged when on disk\n")
    );
    let shown = broker.ok(&["topic", "get", "t"]);
    let line = shown.lines().next().unwrap_or_default();
    assert!(
        line.ends_with(&format!(", retention none, {compared}")),
        "{line}"
    );
    let config = &one_json(&broker.ok(&["topic", "get", "t", "-o", "json"]))["config"];
    assert_eq!(config["dedupe_window_ms"], 600_000, "{config}");
    assert_eq!(config["key_versions"], true, "{config}");
    assert_eq!(config["stale_records"], "mark", "{config}");
    let ensured = [&create[..], &["--if-not-exists"]].concat();
    broker.ok(&ensured);
    let other = [
        "topic",
        "create",
        "t",
        "--if-not-exists",
        "--stale-records",
        "refuse",
    ];
    let error = broker.fails(6, &other);
    assert!(error.contains("stale_records=mark"), "{error}");
    let updated = broker.ok(&["topic", "update", "t", "--dedupe-window", "1h"]);
    let expected =
        "updated topic t: retention none, dedupe window 1 h, key versions, stale records: mark\n";
    assert_eq!(updated, expected, "updated");
    for (flag, value) in [("--dedupe-window", "8d"), ("--stale-records", "drop")] {
        broker.fails(2, &["topic", "create", "u", flag, value]);
    }
}
