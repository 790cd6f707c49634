use std::fmt::Write as _;
use std::io::Write as _;

use rustix::process::Signal;
use serde_json::json;

use crate::harness::{TestBroker, field, json as one_json, run, text};
use crate::running::Running;

#[test]
fn a_value_is_answered_with_its_address() {
    let broker = TestBroker::with_topic("orders", 8);
    assert_eq!(
        broker.ok(&["produce", "orders", "hello", "-p", "5"]),
        "orders/5@0\n",
        "first"
    );
    assert_eq!(
        broker.ok(&["produce", "orders", "again", "-p", "5"]),
        "orders/5@1\n",
        "second"
    );
    let shown = one_json(&broker.ok(&["produce", "orders", "x", "-p", "5", "-o", "json"]));
    assert_eq!(
        (&shown["partition"], &shown["offset"]),
        (&json!(5), &json!(2)),
        "{shown}"
    );
    assert!(shown["lsn"].as_u64() > Some(0), "{shown}");
    let value = broker.ok(&["consume", "orders/5@1", "-n", "1"]);
    assert_eq!(value, "again\n", "read by its address");
}

#[test]
fn flags_become_key_and_headers() {
    let broker = TestBroker::with_topic("orders", 1);
    broker.ok(&[
        "produce",
        "orders",
        "v",
        "-k",
        "42",
        "--type",
        "order.placed",
        "--id",
        "7",
        "--correlation",
        "c",
        "-H",
        "a=b",
        "-H",
        "a=c=d",
    ]);
    let record = &broker.records("orders")[0];
    assert_eq!(
        (&record["key"], &record["value"]),
        (&json!("42"), &json!("v")),
        "{record}"
    );
    let headers = record["headers"].as_array().expect("headers");
    let values = |name: &str| -> Vec<_> {
        let named = headers.iter().filter(|header| header["name"] == name);
        named
            .map(|header| header["value"].as_str().expect("text"))
            .collect()
    };
    assert_eq!(values("a"), ["b", "c=d"], "{record}");
    assert_eq!(values("ce-type"), ["order.placed"], "{record}");
    assert_eq!(values("ce-id"), ["7"], "{record}");
    assert_eq!(values("ce-correlationid"), ["c"], "{record}");
    assert_eq!(
        (values("ce-time").len(), values("ce-source").len()),
        (1, 1),
        "{record}"
    );
}

#[test]
fn lines_of_standard_input_are_records_byte_for_byte() {
    let broker = TestBroker::with_topic("t", 1);
    let input = b"one\n\n \xff\r\nlast";
    let output = run(broker.command(&["produce", "t"]).write_stdin(&input[..]));
    assert_eq!(
        (output.status.code(), text(&output.stdout)),
        (Some(0), String::new()),
        "quiet"
    );
    let summary = text(&output.stderr);
    assert!(summary.starts_with("4 records, 10 B, "), "{summary}");
    let output = run(&mut broker.command(&["consume", "t", "-e"]));
    assert_eq!(output.stdout, b"one\n\n \xff\r\nlast\n", "values");
}

#[test]
fn standard_input_is_left_alone_when_there_is_a_value() {
    let broker = TestBroker::with_topic("t", 1);
    // It never ends: a command that reads it hangs.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let producing = Running::start_with(&["produce", "t", "v", "--url", &broker.url()], reader);
    assert_eq!(producing.stdout.next(), "t/0@0", "address");
    assert_eq!(producing.wait().0, Some(0), "exit code");
    drop(writer);
}

#[test]
fn an_interrupt_ends_it_with_everything_taken_on_disk() {
    let broker = TestBroker::with_topic("t", 1);
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let producing = Running::start_with(&["produce", "t", "--url", &broker.url()], reader);
    writer
        .write_all(b"one\ntwo\nthree, not whole")
        .expect("written");
    let is_there = || broker.records("t").len() == 2;
    assert!(
        (0..1_000).any(|_| is_there()),
        "two lines arrive while more may come"
    );
    producing.signal(Signal::INT);
    let (code, told) = producing.wait();
    assert_eq!(code, Some(130), "{told}");
    assert!(
        told.contains("error: interrupted\n  on disk: 2 records\n"),
        "{told}"
    );
    assert!(told.contains("nothing after line 2 was sent"), "{told}");
}

#[test]
fn a_dash_and_a_file_are_read() {
    let broker = TestBroker::with_topic("t", 1);
    broker.ok_with("a\n", &["produce", "t", "-"]);
    broker.ok_with("b\n", &["produce", "t", "-f", "-"]);
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(b"c\nd\n").expect("written");
    let path = file.path().to_str().expect("a path");
    broker.ok(&["produce", "t", "-f", path]);
    assert_eq!(
        broker.ok(&["produce", "t", "-f", path, "--input", "whole"]),
        "t/0@4\n",
        "one"
    );
    assert_eq!(
        broker.ok(&["consume", "t", "-e"]),
        "a\nb\nc\nd\nc\nd\n\n",
        "values"
    );
    let error = broker.fails(4, &["produce", "t", "-f", "/nowhere/at/all"]);
    assert!(error.contains("cannot open /nowhere/at/all"), "{error}");
}

#[test]
fn an_empty_input_is_no_record() {
    let broker = TestBroker::with_topic("t", 1);
    let summary = one_json(&broker.ok_with("", &["produce", "t", "-o", "json"]));
    assert_eq!(
        (&summary["records"], &summary["bytes"]),
        (&json!(0), &json!(0)),
        "{summary}"
    );
}

#[test]
fn records_of_one_key_keep_their_order_in_one_partition() {
    let broker = TestBroker::with_topic("t", 4);
    let mut input = String::new();
    for number in 0..2_000 {
        writeln!(
            input,
            r#"{{"n":{number},"o":{{"id":"key-{}"}}}}"#,
            number % 7
        )
        .expect("text");
    }
    broker.ok_with(input.clone(), &["produce", "t", "--key-from", ".o.id"]);
    let records = broker.records("t");
    let mut values = field(&records, "value");
    for key in 0..7 {
        let key = format!("key-{key}");
        let of_key: Vec<_> = records
            .iter()
            .filter(|record| record["key"] == key.as_str())
            .collect();
        let partition = &of_key[0]["partition"];
        assert!(
            of_key
                .iter()
                .all(|record| record["partition"] == *partition),
            "{key}"
        );
        let expected = input
            .lines()
            .filter(|line| line.contains(&format!("\"{key}\"")));
        let found = of_key
            .iter()
            .map(|record| record["value"].as_str().expect("text"));
        assert!(found.eq(expected), "order of {key}");
    }
    let mut sent: Vec<_> = input.lines().collect();
    values.sort_unstable();
    sent.sort_unstable();
    assert_eq!(values, sent, "the same multiset");
}

#[test]
fn a_line_without_its_key_stops_there_and_says_what_is_on_disk() {
    let broker = TestBroker::with_topic("t", 4);
    let check = |input: &[u8], what: &str| {
        let before = broker.records("t").len();
        let args = ["produce", "t", "--key-from", ".k"];
        let error = broker.fails_with(input, 1, &args);
        assert!(error.contains(&format!("error: line 3: {what}")), "{error}");
        assert!(error.contains("on disk: 2 records"), "{error}");
        assert!(error.contains("nothing after line 2 was sent"), "{error}");
        assert_eq!(
            broker.records("t").len(),
            before + 2,
            "the records before it"
        );
    };
    check(b"{\"k\":1}\n{\"k\":2}\nplain\n{\"k\":4}\n", "not JSON");
    check(
        b"{\"k\":1}\n{\"k\":2}\n{\"k\":\"\xff\"}\n{\"k\":4}\n",
        "not JSON",
    );
    check(
        b"{\"k\":1}\n{\"k\":2}\n{\"key\":3}\n{\"k\":4}\n",
        "no field .k",
    );
    check(
        b"{\"k\":1}\n{\"k\":2}\n{\"k\":null}\n{\"k\":4}\n",
        "the field .k is null",
    );
}

#[test]
fn what_consume_prints_produce_takes() {
    let broker = TestBroker::with_topic("source", 3);
    broker.ok(&["topic", "create", "copy", "--partitions", "3"]);
    broker.ok(&[
        "produce",
        "source",
        "v\n\"\\\u{e9}\u{1}",
        "-k",
        "k",
        "--type",
        "x",
        "-H",
        "a=",
    ]);
    broker.ok_with(
        &b"\xff\xfe"[..],
        &["produce", "source", "-k", "", "--input", "whole"],
    );
    let tombstone = r#"{"key_b64":"/w==","value":null,"event_time":"2026-11-21T09:00:00Z"}"#;
    broker.ok_with(tombstone, &["produce", "source", "--input", "json"]);
    broker.ok(&["produce", "source", "", "-p", "2"]);

    let lines = broker.ok(&["consume", "source", "-e", "-o", "json"]);
    broker.ok_with(lines, &["produce", "copy", "--input", "json"]);
    let content = |topic: &str| -> Vec<String> {
        let mut records = broker.records(topic);
        for record in &mut records {
            let fields = record.as_object_mut().expect("an object");
            for place in ["topic", "partition", "offset", "lsn", "timestamp"] {
                assert!(fields.remove(place).is_some(), "{place} is told");
            }
        }
        let mut lines: Vec<_> = records.iter().map(ToString::to_string).collect();
        lines.sort_unstable();
        lines
    };
    assert_eq!(content("source").len(), 4, "records");
    assert_eq!(content("copy"), content("source"), "content");
    let time = "\"event_time\":\"2026-11-21T09:00:00.000Z\"";
    assert!(
        content("copy").iter().any(|line| line.contains(time)),
        "the time of the event"
    );
}

#[test]
fn a_record_over_the_limit_is_refused_with_its_line() {
    let broker = TestBroker::with_topic("t", 1);
    let mut input = b"small\n".to_vec();
    input.extend(std::iter::repeat_n(b'x', 1 << 21));
    input.extend(b"\nafter\n");
    let error = broker.fails_with(input, 2, &["produce", "t"]);
    assert!(error.contains("error: line 2: "), "{error}");
    assert!(error.contains("(RECORD_TOO_LARGE)"), "{error}");
    assert!(
        error.contains("on disk: 1 record; not written: 1"),
        "{error}"
    );
    assert_eq!(broker.ok(&["consume", "t", "-e"]), "small\n", "values");
}

#[test]
fn a_partition_that_is_not_there_is_not_found() {
    let broker = TestBroker::with_topic("t", 2);
    let error = broker.fails(4, &["produce", "t", "v", "-p", "2"]);
    assert!(error.contains("(PARTITION_NOT_FOUND)"), "{error}");
}

#[test]
fn an_unknown_topic_is_told_before_anything_is_read() {
    let broker = TestBroker::start();
    // Input that never comes: a command that reads first hangs.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let producing = Running::start_with(&["produce", "none", "--url", &broker.url()], reader);
    assert_eq!(producing.wait().0, Some(4), "exit code");
    drop(writer);
}

#[test]
fn compressed_records_are_read_as_they_were_written() {
    let broker = TestBroker::with_topic("orders", 1);
    broker.ok(&[
        "subscription",
        "create",
        "billing",
        "--topic",
        "orders",
        "--from",
        "beginning",
    ]);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("orders.txt");
    let lines: Vec<_> = (0..200).map(|it| format!("order {it} is paid")).collect();
    std::fs::write(&path, lines.join("\n") + "\n").expect("written");
    let file = path.to_str().expect("a path");
    for compression in ["lz4", "zstd", "zstd:19"] {
        let flags = [
            "produce",
            "orders",
            "-f",
            file,
            "--compression",
            compression,
        ];
        broker.ok(&flags);
    }
    let expected: Vec<_> = [&lines, &lines, &lines].into_iter().flatten().collect();
    for reader in [
        &["consume", "orders", "-e"][..],
        &[
            "consume",
            "orders",
            "-e",
            "--group",
            "g",
            "--from",
            "beginning",
        ],
        &["consume", "--subscription", "billing", "-e"],
    ] {
        let read = broker.ok(reader);
        assert!(read.lines().eq(expected.iter().copied()), "{reader:?}");
    }
}
