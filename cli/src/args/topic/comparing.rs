//! What a topic compares before it takes a record.

use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use towpath_client::StaleRecords;

use super::super::duration::parse_duration;

/// `10m`: a second to seven days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DedupeWindow(pub(crate) Duration);

const WINDOW_MIN: Duration = Duration::from_secs(1);
const WINDOW_MAX: Duration = Duration::from_hours(7 * 24);

impl FromStr for DedupeWindow {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let window = parse_duration(text)?;
        match (WINDOW_MIN..=WINDOW_MAX).contains(&window) {
            true => Ok(Self(window)),
            false => Err("a dedupe window is 1s to 7d".to_owned()),
        }
    }
}

/// What becomes of a record that brings an older version of its entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StaleRecordsArg {
    /// It is not written.
    Refuse,
    /// It is written with a header that says so.
    Mark,
}

impl From<StaleRecordsArg> for StaleRecords {
    fn from(arg: StaleRecordsArg) -> Self {
        match arg {
            StaleRecordsArg::Refuse => Self::Refuse,
            StaleRecordsArg::Mark => Self::Mark,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::bound::OrNone;
    use super::*;

    #[test]
    fn a_window_is_a_second_to_seven_days_or_none() {
        let ten_minutes = DedupeWindow(Duration::from_mins(10));
        assert_eq!("10m".parse(), Ok(ten_minutes), "window");
        assert_eq!("10m".parse(), Ok(OrNone(Some(ten_minutes))), "window");
        assert_eq!("none".parse(), Ok(OrNone::<DedupeWindow>(None)), "none");
        for text in ["1s", "7d"] {
            assert!(text.parse::<DedupeWindow>().is_ok(), "{text}");
        }
        for text in ["", "999ms", "7d1ms", "10", "none"] {
            assert!(text.parse::<DedupeWindow>().is_err(), "{text}");
        }
    }
}
