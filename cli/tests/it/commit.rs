use serde_json::json;

use crate::harness::{TestBroker, fails, json as one_json, towpath};

/// A broker with two topics of two partitions each.
fn broker() -> TestBroker {
    let broker = TestBroker::with_topic("orders", 2);
    broker.ok(&["topic", "create", "ledger", "--partitions", "2"]);
    broker
}

fn record_count(broker: &TestBroker) -> usize {
    broker.records("orders").len() + broker.records("ledger").len()
}

#[test]
fn a_plan_is_carried_out_as_a_whole() {
    let broker = broker();
    let plan = r#"{"operations": [
        {"append": {"topic": "orders", "partition": 1, "expected_offset": 0,
                    "records": [{"key": "k", "value": "a"}, {"value": null, "key": "k"}]}},
        {"append": {"topic": "ledger", "partition": 0, "records": [{"value_b64": "/w=="}]}}
    ]}"#;
    let printed = broker.ok_with(plan, &["commit", "-f", "-"]);
    assert_eq!(printed, "orders/1@0\norders/1@1\nledger/0@0\n");
    let mut records = broker.records("orders");
    records.extend(broker.records("ledger"));
    let lsn = &records[0]["lsn"];
    assert_eq!(records.len(), 3, "{records:?}");
    assert!(records.iter().all(|it| it["lsn"] == *lsn), "{records:?}");

    let file = broker.data_dir().with_file_name("plan.json");
    std::fs::write(&file, plan.replace("_offset\": 0", "_offset\": 2")).expect("a plan");
    let file = file.display().to_string();
    let shown = one_json(&broker.ok(&["commit", "-f", &file, "-o", "json"]));
    let position = |topic: &str, partition: u32, offset: u64| json!({"topic": topic, "partition": partition, "offset": offset, "is_repeated": false});
    let expected = json!([
        {"positions": [position("orders", 1, 2), position("orders", 1, 3)]},
        {"positions": [position("ledger", 0, 1)]},
    ]);
    assert_eq!(shown["results"], expected, "{shown}");
    assert!(shown["lsn"].as_u64() > lsn.as_u64(), "{shown}");
}

#[test]
fn a_plan_of_which_something_does_not_hold_does_nothing() {
    let broker = broker();
    broker.ok(&[
        "subscription",
        "create",
        "billing",
        "--topic",
        "orders",
        "--from",
        "beginning",
    ]);
    let write = r#"{"append": {"topic": "orders", "records": [{"value": "a"}]}}"#;
    let check = |operation: &str, code: i32, reason: &str| {
        let plan = format!("{{\"operations\": [\n{write},\n{operation}\n]}}");
        let error = broker.fails_with(plan, code, &["commit", "-f", "-"]);
        assert!(error.contains("error: operations[1], line 3: "), "{error}");
        assert!(error.contains(reason), "{error}");
        assert!(error.contains("nothing of it was done"), "{error}");
        assert_eq!(record_count(&broker), 0, "{error}");
    };
    check(
        r#"{"append": {"topic": "ledger", "partition": 0, "expected_offset": 7, "records": [{"value": "b"}]}}"#,
        6,
        "(EXPECTED_OFFSET_MISMATCH)",
    );
    check(
        r#"{"append": {"topic": "nowhere", "records": [{"value": "b"}]}}"#,
        4,
        "(TOPIC_NOT_FOUND)",
    );
    check(
        r#"{"settle": {"subscription": "billing", "delivery": 7, "partition": 0, "ranges": [{"start": 0, "end": 1}], "outcome": "ack"}}"#,
        6,
        "(LEASE_EXPIRED)",
    );
    check(
        r#"{"offsets": {"group": "nobody", "member_id": "000102030405060708090a0b0c0d0e0f", "offsets": [{"topic": "orders", "partition": 0, "generation": 1, "offset": 1}]}}"#,
        4,
        "(GROUP_NOT_FOUND)",
    );
}

#[test]
fn what_is_no_plan_is_told_before_a_broker_is_asked() {
    let nobody = ["commit", "-f", "-", "--url", "http://127.0.0.1:1"];
    let check = |plan: &str, expected: &str| {
        let error = fails(1, towpath(&nobody).write_stdin(plan));
        assert!(error.contains(expected), "{error}");
    };
    check(
        "{}",
        "error: not a plan, line 1: missing field `operations`",
    );
    check(
        "{\"operations\": [\n{\"append\": {\"topic\": \"t\", \"records\": [{\"vaule\": \"v\"}]}}]}",
        "error: operations[0].append.records[0], line 2: not a record",
    );
    let missing = ["commit", "-f", "/nowhere/plan.json"];
    let error = fails(4, &mut towpath(&missing));
    assert!(error.contains("cannot read the plan"), "{error}");
    fails(2, &mut towpath(&["commit"]));
}

#[test]
fn records_are_produced_only_at_the_offsets_that_are_expected() {
    let broker = broker();
    let args = ["produce", "orders", "a", "-p", "0", "--expect-offset", "0"];
    assert_eq!(broker.ok(&args), "orders/0@0\n", "the first");
    let error = broker.fails(6, &args);
    assert!(error.contains("(EXPECTED_OFFSET_MISMATCH)"), "{error}");
    assert!(error.contains("the next record gets offset 1"), "{error}");

    let lines = ["produce", "orders", "-p", "0", "--expect-offset"];
    let from = |offset: &'static str| [&lines[..], &[offset]].concat();
    broker.ok_with("b\nc\n", &from("1"));
    let error = broker.fails_with("x\ny\nz\n", 6, &from("4"));
    assert!(error.contains("error: line 1: "), "{error}");
    assert!(error.contains("on disk: 0 records"), "{error}");
    let error = broker.fails(2, &["produce", "orders", "a", "--expect-offset", "0"]);
    assert!(error.contains("needs --partition or --key"), "{error}");
    assert_eq!(broker.ok(&["consume", "orders", "-e"]), "a\nb\nc\n", "all");
}

#[test]
fn a_plan_with_a_key_is_carried_out_once() {
    let broker = broker();
    let plan = r#"{"operations": [{"append": {"topic": "orders", "records": [{"value": "a"}]}}]}"#;
    let keyed = ["commit", "-f", "-", "--idempotency-key", "order-42"];
    let first = broker.ok_with(plan, &keyed);
    let json = [&keyed[..], &["-o", "json"]].concat();
    let again = one_json(&broker.ok_with(plan, &json));
    assert_eq!(again["is_repeated"], true, "{again}");
    assert_eq!(broker.ok_with(plan, &keyed), first, "as the first time");
    assert_eq!(record_count(&broker), 1);

    let other = plan.replace("\"a\"", "\"b\"");
    let error = broker.fails_with(other, 2, &keyed);
    assert!(
        error.contains("the key has named other operations"),
        "{error}"
    );
    let error = fails(
        2,
        &mut towpath(&["commit", "-f", "-", "--idempotency-key", ""]),
    );
    assert!(error.contains("a key has 1 to 128 bytes, not 0"), "{error}");
    assert_eq!(record_count(&broker), 1);
}
