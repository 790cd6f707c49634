//! Where to begin reading, in the one grammar of every command.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use towpath_client::{Offset, Start};

use super::duration::parse_duration;
use crate::failure::Failure;

/// A place in a topic as the user says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadFrom {
    /// `beginning`.
    Beginning,
    /// `end`.
    End,
    /// `1234`: an offset, which means something in one partition only.
    Offset(Offset),
    /// `-100`: so many records before the end, over all partitions.
    Last(u64),
    /// `2026-11-21T09:00:00Z`.
    Time(Timestamp),
    /// `1h`: so long before now.
    Ago(Duration),
}

impl ReadFrom {
    /// Whether the place means something in these partitions, of which none stands for all; `flag` is
    /// where it was given.
    ///
    /// # Errors
    ///
    /// It is an offset, and there is not one partition only.
    pub(crate) fn check_partitions(self, flag: &str, partitions: &[u32]) -> Result<(), Failure> {
        match self {
            Self::Offset(offset) if partitions.len() != 1 => {
                let failure = Failure::usage("an offset means something in one partition only");
                Err(failure.hint(format!("say which: -p 0 {flag} {offset}")))
            }
            _ => Ok(()),
        }
    }

    /// The place as the SDK knows it.
    pub(crate) fn to_start(self, now: Timestamp) -> Start {
        match self {
            Self::Beginning => Start::Beginning,
            Self::End => Start::End,
            Self::Offset(offset) => Start::Offset(offset),
            Self::Last(count) => Start::LastRecords(count),
            Self::Time(time) => Start::Time(time.into()),
            Self::Ago(duration) => {
                let time = now.checked_sub(duration).unwrap_or(Timestamp::UNIX_EPOCH);
                Start::Time(SystemTime::from(time))
            }
        }
    }
}

impl FromStr for ReadFrom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let too_large = |_| format!("{text} is too large");
        match text {
            "beginning" => Ok(Self::Beginning),
            "end" => Ok(Self::End),
            _ if is_number(text) => {
                let offset = text.parse().map_err(too_large)?;
                Ok(Self::Offset(Offset::new(offset)))
            }
            _ => match text.strip_prefix('-') {
                Some(count) if is_number(count) => {
                    Ok(Self::Last(count.parse().map_err(too_large)?))
                }
                _ => parse_time(text),
            },
        }
    }
}

fn parse_time(text: &str) -> Result<ReadFrom, String> {
    if let Ok(time) = text.parse() {
        return Ok(ReadFrom::Time(time));
    }
    if let Ok(duration) = parse_duration(text) {
        return Ok(ReadFrom::Ago(duration));
    }
    Err(format!(
        "expected beginning, end, an offset, -100 for the last hundred, a time such as \
         2026-11-21T09:00:00Z or how long ago such as 1h, got {text:?}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: ReadFrom) {
        assert_eq!(text.parse(), Ok(expected), "{text:?}");
    }

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a timestamp")
    }

    #[test]
    fn every_form_is_read() {
        check("beginning", ReadFrom::Beginning);
        check("end", ReadFrom::End);
        check("0", ReadFrom::Offset(Offset::ZERO));
        check(
            "18446744073709551615",
            ReadFrom::Offset(Offset::new(u64::MAX)),
        );
        check("-100", ReadFrom::Last(100));
        check("1h", ReadFrom::Ago(Duration::from_hours(1)));
        check("90s", ReadFrom::Ago(Duration::from_secs(90)));
    }

    #[test]
    fn times_are_those_of_rfc_3339() {
        let nine = ReadFrom::Time(time("2026-11-21T09:00:00Z"));
        check("2026-11-21T09:00:00Z", nine);
        check("2026-11-21T09:00Z", nine);
        check("2026-11-21T10:00:00+01:00", nine);
        check(
            "2026-11-21T09:00:00.5Z",
            ReadFrom::Time(time("2026-11-21T09:00:00.5Z")),
        );
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "-",
            "start",
            "Beginning",
            "+5",
            "1.5",
            "5 ",
            "18446744073709551616",
            "2026-11-21",
            "2026-11-21T09:00:00",
            "2026-13-21T09:00:00Z",
        ] {
            assert!(text.parse::<ReadFrom>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn ago_counts_from_now() {
        let now = time("2026-11-21T09:00:00Z");
        let start = ReadFrom::Ago(Duration::from_hours(1)).to_start(now);
        assert_eq!(
            start,
            Start::Time(time("2026-11-21T08:00:00Z").into()),
            "one hour ago"
        );
        let start = ReadFrom::Ago(Duration::from_secs(u64::MAX)).to_start(now);
        assert_eq!(
            start,
            Start::Time(Timestamp::UNIX_EPOCH.into()),
            "before all time"
        );
    }
}
