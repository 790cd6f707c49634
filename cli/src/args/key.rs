//! `towpath key`.

use std::ffi::OsString;

use clap::{Args, Subcommand};
use towpath_client::TopicName;

use super::number::parse_count;

/// Which of the commands about keys.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  towpath key read accounts alice
  towpath key latest accounts alice -o json
")]
pub(crate) struct KeyArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: KeyCommand,
}

/// One command about keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Read all records of one key, on a topic with key versions
    Read(ReadKeyArgs),
    /// Show the newest record of one key, on a topic with key versions or stale records
    #[command(before_help = "Examples:
  towpath key latest accounts alice
  towpath key latest accounts alice -o json | jq .key_version
")]
    Latest {
        /// Topic
        topic: TopicName,
        /// Key
        key: OsString,
    },
}

/// What to read of which key.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  towpath key read accounts alice                       in the order in which they were written
  towpath key read accounts alice --from-version 17
  towpath key read accounts alice --newest-first -n 3
  towpath key read accounts alice -o json | jq -r '\"\\(.key_version) \\(.value)\"'
",
    after_help = "Versions whose records are gone are told on standard error. The first record of a key has
version 1; produce --expect-version takes the version of the last one."
)]
pub(crate) struct ReadKeyArgs {
    /// Topic
    pub(crate) topic: TopicName,
    /// Key
    pub(crate) key: OsString,
    /// The lowest version to read [default: 1, the first]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = parse_count::<u64>)]
    pub(crate) from_version: Option<u64>,
    /// Begin with the newest record and go back
    #[arg(long)]
    pub(crate) newest_first: bool,
    /// Stop after so many records
    #[arg(short = 'n', long, value_name = "N", allow_negative_numbers = true, value_parser = parse_count::<u64>)]
    pub(crate) count: Option<u64>,
}
