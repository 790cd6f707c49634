//! `towpath topic`.

use clap::{Args, Subcommand};
use towpath_client::TopicName;

/// Which of the commands about topics.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  towpath topic create orders --partitions 8
  towpath topic list
  towpath topic get orders -o json
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
    #[command(before_help = "Examples:
  towpath topic create orders
  towpath topic create orders --partitions 16 --if-not-exists
")]
    Create {
        /// Name: letters, digits, '.', '_' and '-'
        name: TopicName,
        /// Number of partitions, fixed for the topic's life [default: 8]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        partitions: Option<u32>,
        /// Take a topic that is there already, with as many partitions, for success
        #[arg(long)]
        if_not_exists: bool,
        /// Only tell whether it would succeed
        #[arg(long, conflicts_with = "if_not_exists")]
        dry_run: bool,
    },
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
