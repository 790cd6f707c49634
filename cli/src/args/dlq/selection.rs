//! Which dead letters a command is about.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use towpath_client::{DeadLetterFilter, DeadLetterKind, Offset, PartitionId};

use super::super::duration::parse_duration;
use super::super::number::parse_partition;

/// Which dead letters; none of it means all.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Which")]
pub(crate) struct Selection {
    /// Only these, as `dlq list` names them
    #[arg(value_name = "PARTITION@OFFSET")]
    pub(crate) letters: Vec<LetterPlace>,
    /// Only those of this key
    #[arg(short, long, value_name = "KEY")]
    key: Option<String>,
    /// Only those of this partition of the topic; may be given more than once
    #[arg(short, long = "partition", value_name = "N", allow_negative_numbers = true,
          value_parser = parse_partition)]
    partitions: Vec<u32>,
    /// Only those that are dead themselves, or only those parked behind them
    #[arg(
        long,
        value_enum,
        hide_possible_values = true,
        value_name = "dead|parked"
    )]
    kind: Option<Kind>,
    /// Only those whose reason, or one of whose failures, holds this text
    #[arg(long, value_name = "TEXT")]
    failed_with: Option<String>,
    /// Only those that came there since: a time in RFC 3339, or how long ago, such as 1h
    #[arg(long, value_name = "TIME")]
    died_from: Option<Moment>,
    /// Only those that came there before
    #[arg(long, value_name = "TIME")]
    died_before: Option<Moment>,
}

/// Why a record is among the dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Dead,
    Parked,
}

impl Selection {
    /// The same as the SDK knows it.
    pub(crate) fn to_filter(&self, now: Timestamp) -> DeadLetterFilter {
        let mut filter = DeadLetterFilter::new();
        for letter in &self.letters {
            filter = filter.letter(letter.partition, letter.offset);
        }
        for partition in &self.partitions {
            filter = filter.partition(PartitionId::new(*partition));
        }
        if let Some(key) = &self.key {
            filter = filter.key(key.clone());
        }
        if let Some(kind) = self.kind {
            filter = filter.kind(match kind {
                Kind::Dead => DeadLetterKind::Dead,
                Kind::Parked => DeadLetterKind::Parked,
            });
        }
        if let Some(text) = &self.failed_with {
            filter = filter.reason_contains(text.as_str());
        }
        if let Some(moment) = self.died_from {
            filter = filter.died_from(moment.at(now));
        }
        if let Some(moment) = self.died_before {
            filter = filter.died_before(moment.at(now));
        }
        filter
    }
}

/// Where a dead letter is among those of its subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LetterPlace {
    /// Its partition.
    pub(crate) partition: PartitionId,
    /// Its offset.
    pub(crate) offset: Offset,
}

impl fmt::Display for LetterPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.partition, self.offset)
    }
}

impl FromStr for LetterPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (partition, offset) = text.split_once('@')?;
            Some(Self {
                partition: PartitionId::new(partition.parse().ok()?),
                offset: Offset::new(offset.parse().ok()?),
            })
        };
        read().ok_or_else(|| {
            format!("expected PARTITION@OFFSET as `towpath dlq list` tells it, got {text:?}")
        })
    }
}

/// A time, or how long ago it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Time(Timestamp),
    Ago(std::time::Duration),
}

impl Moment {
    fn at(self, now: Timestamp) -> SystemTime {
        match self {
            Self::Time(time) => time.into(),
            Self::Ago(duration) => {
                let time = now.checked_sub(duration);
                time.unwrap_or(Timestamp::UNIX_EPOCH).into()
            }
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(time) = text.parse() {
            return Ok(Self::Time(time));
        }
        parse_duration(text).map(Self::Ago).map_err(|_duration| {
            format!(
                "expected a time such as 2026-11-21T09:00:00Z or how long ago such as 1h, got {text:?}"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_is_named_as_it_is_listed() {
        let place: LetterPlace = "3@17".parse().expect("a place");
        assert_eq!(place.to_string(), "3@17", "back");
        for text in ["", "3", "3@", "@17", "3@x", "3@-1", "orders/3@17"] {
            let error = text.parse::<LetterPlace>().expect_err(text);
            assert!(error.contains("PARTITION@OFFSET"), "{text}: {error}");
        }
    }

    #[test]
    fn times_count_back_from_now() {
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().expect("a time");
        let at = |text: &str| text.parse::<Moment>().map(|it| it.at(now));
        assert_eq!(at("1h"), at("2026-11-21T09:00:00Z"), "an hour ago");
        assert!(at("soon").is_err(), "no time");
    }
}
