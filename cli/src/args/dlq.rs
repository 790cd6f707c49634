//! `towpath dlq`.

mod selection;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use towpath_client::{
    DeadLetterFilter, DiscardDeadLetters, RedriveDeadLetters, SubscriptionName, TopicName,
};

pub(crate) use selection::{LetterPlace, Selection};

/// Which of the commands about dead letters.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  towpath dlq list email
  towpath dlq show email 3@17
  towpath dlq redrive email --dry-run
  towpath dlq redrive email --key 42
  towpath dlq discard email 3@17 --reason 'the order was a test'
")]
pub(crate) struct DlqArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: DlqCommand,
}

/// One command about dead letters.
#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// List the dead letters of a subscription, and what is parked behind them
    List(ListLettersArgs),
    /// Show one dead letter whole
    #[command(before_help = "Examples:
  towpath dlq show email 3@17
  towpath dlq show email 3@17 -o json | jq .failures
")]
    Show {
        /// Name of the subscription
        subscription: SubscriptionName,
        /// Which, as `dlq list` names it
        #[arg(value_name = "PARTITION@OFFSET")]
        letter: LetterPlace,
    },
    /// Deliver dead letters again, or append them to a topic
    Redrive(RedriveArgs),
    /// Settle dead letters that nobody is to handle any more
    Discard(DiscardArgs),
}

/// What to list.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  towpath dlq list email
  towpath dlq list email --kind dead                  without those that are only parked behind
  towpath dlq list email --failed-with timeout --died-from 1h
  towpath dlq list email -o json | jq -r .reason | sort | uniq -c
")]
pub(crate) struct ListLettersArgs {
    /// Name of the subscription
    pub(crate) subscription: SubscriptionName,
    /// Most dead letters to list
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1_000)]
    pub(crate) limit: usize,
    /// Most bytes of each value, with -o json
    #[arg(long, value_name = "BYTES", default_value_t = 1_000)]
    pub(crate) value_bytes: u32,
    /// Which.
    #[command(flatten)]
    pub(crate) selection: Selection,
}

/// What to redrive, and where to.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  towpath dlq redrive email --dry-run
  towpath dlq redrive email                             everything, in order
  towpath dlq redrive email --failed-with timeout --rate 100
  towpath dlq redrive email --to-topic orders-repaired
  towpath dlq redrive email 3@17 --to-topic orders --value-file mended.json
")]
pub(crate) struct RedriveArgs {
    /// Name of the subscription
    pub(crate) subscription: SubscriptionName,
    /// Append them to this topic as new records, instead of delivering them again
    #[arg(long, value_name = "TOPIC")]
    pub(crate) to_topic: Option<TopicName>,
    /// Append what this file holds in place of the value of the one dead letter that is named; - for
    /// standard input
    #[arg(long, value_name = "FILE", requires = "to_topic", requires = "letters")]
    pub(crate) value_file: Option<PathBuf>,
    /// Most dead letters a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Only tell how many there are
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Which.
    #[command(flatten)]
    pub(crate) selection: Selection,
}

impl RedriveArgs {
    /// What the SDK is asked for.
    pub(crate) fn to_redrive(&self, filter: &DeadLetterFilter) -> RedriveDeadLetters {
        let redrive = RedriveDeadLetters::new(self.subscription.as_str()).filter(filter);
        let redrive = match &self.to_topic {
            Some(topic) => redrive.append_to(topic.as_str()),
            None => redrive,
        };
        let redrive = match self.rate {
            Some(rate) => redrive.records_per_second_max(rate),
            None => redrive,
        };
        match self.dry_run {
            true => redrive.validate_only(),
            false => redrive,
        }
    }
}

/// What to discard, and why.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  towpath dlq discard email 3@17 --reason 'the order was a test'
  towpath dlq discard email --key 42 --reason 'the account is closed' --yes
  towpath dlq discard email --dry-run --reason 'end of the trial'
")]
pub(crate) struct DiscardArgs {
    /// Name of the subscription
    pub(crate) subscription: SubscriptionName,
    /// Why, for those who look at the broker's log
    #[arg(long, value_name = "WHY")]
    reason: String,
    /// Only tell how many there are
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask; needed where there is no terminal to ask on
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Which.
    #[command(flatten)]
    pub(crate) selection: Selection,
}

impl DiscardArgs {
    /// What the SDK is asked for.
    pub(crate) fn to_discard(&self, filter: &DeadLetterFilter) -> DiscardDeadLetters {
        DiscardDeadLetters::new(self.subscription.as_str(), self.reason.as_str()).filter(filter)
    }
}
