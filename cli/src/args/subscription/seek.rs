//! `towpath subscription seek`.

use clap::Args;
use towpath_client::{PartitionId, SubscriptionName};

use super::super::number::parse_partition;
use super::super::seek_to::SeekTo;
use crate::failure::Failure;

/// Where to move a subscription.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  towpath subscription seek email --to beginning --dry-run
  towpath subscription seek email --to 2026-11-21T09:00Z
  towpath subscription seek email --to -100             a hundred records back in each partition
  towpath subscription seek email --to +1 -p 5          past one record
  towpath subscription seek email --to 17 -p 5
")]
pub(crate) struct SeekSubscriptionArgs {
    /// Name
    pub(crate) name: SubscriptionName,
    /// beginning, end, an offset (with -p), -100 or +100 for so many records back or forward in each
    /// partition, a time in RFC 3339, or how long ago, such as 1h
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true)]
    pub(crate) to: SeekTo,
    /// Only in this partition of the topic; may be given more than once
    #[arg(short, long = "partition", value_name = "N", allow_negative_numbers = true,
          value_parser = parse_partition)]
    partitions: Vec<u32>,
    /// Only tell what would happen
    #[arg(long)]
    pub(crate) dry_run: bool,
}

impl SeekSubscriptionArgs {
    /// The partitions to move; none for all.
    pub(crate) fn partitions(&self) -> Vec<PartitionId> {
        let partitions = self.partitions.iter().copied();
        partitions.map(PartitionId::new).collect()
    }

    /// Whether the flags go together.
    ///
    /// # Errors
    ///
    /// They do not.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match self.to {
            SeekTo::Place(place) => place.check_partitions("--to", &self.partitions),
            SeekTo::By(_) => Ok(()),
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
        args: SeekSubscriptionArgs,
    }

    fn args(line: &str) -> Result<SeekSubscriptionArgs, clap::Error> {
        let words = std::iter::once("seek").chain(line.split(' '));
        Line::try_parse_from(words).map(|line| line.args)
    }

    #[test]
    fn an_offset_needs_its_partition() {
        for line in ["s --to 17", "s --to 17 -p 1 -p 2"] {
            assert!(args(line).expect(line).check().is_err(), "{line}");
        }
        for line in [
            "s --to 17 -p 1",
            "s --to -5",
            "s --to +1 -p 1 -p 2",
            "s --to end",
        ] {
            assert!(args(line).expect(line).check().is_ok(), "{line}");
        }
        for line in ["s", "s --to soon", "s --to end -p x"] {
            assert!(args(line).is_err(), "{line} was accepted");
        }
    }
}
