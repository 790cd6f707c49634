//! What compaction leaves.

use std::str::FromStr;
use std::time::Duration;

use super::super::duration::parse_duration;

/// `7d`: also nothing at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TombstoneGrace(pub(crate) Duration);

impl FromStr for TombstoneGrace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_duration(text).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::bound::OrNone;
    use super::*;

    #[test]
    fn a_grace_is_any_time_or_the_default() {
        let week = TombstoneGrace(Duration::from_hours(7 * 24));
        assert_eq!("7d".parse(), Ok(week), "grace");
        assert_eq!("7d".parse(), Ok(OrNone(Some(week))), "grace");
        assert_eq!("none".parse(), Ok(OrNone::<TombstoneGrace>(None)), "none");
        let nothing = TombstoneGrace(Duration::ZERO);
        assert_eq!("0s".parse(), Ok(nothing), "nothing");
        for text in ["", "7", "none", "-1d"] {
            assert!(text.parse::<TombstoneGrace>().is_err(), "{text}");
        }
    }
}
