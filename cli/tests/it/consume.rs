use std::process::Stdio;

use rustix::process::Signal;
use serde_json::json;

use crate::harness::{TestBroker, field, json_lines, numbers, run, text};
use crate::running::Running;

/// A topic of one partition that holds the numbers from 0 to 9.
fn ten_records() -> TestBroker {
    let broker = TestBroker::with_topic("t", 1);
    broker.ok_with(numbers(0..10), &["produce", "t"]);
    broker
}

#[test]
fn everything_about_a_record_is_told_as_json() {
    let broker = TestBroker::with_topic("t", 2);
    broker.ok(&["produce", "t", "v", "-k", "k", "-p", "1", "-H", "a=b"]);
    let record = &broker.records("t")[0];
    let fields: Vec<_> = record.as_object().expect("an object").keys().collect();
    let expected = [
        "topic",
        "partition",
        "offset",
        "lsn",
        "key",
        "value",
        "headers",
        "timestamp",
    ];
    assert_eq!(fields, expected, "{record}");
    assert_eq!(record["topic"], "t", "{record}");
    assert_eq!(
        (&record["partition"], &record["offset"]),
        (&json!(1), &json!(0)),
        "{record}"
    );
    assert_eq!(
        record["headers"],
        json!([{"name": "a", "value": "b"}]),
        "{record}"
    );
    let time = record["timestamp"].as_str().expect("a time");
    assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
}

#[test]
fn every_form_of_from_is_taken() {
    let broker = ten_records();
    let check = |args: &[&str], expected: &str| {
        let args = [&["consume", "t", "-e"], args].concat();
        assert_eq!(broker.ok(&args), expected, "{args:?}");
    };
    check(&[], &numbers(0..10));
    check(&["--from", "beginning"], &numbers(0..10));
    check(&["--from", "end"], "");
    check(&["--from", "7", "-p", "0"], &numbers(7..10));
    check(&["--from", "10", "-p", "0"], "");
    check(&["--from", "-3"], &numbers(7..10));
    check(&["--from", "1h"], &numbers(0..10));
    check(&["--from", "2000-01-01T00:00:00Z"], &numbers(0..10));
    check(&["--from", "2999-01-01T00:00:00Z"], "");
    check(&["-n", "3"], &numbers(0..3));
    check(&["-n", "30"], &numbers(0..10));
}

#[test]
fn a_time_between_two_records_separates_them() {
    let broker = TestBroker::with_topic("t", 1);
    broker.ok(&["produce", "t", "early"]);
    let early = broker.records("t")[0]["timestamp"]
        .as_str()
        .expect("a time")
        .to_owned();
    // Until the broker's clock, which tells milliseconds, has moved on.
    let late = (0..1_000).find_map(|_| {
        broker.ok(&["produce", "t", "late"]);
        let records = broker.records("t");
        let time = records.last()?["timestamp"].as_str()?.to_owned();
        (time > early).then_some(time)
    });
    let values = broker.ok(&["consume", "t", "-e", "--from", &late.expect("a later time")]);
    assert!(
        values.starts_with("late\n") && !values.contains("early"),
        "{values}"
    );
}

#[test]
fn an_offset_out_of_range_is_told_with_the_range() {
    let broker = ten_records();
    let error = broker.fails(6, &["consume", "t", "-e", "-p", "0", "--from", "11"]);
    assert!(error.contains("(OFFSET_OUT_OF_RANGE)"), "{error}");
    assert!(error.contains('0') && error.contains("10"), "{error}");
    let error = broker.fails(2, &["consume", "t", "--from", "3"]);
    assert!(error.contains("-p 0 --from 3"), "{error}");
    broker.fails(4, &["consume", "t", "-e", "-p", "1"]);
}

#[test]
fn several_partitions_come_in_the_order_they_were_written() {
    let broker = TestBroker::with_topic("t", 4);
    let expected: Vec<_> = (0..12).map(|number| number.to_string()).collect();
    for (index, value) in expected.iter().enumerate() {
        broker.ok(&["produce", "t", value, "-p", &(index * 7 % 4).to_string()]);
    }
    let records = broker.records("t");
    assert_eq!(field(&records, "value"), expected, "order");
    let some = json_lines(&broker.ok(&["consume", "t", "-e", "-p", "0", "-p", "2", "-o", "json"]));
    assert!(
        some.iter()
            .all(|record| record["partition"].as_u64().is_some_and(|it| it % 2 == 0))
    );
    assert_eq!(some.len(), 6, "of two partitions");
}

#[test]
fn fewer_than_asked_for_in_time_is_exit_code_8() {
    let broker = ten_records();
    let mut command = broker.command(&[
        "consume",
        "t",
        "--from",
        "beginning",
        "-n",
        "11",
        "--timeout",
        "300ms",
    ]);
    let output = run(&mut command);
    assert_eq!(output.status.code(), Some(8), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), numbers(0..10), "what came is printed");
    let all = broker.ok(&[
        "consume",
        "t",
        "--from",
        "beginning",
        "-n",
        "10",
        "--timeout",
        "60s",
    ]);
    assert_eq!(all, numbers(0..10), "enough came");
    let values = broker.ok(&["consume", "t", "--from", "beginning", "--timeout", "300ms"]);
    assert_eq!(values, numbers(0..10), "no count, no complaint");
}

/// Begins to follow the topic and waits until it has shown its ten records.
fn follow(broker: &TestBroker) -> Running {
    let url = broker.url();
    let following = Running::start(&["consume", "t", "--from", "beginning", "--url", &url]);
    for number in 0..10 {
        assert_eq!(
            following.stdout.next(),
            number.to_string(),
            "what was there"
        );
    }
    following
}

#[test]
fn a_follower_prints_records_as_they_come_and_ends_with_130() {
    let broker = ten_records();
    let following = follow(&broker);
    broker.ok(&["produce", "t", "new"]);
    assert_eq!(following.stdout.next(), "new", "at once");
    following.signal(Signal::INT);
    assert_eq!(
        following.wait(),
        (Some(130), String::new()),
        "exit code, quietly"
    );
}

#[test]
fn a_reader_that_goes_is_no_error() {
    let broker = ten_records();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("towpath"));
    let child = command
        .args([
            "consume",
            "t",
            "--from",
            "beginning",
            "--url",
            &broker.url(),
        ])
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command runs");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "exit code");
    assert_eq!(text(&output.stderr), "", "silence");
}

#[test]
fn reading_from_the_end_tells_what_is_there_already() {
    let broker = ten_records();
    let output = run(&mut broker.command(&["consume", "t", "--timeout", "100ms"]));
    let note = "note: 10 records are there already; --from beginning shows them too\n";
    assert_eq!(
        (text(&output.stderr).as_str(), output.stdout.len()),
        (note, 0),
        "note"
    );
    let output = run(&mut broker.command(&["consume", "t", "--from", "end", "--timeout", "100ms"]));
    assert_eq!(text(&output.stderr), "", "as asked");
}

#[test]
fn many_records_come_whole_and_in_order() {
    let broker = TestBroker::with_topic("t", 1);
    broker.ok_with(numbers(0..50_000), &["produce", "t"]);
    assert_eq!(
        broker.ok(&["consume", "t", "-e"]),
        numbers(0..50_000),
        "values"
    );
}
