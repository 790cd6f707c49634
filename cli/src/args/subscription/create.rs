//! `towpath subscription create`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use towpath_client::{
    NewSubscription, OnDeadLetter, OnFilterError, SubscriptionMode, SubscriptionName, TopicName,
};

use super::super::duration::parse_duration;
use super::super::from::ReadFrom;
use super::super::number::parse_count;
use crate::failure::Failure;

/// What subscription to create.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  towpath subscription create email --topic orders --from end
  towpath subscription create email --topic orders --from beginning --dry-run
  towpath subscription create thumbnails --topic images --from 1h --mode shared
  towpath subscription create large --topic orders --from end --filter 'json.total > 100'
  towpath subscription create billing --topic orders --from end --max-attempts 5 --ack-deadline 2m
")]
pub(crate) struct CreateSubscriptionArgs {
    /// Name: letters, digits, '.', '_' and '-'; its dead letters go to the topic NAME.dlq
    pub(crate) name: SubscriptionName,
    /// The topic whose records it hands out
    #[arg(long, value_name = "TOPIC")]
    topic: TopicName,
    /// Where it begins: beginning, end, -100 for the last hundred, a time in RFC 3339, or how long
    /// ago, such as 1h; it has no default
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true)]
    from: Option<ReadFrom>,
    /// Who gets records: key-shared, any consumer, each key in order; shared, any consumer, in no
    /// order; exclusive, one consumer at a time, each key in order [default: key-shared]
    #[arg(long, value_name = "MODE", hide_possible_values = true)]
    mode: Option<Mode>,
    /// A record is dead after so many failed attempts [default: 20]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = parse_count::<u32>)]
    max_attempts: Option<u32>,
    /// A record that is older is dead when an attempt fails [default: at no age]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    max_age: Option<Duration>,
    /// A record comes again if it is neither settled nor extended for so long [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    ack_deadline: Option<Duration>,
    /// Wait before the second attempt; it doubles with each failure [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    backoff_min: Option<Duration>,
    /// Longest wait before another attempt [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    backoff_max: Option<Duration>,
    /// What becomes of later records of a key of which one is dead: park, they follow it to the dead
    /// letters, in order; skip, they are handed out [default: park; skip with --mode shared]
    #[arg(long, value_name = "WHAT", hide_possible_values = true)]
    on_dead_letter: Option<DeadLetterRule>,
    /// Hand out only records of which this expression in CEL is true, such as 'json.total > 100'; the
    /// others are settled [default: all records]
    #[arg(long, value_name = "EXPR", allow_hyphen_values = true)]
    filter: Option<String>,
    /// What becomes of a record that the filter cannot judge: deliver, or dead-letter
    /// [default: deliver]
    #[arg(long, value_name = "WHAT", hide_possible_values = true)]
    on_filter_error: Option<FilterErrorRule>,
    /// Only tell whether it would succeed
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Who gets records, and in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Any consumer; each key in order.
    KeyShared,
    /// Any consumer, in no order.
    Shared,
    /// One consumer at a time; each key in order.
    Exclusive,
}

/// What becomes of the later records of a key of which one is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DeadLetterRule {
    /// They follow it.
    Park,
    /// They are handed out.
    Skip,
}

/// What becomes of a record that the filter cannot judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum FilterErrorRule {
    /// It is handed out.
    Deliver,
    /// It goes to the dead letters.
    DeadLetter,
}

impl CreateSubscriptionArgs {
    /// What the SDK is to create.
    ///
    /// # Errors
    ///
    /// The flags do not go together.
    pub(crate) fn to_subscription(&self, now: Timestamp) -> Result<NewSubscription, Failure> {
        if let Some(ReadFrom::Offset(offset)) = self.from {
            let failure = Failure::usage("a subscription does not begin at one offset");
            let name = &self.name;
            let hint =
                format!("once it exists: towpath subscription seek {name} --to {offset} -p 0");
            return Err(failure.hint(hint));
        }
        let start = self.from.map(|from| from.to_start(now));
        let mut new = NewSubscription::new(self.name.as_str(), self.topic.as_str(), start);
        if let Some(mode) = self.mode {
            new = new.mode(mode.into());
        }
        if let Some(rule) = self.on_dead_letter {
            new = new.on_dead_letter(rule.into());
        }
        if let Some(count) = self.max_attempts {
            new = new.attempts_max(count);
        }
        if let Some(age) = self.max_age {
            new = new.age_max(age);
        }
        if let Some(deadline) = self.ack_deadline {
            new = new.ack_deadline(deadline);
        }
        if let Some(min) = self.backoff_min {
            new = new.backoff_min(min);
        }
        if let Some(max) = self.backoff_max {
            new = new.backoff_max(max);
        }
        if let Some(expression) = &self.filter {
            new = new.filter(expression);
        }
        if let Some(rule) = self.on_filter_error {
            new = new.on_filter_error(rule.into());
        }
        Ok(if self.dry_run { new.dry_run() } else { new })
    }
}

impl From<Mode> for SubscriptionMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::KeyShared => Self::KeyShared,
            Mode::Shared => Self::Shared,
            Mode::Exclusive => Self::Exclusive,
        }
    }
}

impl From<FilterErrorRule> for OnFilterError {
    fn from(rule: FilterErrorRule) -> Self {
        match rule {
            FilterErrorRule::Deliver => Self::Deliver,
            FilterErrorRule::DeadLetter => Self::DeadLetter,
        }
    }
}

impl From<DeadLetterRule> for OnDeadLetter {
    fn from(rule: DeadLetterRule) -> Self {
        match rule {
            DeadLetterRule::Park => Self::Park,
            DeadLetterRule::Skip => Self::Skip,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: CreateSubscriptionArgs,
    }

    fn args(line: &str) -> Result<CreateSubscriptionArgs, clap::Error> {
        let words = std::iter::once("create").chain(line.split(' '));
        Line::try_parse_from(words).map(|line| line.args)
    }

    #[test]
    fn every_place_but_a_single_offset_is_a_beginning() {
        for line in ["", " --from end", " --from -100", " --from 1h"] {
            let line = format!("s --topic t{line}");
            let new = args(&line)
                .expect(&line)
                .to_subscription(Timestamp::UNIX_EPOCH);
            assert!(new.is_ok(), "{line}");
        }
        let one = args("s --topic t --from 17").expect("arguments");
        assert!(one.to_subscription(Timestamp::UNIX_EPOCH).is_err(), "17");
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for line in [
            "s",
            "--topic t",
            "s --topic t --mode queue",
            "s --topic t --max-attempts 0",
            "s --topic t --ack-deadline 30",
            "s --topic t --on-dead-letter drop",
        ] {
            assert!(args(line).is_err(), "{line} was accepted");
        }
    }
}
