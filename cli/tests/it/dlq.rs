//! Dead letters from the command line: looked at, given back, discarded.

use serde_json::{Value, json};

use crate::harness::{TestBroker, json as one_json, json_lines, text};

/// A subscription whose consumer could not handle key `bad`: its record 1 is dead, and record 3 is parked
/// behind it.
pub(crate) fn with_letters() -> TestBroker {
    let broker = TestBroker::with_topic("t", 1);
    for (key, value) in [("a", "0"), ("bad", "1"), ("a", "2"), ("bad", "3")] {
        broker.ok(&["produce", "t", "-k", key, value]);
    }
    let create = ["subscription", "create", "s", "--topic", "t"];
    broker.ok(&[&create[..], &["--from", "beginning", "--max-attempts", "1"]].concat());
    let handler = r#"test "$TOWPATH_KEY" = a || { echo no account >&2; exit 1; }"#;
    broker.ok(&["consume", "--subscription", "s", "-e", "--exec", handler]);
    broker
}

fn letters(broker: &TestBroker, args: &[&str]) -> Vec<Value> {
    json_lines(&broker.ok(&[&["dlq", "list", "s", "-o", "json"], args].concat()))
}

#[test]
fn dead_letters_are_listed_and_shown() {
    let broker = with_letters();
    let listed = letters(&broker, &[]);
    let facts = |it: &Value| {
        let kind = it["kind"].as_str().expect("a kind").to_owned();
        (it["offset"].as_u64(), it["origin_offset"].as_u64(), kind)
    };
    let facts: Vec<_> = listed.iter().map(facts).collect();
    let expected = [
        (Some(0), Some(1), "DEAD".to_owned()),
        (Some(1), Some(3), "PARKED".to_owned()),
    ];
    assert_eq!(facts, expected, "{listed:?}");
    let dead = &listed[0];
    assert_eq!((&dead["key"], &dead["value"]), (&json!("bad"), &json!("1")));
    let reason = dead["failures"][0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("no account"), "{dead}");
    assert_eq!(letters(&broker, &["--kind", "parked"]).len(), 1, "parked");
    assert_eq!(
        letters(&broker, &["--failed-with", "account"]).len(),
        1,
        "failed"
    );
    assert_eq!(letters(&broker, &["--key", "a"]).len(), 0, "of a good key");
    assert_eq!(letters(&broker, &["--died-from", "1h"]).len(), 2, "lately");
    assert_eq!(
        letters(&broker, &["--died-before", "1h"]).len(),
        0,
        "long ago"
    );
    let text = broker.ok(&["dlq", "list", "s"]);
    assert!(text.contains("t/0@1") && text.contains("PARKED"), "{text}");
    for command in ["redrive", "show"] {
        let said = broker.fails(4, &["dlq", command, "s", "0@77"]);
        assert!(said.contains("DEAD_LETTER_NOT_FOUND"), "{said}");
    }
    let some = broker.ok(&["dlq", "redrive", "s", "0@0", "0@77", "--dry-run"]);
    assert!(some.ends_with("not there: 0@77\n"), "{some}");
    let shown = broker.ok(&["dlq", "show", "s", "0@0"]);
    assert!(
        shown.contains("no account") && shown.contains("key       bad"),
        "{shown}"
    );
    assert!(
        shown.contains("state     DEAD\nkind      DEAD\n"),
        "{shown}"
    );
    let shown = one_json(&broker.ok(&["dlq", "show", "s", "0@1", "-o", "json"]));
    assert_eq!(shown["value"], "3", "{shown}");
}

#[test]
fn dead_letters_are_redriven_in_order() {
    let broker = with_letters();
    let dry_run = ["dlq", "redrive", "s", "--dry-run", "--kind", "dead"];
    let would = broker.ok(&dry_run);
    assert_eq!(
        would, "would redrive 2 dead letters of subscription s\n",
        "whole key"
    );
    let would = one_json(&broker.ok(&[&dry_run[..], &["-o", "json"]].concat()));
    assert_eq!(would["is_dry_run"], true, "{would}");
    let shown = broker.ok(&["subscription", "get", "s"]);
    assert!(
        shown.contains("2 dead letters: towpath dlq list s\n"),
        "{shown}"
    );
    let done = broker.ok(&["dlq", "redrive", "s"]);
    assert_eq!(done, "redrove 2 dead letters of subscription s\n", "done");
    let again = broker.ok(&["dlq", "redrive", "s"]);
    assert!(
        again.ends_with("2 others had been redriven before\n"),
        "{again}"
    );
    let handled = broker.ok(&["consume", "--subscription", "s", "-e"]);
    assert_eq!(handled, "1\n3\n", "in order, and waited for");
    assert!(letters(&broker, &[]).is_empty(), "all gone");
}

#[test]
fn a_dead_letter_is_mended_into_a_topic() {
    let broker = with_letters();
    broker.ok(&["topic", "create", "mended"]);
    let redrive = [
        "dlq",
        "redrive",
        "s",
        "0@0",
        "--to-topic",
        "mended",
        "--value-file",
        "-",
    ];
    let done = broker.ok_with("one", &redrive);
    assert_eq!(
        done, "redrove 1 dead letter of subscription s to topic mended\n",
        "done"
    );
    let records = json_lines(&broker.ok(&["consume", "mended", "-e", "-o", "json"]));
    assert_eq!(
        (&records[0]["key"], &records[0]["value"]),
        (&json!("bad"), &json!("one"))
    );
    let headers = records[0]["headers"].to_string();
    assert!(
        headers.contains("towpath-redrive-subscription"),
        "{headers}"
    );
    assert_eq!(letters(&broker, &[]).len(), 1, "the other one");
    let said = broker.fails(
        2,
        &[
            "dlq",
            "redrive",
            "s",
            "--to-topic",
            "mended",
            "--value-file",
            "-",
        ],
    );
    assert!(said.contains("PARTITION@OFFSET"), "{said}");
    let said = broker.fails(4, &["dlq", "redrive", "s", "--to-topic", "none"]);
    assert!(said.contains("TOPIC_NOT_FOUND"), "{said}");
}

#[test]
fn a_mended_value_that_is_too_large_is_refused_as_such() {
    let broker = with_letters();
    let redrive = ["dlq", "redrive", "s", "0@0", "--to-topic", "t"];
    let args = [&redrive[..], &["--value-file", "-"]].concat();
    let value = vec![b'x'; 1_200_000];
    let output = broker.command(&args).write_stdin(value).output();
    let output = output.expect("the command runs");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("(RECORD_TOO_LARGE)"), "{said}");
    assert_eq!(letters(&broker, &[]).len(), 2, "nothing was moved");
}

#[test]
fn dead_letters_are_discarded_only_with_a_reason_and_consent() {
    let broker = with_letters();
    let said = broker.fails(2, &["dlq", "discard", "s", "--yes"]);
    assert!(said.contains("--reason"), "{said}");
    let discard = ["dlq", "discard", "s", "--reason", "a test"];
    let said = broker.fails(2, &discard);
    assert!(said.contains("--yes"), "{said}");
    let named = ["0@78", "0@77", "--yes"];
    let said = broker.fails(4, &[&discard[..], &named].concat());
    assert!(said.contains("none of the 2 dead letters"), "{said}");
    let would = broker.ok(&[&discard[..], &["--dry-run"]].concat());
    assert_eq!(
        would, "would discard 2 dead letters of subscription s\n",
        "would"
    );
    let done = one_json(&broker.ok(&[&discard[..], &["--yes", "-o", "json"]].concat()));
    assert_eq!(done["discarded_count"], 2, "{done}");
    assert!(letters(&broker, &[]).is_empty(), "all gone");
    broker.ok(&["produce", "t", "-k", "bad", "4"]);
    let next = broker.ok(&["consume", "--subscription", "s", "-n", "1"]);
    assert_eq!(next, "4\n", "the key is free");
    broker.fails(4, &["dlq", "show", "s", "0@0"]);
    broker.fails(4, &["dlq", "list", "none"]);
}
