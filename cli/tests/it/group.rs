//! Consumer groups from the command line.

use std::collections::BTreeSet;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{
    TestBroker, json as one_json, json_lines, numbers, run, stdout_of, text, towpath,
};
use crate::running::Running;
use crate::serve_process::ServeProcess;

/// A topic of one partition that holds the numbers from 0 to 9.
fn ten_records() -> TestBroker {
    let broker = TestBroker::with_topic("t", 1);
    broker.ok_with(numbers(0..10), &["produce", "t"]);
    broker
}

/// The same, and a group that has read four of them.
fn four_of_ten() -> TestBroker {
    let broker = ten_records();
    let args = [
        "consume",
        "t",
        "--group",
        "g",
        "--from",
        "beginning",
        "-n",
        "4",
    ];
    assert_eq!(broker.ok(&args), numbers(0..4), "the first four");
    broker
}

fn get(broker: &TestBroker, name: &str) -> Value {
    one_json(&broker.ok(&["group", "get", name, "-o", "json"]))
}

fn committed(broker: &TestBroker) -> u64 {
    let group = get(broker, "g");
    group["partitions"][0]["committed_offset"]
        .as_u64()
        .expect("an offset")
}

#[test]
fn a_group_goes_on_where_it_was() {
    let broker = four_of_ten();
    let rest = ["consume", "t", "--group", "g", "-e"];
    assert_eq!(broker.ok(&rest), numbers(4..10), "the rest");
    assert_eq!(broker.ok(&rest), "", "nothing more");
    broker.ok_with(numbers(10..12), &["produce", "t"]);
    let from = [&rest[..], &["--from", "beginning"]].concat();
    assert_eq!(
        broker.ok(&from),
        numbers(10..12),
        "only a new group begins somewhere"
    );
    let other = ["consume", "t", "-g", "other", "-e", "--from", "-3"];
    assert_eq!(broker.ok(&other), numbers(9..12), "the last three");
}

#[test]
fn a_group_that_was_overtaken_commits_over_what_is_gone() {
    let broker = four_of_ten();
    broker.ok(&["topic", "trim", "t", "--before", "end", "--yes"]);
    let rest = ["consume", "t", "--group", "g", "-e"];
    let output = run(&mut broker.command(&rest));
    let said = text(&output.stderr);
    assert_eq!(text(&output.stdout), "", "{said}");
    assert!(said.contains("offsets 4..10 of t/0 are gone"), "{said}");
    let partition = get(&broker, "g")["partitions"][0].clone();
    assert_eq!(partition["committed_offset"], 10, "{partition}");
    assert_eq!(partition["skipped_records"], 6, "{partition}");
    assert_eq!(text(&run(&mut broker.command(&rest)).stderr), "", "once");
}

#[test]
fn what_is_not_committed_comes_again() {
    let broker = ten_records();
    let args = [
        "consume",
        "t",
        "-g",
        "g",
        "--from",
        "beginning",
        "-n",
        "3",
        "--commit",
        "never",
    ];
    assert_eq!(broker.ok(&args), numbers(0..3), "read");
    assert_eq!(broker.ok(&args), numbers(0..3), "read again");
    assert_eq!(committed(&broker), 0, "not committed");
}

#[test]
fn a_new_group_must_say_where_it_begins() {
    let broker = ten_records();
    let said = broker.fails(2, &["consume", "t", "--group", "g", "-e"]);
    assert!(said.contains("START_UNSET"), "{said}");
    let hint = "say --from beginning (10 records) or --from end (0 records)";
    assert!(said.contains(hint), "{said}");
}

#[test]
fn a_group_is_shown_with_what_it_has_still_to_read() {
    let broker = four_of_ten();
    let group = get(&broker, "g");
    assert_eq!(
        (&group["group"], &group["state"]),
        (&json!("g"), &json!("EMPTY")),
        "{group}"
    );
    assert_eq!(group["members"], json!([]), "{group}");
    let partition = &group["partitions"][0];
    let lag_ms = partition["lag_ms"].as_u64();
    assert!(lag_ms.is_some(), "{partition}");
    let expected = json!({
        "topic": "t",
        "partition": 0,
        "committed_offset": 4,
        "end_offset": 10,
        "lag_records": 6,
        "lag_ms": lag_ms,
        "member": null,
        "skipped_records": 0,
    });
    assert_eq!(*partition, expected, "{group}");
    let shown = broker.ok(&["group", "get", "g"]);
    let first = shown.lines().next().expect("a line");
    assert!(first.starts_with("g  EMPTY, generation "), "{first}");
    assert!(first.contains(", 0 members, lag 6 records, "), "{first}");
    let listed = json_lines(&broker.ok(&["group", "list", "-o", "json"]));
    assert_eq!(listed[0]["group"], "g", "{listed:?}");
    assert_eq!(listed[0]["member_count"], 0, "{listed:?}");
    assert_eq!(
        broker.ok(&["group", "list", "--prefix", "x", "-o", "json"]),
        ""
    );
}

#[test]
fn a_group_is_moved_in_every_form() {
    let broker = four_of_ten();
    let would = broker.ok(&["group", "seek", "g", "--to", "beginning", "--dry-run"]);
    let expected = "would move group g: 10 records to read then\n\
                    TOPIC  PARTITION  FROM  TO  LAG\n\
                    t              0     4   0   10\n\
                    dry run: nothing was moved\n";
    assert_eq!(would, expected, "text");
    assert_eq!(committed(&broker), 4, "a dry run moves nothing");
    let check = |args: &[&str], expected: u64| {
        broker.ok(&[&["group", "seek", "g", "--to"], args].concat());
        assert_eq!(committed(&broker), expected, "{args:?}");
    };
    check(&["-3"], 1);
    check(&["+2"], 3);
    check(&["-100"], 0);
    check(&["7", "--topic", "t", "-p", "0"], 7);
    check(&["end"], 10);
    check(&["1h"], 0);
    let moved = one_json(&broker.ok(&["group", "seek", "g", "--to", "+9", "-o", "json"]));
    let expected = json!([{
        "topic": "t", "partition": 0, "from_offset": 0, "to_offset": 9, "lag_records": 1,
    }]);
    assert_eq!(moved["partitions"], expected, "{moved}");
    let said = broker.fails(
        6,
        &[
            "group", "seek", "g", "--to", "11", "--topic", "t", "-p", "0",
        ],
    );
    assert!(said.contains("OFFSET_OUT_OF_RANGE"), "{said}");
    broker.fails(2, &["group", "seek", "g", "--to", "7"]);
}

#[test]
fn a_group_without_partitions_is_not_moved() {
    let broker = four_of_ten();
    broker.ok(&["topic", "delete", "t", "--yes"]);
    let generation = get(&broker, "g")["generation"].clone();
    let told = broker.ok(&["group", "seek", "g", "--to", "beginning"]);
    assert_eq!(told, "group g reads no partition: nothing to move\n");
    assert_eq!(get(&broker, "g")["generation"], generation, "no change");
}

#[test]
fn a_group_that_is_not_there_is_looked_for() {
    let broker = four_of_ten();
    broker.ok(&["consume", "t", "-g", "billing", "--from", "end", "-e"]);
    for args in [
        &["group", "get", "biling"][..],
        &["group", "seek", "biling", "--to", "end"],
        &["group", "delete", "biling", "--yes"],
    ] {
        let said = broker.fails(4, args);
        assert!(
            said.contains("group \"biling\" not found (GROUP_NOT_FOUND)"),
            "{said}"
        );
        assert!(said.contains("did you mean \"billing\"?"), "{said}");
    }
}

#[test]
fn a_group_is_deleted_only_if_that_is_said() {
    let broker = four_of_ten();
    let said = broker.fails(2, &["group", "delete", "g"]);
    assert!(said.contains("say --yes"), "{said}");
    let would = broker.ok(&["group", "delete", "g", "--dry-run"]);
    let expected = "would delete group g: 0 members, 1 partition\ndry run: nothing was deleted\n";
    assert_eq!(would, expected, "text");
    let deleted = broker.ok(&["group", "delete", "g", "--yes"]);
    assert_eq!(deleted, "deleted group g: 0 members, 1 partition\n", "text");
    broker.fails(4, &["group", "get", "g"]);
}

#[test]
fn a_damaged_partition_stops_alone() {
    let broker = TestBroker::with_topic("t", 2);
    for value in ["intact", "damaged", "behind"] {
        broker.ok(&["produce", "t", value, "-p", "0"]);
    }
    broker.ok(&["produce", "t", "other", "-p", "1"]);
    let broker = broker.restart();
    broker.damage(b"damaged");
    let group = ["consume", "t", "-g", "g", "--from", "beginning", "-e"];
    let output = run(&mut broker.command(&group));
    let (printed, said) = (text(&output.stdout), text(&output.stderr));
    let printed: BTreeSet<_> = printed.lines().collect();
    assert_eq!(printed, BTreeSet::from(["intact", "other"]), "{said}");
    assert_eq!(output.status.code(), Some(1), "{said}");
    let said: Vec<_> = said.lines().collect();
    let [warning, error, hint] = said[..] else {
        panic!("told once, and at the end: {said:#?}");
    };
    let told = "warning: t/0 is read no further, other partitions are: records 1..2 ";
    assert!(warning.starts_with(told), "{warning}");
    assert_eq!(error, "error: not read to the end: t/0");
    assert!(hint.contains("--skip-data-loss"), "{hint}");
    assert_eq!(committed(&broker), 1, "up to the damage");
    let skipping = [&group[..], &["--skip-data-loss"]].concat();
    assert_eq!(broker.ok(&skipping), "behind\n", "what is left");
    assert_eq!(committed(&broker), 3, "over the damage");
    let shown = broker.ok(&["group", "get", "g"]);
    let last = shown.lines().last();
    let told = "1 record passed over, gone before the group came there";
    assert_eq!(last, Some(told), "nobody trimmed it");
}

fn member(broker: &TestBroker) -> Running {
    let url = broker.url();
    let args = [
        "consume",
        "t",
        "--group",
        "g",
        "--from",
        "beginning",
        "--url",
        &url,
    ];
    Running::start_with(&args, Stdio::null())
}

#[test]
fn a_member_that_is_interrupted_commits_and_leaves() {
    let broker = ten_records();
    let running = member(&broker);
    for number in 0..10 {
        assert_eq!(running.stdout.next(), number.to_string(), "in order");
    }
    let said = broker.fails(6, &["group", "delete", "g", "--yes"]);
    assert!(
        said.contains("GROUP_NOT_EMPTY") && said.contains("--force"),
        "{said}"
    );
    running.signal(Signal::INT);
    let (code, said) = running.wait();
    assert_eq!((code, said.as_str()), (Some(130), ""), "quietly");
    let group = get(&broker, "g");
    assert_eq!(group["state"], "EMPTY", "{group}");
    assert_eq!(committed(&broker), 10, "what was printed is committed");
}

#[test]
fn a_member_that_gets_no_partition_says_that_it_waits() {
    let broker = ten_records();
    let running = member(&broker);
    running.stdout.until("9");
    let url = broker.url();
    let args = ["consume", "t", "--group", "g", "--url", &url];
    let spare = Running::start_with(&args, Stdio::null());
    let told = "note: other members of group g read all partitions; this one takes over";
    let line = spare.stderr.next();
    assert!(line.starts_with(told), "{line}");
    // To the end of what is there, which somebody else is to read.
    let to_end = broker.ok(&["consume", "t", "--group", "g", "-e"]);
    assert_eq!(to_end, "", "the other one has it");
    assert_eq!(committed(&broker), 10, "before the end");
    running.signal(Signal::INT);
    running.wait();
    broker.ok(&["produce", "t", "more"]);
    assert_eq!(spare.stdout.next(), "more", "taken over");
    spare.signal(Signal::INT);
    let (code, said) = spare.wait();
    assert_eq!((code, said.as_str()), (Some(130), ""), "told once");
}

#[test]
fn a_member_that_waits_for_one_that_was_killed_blames_no_others() {
    let broker = ten_records();
    let killed = member(&broker);
    killed.stdout.until("9");
    killed.signal(Signal::KILL);
    killed.wait();
    broker.ok(&["produce", "t", "more"]);
    let again = run(&mut broker.command(&["consume", "t", "--group", "g", "-e"]));
    assert_eq!(text(&again.stderr), "", "there are none");
    let read = text(&again.stdout);
    assert!(read.ends_with("more\n"), "{read}");
}

#[test]
fn a_member_that_waits_for_the_end_does_not_wait_for_topics_that_it_does_not_read() {
    let broker = ten_records();
    broker.ok(&["topic", "create", "behind"]);
    broker.ok(&["produce", "behind", "unread"]);
    let behind = ["consume", "behind", "-g", "g", "--from", "beginning", "-e"];
    broker.ok(&[&behind[..], &["--commit", "never"]].concat());
    let running = member(&broker);
    running.stdout.until("9");
    let to_end = broker.ok(&["consume", "t", "--group", "g", "-e"]);
    assert_eq!(to_end, "", "the other one has it");
    let read = get(&broker, "g");
    let lags = |it: &Value| it["topic"] == "behind" && it["lag_records"] == 1;
    let lagging = read["partitions"].as_array().expect("partitions");
    assert!(lagging.iter().any(lags), "{read}");
    running.signal(Signal::INT);
    running.wait();
}

#[test]
fn a_member_that_is_moved_goes_on_there() {
    let broker = ten_records();
    let running = member(&broker);
    running.stdout.until("9");
    broker.ok(&["group", "seek", "g", "--to", "8", "--topic", "t", "-p", "0"]);
    assert_eq!(running.stdout.next(), "8", "again");
    assert_eq!(running.stdout.next(), "9", "again");
    broker.ok(&["group", "delete", "g", "--yes", "--force"]);
    let (code, said) = running.wait();
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("group \"g\" was deleted"), "{said}");
}

#[test]
fn a_member_that_was_away_while_its_group_was_deleted_does_not_make_it_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = ServeProcess::start(folder.path());
    let (url, listen) = (broker.url().to_owned(), broker.listen().to_owned());
    let command = |args: &[&str]| towpath(&[args, &["--url", &url]].concat());
    stdout_of(&mut command(&["topic", "create", "t"]));
    stdout_of(command(&["produce", "t"]).write_stdin(numbers(0..1)));
    let args = ["consume", "t", "-g", "g", "--from", "beginning"];
    let member = Running::start(&[&args[..], &["--url", &url]].concat());
    assert_eq!(member.stdout.next(), "0", "it reads");
    member.signal(Signal::STOP);
    drop(broker);
    let broker = ServeProcess::start_on(folder.path(), &listen, &[]);
    stdout_of(&mut command(&["group", "delete", "g", "--yes"]));
    member.signal(Signal::CONT);
    let (code, said) = member.wait();
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("GROUP_NOT_FOUND"), "{said}");
    assert!(said.contains("started anew"), "{said}");
    let listed = stdout_of(&mut command(&["group", "list", "-o", "json"]));
    assert_eq!(listed, "", "it has not come back");
    drop(broker);
}

#[test]
fn a_member_stops_where_its_group_was_overtaken_if_asked_to() {
    let broker = four_of_ten();
    broker.ok(&["topic", "trim", "t", "--before", "7", "-p", "0", "--yes"]);
    let args = ["consume", "t", "-g", "g", "-e"];
    let said = broker.fails(6, &[&args[..], &["--stop-at-trimmed"]].concat());
    assert!(said.contains("offset 4 is out of range"), "{said}");
    assert!(said.contains("OFFSET_OUT_OF_RANGE"), "{said}");
    assert!(said.contains("without stop_at_trimmed"), "{said}");
    assert_eq!(committed(&broker), 4, "it stays where it is");
    assert_eq!(broker.ok(&args), numbers(7..10), "otherwise it goes on");
    assert_eq!(get(&broker, "g")["partitions"][0]["skipped_records"], 3);
}
