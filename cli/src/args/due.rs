//! When a record is due.

use std::time::{Duration, SystemTime};

use clap::Args;
use jiff::Timestamp;
use towpath_client::Due;

use super::duration::parse_duration;

/// A time, or how long until then.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct DueArgs {
    /// Deliver so long after the broker has accepted it, such as 10m or 1h30m; at most 366 days
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    delay: Option<Duration>,
    /// Deliver at this time of the broker's clock, such as 2026-12-24T18:00:00Z; up to 5 s in the past is
    /// at once
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    at: Option<Timestamp>,
}

impl DueArgs {
    /// When; none if nothing was said.
    pub(crate) fn due(&self) -> Option<Due> {
        let delay = self.delay.map(Due::After);
        delay.or_else(|| Some(Due::At(SystemTime::from(self.at?))))
    }
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_error: jiff::Error| {
        format!("expected a time such as 2026-12-24T18:00:00Z, got {text:?}")
    })
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        due: DueArgs,
    }

    fn due(line: &str) -> Option<Due> {
        let words = std::iter::once("x").chain(line.split_whitespace());
        Line::try_parse_from(words).expect(line).due.due()
    }

    #[test]
    fn a_time_or_a_delay_is_read() {
        assert_eq!(due(""), None);
        let after = Due::After(Duration::from_secs(90));
        assert_eq!(due("--delay 1m30s"), Some(after));
        let at = Due::At(UNIX_EPOCH + Duration::from_millis(3_600_500));
        assert_eq!(due("--at 1970-01-01T01:00:00.5Z"), Some(at));
        assert_eq!(due("--at 1970-01-01T02:00:00.5+01:00"), Some(at));
        for line in [
            "--delay 1m --at 1970-01-01T01:00:00Z",
            "--delay -5s",
            "--delay 5",
            "--at tomorrow",
            "--at 2026-12-24",
        ] {
            let words = std::iter::once("x").chain(line.split(' '));
            assert!(Line::try_parse_from(words).is_err(), "{line} was accepted");
        }
    }
}
