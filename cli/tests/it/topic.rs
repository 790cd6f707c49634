use crate::harness::{TestBroker, fails, json, json_lines, run, text, towpath};

#[test]
fn a_topic_lives_from_creation_to_deletion() {
    let broker = TestBroker::start();
    let created = broker.ok(&["topic", "create", "orders", "--partitions", "3"]);
    assert_eq!(
        created, "created topic orders: 3 partitions, acknowledged when on disk\n",
        "text"
    );
    broker.ok(&["produce", "orders", "hello", "-p", "1"]);

    let topic = json(&broker.ok(&["topic", "get", "orders", "-o", "json"]));
    assert_eq!(
        (&topic["name"], &topic["partition_count"]),
        (&"orders".into(), &3.into()),
        "{topic}"
    );
    let partition = &topic["partitions"][1];
    assert_eq!(partition["partition"], 1, "{topic}");
    assert_eq!(partition["log_start_offset"], 0, "{topic}");
    assert_eq!(partition["end_offset"], 1, "{topic}");
    assert!(partition["size_bytes"].as_u64() > Some(0), "{topic}");
    assert!(
        broker
            .ok(&["topic", "get", "orders"])
            .starts_with("orders  1 record,"),
        "text"
    );

    assert!(broker.ok(&["topic", "list"]).contains("orders"), "list");
    let deleted = broker.ok(&["topic", "delete", "orders"]);
    assert_eq!(
        deleted, "deleted topic orders: 3 partitions, 1 record\n",
        "text"
    );
    assert_eq!(broker.ok(&["topic", "list", "-o", "json"]), "", "list");
}

#[test]
fn lists_come_in_the_order_of_names_and_by_prefix() {
    let broker = TestBroker::start();
    for name in ["b.2", "a", "b.1"] {
        broker.ok(&["topic", "create", name, "--partitions", "1"]);
    }
    let names = |args: &[&str]| -> Vec<String> {
        let topics = json_lines(&broker.ok(args));
        topics
            .iter()
            .map(|topic| topic["name"].as_str().unwrap_or("-").to_owned())
            .collect()
    };
    assert_eq!(
        names(&["topic", "list", "-o", "json"]),
        ["a", "b.1", "b.2"],
        "all"
    );
    assert_eq!(
        names(&["topic", "list", "--prefix", "b.", "-o", "json"]),
        ["b.1", "b.2"],
        "prefix"
    );
}

#[test]
fn a_name_that_is_taken_is_a_conflict_unless_it_is_asked_for() {
    let broker = TestBroker::with_topic("orders", 3);
    let error = broker.fails(6, &["topic", "create", "orders"]);
    assert!(error.contains("(TOPIC_EXISTS)"), "{error}");
    broker.ok(&["topic", "create", "orders", "--if-not-exists"]);
    broker.ok(&[
        "topic",
        "create",
        "orders",
        "--if-not-exists",
        "--partitions",
        "3",
    ]);
    broker.fails(
        6,
        &[
            "topic",
            "create",
            "orders",
            "--if-not-exists",
            "--partitions",
            "4",
        ],
    );
}

#[test]
fn a_dry_run_changes_nothing() {
    let broker = TestBroker::with_topic("orders", 1);
    broker.ok(&["topic", "create", "other", "--dry-run"]);
    broker.ok(&["topic", "delete", "orders", "--dry-run"]);
    let topics = json_lines(&broker.ok(&["topic", "list", "-o", "json"]));
    assert_eq!(topics.len(), 1, "{topics:?}");
    broker.fails(6, &["topic", "create", "orders", "--dry-run"]);
    broker.fails(4, &["topic", "delete", "other", "--dry-run"]);
}

#[test]
fn an_unknown_topic_is_told_with_what_was_probably_meant() {
    let broker = TestBroker::with_topic("orders", 1);
    for args in [
        &["topic", "get", "ordres"][..],
        &["topic", "delete", "ordres"],
        &["produce", "ordres", "hi"],
        &["consume", "ordres", "-e"],
    ] {
        let error = broker.fails(4, args);
        let expected = "error: topic \"ordres\" not found (TOPIC_NOT_FOUND)\n  \
             did you mean \"orders\"?\n  to create it: towpath topic create ordres\n";
        assert_eq!(error, expected, "{args:?}");
    }
}

#[test]
fn names_that_are_not_allowed_are_bad_usage() {
    let long = "n".repeat(201);
    for name in ["", ".hidden", "a/b", "a b", "\u{20ac}", "a\nb", &long] {
        let error = fails(2, &mut towpath(&["topic", "create", name]));
        assert!(error.contains("topic name"), "{name:?}: {error}");
    }
    for count in ["0", "-1", "x", "4294967296"] {
        fails(
            2,
            &mut towpath(&["topic", "create", "t", "--partitions", count]),
        );
    }
    let broker = TestBroker::start();
    let error = broker.fails(2, &["topic", "create", "t", "--partitions", "10001"]);
    assert!(error.contains("INVALID_ARGUMENT"), "{error}");
}

#[test]
fn without_a_broker_it_says_where_it_looked() {
    // Nothing listens where a listener was just closed.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let error = fails(3, &mut towpath(&["topic", "list", "--url", &url]));
    assert!(
        error.contains(&url) && error.contains("towpath serve"),
        "{error}"
    );
    for url in [
        "no url",
        "localhost",
        "http://localhost",
        "http://localhost:99999",
        "https://localhost:7600",
    ] {
        let error = fails(2, &mut towpath(&["topic", "list", "--url", url]));
        assert!(error.contains("http://host:port"), "{url}: {error}");
    }
}

#[test]
fn a_broker_is_waited_for_no_longer_than_the_user_says() {
    // Connections are made, and nobody ever answers.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    for args in [
        &["consume", "t", "--timeout", "200ms"][..],
        &["consume", "t", "--timeout", "200ms", "-n", "1"],
        &["produce", "t", "v", "--give-up-after", "200ms"],
    ] {
        let error = fails(3, towpath(args).env("TOWPATH_URL", &url));
        assert!(error.contains("waited=200ms"), "{args:?}: {error}");
    }
}

#[test]
fn the_version_is_told_without_a_word_about_a_broker_that_is_not_there() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let output = run(&mut towpath(&["version", "--url", &url]));
    assert_eq!(text(&output.stderr), "", "standard error");
    assert!(text(&output.stdout).starts_with("towpath "), "version");
    fails(2, &mut towpath(&["version", "--url", "no url"]));
}
