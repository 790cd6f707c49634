//! What a topic keeps: chosen, changed, shown, and let go of by hand.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{TestBroker, fails, json as one_json, numbers, run, stdout_of, text, towpath};
use crate::running::Running;
use crate::serve_process::ServeProcess;

fn config(topic: &Value) -> (Option<u64>, Option<u64>) {
    let config = &topic["config"];
    let number = |name: &str| config[name].as_u64();
    (number("retention_age_ms"), number("retention_bytes"))
}

fn get(broker: &TestBroker, name: &str) -> Value {
    one_json(&broker.ok(&["topic", "get", name, "-o", "json"]))
}

/// Where the log of each partition starts and ends.
fn bounds(broker: &TestBroker, name: &str) -> Vec<(u64, u64)> {
    let topic = get(broker, name);
    let partitions = topic["partitions"].as_array().expect("partitions");
    let number = |value: &Value| value.as_u64().expect("a number");
    let bounds = partitions
        .iter()
        .map(|it| (number(&it["log_start_offset"]), number(&it["end_offset"])));
    bounds.collect()
}

/// Two partitions with the numbers from 0 to 4 each.
fn five_records_each() -> TestBroker {
    let broker = TestBroker::with_topic("t", 2);
    for partition in ["0", "1"] {
        broker.ok_with(numbers(0..5), &["produce", "t", "-p", partition]);
    }
    broker
}

#[test]
fn a_topic_is_created_with_what_it_is_to_keep() {
    let broker = TestBroker::start();
    let created = broker.ok(&[
        "topic",
        "create",
        "orders",
        "--partitions",
        "8",
        "--retention-age",
        "7d",
    ]);
    let expected = "created topic orders: 8 partitions, retention 7 d, acknowledged when on disk\n";
    assert_eq!(created, expected, "text");
    let topic = get(&broker, "orders");
    assert_eq!(config(&topic), (Some(604_800_000), None), "{topic}");
    assert_eq!(topic["etag"], "1-0", "{topic}");
    let line = broker.ok(&["topic", "get", "orders"]);
    let line = line.lines().next().unwrap_or_default();
    assert!(line.ends_with(", retention 7 d"), "{line}");

    let both = [
        "topic",
        "create",
        "clicks",
        "--retention-age",
        "36h",
        "--retention-bytes",
        "10GiB",
    ];
    let would = broker.ok(&[&both[..], &["--dry-run"]].concat());
    let expected = "would create topic clicks: 8 partitions, retention 1 d 12 h or 10 GiB\n\
                    dry run: nothing was created\n";
    assert_eq!(would, expected, "text");
    let created = one_json(&broker.ok(&[&both[..], &["-o", "json"]].concat()));
    assert_eq!(
        config(&created),
        (Some(129_600_000), Some(10 << 30)),
        "{created}"
    );

    broker.ok(&["topic", "create", "plain"]);
    let nothing = json!({
        "retention_age_ms": null, "retention_bytes": null, "dedupe_window_ms": null,
        "key_versions": false, "stale_records": null, "compact": false, "tombstone_grace_ms": null,
    });
    assert_eq!(
        get(&broker, "plain")["config"],
        nothing,
        "null where nothing is set"
    );
}

#[test]
fn what_is_there_already_must_keep_what_is_asked_for() {
    let broker = TestBroker::start();
    let ensure = |age: &'static str| {
        [
            "topic",
            "create",
            "t",
            "--if-not-exists",
            "--retention-age",
            age,
        ]
    };
    broker.ok(&ensure("7d"));
    broker.ok(&ensure("168h"));
    broker.ok(&["topic", "create", "t", "--if-not-exists"]);
    let error = broker.fails(6, &ensure("8d"));
    assert!(error.contains("retention_age_ms=604800000"), "{error}");
}

#[test]
fn an_update_changes_what_it_names() {
    let broker = TestBroker::start();
    broker.ok(&["topic", "create", "t", "--retention-age", "7d"]);
    let update = |args: &[&str]| broker.ok(&[&["topic", "update", "t"], args].concat());
    let text = update(&["--retention-bytes", "2GB"]);
    assert_eq!(text, "updated topic t: retention 7 d or 2 GB\n", "added");
    let text = update(&["--retention-age", "none", "--dry-run"]);
    let expected = "would update topic t: retention 2 GB\ndry run: nothing was changed\n";
    assert_eq!(text, expected, "dry run");
    assert_eq!(
        config(&get(&broker, "t")),
        (Some(604_800_000), Some(2_000_000_000)),
        "kept"
    );
    let text = update(&["--retention-age", "none", "--retention-bytes", "none"]);
    assert_eq!(text, "updated topic t: retention none\n", "taken away");
    assert_eq!(config(&get(&broker, "t")), (None, None), "taken away");
}

#[test]
fn an_update_may_be_bound_to_what_was_seen() {
    let broker = TestBroker::start();
    broker.ok(&["topic", "create", "t"]);
    let seen = get(&broker, "t")["etag"]
        .as_str()
        .expect("an etag")
        .to_owned();
    let update = [
        "topic",
        "update",
        "t",
        "--retention-age",
        "1d",
        "--etag",
        &seen,
    ];
    broker.ok(&update);
    let again = [
        "topic",
        "update",
        "t",
        "--retention-age",
        "2d",
        "--etag",
        &seen,
    ];
    let error = broker.fails(6, &again);
    assert!(error.contains("(ETAG_MISMATCH)"), "{error}");
    assert_eq!(
        config(&get(&broker, "t")).0,
        Some(86_400_000),
        "not changed"
    );
}

#[test]
fn a_trim_tells_what_went() {
    let broker = five_records_each();
    let trim = |args: &[&str]| broker.ok(&[&["topic", "trim", "t"], args].concat());
    let would = trim(&["--before", "3", "-p", "1", "--dry-run"]);
    let table = "PARTITION  FROM  TO  RECORDS\n        1     0   3        3\n";
    let expected = format!("would trim topic t: 3 records\n{table}dry run: nothing was trimmed\n");
    assert_eq!(would, expected, "dry run");
    assert_eq!(bounds(&broker, "t"), [(0, 5), (0, 5)], "dry run");
    let trimmed = trim(&["--before", "3", "-p", "1", "--yes"]);
    assert_eq!(
        trimmed,
        format!("trimmed topic t: 3 records\n{table}"),
        "trimmed"
    );
    assert_eq!(bounds(&broker, "t"), [(0, 5), (3, 5)], "trimmed");
    let again = trim(&["--before", "3", "-p", "1", "-y"]);
    assert_eq!(again, "nothing to trim of topic t\n", "again");
    assert_eq!(
        broker.ok(&["consume", "t", "-e", "-p", "1"]),
        numbers(3..5),
        "what is left"
    );

    let trimmed = one_json(&trim(&["--before", "end", "--yes", "-o", "json"]));
    let expected = json!({"name": "t", "topic_id": 1, "record_count": 7, "is_dry_run": false, "partitions": [
        {"partition": 0, "trimmed": {"start": 0, "end": 5}},
        {"partition": 1, "trimmed": {"start": 3, "end": 5}},
    ]});
    assert_eq!(trimmed, expected, "JSON");
    assert_eq!(broker.ok(&["consume", "t", "-e"]), "", "nothing is left");
}

#[test]
fn a_trim_takes_every_form_of_a_place() {
    let check = |args: &[&str], expected: [u64; 2]| {
        let broker = five_records_each();
        broker.ok(&[&["topic", "trim", "t", "--yes", "--before"], args].concat());
        let starts: Vec<_> = bounds(&broker, "t").into_iter().map(|it| it.0).collect();
        assert_eq!(starts, expected, "{args:?}");
    };
    check(&["beginning"], [0, 0]);
    check(&["end"], [5, 5]);
    check(&["end", "-p", "0"], [5, 0]);
    check(&["-7"], [3, 0]);
    check(&["1h"], [0, 0]);
    check(&["2000-01-01T00:00Z"], [0, 0]);
    check(&["2999-01-01T00:00Z"], [5, 5]);
}

#[test]
fn a_script_is_not_asked() {
    let broker = five_records_each();
    // Nobody is at a terminal here.
    broker.ok(&["topic", "trim", "t", "--before", "end"]);
    assert_eq!(bounds(&broker, "t"), [(5, 5), (5, 5)], "all went");
    broker.ok(&["topic", "delete", "t"]);
    broker.fails(4, &["topic", "get", "t"]);
}

#[test]
fn what_cannot_be_trimmed_is_told() {
    let broker = five_records_each();
    let trim = |code, args: &[&str]| {
        broker.fails(
            code,
            &[&["topic", "trim", "t", "--yes", "--before"], args].concat(),
        )
    };
    let error = trim(6, &["6", "-p", "0"]);
    assert!(
        error.contains("(OFFSET_OUT_OF_RANGE)") && error.contains("0 to 5"),
        "{error}"
    );
    let error = trim(4, &["end", "-p", "2"]);
    assert!(error.contains("(PARTITION_NOT_FOUND)"), "{error}");
    let error = trim(2, &["end", "-p", "0", "-p", "0"]);
    assert!(error.contains("named twice"), "{error}");
    assert_eq!(bounds(&broker, "t"), [(0, 5), (0, 5)], "nothing went");
    for args in [
        &["topic", "trim", "ordres", "--before", "end", "--yes"][..],
        &["topic", "trim", "ordres", "--before", "end", "--dry-run"],
        &["topic", "update", "ordres", "--retention-age", "1d"],
    ] {
        broker.ok(&["topic", "create", "orders", "--if-not-exists"]);
        let error = broker.fails(4, args);
        assert!(
            error.contains("did you mean \"orders\"?"),
            "{args:?}: {error}"
        );
    }
}

#[test]
fn values_that_make_no_sense_are_bad_usage() {
    for args in [
        &["topic", "create", "t", "--retention-age", "0s"][..],
        &["topic", "create", "t", "--retention-age", "none"],
        &["topic", "create", "t", "--retention-age", "7"],
        &["topic", "create", "t", "--retention-bytes", "0"],
        &["topic", "create", "t", "--retention-bytes", "-1"],
        &["topic", "create", "t", "--retention-bytes", "10GiBs"],
        &["topic", "update", "t"],
        &["topic", "update", "t", "--dry-run"],
        &["topic", "update", "t", "--retention-age", "forever"],
        &["topic", "update", "t", "--retention-bytes", "0"],
        &[
            "topic",
            "update",
            "t",
            "--retention-age",
            "1d",
            "--etag",
            "",
        ],
        &["topic", "update", "a b", "--retention-age", "1d"],
        &["topic", "trim", "t"],
        &["topic", "trim", "t", "--yes"],
        &["topic", "trim", "t", "--before", "yesterday", "--yes"],
        &["topic", "trim", "t", "--before", "", "--yes"],
        &["topic", "trim", "t", "--before", "3", "--yes"],
        &[
            "topic", "trim", "t", "--before", "3", "-p", "0", "-p", "1", "--yes",
        ],
        &["topic", "trim", "t", "--before", "end", "-p", "x", "--yes"],
        &["topic", "trim", "a b", "--before", "end", "--yes"],
    ] {
        let error = fails(2, &mut towpath(args));
        assert!(error.starts_with("error: "), "{args:?}: {error}");
    }
    let broker = TestBroker::with_topic("t", 1);
    let error = broker.fails(
        2,
        &[
            "topic",
            "update",
            "t",
            "--retention-age",
            "99999999d",
            "--etag",
            "x",
        ],
    );
    assert!(error.contains("etag"), "{error}");
    let error = broker.fails(2, &["topic", "update", "t", "--retention-age", "99999999d"]);
    assert!(error.contains("retention_age_ms is 1 to"), "{error}");
}

#[test]
fn a_reader_that_is_overtaken_is_told_and_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = ServeProcess::start(folder.path());
    let (listen, url) = (broker.listen().to_owned(), broker.url().to_owned());
    let command = |args: &[&str]| {
        let mut command = towpath(args);
        command.env("TOWPATH_URL", &url);
        command
    };
    stdout_of(&mut command(&["topic", "create", "t", "--partitions", "1"]));
    stdout_of(command(&["produce", "t"]).write_stdin(numbers(0..3)));
    let reader = Running::start(&["consume", "t", "--from", "beginning", "--url", &url]);
    for number in 0..3 {
        assert_eq!(reader.stdout.next(), number.to_string(), "what was there");
    }
    // It sleeps while the broker is started again and its next records go.
    reader.signal(Signal::STOP);
    broker.process.signal(Signal::KILL);
    broker.process.wait();
    let _broker = ServeProcess::start_on(folder.path(), &listen, &[]);
    stdout_of(command(&["produce", "t"]).write_stdin(numbers(3..9)));
    stdout_of(&mut command(&[
        "topic", "trim", "t", "--before", "6", "-p", "0", "--yes",
    ]));
    reader.signal(Signal::CONT);
    for number in 6..9 {
        assert_eq!(reader.stdout.next(), number.to_string(), "what is left");
    }
    let warning = "warning: offsets 3..6 of t/0 are gone: retention or a trim has removed them";
    reader.stderr.until(warning);
}

#[test]
fn reading_from_the_beginning_tells_of_no_gap() {
    let broker = five_records_each();
    broker.ok(&["topic", "trim", "t", "--before", "2", "-p", "0", "--yes"]);
    let output = run(&mut broker.command(&["consume", "t", "-e", "-p", "0"]));
    assert_eq!(text(&output.stdout), numbers(2..5), "what is left");
    assert_eq!(text(&output.stderr), "", "nobody was overtaken");
    let error = broker.fails(6, &["consume", "t/0@1", "-n", "1"]);
    assert!(error.contains("2 to 5"), "{error}");
}
