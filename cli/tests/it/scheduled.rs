//! Records that are delivered later, from the command line.

use jiff::{SignedDuration, Timestamp, Unit};

use crate::harness::{TestBroker, json as one_json, json_lines, numbers, run, text};

/// What a command prints, and what it says beside that.
fn ok_and_said(broker: &TestBroker, input: &str, args: &[&str]) -> (String, String) {
    let output = run(broker.command(args).write_stdin(input));
    let (printed, said) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}");
    (printed, said)
}

/// A time as it is told.
fn in_weeks(count: i64) -> String {
    let time = Timestamp::now() + SignedDuration::from_hours(count * 7 * 24);
    format!("{:.3}", time.round(Unit::Second).expect("a time"))
}

fn ids(broker: &TestBroker) -> Vec<String> {
    let listed = json_lines(&broker.ok(&["scheduled", "list", "reminders", "-o", "json"]));
    let ids = listed.iter().map(|it| it["schedule_id"].as_str());
    ids.map(|id| id.expect("an id").to_owned()).collect()
}

#[test]
fn a_record_is_scheduled_listed_moved_and_cancelled() {
    let broker = TestBroker::with_topic("reminders", 1);
    let produce = ["produce", "reminders", "pay!", "-k", "42"];
    let later = ["--delay", "24h", "--schedule-id", "order-42"];
    let told = broker.ok(&[&produce[..], &later].concat());
    let expected = "reminders/0 scheduled as order-42 for 2";
    assert!(told.starts_with(expected), "{told}");
    let due = in_weeks(6);
    let at = ["--at", &due, "-o", "json"];
    let unnamed = one_json(&broker.ok(&[&produce[..], &at].concat()));
    assert_eq!(unnamed["topic"], "reminders", "{unnamed}");
    assert_eq!(unnamed["due_time"], due.as_str(), "{unnamed}");
    let own = unnamed["schedule_id"].as_str().expect("an id").to_owned();
    assert!(own.starts_with('@'), "{unnamed}");
    assert_eq!(broker.ok(&["consume", "reminders", "-e"]), "", "not yet");

    let taken = broker.fails(6, &[&produce[..], &later].concat());
    for part in ["SCHEDULE_EXISTS", "order-42", "choose another id"] {
        assert!(taken.contains(part), "{part:?} in {taken}");
    }
    check_lists(&broker, &own);
    check_moves(&broker, &own, &due);
}

#[track_caller]
fn check_lists(broker: &TestBroker, own: &str) {
    let table = broker.ok(&["scheduled", "list"]);
    let header = table.lines().next().expect("a header");
    let columns: Vec<_> = header.split_whitespace().collect();
    let expected = ["DUE", "TOPIC", "PARTITION", "ID", "KEY", "BYTES"];
    assert_eq!(columns, expected, "{table}");
    assert_eq!(table.lines().count(), 3, "{table}");
    assert_eq!(ids(broker), ["order-42", own], "by time");
    let (one, note) = ok_and_said(broker, "", &["scheduled", "list", "-n", "1", "-o", "json"]);
    let listed = one_json(&one);
    assert_eq!(listed["key"], "42", "{listed}");
    assert_eq!(listed["partition"], 0, "{listed}");
    assert!(
        note.contains("2 records are scheduled; -n shows more"),
        "{note}"
    );
}

#[track_caller]
fn check_moves(broker: &TestBroker, own: &str, due: &str) {
    let moved = [
        "scheduled",
        "reschedule",
        "reminders",
        "order-42",
        "--delay",
        "3000h",
    ];
    let told = broker.ok(&moved);
    assert!(told.starts_with("order-42 is due at 2"), "{told}");
    assert_eq!(ids(broker), [own, "order-42"], "behind the other");
    broker.fails(2, &moved[..4]);
    let told = broker.ok(&["scheduled", "cancel", "reminders", own]);
    let expected = format!("cancelled {own}, which was due at {due}\n");
    assert_eq!(told, expected, "the time that it was given");
    let now = [
        "scheduled",
        "reschedule",
        "reminders",
        "order-42",
        "--delay",
        "0s",
    ];
    broker.ok(&now);
    let follow = [
        "consume",
        "reminders",
        "-n",
        "1",
        "--from",
        "beginning",
        "-o",
        "json",
    ];
    let record = one_json(&broker.ok(&follow));
    let header = &record["headers"];
    assert!(
        header.to_string().contains("towpath-schedule-id"),
        "{record}"
    );
    let both = ["scheduled", "cancel", "reminders", "order-42", "none"];
    let gone = broker.fails(4, &both);
    for part in ["SCHEDULE_NOT_FOUND", "it was delivered or cancelled"] {
        assert!(gone.contains(part), "{part:?} in {gone}");
    }
    assert_eq!(ids(broker), [""; 0], "nothing is left");
}

#[test]
fn lines_are_scheduled_some_hundred_at_once() {
    let broker = TestBroker::with_topic("reminders", 1);
    let lines = numbers(0..1_203);
    let args = ["produce", "reminders", "--delay", "1s", "-o", "json"];
    let printed = broker.ok_with(lines.clone(), &args);
    assert_eq!(one_json(&printed)["scheduled"], 1_203, "{printed}");
    let follow = ["consume", "reminders", "-n", "1203", "--from", "beginning"];
    assert_eq!(broker.ok(&follow), lines, "in their order");
}

#[test]
fn what_cannot_be_scheduled_is_told() {
    let broker = TestBroker::with_topic("reminders", 1);
    let check = |code: i32, more: &[&str], part: &str| {
        let said = broker.fails(code, &[&["produce", "reminders", "v"], more].concat());
        assert!(said.contains(part), "{part:?} in {said}");
    };
    check(2, &["--at", "2020-01-01T00:00:00Z"], "in the past");
    check(2, &["--delay", "367d"], "further ahead");
    check(
        2,
        &["--delay", "1h", "--schedule-id", "@1"],
        "an id does not begin with @",
    );
    check(
        2,
        &["--delay", "1h", "--at", "2030-01-01T00:00:00Z"],
        "cannot be used with",
    );
    check(
        2,
        &["--schedule-id", "a"],
        "--schedule-id needs --delay or --at",
    );
    assert_eq!(ids(&broker), [""; 0]);
}

#[test]
fn a_plan_schedules_with_what_else_it_does() {
    let broker = TestBroker::with_topic("reminders", 1);
    let plan = r#"{"operations": [
        {"append": {"topic": "reminders", "records": [{"value": "now"}]}},
        {"schedule": {"topic": "reminders", "delay_ms": 86400000, "schedule_id": "a",
                      "record": {"key": "k", "value": "later"}}},
        {"schedule": {"topic": "reminders", "at": "DUE", "partition": 0,
                      "record": {"value": "much later"}}}
    ]}"#;
    let due = in_weeks(6);
    let plan = &plan.replace("DUE", &due);
    let printed = broker.ok_with(plan.as_str(), &["commit", "-f", "-"]);
    let lines: Vec<_> = printed.lines().collect();
    assert_eq!(lines[0], "reminders/0@0", "{printed}");
    assert!(
        lines[1].starts_with("reminders/0 scheduled as a for 2"),
        "{printed}"
    );
    assert!(lines[2].ends_with(&format!(" for {due}")), "{printed}");
    assert_eq!(ids(&broker).len(), 2);
    // Nothing is written if one id is taken.
    let refused = broker.fails_with(plan.as_str(), 6, &["commit", "-f", "-"]);
    assert!(refused.contains("operations[1], line 3"), "{refused}");
    assert_eq!(broker.ok(&["consume", "reminders", "-e"]), "now\n");
    for (bad, part) in [
        (
            r#""delay_ms": 1, "at": "2027-01-01T00:00:00Z", "record": {"value": "v"}"#,
            "either at or delay_ms",
        ),
        (
            r#""at": "soon", "record": {"value": "v"}"#,
            "at is a time such as",
        ),
        (
            r#""delay_ms": 1, "record": {"vaule": "v"}"#,
            "operations[0].schedule.record, line 1",
        ),
    ] {
        let plan =
            format!(r#"{{"operations": [{{"schedule": {{"topic": "reminders", {bad}}}}}]}}"#);
        let refused = broker.fails_with(plan, 1, &["commit", "-f", "-"]);
        assert!(refused.contains(part), "{part:?} in {refused}");
    }
}
