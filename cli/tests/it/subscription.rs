//! Durable subscriptions from the command line: made, shown, changed, moved, deleted.

use std::process::Stdio;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{TestBroker, json as one_json, json_lines, numbers};
use crate::running::Running;

/// A topic of one partition that holds the numbers from 0 to 9, and a subscription to all of them.
pub(crate) fn subscribed(args: &[&str]) -> TestBroker {
    let broker = TestBroker::with_topic("t", 1);
    broker.ok_with(numbers(0..10), &["produce", "t"]);
    let create = ["subscription", "create", "s", "--topic", "t"];
    broker.ok(&[&create[..], &["--from", "beginning"], args].concat());
    broker
}

/// The subscription `s`, as `get` tells it.
pub(crate) fn get(broker: &TestBroker) -> Value {
    one_json(&broker.ok(&["subscription", "get", "s", "-o", "json"]))
}

/// A number of the one partition of `s`.
pub(crate) fn number(broker: &TestBroker, name: &str) -> u64 {
    let shown = get(broker);
    shown["partitions"][0][name].as_u64().expect("a number")
}

#[test]
fn a_subscription_is_created_once_however_often_that_is_said() {
    let broker = TestBroker::with_topic("t", 1);
    let create = [
        "subscription",
        "create",
        "s",
        "--topic",
        "t",
        "--from",
        "end",
    ];
    let would = broker.ok(&[&create[..], &["--dry-run"]].concat());
    let shape = "of topic t: key-shared, on a dead letter park\n\
                 20 attempts, back-off 1 s to 5 min, ack deadline 30 s\n";
    let expected = format!("would create subscription s {shape}dry run: nothing was created\n");
    assert_eq!(would, expected, "dry run");
    broker.fails(4, &["subscription", "get", "s"]);
    let created = broker.ok(&create);
    assert_eq!(
        created,
        format!("created subscription s {shape}"),
        "created"
    );
    let again = broker.ok(&create);
    assert!(
        again.starts_with("subscription s of topic t is there, as asked for"),
        "{again}"
    );
    let said = broker.fails(6, &[&create[..], &["--max-attempts", "5"]].concat());
    assert!(said.contains("SUBSCRIPTION_EXISTS"), "{said}");
    assert!(said.contains("attempts_max"), "{said}");
}

#[test]
fn all_settings_are_taken() {
    let broker = TestBroker::with_topic("t", 1);
    let line = "subscription create s --topic t --from -5 --mode shared --max-attempts 5 \
                --max-age 7d --ack-deadline 2m --backoff-min 100ms --backoff-max 10s \
                --on-dead-letter skip --filter size>1 --on-filter-error dead-letter -o json";
    let args: Vec<_> = line.split_whitespace().collect();
    let created = one_json(&broker.ok(&args));
    let expected = json!({
        "mode": "shared",
        "on_dead_letter": "skip",
        "ack_deadline_ms": 120_000,
        "backoff_min_ms": 100,
        "backoff_max_ms": 10_000,
        "attempts_max": 5,
        "age_max_ms": 604_800_000,
        "filter": "size>1",
        "on_filter_error": "dead-letter",
    });
    assert_eq!(created["config"], expected, "{created}");
    assert_eq!(created["subscription"], "s", "{created}");
    assert_eq!(created["dead_letter_topic"], "s.dlq", "{created}");
}

#[test]
fn a_new_subscription_must_say_where_it_begins() {
    let broker = TestBroker::with_topic("t", 1);
    broker.ok_with(numbers(0..10), &["produce", "t"]);
    let create = ["subscription", "create", "s", "--topic", "t"];
    let said = broker.fails(2, &create);
    assert!(said.contains("START_UNSET"), "{said}");
    let hint = "say --from beginning (10 records) or --from end (0 records)";
    assert!(said.contains(hint), "{said}");
    let said = broker.fails(2, &[&create[..], &["--from", "3"]].concat());
    assert!(
        said.contains("towpath subscription seek s --to 3 -p 0"),
        "{said}"
    );
    let said = broker.fails(
        4,
        &[
            "subscription",
            "create",
            "s",
            "--topic",
            "x",
            "--from",
            "end",
        ],
    );
    assert!(said.contains("towpath topic create x"), "{said}");
}

#[test]
fn a_subscription_is_shown_with_what_is_left() {
    let broker = subscribed(&[]);
    broker.ok(&["consume", "--subscription", "s", "-n", "4"]);
    let shown = get(&broker);
    let lag_ms = shown["partitions"][0]["lag_ms"].as_u64();
    assert!(lag_ms.is_some(), "{shown}");
    let expected = json!([{
        "partition": 0,
        "floor_offset": 4,
        "log_start_offset": 0,
        "end_offset": 10,
        "lag_records": 6,
        "lag_ms": lag_ms,
        "in_flight_records": 0,
        "waiting_records": 0,
        "parked_keys": 0,
        "dead_letters": 0,
        "redriven_records": 0,
        "skipped_records": 0,
        "held_bytes": 0,
        "held_ms": 0,
        "filtered_records": 0,
        "unjudged_records": 0,
        "halt_reason": null,
    }]);
    assert_eq!(shown["partitions"], expected, "{shown}");
    assert_eq!(shown["consumer_count"], 0, "{shown}");
    assert_eq!(shown["consumers"], json!([]), "{shown}");
    assert_eq!(shown["held_bytes"], 0, "{shown}");
    let text = broker.ok(&["subscription", "get", "s"]);
    let lines: Vec<_> = text.lines().collect();
    let first = "s  topic t, key-shared, 0 consumers, lag 6 records, ";
    assert!(lines[0].starts_with(first), "{text}");
    let second = "20 attempts, back-off 1 s to 5 min, ack deadline 30 s, on a dead letter park";
    assert_eq!(lines[1], second, "{text}");
    assert!(lines[2].starts_with("PARTITION  FLOOR  END  LAG"), "{text}");
    assert_eq!(lines.len(), 4, "{text}");
}

#[test]
fn what_a_subscription_holds_is_shown_with_a_warning_before_it_is_let_go_of() {
    let broker = TestBroker::start();
    let create = "topic create t --partitions 1 --retention-bytes 1MiB";
    broker.ok(&create.split_whitespace().collect::<Vec<_>>());
    let create = "subscription create s --topic t --from beginning";
    broker.ok(&create.split_whitespace().collect::<Vec<_>>());
    let large = "x".repeat(400 * 1024);
    let produced = [large.as_str(); 10].join("\n");
    broker.ok_with(produced, &["produce", "t"]);
    let held = |shown: &Value| shown["held_bytes"].as_u64().expect("a number");
    let shown = get(&broker);
    let held_bytes = held(&shown);
    assert!(held_bytes > 0, "{shown}");
    assert_eq!(shown["partitions"][0]["held_bytes"], held_bytes, "{shown}");
    assert_eq!(shown["hold_warning"], Value::Null, "{shown}");
    let text = broker.ok(&["subscription", "get", "s"]);
    assert!(
        text.contains(" held past the retention of topic t\n"),
        "{text}"
    );
    assert!(!text.contains("warning"), "{text}");
    let broker = broker.restart_with(|config| {
        config.engine.core.hold_bytes_max = held_bytes + held_bytes / 9;
    });
    let shown = get(&broker);
    assert_eq!(held(&shown), held_bytes, "{shown}");
    let percent = shown["held_percent"].as_u64().expect("a number");
    assert!((80..100).contains(&percent), "{shown}");
    let warning = shown["hold_warning"].as_str().expect("a warning");
    let text = broker.ok(&["subscription", "get", "s"]);
    assert!(text.ends_with(&format!("\nwarning: {warning}\n")), "{text}");
    let listed = broker.ok(&["subscription", "list", "-o", "json"]);
    assert!(!listed.contains("held"), "{listed}");
}

#[test]
fn subscriptions_are_listed_by_prefix_and_topic() {
    let broker = subscribed(&[]);
    broker.ok(&["topic", "create", "other"]);
    let create = [
        "subscription",
        "create",
        "s2",
        "--topic",
        "other",
        "--from",
        "end",
    ];
    broker.ok(&create);
    let names = |args: &[&str]| -> Vec<String> {
        let args = [&["subscription", "list", "-o", "json"], args].concat();
        let listed = json_lines(&broker.ok(&args));
        let names = listed.iter().map(|it| it["subscription"].as_str());
        names.map(|it| it.expect("a name").to_owned()).collect()
    };
    assert_eq!(names(&[]), ["s", "s2"]);
    assert_eq!(names(&["--prefix", "s2"]), ["s2"]);
    assert_eq!(names(&["--topic", "t"]), ["s"]);
    let text = broker.ok(&["subscription", "list", "--topic", "t"]);
    let line = text.lines().nth(1).expect("a row");
    assert!(
        line.starts_with("s             t      key-shared  ACTIVE"),
        "{text}"
    );
}

#[test]
fn only_what_is_named_is_changed_and_only_if_nobody_else_did() {
    let broker = subscribed(&[]);
    let etag = get(&broker)["etag"].as_str().expect("an etag").to_owned();
    let update = ["subscription", "update", "s"];
    let change = [
        &update[..],
        &["--max-attempts", "3", "--backoff-min", "10s"],
    ]
    .concat();
    let would = broker.ok(&[&change[..], &["--dry-run"]].concat());
    let retries = "3 attempts, back-off 10 s to 5 min, ack deadline 30 s";
    let expected =
        format!("would update subscription s: {retries}\ndry run: nothing was changed\n");
    assert_eq!(would, expected, "dry run");
    assert_eq!(get(&broker)["etag"], etag.as_str(), "as it was");
    let bound = [&change[..], &["--etag", &etag]].concat();
    let updated = broker.ok(&bound);
    assert_eq!(
        updated,
        format!("updated subscription s: {retries}\n"),
        "text"
    );
    let said = broker.fails(6, &bound);
    assert!(said.contains("ETAG_MISMATCH"), "{said}");
    let check = |args: &[&str], name: &str, expected: Value| {
        let args = [&update[..], args, &["-o", "json"]].concat();
        let updated = one_json(&broker.ok(&args));
        assert_eq!(updated["config"][name], expected, "{updated}");
    };
    check(&["--max-age", "1h"], "age_max_ms", json!(3_600_000));
    check(&["--max-age", "none"], "age_max_ms", Value::Null);
    check(&["--ack-deadline", "1m"], "ack_deadline_ms", json!(60_000));
    check(&["--backoff-max", "1m"], "backoff_min_ms", json!(10_000));
    broker.fails(2, &[&update[..], &["--backoff-max", "1s"]].concat());
    broker.fails(2, &update);
}

#[test]
fn a_paused_subscription_hands_out_nothing_until_it_is_resumed() {
    let broker = subscribed(&[]);
    let paused = broker.ok(&["subscription", "pause", "s"]);
    assert_eq!(
        paused,
        "paused subscription s: consumers keep what they have\n"
    );
    assert_eq!(get(&broker)["is_paused"], true);
    let shown = broker.ok(&["subscription", "get", "s"]);
    assert!(shown.starts_with("s  PAUSED  topic t"), "{shown}");
    let output =
        crate::harness::run(&mut broker.command(&["consume", "--subscription", "s", "-e"]));
    let said = crate::harness::text(&output.stderr);
    assert_eq!(
        (output.status.code(), output.stdout.len()),
        (Some(0), 0),
        "{said}"
    );
    assert!(said.contains("towpath subscription resume s"), "{said}");
    assert!(said.contains("10 records left"), "{said}");
    broker.ok(&["subscription", "resume", "s"]);
    let all = broker.ok(&["consume", "--subscription", "s", "-e"]);
    assert_eq!(all, numbers(0..10), "all of it");
}

#[test]
fn a_subscription_is_moved_in_every_form() {
    let broker = subscribed(&[]);
    broker.ok(&["consume", "--subscription", "s", "-n", "4"]);
    let seek = ["subscription", "seek", "s", "--to"];
    let would = broker.ok(&[&seek[..], &["beginning", "--dry-run"]].concat());
    let expected = "would move subscription s: 10 records to come then\n\
                    PARTITION  FROM  TO  LAG  TAKEN BACK  RETRIES ENDED  DEAD LETTERS  PARKED KEYS\n        \
                            0     4   0   10           0              0             0            0\n\
                    dry run: nothing was moved\n";
    assert_eq!(would, expected, "text");
    assert_eq!(
        number(&broker, "floor_offset"),
        4,
        "a dry run moves nothing"
    );
    broker.ok(&[&seek[..], &["-1", "--dry-run"]].concat());
    assert_eq!(
        number(&broker, "floor_offset"),
        4,
        "a dry run moves nothing"
    );
    let check = |args: &[&str], expected: u64| {
        broker.ok(&[&seek[..], args].concat());
        assert_eq!(number(&broker, "floor_offset"), expected, "{args:?}");
    };
    check(&["-3"], 1);
    check(&["+2", "-p", "0"], 3);
    check(&["-100"], 0);
    check(&["+100"], 10);
    check(&["7", "-p", "0"], 7);
    check(&["end"], 10);
    check(&["1h"], 0);
    let moved = one_json(&broker.ok(&[&seek[..], &["+9", "-o", "json"]].concat()));
    let expected = json!([{
        "partition": 0, "from_offset": 0, "to_offset": 9, "lag_records": 1,
        "in_flight_records": 0, "waiting_records": 0, "dead_letters": 0, "parked_keys": 0,
    }]);
    assert_eq!(moved["partitions"], expected, "{moved}");
    let said = broker.fails(6, &[&seek[..], &["11", "-p", "0"]].concat());
    assert!(said.contains("OFFSET_OUT_OF_RANGE"), "{said}");
    broker.fails(2, &[&seek[..], &["7"]].concat());
    broker.fails(4, &[&seek[..], &["-1", "-p", "3"]].concat());
    broker.fails(4, &[&seek[..], &["end", "-p", "3"]].concat());
}

#[test]
fn a_subscription_is_deleted_with_what_it_remembers() {
    let broker = subscribed(&[]);
    let shape = "0 consumers, 10 records not settled\nits dead letters stay in topic s.dlq\n";
    let would = broker.ok(&["subscription", "delete", "s", "--dry-run"]);
    let expected = format!("would delete subscription s: {shape}dry run: nothing was deleted\n");
    assert_eq!(would, expected, "dry run");
    let deleted = broker.ok(&["subscription", "delete", "s", "--yes"]);
    assert_eq!(deleted, format!("deleted subscription s: {shape}"), "text");
    broker.fails(4, &["subscription", "delete", "s", "--yes"]);
    broker.ok(&["topic", "get", "s.dlq"]);
}

#[test]
fn an_expression_may_begin_with_a_hyphen() {
    let broker = subscribed(&["--filter", "-1 == 1"]);
    assert_eq!(get(&broker)["config"]["filter"], "-1 == 1");
    broker.ok(&["subscription", "update", "s", "--filter", "-2 < 0"]);
    assert_eq!(get(&broker)["config"]["filter"], "-2 < 0");
}

#[test]
fn a_subscription_that_is_not_there_is_looked_for() {
    let broker = subscribed(&[]);
    broker.ok(&[
        "subscription",
        "create",
        "billing",
        "--topic",
        "t",
        "--from",
        "end",
    ]);
    for args in [
        &["subscription", "get", "biling"][..],
        &["subscription", "seek", "biling", "--to", "end"],
        &["subscription", "seek", "biling", "--to", "-1"],
        &["subscription", "delete", "biling", "--yes"],
        &["consume", "--subscription", "biling", "-e"],
    ] {
        let said = broker.fails(4, args);
        assert!(said.contains("SUBSCRIPTION_NOT_FOUND"), "{args:?}: {said}");
        assert!(
            said.contains("did you mean \"billing\"?"),
            "{args:?}: {said}"
        );
    }
    for args in [
        &["subscription", "pause", "biling"][..],
        &["subscription", "resume", "biling"],
        &["subscription", "update", "biling", "--max-attempts", "3"],
    ] {
        let said = broker.fails(4, args);
        assert!(
            said.contains("towpath subscription list"),
            "{args:?}: {said}"
        );
    }
}

#[test]
fn a_filter_that_is_none_is_refused() {
    let broker = TestBroker::with_topic("t", 1);
    let create = [
        "subscription",
        "create",
        "s",
        "--topic",
        "t",
        "--from",
        "end",
    ];
    let said = broker.fails(2, &[&create[..], &["--filter", "nokey == 1"]].concat());
    assert!(said.contains("INVALID_FILTER"), "{said}");
    assert!(said.contains("no variable"), "{said}");
    let said = broker.fails(2, &[&create[..], &["--filter", "size > 1 &&"]].concat());
    assert!(said.contains("at character 12 of the filter"), "{said}");
}

#[test]
fn a_filter_is_changed_and_taken_away() {
    let broker = subscribed(&["--filter", "size > 1"]);
    let update = ["subscription", "update", "s"];
    let filter = ["--filter", "json.total > 1"];
    let rule = ["--on-filter-error", "dead-letter"];
    let updated = broker.ok(&[&update[..], &filter, &rule].concat());
    let shown = "filter json.total > 1, on a record that it cannot judge dead-letter\n";
    assert!(updated.ends_with(shown), "{updated}");
    let config = &get(&broker)["config"];
    assert_eq!(config["filter"], "json.total > 1", "{config}");
    assert_eq!(config["on_filter_error"], "dead-letter", "{config}");
    broker.ok(&[&update[..], &["--filter", ""]].concat());
    let config = &get(&broker)["config"];
    assert!(config["filter"].is_null(), "{config}");
}

#[test]
fn a_record_is_explained_and_what_is_pending_listed() {
    let broker = TestBroker::with_topic("t", 1);
    broker.ok_with("a\nbb\n", &["produce", "t"]);
    let create = [
        "subscription",
        "create",
        "s",
        "--topic",
        "t",
        "--from",
        "beginning",
    ];
    broker.ok(&[&create[..], &["--filter", "size > 1"]].concat());
    let told = broker.ok(&["subscription", "why", "s", "t/0@0"]);
    let lines: Vec<_> = told.lines().collect();
    let expected = [
        "0@0  ahead, attempt 1",
        "because no consumer is connected",
        "filter no-match: size > 1",
    ];
    assert_eq!(lines, expected, "{told}");
    let told = one_json(&broker.ok(&["subscription", "why", "s", "t/0@1", "-o", "json"]));
    assert_eq!(told["filter_verdict"], "match", "{told}");
    assert_eq!(told["record"]["state"], "ahead", "{told}");
    let printed = broker.ok(&[
        "consume",
        "--subscription",
        "s",
        "-n",
        "1",
        "--ack",
        "never",
    ]);
    assert!(printed.contains("bb"), "{printed}");
    let shown = broker.ok(&["subscription", "get", "s"]);
    assert!(
        shown.contains("filter size > 1, on a record that it cannot judge deliver\n1 record left out, 0 not judged\n"),
        "{shown}"
    );
    let listed = broker.ok(&["subscription", "pending", "s"]);
    assert!(
        listed.starts_with("RECORD  STATE  ATTEMPT  FAILURES  WHY"),
        "{listed}"
    );
    let said = broker.fails(2, &["subscription", "why", "s", "other/0@1"]);
    assert!(said.contains("is of topic t"), "{said}");
    let said = broker.fails(6, &["subscription", "why", "s", "t/0@7"]);
    assert!(said.contains("OFFSET_OUT_OF_RANGE"), "{said}");
}

#[test]
fn what_a_killed_consumer_was_handling_waits_for_an_idle_one() {
    let broker = TestBroker::with_topic("t", 1);
    broker.ok_with("a\nb\n", &["produce", "t"]);
    let create = ["subscription", "create", "s", "--topic", "t"];
    broker.ok(&[&create[..], &["--from", "beginning"]].concat());
    let url = broker.url();
    let consume = ["consume", "--subscription", "s", "--ack", "never"];
    let killed = Running::start_with(&[&consume[..], &["--url", &url]].concat(), Stdio::null());
    let pending = |state| {
        let list = ["subscription", "pending", "s", "-o", "json", "--state"];
        json_lines(&broker.ok(&[&list[..], &[state]].concat()))
    };
    let begun = |it: &Value| it["is_started"] == true;
    let begun_count = || pending("in-flight").into_iter().filter(begun).count();
    while begun_count() < 2 {}
    killed.signal(Signal::KILL);
    killed.wait();
    // Until the broker waits no more for it to come back.
    while pending("waiting").is_empty() {}
    let listed = broker.ok(&["subscription", "pending", "s"]);
    let rows = listed.lines().skip(1);
    rows.for_each(|row| assert!(row.ends_with("waits for an idle consumer"), "{listed}"));
    for record in pending("waiting") {
        assert_eq!(record["is_suspect"], true, "{record}");
        assert_eq!(record["next_attempt"], Value::Null, "{record}");
    }
    let told = broker.ok(&["subscription", "why", "s", "t/0@1"]);
    let expected = "0@1  waiting, attempt 1, waits for an idle consumer\n\
                    because its consumer went while it handled it and others: it is delivered alone, \
                    and waits for a consumer that has nothing\n\
                    because no consumer is connected\n";
    assert_eq!(told, expected);
}
