//! Topics that keep the last record of each key.

use serde_json::json;

use crate::harness::{TestBroker, fails, json as one_json, towpath};

/// Exit code of a command that asks for something that is not allowed.
const USAGE: i32 = 2;

#[test]
fn a_compacted_topic_is_created_shown_changed_and_compacted() {
    let broker = TestBroker::start();
    let created = broker.ok(&[
        "topic",
        "create",
        "customers",
        "--partitions",
        "1",
        "--compact",
        "--tombstone-grace",
        "6h",
    ]);
    let expected = "created topic customers: 1 partition, compacted, tombstones stay 6 h, \
                    acknowledged when on disk\n";
    assert_eq!(created, expected, "text");
    let topic = one_json(&broker.ok(&["topic", "get", "customers", "-o", "json"]));
    assert_eq!(topic["config"]["compact"], true, "{topic}");
    assert_eq!(topic["config"]["tombstone_grace_ms"], 21_600_000, "{topic}");
    let updated = broker.ok(&["topic", "update", "customers", "--tombstone-grace", "none"]);
    assert_eq!(
        updated, "updated topic customers: retention none, compacted\n",
        "text"
    );

    broker.ok(&["produce", "customers", "Ada", "--key", "7"]);
    let told = broker.ok(&["topic", "compact", "customers"]);
    let expected = "topic customers is being compacted, ";
    assert!(told.starts_with(expected), "{told}");
    let told = one_json(&broker.ok(&["topic", "compact", "customers", "-o", "json"]));
    assert_eq!(told["name"], json!("customers"), "{told}");
    assert!(told["uncompacted_bytes"].is_u64(), "{told}");
}

#[test]
fn what_cannot_be_compacted_is_refused_with_a_hint() {
    let broker = TestBroker::with_topic("plain", 1);
    let refused = broker.fails(USAGE, &["topic", "compact", "plain"]);
    assert!(
        refused.contains("was not created with compact"),
        "{refused}"
    );
    broker.ok(&["topic", "create", "customers", "--compact"]);
    let refused = broker.fails(USAGE, &["produce", "customers", "nobody's"]);
    assert!(refused.contains("a record needs a key"), "{refused}");
    let mut alone = towpath(&["topic", "create", "t", "--tombstone-grace", "1h"]);
    let refused = fails(USAGE, &mut alone);
    assert!(refused.contains("--compact"), "{refused}");
}
