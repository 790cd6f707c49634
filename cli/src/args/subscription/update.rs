//! `towpath subscription update`.

use std::time::Duration;

use clap::Args;
use towpath_client::{SubscriptionName, SubscriptionUpdate};

use super::super::bound::OrNone;
use super::super::duration::{Length, parse_duration};
use super::super::number::parse_count;
use super::create::FilterErrorRule;

/// How to change a subscription.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  towpath subscription update email --max-attempts 5
  towpath subscription update email --backoff-min 10s --backoff-max 1h --dry-run
  towpath subscription update email --max-age none
  etag=$(towpath subscription get email -o json | jq -r .etag)
  towpath subscription update email --ack-deadline 2m --etag $etag
",
    override_usage = "towpath subscription update [OPTIONS] <SETTINGS> <NAME>",
    group = clap::ArgGroup::new("settings").required(true).multiple(true)
)]
pub(crate) struct UpdateSubscriptionArgs {
    /// Name
    name: SubscriptionName,
    /// A record is dead after so many failed attempts
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = parse_count::<u32>,
          group = "settings")]
    max_attempts: Option<u32>,
    /// A record that is older is dead when an attempt fails. none: at no age
    #[arg(long, value_name = "TIME|none", group = "settings")]
    max_age: Option<OrNone<Length>>,
    /// A record comes again if it is neither settled nor extended for so long
    #[arg(long, value_name = "TIME", value_parser = parse_duration, group = "settings")]
    ack_deadline: Option<Duration>,
    /// Wait before the second attempt; it doubles with each failure
    #[arg(long, value_name = "TIME", value_parser = parse_duration, group = "settings")]
    backoff_min: Option<Duration>,
    /// Longest wait before another attempt
    #[arg(long, value_name = "TIME", value_parser = parse_duration, group = "settings")]
    backoff_max: Option<Duration>,
    /// Hand out only records of which this expression in CEL is true, of those that were not looked at
    /// yet. Empty: all records
    #[arg(
        long,
        value_name = "EXPR",
        allow_hyphen_values = true,
        group = "settings"
    )]
    filter: Option<String>,
    /// What becomes of a record that the filter cannot judge: deliver, or dead-letter
    #[arg(
        long,
        value_name = "WHAT",
        hide_possible_values = true,
        group = "settings"
    )]
    on_filter_error: Option<FilterErrorRule>,
    /// Only if the subscription is as it was when `subscription get -o json` told this etag
    #[arg(long, value_name = "ETAG", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    etag: Option<String>,
    /// Only tell what the subscription would be
    #[arg(long)]
    pub(crate) dry_run: bool,
}

impl UpdateSubscriptionArgs {
    /// What the SDK is to change.
    pub(crate) fn to_update(&self) -> SubscriptionUpdate {
        let mut update = SubscriptionUpdate::new(self.name.as_str());
        if let Some(count) = self.max_attempts {
            update = update.attempts_max(count);
        }
        if let Some(age) = self.max_age {
            update = match age.0 {
                Some(Length(age)) => update.age_max(age),
                None => update.unset_age_max(),
            };
        }
        if let Some(deadline) = self.ack_deadline {
            update = update.ack_deadline(deadline);
        }
        if let Some(min) = self.backoff_min {
            update = update.backoff_min(min);
        }
        if let Some(max) = self.backoff_max {
            update = update.backoff_max(max);
        }
        if let Some(expression) = &self.filter {
            update = update.filter(expression);
        }
        if let Some(rule) = self.on_filter_error {
            update = update.on_filter_error(rule.into());
        }
        if let Some(etag) = &self.etag {
            update = update.if_unchanged(etag);
        }
        match self.dry_run {
            true => update.dry_run(),
            false => update,
        }
    }
}
