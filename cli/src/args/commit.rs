//! `towpath commit`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::duration::parse_duration;

/// What to do at once.
#[derive(Debug, Args)]
#[command(
    before_help = r#"Examples:
  towpath commit -f plan.json             all of it or nothing; prints where its records are
  towpath commit -f - -o json < plan.json
  towpath commit -f plan.json --idempotency-key order-42

A plan:
  {"operations": [
    {"append": {"topic": "invoices", "records": [{"key": "42", "value": "paid"}]}},
    {"append": {"topic": "ledger", "partition": 0, "expected_offset": 17,
                "records": [{"value": "a"}, {"value": "b"}]}},
    {"append": {"topic": "accounts", "expected_version": 6,
                "records": [{"key": "alice", "value": "-5"}]}},
    {"settle": {"subscription": "billing", "delivery": 7, "partition": 0,
                "ranges": [{"start": 96, "end": 98}], "outcome": "ack"}},
    {"offsets": {"group": "audit", "member_id": "0f6b0de0c3d84a6fb8a1c7b1f2e3d4a5",
                 "offsets": [{"topic": "orders", "partition": 0, "generation": 4, "offset": 110}]}},
    {"schedule": {"topic": "reminders", "delay_ms": 86400000, "schedule_id": "order-42",
                  "record": {"key": "42", "value": "pay!"}}}
  ]}
"#,
    after_help = "Records are as `consume -o json` prints them. An expected_offset is that of the first record, and
needs a partition; an expected_version is that of the key before the first record, 0 for a new key,
and needs records of one key. \"repeated\" behind a place says that the event was there already.
An outcome is ack, nack (with reason, delay_ms), release or dead_letter (with reason);
is_dead_letter says that partition and ranges are those of the dead-letter topic. Deliveries are
what SubscriptionService.Pull answers, ids of members what `group get` shows. A scheduled record is
delivered after delay_ms, or at a time such as \"at\": \"2026-12-24T18:00:00Z\".

Exit code 6 says that something of it does not hold any more: nothing was done."
)]
pub(crate) struct CommitArgs {
    /// File with the plan, '-' for standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Name of the commit, at most 128 bytes: sent again with the same name and plan within a day it does
    /// nothing, and prints what it printed
    #[arg(long, value_name = "KEY", value_parser = parse_key)]
    pub(crate) idempotency_key: Option<String>,
    /// How long the outcome is waited for while the broker is out of reach
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub(crate) give_up_after: Duration,
}

/// Longest key of a commit.
const KEY_BYTES_MAX: usize = 128;

fn parse_key(text: &str) -> Result<String, String> {
    match text.len() {
        1..=KEY_BYTES_MAX => Ok(text.to_owned()),
        count => Err(format!("a key has 1 to {KEY_BYTES_MAX} bytes, not {count}")),
    }
}
