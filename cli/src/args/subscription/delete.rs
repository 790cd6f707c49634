//! `towpath subscription delete`.

use clap::Args;
use towpath_client::{SubscriptionDeletion, SubscriptionName};

/// What subscription to delete.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  towpath subscription delete email --dry-run
  towpath subscription delete email --yes
  towpath subscription delete email --with-dlq --yes    with the topic of its dead letters
")]
pub(crate) struct DeleteSubscriptionArgs {
    /// Name
    pub(crate) name: SubscriptionName,
    /// Delete the topic of its dead letters too, with all that is in it
    #[arg(long)]
    pub(crate) with_dlq: bool,
    /// Only tell what would be deleted
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask, even on a terminal
    #[arg(long, short)]
    pub(crate) yes: bool,
}

impl DeleteSubscriptionArgs {
    /// What the SDK is to delete.
    pub(crate) fn to_deletion(&self) -> SubscriptionDeletion {
        let deletion = SubscriptionDeletion::new(self.name.as_str());
        let deletion = match self.with_dlq {
            true => deletion.with_dead_letters(),
            false => deletion,
        };
        match self.dry_run {
            true => deletion.dry_run(),
            false => deletion,
        }
    }
}
