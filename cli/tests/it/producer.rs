//! Names of producers from the command line.

use std::io::Write as _;

use serde_json::json;

use crate::harness::{TestBroker, json as one_json, json_lines};
use crate::running::Running;

#[test]
fn whoever_wrote_under_a_name_before_is_told_that_it_was_replaced() {
    let broker = TestBroker::with_topic("t", 1);
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let args = [
        "produce",
        "t",
        "--producer-name",
        "relay-1",
        "--url",
        &broker.url(),
    ];
    let old = Running::start_with(&args, reader);
    writer.write_all(b"a\n").expect("it reads");
    let follow = ["consume", "t", "-n", "1", "--from", "beginning"];
    assert_eq!(broker.ok(&follow), "a\n", "it writes");
    let new = ["produce", "t", "b", "--producer-name", "relay-1"];
    assert_eq!(broker.ok(&new), "t/0@1\n", "the one that takes its place");
    writer.write_all(b"zombie\n").expect("it reads");
    drop(writer);
    let (code, said) = old.wait();
    assert_eq!(code, Some(6), "exit code; stderr: {said}");
    for part in [
        "producer \"relay-1\" was opened again: life 2 has taken over",
        "PRODUCER_FENCED",
        "stop this one",
        "towpath producer list",
    ] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    assert_eq!(broker.ok(&["consume", "t", "-e"]), "a\nb\n", "records");
}

#[test]
fn names_are_listed_and_deleted() {
    let broker = TestBroker::with_topic("t", 1);
    assert_eq!(broker.ok(&["producer", "list", "-o", "json"]), "", "none");
    for name in ["relay-2", "relay-1", "import", "relay-1"] {
        broker.ok(&["produce", "t", "v", "--producer-name", name]);
    }
    broker.ok(&["produce", "t", "v"]);
    let list = ["producer", "list", "--prefix", "relay", "-o", "json"];
    let listed = json_lines(&broker.ok(&list));
    let told: Vec<_> = listed
        .iter()
        .map(|it| (&it["producer"], &it["epoch"]))
        .collect();
    let expected = [(json!("relay-1"), json!(2)), (json!("relay-2"), json!(1))];
    assert_eq!(told, expected.each_ref().map(|(a, b)| (a, b)), "names");
    let table = broker.ok(&["producer", "list"]);
    let header = table.lines().next().expect("a header");
    let columns: Vec<_> = header.split_whitespace().collect();
    assert_eq!(
        columns,
        ["PRODUCER", "EPOCH", "OPENED", "CREATED"],
        "{table}"
    );
    assert_eq!(table.lines().count(), 4, "{table}");

    let dry_run = ["producer", "delete", "relay-1", "--dry-run"];
    let told = "would delete producer relay-1, whose life was 2\n";
    assert_eq!(broker.ok(&dry_run), told, "dry run");
    let refused = broker.fails(2, &["producer", "delete", "relay-1"]);
    assert!(refused.contains("--yes"), "{refused}");
    let delete = ["producer", "delete", "relay-1", "--yes"];
    let deleted = one_json(&broker.ok(&[&delete[..], &["-o", "json"]].concat()));
    assert_eq!(deleted["producer"], "relay-1", "{deleted}");
    assert_eq!(deleted["is_dry_run"], false, "{deleted}");
    let missing = broker.fails(4, &delete);
    assert!(missing.contains("PRODUCER_NOT_FOUND"), "{missing}");
    assert!(missing.contains("did you mean \"relay-2\"?"), "{missing}");
    assert!(missing.contains("towpath producer list"), "{missing}");
}

#[test]
fn what_is_no_name_is_bad_usage() {
    let broker = TestBroker::with_topic("t", 1);
    let refused = broker.fails(2, &["produce", "t", "v", "--producer-name", "a b"]);
    assert!(
        refused.contains("producer name has the character"),
        "{refused}"
    );
    assert_eq!(broker.ok(&["consume", "t", "-e"]), "", "nothing");
}
