//! `towpath group seek`.

use clap::Args;
use jiff::Timestamp;
use towpath_client::{GroupName, GroupSeek, PartitionId, TopicName};

use super::super::from::ReadFrom;
use super::super::seek_to::SeekTo;
use crate::failure::Failure;

/// Where to move a group.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  towpath group seek billing --to beginning --dry-run
  towpath group seek billing --to 2026-11-21T09:00Z
  towpath group seek billing --to -100                   a hundred records back in each partition
  towpath group seek billing --to +1 --topic orders -p 5 past one record
  towpath group seek billing --to 17 --topic orders -p 5
")]
pub(crate) struct SeekGroupArgs {
    /// Name
    pub(crate) name: GroupName,
    /// beginning, end, an offset (with -p), -100 or +100 for so many records back or forward in each
    /// partition, a time in RFC 3339, or how long ago, such as 1h
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true)]
    to: SeekTo,
    /// Only in this topic
    #[arg(long, value_name = "TOPIC")]
    topic: Option<TopicName>,
    /// Only in this partition of the topic; may be given more than once
    #[arg(short, long = "partition", value_name = "N", requires = "topic")]
    partitions: Vec<u32>,
    /// Only tell what would happen
    #[arg(long)]
    pub(crate) dry_run: bool,
}

impl SeekGroupArgs {
    /// What the SDK is to do.
    ///
    /// # Errors
    ///
    /// The flags do not go together.
    pub(crate) fn to_seek(&self, now: Timestamp) -> Result<GroupSeek, Failure> {
        let name = self.name.as_str();
        let seek = match self.to {
            SeekTo::By(count) => GroupSeek::by(name, count),
            SeekTo::Place(place) => {
                self.check(place)?;
                GroupSeek::to(name, place.to_start(now))
            }
        };
        let seek = match &self.topic {
            Some(topic) => seek.topic(topic.as_str()),
            None => seek,
        };
        let partitions = self.partitions.iter().copied().map(PartitionId::new);
        let seek = seek.partitions(partitions);
        Ok(if self.dry_run { seek.dry_run() } else { seek })
    }

    fn check(&self, place: ReadFrom) -> Result<(), Failure> {
        match place {
            ReadFrom::Offset(offset) if self.partitions.len() != 1 => {
                let failure = Failure::usage("an offset means something in one partition only");
                Err(failure.hint(format!("say which: --topic TOPIC -p 0 --to {offset}")))
            }
            _ => Ok(()),
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
        args: SeekGroupArgs,
    }

    fn args(line: &str) -> Result<SeekGroupArgs, clap::Error> {
        let words = std::iter::once("seek").chain(line.split(' '));
        Line::try_parse_from(words).map(|line| line.args)
    }

    #[test]
    fn an_offset_needs_its_partition() {
        let now = Timestamp::UNIX_EPOCH;
        for line in ["g --to 17", "g --to 17 --topic t -p 1 -p 2"] {
            assert!(args(line).expect(line).to_seek(now).is_err(), "{line}");
        }
        for line in [
            "g --to 17 --topic t -p 1",
            "g --to -5",
            "g --to end --topic t",
        ] {
            assert!(args(line).expect(line).to_seek(now).is_ok(), "{line}");
        }
        for line in ["g", "g --to end -p 1", "g --to soon"] {
            assert!(args(line).is_err(), "{line} was accepted");
        }
    }
}
