//! `towpath topic trim`.

use clap::Args;
use towpath_client::{PartitionId, TopicName};

use super::super::from::ReadFrom;
use super::super::number::parse_partition;
use crate::failure::Failure;

/// What to let go of.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  towpath topic trim orders --before 7d --dry-run     what is older than a week
  towpath topic trim orders --before 2026-11-21T09:00Z
  towpath topic trim orders --before 17 -p 5
  towpath topic trim orders --before -1000            all but the last thousand
  towpath topic trim orders --before end --yes        everything
")]
pub(crate) struct TrimTopicArgs {
    /// Name
    pub(crate) name: TopicName,
    /// What lies before this goes: end, an offset (with -p), -100 for all but the last hundred, a
    /// time in RFC 3339, or how long ago, such as 1h
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true)]
    pub(crate) before: ReadFrom,
    /// Only of this partition; may be given more than once
    #[arg(short, long = "partition", value_name = "N", allow_negative_numbers = true,
          value_parser = parse_partition)]
    partitions: Vec<u32>,
    /// Only tell what would go
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask, even on a terminal
    #[arg(long, short)]
    pub(crate) yes: bool,
}

impl TrimTopicArgs {
    /// The partitions to trim; none for all.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = PartitionId> {
        self.partitions.iter().copied().map(PartitionId::new)
    }

    /// Whether the flags go together.
    ///
    /// # Errors
    ///
    /// They do not.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        self.before.check_partitions("--before", &self.partitions)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: TrimTopicArgs,
    }

    fn args(line: &str) -> Result<TrimTopicArgs, clap::Error> {
        let words = std::iter::once("trim").chain(line.split(' '));
        Line::try_parse_from(words).map(|line| line.args)
    }

    #[test]
    fn an_offset_needs_its_partition() {
        for line in ["t --before 17", "t --before 17 -p 1 -p 2"] {
            assert!(args(line).expect(line).check().is_err(), "{line}");
        }
        for line in [
            "t --before 17 -p 1",
            "t --before end",
            "t --before end -p 1 -p 2",
            "t --before 1h",
            "t --before -100",
            "t --before 2026-11-21T09:00Z",
        ] {
            assert!(args(line).expect(line).check().is_ok(), "{line}");
        }
    }

    #[test]
    fn what_goes_must_be_said() {
        for line in [
            "t",
            "t --before",
            "t --before yesterday",
            "t --before 1h -p x",
        ] {
            assert!(args(line).is_err(), "{line} was accepted");
        }
    }
}
