//! What a subscription hands out, printed.

use std::process::Stdio;

use rustix::process::Signal;
use serde_json::json;

use crate::harness::{TestBroker, json_lines, numbers, run, text};
use crate::running::Running;
use crate::subscription::{get, number, subscribed};

const CONSUME: [&str; 3] = ["consume", "--subscription", "s"];

fn consume<'a>(args: &[&'a str]) -> Vec<&'a str> {
    [&CONSUME[..], args].concat()
}

/// What `consume -e` prints and says.
fn to_the_end(broker: &TestBroker, args: &[&str]) -> (String, String) {
    let output = run(&mut broker.command(&[&CONSUME[..], &["-e"], args].concat()));
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    (text(&output.stdout), said)
}

#[test]
fn what_is_printed_is_acked_and_does_not_come_again() {
    let broker = subscribed(&[]);
    assert_eq!(broker.ok(&consume(&["-n", "4"])), numbers(0..4), "four");
    assert_eq!(number(&broker, "lag_records"), 6, "acked when it ends");
    assert_eq!(to_the_end(&broker, &[]), (numbers(4..10), String::new()));
    assert_eq!(to_the_end(&broker, &[]), (String::new(), String::new()));
    broker.ok(&["produce", "t", "more"]);
    assert_eq!(to_the_end(&broker, &[]).0, "more\n", "what came since");
    let shown = get(&broker);
    assert_eq!(shown["consumer_count"], 0, "{shown}");
}

#[test]
fn no_more_is_taken_than_what_is_asked_for() {
    let broker = subscribed(&[]);
    // What was taken and given back would come behind the rest.
    for first in [0, 2, 4] {
        assert_eq!(broker.ok(&consume(&["-n", "2"])), numbers(first..first + 2));
    }
}

#[test]
fn what_is_not_acked_comes_again_and_no_attempt_counts() {
    let broker = subscribed(&[]);
    let never = ["--ack", "never", "-o", "json"];
    for _ in 0..2 {
        let (printed, said) = to_the_end(&broker, &never);
        let records = json_lines(&printed);
        assert_eq!(records.len(), 10, "{printed}{said}");
        assert!(records.iter().all(|it| it["attempt"] == 1), "{printed}");
    }
    let some = json_lines(&broker.ok(&consume(&[&never[..], &["-n", "3"]].concat())));
    assert_eq!(some.len(), 3, "no more than asked for");
    assert_eq!(number(&broker, "lag_records"), 10, "all are left");
    assert_eq!(number(&broker, "in_flight_records"), 0, "given back");
}

#[test]
fn what_comes_behind_what_is_not_acked_is_told() {
    let broker = TestBroker::with_topic("t", 1);
    broker.ok(&[
        "subscription",
        "create",
        "s",
        "--topic",
        "t",
        "--from",
        "beginning",
    ]);
    for number in 0..34 {
        broker.ok(&["produce", "t", &number.to_string(), "-k", "k"]);
    }
    let (printed, said) = to_the_end(&broker, &["--ack", "never"]);
    assert_eq!(
        printed,
        numbers(0..32),
        "as many of one key as come at once"
    );
    let note =
        "note: 2 records left, behind what was printed and not acked, or to be tried again later\n";
    assert_eq!(said, note);
}

#[test]
fn many_records_come_once_each_and_in_order() {
    let broker = subscribed(&[]);
    broker.ok_with(numbers(10..20_000), &["produce", "t"]);
    let (printed, said) = to_the_end(&broker, &[]);
    assert_eq!((printed, said), (numbers(0..20_000), String::new()));
    assert_eq!(number(&broker, "lag_records"), 0, "all acked");
}

#[test]
fn a_record_is_told_with_its_attempt() {
    let broker = subscribed(&[]);
    let printed = broker.ok(&consume(&["-n", "1", "-o", "json"]));
    let record = &json_lines(&printed)[0];
    let told = json!([
        record["topic"],
        record["offset"],
        record["value"],
        record["attempt"]
    ]);
    assert_eq!(told, json!(["t", 0, "0", 1]), "{record}");
}

#[test]
fn fewer_than_asked_for_in_time_is_exit_code_8() {
    let broker = subscribed(&[]);
    let output = run(&mut broker.command(&consume(&["-n", "11", "--timeout", "300ms"])));
    assert_eq!(output.status.code(), Some(8), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), numbers(0..10), "what came is printed");
    assert_eq!(number(&broker, "lag_records"), 0, "and acked");
}

fn start(broker: &TestBroker, args: &[&str]) -> Running {
    let url = broker.url();
    let args = [&CONSUME[..], args, &["--url", &url]].concat();
    Running::start_with(&args, Stdio::null())
}

#[test]
fn a_consumer_prints_records_as_they_come_and_ends_with_130() {
    let broker = subscribed(&[]);
    let running = start(&broker, &[]);
    for number in 0..10 {
        assert_eq!(running.stdout.next(), number.to_string(), "in order");
    }
    broker.ok(&["produce", "t", "new"]);
    assert_eq!(running.stdout.next(), "new", "at once");
    running.signal(Signal::INT);
    assert_eq!(running.wait(), (Some(130), String::new()), "quietly");
    assert_eq!(
        number(&broker, "lag_records"),
        0,
        "what was printed is acked"
    );
    assert_eq!(get(&broker)["consumer_count"], 0, "it has left");
}

#[test]
fn what_others_have_is_waited_for() {
    let broker = subscribed(&[]);
    let holder = start(&broker, &["--ack", "never"]);
    for number in 0..10 {
        assert_eq!(holder.stdout.next(), number.to_string(), "taken");
    }
    let url = broker.url();
    let args = consume(&["-e", "--url", &url]);
    let waiting = Running::start_with(&args, Stdio::null());
    let told = "note: other consumers of subscription s have 10 records; this one ends when they are \
                settled, or takes them when they are given back";
    assert_eq!(waiting.stderr.next(), told);
    holder.signal(Signal::TERM);
    holder.wait();
    for number in 0..10 {
        assert_eq!(waiting.stdout.next(), number.to_string(), "given back");
    }
    assert_eq!(waiting.wait(), (Some(0), String::new()), "the end");
}

#[test]
fn who_keeps_all_that_it_may_have_ends_though_there_is_more() {
    let broker = TestBroker::with_topic("t", 1);
    broker.ok(&[
        "subscription",
        "create",
        "s",
        "--topic",
        "t",
        "--from",
        "beginning",
    ]);
    let line = format!("{}\n", "x".repeat(1_000_000));
    broker.ok_with(line.repeat(18), &["produce", "t"]);
    let (printed, said) = to_the_end(&broker, &["--ack", "never"]);
    assert_eq!(
        printed.lines().count(),
        17,
        "16 MiB, and the last goes beyond"
    );
    let note =
        "note: 1 record left, behind what was printed and not acked, or to be tried again later\n";
    assert_eq!(said, note);
}

#[test]
fn what_another_one_keeps_is_waited_for_also_by_who_keeps_some_itself() {
    let broker = subscribed(&[]);
    let holder = start(&broker, &["--ack", "never"]);
    holder.stdout.until("9");
    broker.ok(&["produce", "t", "more"]);
    assert_eq!(holder.stdout.next(), "more", "alone");
    let waiting = start(&broker, &["-e", "--ack", "never"]);
    let told = waiting.stderr.next();
    assert!(told.contains("have 11 records"), "{told}");
    holder.signal(Signal::TERM);
    holder.wait();
    waiting.stdout.until("more");
    assert_eq!(
        waiting.wait(),
        (Some(0), String::new()),
        "it keeps them all"
    );
}

#[test]
fn a_second_consumer_of_an_exclusive_subscription_takes_over() {
    let broker = subscribed(&["--mode", "exclusive"]);
    let first = start(&broker, &[]);
    first.stdout.until("9");
    let second = start(&broker, &[]);
    let told = second.stderr.next();
    assert!(told.contains("this one takes over when it goes"), "{told}");
    first.signal(Signal::INT);
    first.wait();
    broker.ok(&["produce", "t", "more"]);
    assert_eq!(second.stdout.next(), "more", "taken over");
    second.signal(Signal::INT);
    second.wait();
}

#[test]
fn a_reader_that_goes_is_no_error_and_what_it_did_not_read_is_not_lost() {
    let broker = subscribed(&[]);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("towpath"));
    let child = command
        .args(consume(&["--url", &broker.url()]))
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command runs");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "exit code");
    assert_eq!(text(&output.stderr), "", "silence");
    let printed = broker.ok(&consume(&["-e", "-o", "json"]));
    let again = json_lines(&printed);
    assert_eq!(again.len(), 10, "all of it");
    assert!(
        again.iter().all(|it| it["attempt"] == 1),
        "nobody failed: {printed}"
    );
}

#[test]
fn a_consumer_ends_when_its_subscription_is_deleted() {
    let broker = subscribed(&[]);
    let running = start(&broker, &[]);
    running.stdout.until("9");
    broker.ok(&["subscription", "delete", "s", "--yes"]);
    let (code, said) = running.wait();
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("SUBSCRIPTION_NOT_FOUND"), "{said}");
}

#[test]
fn a_damaged_partition_is_told_at_the_end() {
    let broker = TestBroker::with_topic("t", 1);
    for value in ["intact", "damaged", "behind"] {
        broker.ok(&["produce", "t", value]);
    }
    broker.ok(&[
        "subscription",
        "create",
        "s",
        "--topic",
        "t",
        "--from",
        "beginning",
    ]);
    let broker = broker.restart();
    broker.damage(b"damaged");
    let output = run(&mut broker.command(&consume(&["-e"])));
    let said = text(&output.stderr);
    assert_eq!(text(&output.stdout), "intact\n", "{said}");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("records 1..2 are damaged"), "{said}");
    broker.ok(&["subscription", "seek", "s", "--to", "2", "-p", "0"]);
    assert_eq!(
        broker.ok(&consume(&["-e"])),
        "behind\n",
        "behind the damage"
    );
}
