//! The topic of a subscription's dead letters from the command line: who writes there, and how it goes.

use serde_json::json;

use crate::dlq::with_letters;
use crate::harness::json as one_json;

#[test]
fn nobody_else_writes_to_a_topic_of_dead_letters() {
    let broker = with_letters();
    let said = broker.fails(6, &["produce", "s.dlq", "-k", "bad", "5"]);
    assert!(said.contains("TOPIC_IN_USE"), "{said}");
    assert!(
        said.contains("dead letters of subscription \"s\""),
        "{said}"
    );
    assert_eq!(broker.records("s.dlq").len(), 2);
    broker.ok(&["subscription", "delete", "s", "--yes"]);
    broker.ok(&["produce", "s.dlq", "-k", "bad", "5"]);
    assert_eq!(broker.records("s.dlq").len(), 3);
}

#[test]
fn a_seek_tells_of_the_dead_letters_that_stay() {
    let broker = with_letters();
    let seek = [
        "subscription",
        "seek",
        "s",
        "--to",
        "beginning",
        "--dry-run",
    ];
    let would = broker.ok(&seek);
    assert!(
        would.contains("dead letters stay: towpath dlq list s\n"),
        "{would}"
    );
    let would = one_json(&broker.ok(&[&seek[..], &["-o", "json"]].concat()));
    let partition = &would["partitions"][0];
    let counts = (&partition["dead_letters"], &partition["parked_keys"]);
    assert_eq!(counts, (&json!(2), &json!(1)), "{would}");
}

#[test]
fn a_subscription_is_deleted_with_its_dead_letters() {
    let broker = with_letters();
    let delete = ["subscription", "delete", "s", "--with-dlq"];
    let shape = "0 consumers, 0 records not settled\n\
                 with the topic of its dead letters, s.dlq: 2 records\n";
    let would = broker.ok(&[&delete[..], &["--dry-run"]].concat());
    let expected = format!("would delete subscription s: {shape}dry run: nothing was deleted\n");
    assert_eq!(would, expected);
    broker.ok(&["topic", "get", "s.dlq"]);
    let more = ["--topic", "s.dlq", "--from", "end"];
    broker.ok(&[&["subscription", "create", "watcher"][..], &more].concat());
    let said = broker.fails(6, &[&delete[..], &["--yes"]].concat());
    assert!(said.contains("TOPIC_IN_USE"), "{said}");
    broker.ok(&["subscription", "delete", "watcher", "--with-dlq", "--yes"]);
    let deleted = one_json(&broker.ok(&[&delete[..], &["--yes", "-o", "json"]].concat()));
    let topic = (&deleted["with_dlq"], &deleted["dead_letter_topic_records"]);
    assert_eq!(topic, (&json!(true), &json!(2)), "{deleted}");
    for gone in ["s.dlq", "watcher.dlq"] {
        broker.fails(4, &["topic", "get", gone]);
    }
    broker.fails(4, &["subscription", "get", "s"]);
}
