//! `towpath producer`.

use clap::{Args, Subcommand};
use towpath_client::ProducerName;

/// Which of the commands about names of producers.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  towpath produce orders -f orders.ndjson --producer-name relay-1     begins a life of the name
  towpath producer list
  towpath producer delete relay-1 --yes
")]
pub(crate) struct ProducerArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: ProducerCommand,
}

/// One command about names of producers.
#[derive(Debug, Subcommand)]
pub(crate) enum ProducerCommand {
    /// List names in their order, with the life of each that may write
    #[command(before_help = "Examples:
  towpath producer list
  towpath producer list --prefix relay- -o json | jq -r .producer
")]
    List {
        /// Only names that begin with this
        #[arg(long, default_value = "", hide_default_value = true)]
        prefix: String,
    },
    /// Delete a name; who still writes under it is refused from then on
    #[command(before_help = "Examples:
  towpath producer delete relay-1 --dry-run
  towpath producer delete relay-1 --yes
")]
    Delete {
        /// Name
        name: ProducerName,
        /// Only tell what would be deleted
        #[arg(long)]
        dry_run: bool,
        /// Do not ask; needed where there is no terminal to ask on
        #[arg(long, short)]
        yes: bool,
    },
}
