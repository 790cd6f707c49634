//! `towpath consume --subscription`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use towpath_client::SubscriptionName;

use super::super::duration::parse_duration;
use super::super::number::parse_count;

/// Which subscription, and what to do with what it hands out.
#[derive(Debug, Args)]
#[command(next_help_heading = "With a subscription")]
pub(crate) struct ConsumeSubscriptionArgs {
    /// Consume what this subscription hands out, beside its other consumers
    #[arg(long, value_name = "NAME", conflicts_with_all = ["group", "skip_data_loss"])]
    subscription: Option<SubscriptionName>,
    /// When to ack a record: on-print, once it is written to standard output, or never: it is given
    /// back at the end, and no attempt counts
    #[arg(
        long,
        value_name = "WHEN",
        requires = "subscription",
        conflicts_with_all = ["exec", "place"],
        default_value = "on-print",
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub(crate) ack: AckWhen,
    /// Run a command, instead of printing.
    #[command(flatten)]
    exec: ExecArgs,
}

/// What to run for each record.
#[derive(Debug, Args)]
#[command(next_help_heading = "With a subscription")]
struct ExecArgs {
    /// What a shell is to run for each record; none if records are printed.
    #[arg(
        long,
        help = "Run this for each record, with `sh -c`: the value on standard input, all else in \
                TOWPATH_TOPIC, _PARTITION, _OFFSET, _KEY, _ATTEMPT, _APPEND_TIME, and \
                _HEADER_CE_TYPE for header ce-type. Status 0 acks; 75 gives it back, and no attempt \
                counts; any other is a failed attempt, with the last line of standard error as its \
                reason",
        value_name = "COMMAND",
        requires = "subscription",
        conflicts_with = "place",
        value_parser = clap::builder::NonEmptyStringValueParser::new()
    )]
    exec: Option<String>,
    /// With --exec: run it for so many keys at a time, each key in order [default: 1]
    #[arg(long, value_name = "N", requires = "exec", allow_negative_numbers = true,
          value_parser = parse_count::<u16>)]
    parallel: Option<u16>,
    /// With --exec: when interrupted, let commands run on for so long; then they are terminated, and
    /// their records given back [default: 10s]
    #[arg(long, value_name = "TIME", requires = "exec", value_parser = parse_duration)]
    drain: Option<Duration>,
}

/// A command for each record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exec<'a> {
    /// What a shell is to run.
    pub(crate) command: &'a str,
    /// For how many keys at a time.
    pub(crate) parallel: u16,
    /// How long commands may run on when the consumer is to end.
    pub(crate) drain: Duration,
}

/// When a record of a subscription is acked that was printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AckWhen {
    /// Once it is written.
    OnPrint,
    /// Not at all: it is given back.
    Never,
}

/// Default of [`Exec::drain`].
const DRAIN_DEFAULT: Duration = Duration::from_secs(10);

impl ConsumeSubscriptionArgs {
    /// The subscription; none if a topic is read.
    pub(crate) const fn name(&self) -> Option<&SubscriptionName> {
        self.subscription.as_ref()
    }

    /// The command; none if records are printed.
    pub(crate) fn exec(&self) -> Option<Exec<'_>> {
        let command = self.exec.exec.as_deref()?;
        Some(Exec {
            command,
            parallel: self.exec.parallel.unwrap_or(1),
            drain: self.exec.drain.unwrap_or(DRAIN_DEFAULT),
        })
    }
}
