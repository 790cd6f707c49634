//! `towpath topic`.

mod compaction;
mod comparing;
mod retention;
mod trim;

use clap::{Args, Subcommand};
use towpath_client::TopicName;

use super::bound::OrNone;
use super::number::parse_count;
use compaction::TombstoneGrace;
use comparing::{DedupeWindow, StaleRecordsArg};
use retention::{RetentionAge, RetentionBytes};

pub(crate) use trim::TrimTopicArgs;

/// Which of the commands about topics.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  towpath topic create orders --partitions 8 --retention-age 7d
  towpath topic list
  towpath topic get orders -o json
  towpath topic update orders --retention-bytes 10GiB
  towpath topic trim orders --before 1h --dry-run
")]
pub(crate) struct TopicArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: TopicCommand,
}

/// One command about topics.
#[derive(Debug, Subcommand)]
pub(crate) enum TopicCommand {
    /// Create a topic
    Create(CreateTopicArgs),
    /// Show a topic with its partitions
    #[command(before_help = "Examples:
  towpath topic get orders
  towpath topic get orders -o json | jq '.partitions[].end_offset'
")]
    Get {
        /// Name
        name: TopicName,
    },
    /// List topics in the order of their names
    #[command(before_help = "Examples:
  towpath topic list
  towpath topic list --prefix orders. -o json | jq -r .name
")]
    List {
        /// Only names that begin with this
        #[arg(long, default_value = "", hide_default_value = true)]
        prefix: String,
    },
    /// Change how long and how much a topic keeps, its dedupe window, and its tombstones' grace
    Update(UpdateTopicArgs),
    /// Let go of a topic's oldest records, for good
    Trim(TrimTopicArgs),
    /// Compact a topic that was created with --compact now, instead of when half of it is new
    #[command(before_help = "Examples:
  towpath topic compact customers
  towpath topic compact customers -o json | jq .uncompacted_bytes
")]
    Compact {
        /// Name
        name: TopicName,
    },
    /// Delete a topic and all its records, for good
    #[command(before_help = "Examples:
  towpath topic delete orders --dry-run
  towpath topic delete orders --yes
")]
    Delete {
        /// Name
        name: TopicName,
        /// Only tell what would be deleted
        #[arg(long)]
        dry_run: bool,
        /// Do not ask, even on a terminal
        #[arg(long, short)]
        yes: bool,
    },
}

/// What topic to create.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  towpath topic create orders
  towpath topic create orders --partitions 16 --if-not-exists
  towpath topic create clicks --retention-age 7d --retention-bytes 10GiB
  towpath topic create orders --dedupe-window 10m         one record of each event
  towpath topic create accounts --key-versions            for produce --expect-version, key read
  towpath topic create customers --compact                the last record of each key
")]
pub(crate) struct CreateTopicArgs {
    /// Name: letters, digits, '.', '_' and '-'
    pub(crate) name: TopicName,
    /// Number of partitions, fixed for the topic's life [default: 8]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = parse_count::<u32>)]
    pub(crate) partitions: Option<u32>,
    /// Keep records at least so long; older ones may go [default: for ever]
    #[arg(long, value_name = "TIME")]
    pub(crate) retention_age: Option<RetentionAge>,
    /// Keep the newest records up to so many bytes of the whole topic; older ones may go [default:
    /// all]
    #[arg(long, value_name = "SIZE")]
    pub(crate) retention_bytes: Option<RetentionBytes>,
    /// Keep one record of each event, by its source and id, however often it is sent within so long: 1s
    /// to 7d [default: compare nothing]
    #[arg(long, value_name = "TIME")]
    pub(crate) dedupe_window: Option<DedupeWindow>,
    /// Count the records of each key, for records that rest on a version and for `key read`; fixed for
    /// the topic's life
    #[arg(long)]
    pub(crate) key_versions: bool,
    /// Compare the versions that records bring of their entities (towpath-entity-version), and refuse or
    /// mark those that are not newer; fixed for the topic's life. Every record needs a key and a version
    /// then
    #[arg(
        long,
        value_enum,
        hide_possible_values = true,
        value_name = "refuse|mark"
    )]
    pub(crate) stale_records: Option<StaleRecordsArg>,
    /// Keep of each key only the last record, and nothing of keys whose last one has no value; fixed for the
    /// topic's life. Every record needs a key then
    #[arg(long)]
    pub(crate) compact: bool,
    /// How long a record without a value stays after it was written [default: 1d]
    #[arg(long, value_name = "TIME", requires = "compact")]
    pub(crate) tombstone_grace: Option<TombstoneGrace>,
    /// Take a topic that is there already, with what is asked for, for success
    #[arg(long)]
    pub(crate) if_not_exists: bool,
    /// Only tell whether it would succeed
    #[arg(long, conflicts_with = "if_not_exists")]
    pub(crate) dry_run: bool,
}

/// How to change a topic.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  towpath topic update orders --retention-age 7d
  towpath topic update orders --retention-age none --retention-bytes 10GiB
  towpath topic update orders --dedupe-window 10m
  towpath topic update customers --tombstone-grace 7d
  etag=$(towpath topic get orders -o json | jq -r .etag)
  towpath topic update orders --retention-age 1d --etag $etag
",
    group = clap::ArgGroup::new("settings").required(true).multiple(true)
)]
pub(crate) struct UpdateTopicArgs {
    /// Name
    pub(crate) name: TopicName,
    /// Keep records at least so long; older ones may go. none: for ever
    #[arg(long, value_name = "TIME|none", group = "settings")]
    pub(crate) retention_age: Option<OrNone<RetentionAge>>,
    /// Keep the newest records up to so many bytes of the whole topic; older ones may go. none: all
    #[arg(long, value_name = "SIZE|none", group = "settings")]
    pub(crate) retention_bytes: Option<OrNone<RetentionBytes>>,
    /// Keep one record of each event, however often it is sent within so long: 1s to 7d. none: compare
    /// nothing
    #[arg(long, value_name = "TIME|none", group = "settings")]
    pub(crate) dedupe_window: Option<OrNone<DedupeWindow>>,
    /// How long a record without a value stays in a compacted topic after it was written. none: a day
    #[arg(long, value_name = "TIME|none", group = "settings")]
    pub(crate) tombstone_grace: Option<OrNone<TombstoneGrace>>,
    /// Only if the topic is as it was when `topic get -o json` told this etag
    #[arg(long, value_name = "ETAG", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) etag: Option<String>,
    /// Only tell what the topic would be
    #[arg(long)]
    pub(crate) dry_run: bool,
}
