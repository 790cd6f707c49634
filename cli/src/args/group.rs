//! `towpath group`.

mod seek;

use clap::{Args, Subcommand};
use towpath_client::GroupName;

pub(crate) use seek::SeekGroupArgs;

/// Which of the commands about consumer groups.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  towpath consume orders --group billing --from beginning     the first member makes the group
  towpath group list
  towpath group get billing
  towpath group seek billing --to 1h --dry-run
  towpath group delete billing --yes
")]
pub(crate) struct GroupArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: GroupCommand,
}

/// One command about consumer groups.
#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// List groups in the order of their names
    #[command(before_help = "Examples:
  towpath group list
  towpath group list --prefix billing. -o json | jq -r .group
")]
    List {
        /// Only names that begin with this
        #[arg(long, default_value = "", hide_default_value = true)]
        prefix: String,
    },
    /// Show a group with its members, and how far behind it is in each partition
    #[command(before_help = "Examples:
  towpath group get billing
  towpath group get billing -o json | jq '[.partitions[].lag_records] | add'
")]
    Get {
        /// Name
        name: GroupName,
    },
    /// Move a group to other offsets, also while members are connected
    Seek(SeekGroupArgs),
    /// Delete a group and what it remembers, for good
    #[command(before_help = "Examples:
  towpath group delete billing --dry-run
  towpath group delete billing --yes
  towpath group delete billing --yes --force     also while members are connected
")]
    Delete {
        /// Name
        name: GroupName,
        /// Also while members are connected, which end with an error
        #[arg(long)]
        force: bool,
        /// Only tell what would be deleted
        #[arg(long)]
        dry_run: bool,
        /// Do not ask; needed where there is no terminal to ask on
        #[arg(long, short)]
        yes: bool,
    },
}
