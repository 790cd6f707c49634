//! `towpath consume`.

mod subscription;

use std::time::Duration;

use clap::{Args, ValueEnum};
use towpath_client::{GroupName, PartitionId};

use super::duration::parse_duration;
use super::from::ReadFrom;
use super::number::{parse_count, parse_partition};
use super::place::Place;
use crate::failure::Failure;

use subscription::ConsumeSubscriptionArgs;
pub(crate) use subscription::{AckWhen, Exec};

/// What to read, from where and how far.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  towpath consume orders                          what comes from now on
  towpath consume orders --from beginning -n 10
  towpath consume orders --from 1h -e -o json | jq -r .key | sort | uniq -c
  towpath consume orders -p 5 --from 17
  towpath consume orders/5@17 -n 1                one record, by its address
  towpath consume orders --group billing --from beginning
  towpath consume orders --group billing -e       what it has not read yet
  towpath consume --subscription email -n 1       the next record, which is acked once it is printed
  towpath consume --subscription email --exec ./send-mail --parallel 8
")]
pub(crate) struct ConsumeArgs {
    /// Topic, or the address of a record: topic/partition@offset
    #[arg(
        value_name = "TOPIC",
        required_unless_present = "subscription",
        conflicts_with = "subscription"
    )]
    pub(crate) place: Option<Place>,
    /// beginning, end, an offset (with -p), -100 for the last hundred, a time in RFC 3339, or how
    /// long ago, such as 1h [default: beginning with -e, else end; a group goes on where it is]
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true)]
    from: Option<ReadFrom>,
    /// Stop after so many records
    #[arg(short = 'n', long, value_name = "N", allow_negative_numbers = true, value_parser = parse_count::<u64>)]
    pub(crate) count: Option<u64>,
    /// Stop at the end that the topic has now; with --group, once that is reached in all partitions
    /// that this member gets, or by the others if it gets none; with --subscription, once nothing is
    /// left to be handed out now and nobody has a record
    #[arg(short = 'e', long)]
    pub(crate) end: bool,
    /// Only this partition; may be given more than once
    #[arg(short, long = "partition", value_name = "N", allow_negative_numbers = true,
          value_parser = parse_partition)]
    partitions: Vec<u32>,
    /// Stop after so long; exit code 8 if fewer came than -n asks for
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,
    /// Go on behind records that are damaged on the broker's disk
    #[arg(long)]
    pub(crate) skip_data_loss: bool,
    /// With --group: stop where retention or a trim has removed records before the group came to
    /// them, instead of going on behind them with a warning; exit code 6
    #[arg(long, requires = "group")]
    pub(crate) stop_at_trimmed: bool,
    /// Read as a member of this group; --from says where a new group begins
    #[arg(short, long, value_name = "GROUP")]
    pub(crate) group: Option<GroupName>,
    /// When to commit what was read: on-print, once it is written to standard output, or never
    #[arg(
        long,
        value_name = "WHEN",
        requires = "group",
        default_value = "on-print",
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub(crate) commit: CommitWhen,
    /// With a subscription instead of a topic.
    #[command(flatten)]
    pub(crate) subscription: ConsumeSubscriptionArgs,
}

/// When a member of a group commits what it has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CommitWhen {
    /// Once it is written.
    OnPrint,
    /// Not at all: whoever comes next gets it again.
    Never,
}

impl ConsumeArgs {
    /// Where to begin.
    pub(crate) fn read_from(&self) -> ReadFrom {
        match (&self.place, self.from) {
            (Some(Place::Record(address)), _) => ReadFrom::Offset(address.offset),
            (_, Some(from)) => from,
            (_, None) if self.end => ReadFrom::Beginning,
            (_, None) => ReadFrom::End,
        }
    }

    /// Where a group begins that has never read the topic; none if that was not said.
    pub(crate) const fn group_start(&self) -> Option<ReadFrom> {
        self.from
    }

    /// Whether it was left open where to begin.
    pub(crate) const fn is_from_default(&self) -> bool {
        self.from.is_none() && !self.is_address()
    }

    /// The partitions to read; none for all.
    pub(crate) fn partitions(&self) -> Vec<PartitionId> {
        match &self.place {
            Some(Place::Record(address)) => vec![address.partition],
            _ => self
                .partitions
                .iter()
                .copied()
                .map(PartitionId::new)
                .collect(),
        }
    }

    /// Whether the flags go together.
    ///
    /// # Errors
    ///
    /// They do not.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.subscription.name().is_some() {
            return self.check_subscription();
        }
        if self.group.is_some() {
            return self.check_group();
        }
        if self.is_address() {
            let is_doubled = self.from.is_some() || !self.partitions.is_empty();
            let message = "an address says partition and offset itself";
            return if is_doubled {
                Err(Failure::usage(message))
            } else {
                Ok(())
            };
        }
        match self.from {
            Some(from) => from.check_partitions("--from", &self.partitions),
            None => Ok(()),
        }
    }

    fn check_subscription(&self) -> Result<(), Failure> {
        if self.from.is_some() || !self.partitions.is_empty() {
            let failure = Failure::usage("a subscription goes on where it is, in all partitions");
            return Err(failure.hint("to move it: towpath subscription seek NAME --to WHERE"));
        }
        Ok(())
    }

    const fn is_address(&self) -> bool {
        matches!(self.place, Some(Place::Record(_)))
    }

    fn check_group(&self) -> Result<(), Failure> {
        if self.is_address() || !self.partitions.is_empty() {
            let failure = Failure::usage("a group shares all partitions among its members");
            return Err(failure.hint("to read some of them, leave --group out"));
        }
        match self.from {
            Some(ReadFrom::Offset(offset)) => {
                let failure = Failure::usage("a group does not begin at one offset");
                let hint = format!(
                    "once it exists: towpath group seek GROUP --to {offset} --topic TOPIC -p 0"
                );
                Err(failure.hint(hint))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use towpath_client::Offset;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: ConsumeArgs,
    }

    fn args(line: &str) -> ConsumeArgs {
        let words = std::iter::once("consume").chain(line.split(' '));
        Line::try_parse_from(words).expect(line).args
    }

    #[test]
    fn reading_begins_at_the_beginning_only_if_it_has_an_end() {
        assert_eq!(args("t").read_from(), ReadFrom::End, "follow");
        assert_eq!(args("t -e").read_from(), ReadFrom::Beginning, "to the end");
        assert_eq!(
            args("t -e --from end").read_from(),
            ReadFrom::End,
            "as asked"
        );
        assert_eq!(
            args("t --from -100").read_from(),
            ReadFrom::Last(100),
            "the last hundred"
        );
        assert!(
            args("t -e").is_from_default() && !args("t --from end").is_from_default(),
            "open"
        );
    }

    #[test]
    fn an_address_says_partition_and_offset() {
        let args = args("orders/5@17 -n 1");
        assert_eq!(
            args.read_from(),
            ReadFrom::Offset(Offset::new(17)),
            "offset"
        );
        assert_eq!(args.partitions(), [PartitionId::new(5)], "partition");
        assert!(args.check().is_ok(), "flags");
    }

    #[test]
    fn flags_that_contradict_each_other_are_refused() {
        for line in [
            "t --from 17",
            "t --from 17 -p 1 -p 2",
            "t/0@1 -p 0",
            "t/0@1 --from end",
            "t/0@1 --group g",
            "t --group g -p 1",
            "t --group g --from 17",
            "--subscription s --from end",
            "--subscription s -p 0",
        ] {
            assert!(args(line).check().is_err(), "{line} was accepted");
        }
        for line in [
            "t --from 17 -p 1",
            "t -p 1 -p 2",
            "t --from 1h",
            "t/0@1",
            "t --group g",
            "t -g g --from 1h --commit never",
            "t -g g --stop-at-trimmed",
            "--subscription s -e -n 5",
            "--subscription s --ack never",
            "--subscription s --exec true --parallel 8 --drain 1m",
        ] {
            assert!(args(line).check().is_ok(), "{line} was refused");
        }
        for line in [
            "t -n 0",
            "t --from yesterday",
            "t --timeout 5",
            "t -p x",
            "t --commit never",
            "t --stop-at-trimmed",
            "t -g g --commit x",
            "-e",
            "t --subscription s",
            "--subscription s --group g",
            "--subscription s --skip-data-loss",
            "--subscription s --ack never --exec true",
            "--subscription s --parallel 2",
            "--subscription s --exec true --parallel 0",
            "t --ack never",
            "t --exec true",
        ] {
            let words = std::iter::once("consume").chain(line.split(' '));
            assert!(Line::try_parse_from(words).is_err(), "{line} was accepted");
        }
    }
}
