//! `towpath subscription`.

mod create;
mod delete;
mod pending;
mod seek;
mod update;

use clap::{Args, Subcommand};
use towpath_client::{Address, SubscriptionName, TopicName};

pub(crate) use create::CreateSubscriptionArgs;
pub(crate) use delete::DeleteSubscriptionArgs;
pub(crate) use pending::PendingArgs;
pub(crate) use seek::SeekSubscriptionArgs;
pub(crate) use update::UpdateSubscriptionArgs;

/// Which of the commands about durable subscriptions.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  towpath subscription create email --topic orders --from beginning
  towpath consume --subscription email --exec ./send-mail     a command for each record
  towpath subscription get email
  towpath subscription pause email
  towpath subscription seek email --to 1h --dry-run
")]
pub(crate) struct SubscriptionArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: SubscriptionCommand,
}

/// One command about durable subscriptions.
#[derive(Debug, Subcommand)]
pub(crate) enum SubscriptionCommand {
    /// Create a subscription, which hands out each record of a topic until it is acked
    Create(CreateSubscriptionArgs),
    /// Show a subscription with its consumers, and what is left in each partition
    #[command(before_help = "Examples:
  towpath subscription get email
  towpath subscription get email -o json | jq '[.partitions[].lag_records] | add'
")]
    Get {
        /// Name
        name: SubscriptionName,
    },
    /// List subscriptions in the order of their names
    #[command(before_help = "Examples:
  towpath subscription list
  towpath subscription list --topic orders
  towpath subscription list --prefix email. -o json | jq -r .subscription
")]
    List {
        /// Only names that begin with this
        #[arg(long, default_value = "", hide_default_value = true)]
        prefix: String,
        /// Only those of this topic
        #[arg(long, value_name = "TOPIC")]
        topic: Option<TopicName>,
    },
    /// Change when a subscription tries again, and for how long
    Update(UpdateSubscriptionArgs),
    /// Hand out nothing more until `resume`; what consumers have, they keep
    #[command(before_help = "Examples:
  towpath subscription pause email
")]
    Pause {
        /// Name
        name: SubscriptionName,
    },
    /// Go on with a subscription that was paused
    #[command(before_help = "Examples:
  towpath subscription resume email
")]
    Resume {
        /// Name
        name: SubscriptionName,
    },
    /// Move a subscription to other offsets, also while consumers are connected
    Seek(SeekSubscriptionArgs),
    /// List the records that consumers have, and those that wait
    Pending(PendingArgs),
    /// Explain where a record is, and why nothing happens to it
    #[command(before_help = "Examples:
  towpath subscription why email orders/3@17
  towpath subscription why email orders/3@17 -o json | jq -r .obstacles[]
")]
    Why {
        /// Name of the subscription
        name: SubscriptionName,
        /// The record: TOPIC/PARTITION@OFFSET
        record: Address,
    },
    /// Delete a subscription and what it remembers, for good; its dead letters stay in their topic
    Delete(DeleteSubscriptionArgs),
}
