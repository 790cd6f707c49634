//! `towpath scheduled`.

use clap::{Args, Subcommand};
use towpath_client::TopicName;

use super::due::DueArgs;

/// Which of the commands about scheduled records.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  towpath produce reminders -k 42 'pay!' --delay 24h --schedule-id order-42
  towpath scheduled list reminders
  towpath scheduled reschedule reminders order-42 --delay 48h
  towpath scheduled cancel reminders order-42
")]
pub(crate) struct ScheduledArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: ScheduledCommand,
}

/// One command about scheduled records.
#[derive(Debug, Subcommand)]
pub(crate) enum ScheduledCommand {
    /// List records that are not due yet, by their time
    #[command(before_help = "Examples:
  towpath scheduled list
  towpath scheduled list reminders -n 1000
  towpath scheduled list reminders -o json | jq -r .schedule_id
")]
    List {
        /// Only those of this topic
        topic: Option<TopicName>,
        /// At most so many records
        #[arg(long, short = 'n', value_name = "N", default_value_t = 100,
              value_parser = super::number::parse_count::<u32>)]
        limit: u32,
    },
    /// Take records away before they are due
    #[command(before_help = "Examples:
  towpath scheduled cancel reminders order-42
  towpath scheduled cancel reminders order-42 order-43 @17
")]
    Cancel {
        /// Topic
        topic: TopicName,
        /// Ids, as `scheduled list` shows them
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Make a record due at another time, earlier or later
    #[command(before_help = "Examples:
  towpath scheduled reschedule reminders order-42 --delay 48h
  towpath scheduled reschedule reminders order-42 --at 2026-12-24T18:00:00Z
  towpath scheduled reschedule reminders order-42 --delay 0s     now
")]
    #[command(group = clap::ArgGroup::new("when").required(true).args(["delay", "at"]))]
    Reschedule {
        /// Topic
        topic: TopicName,
        /// Id, as `scheduled list` shows it
        id: String,
        /// When.
        #[command(flatten)]
        due: DueArgs,
    },
}
