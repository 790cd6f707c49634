//! Bounds that can be taken back: a value, or `none`.

use std::str::FromStr;

/// A bound, or `none` for no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OrNone<T>(pub(crate) Option<T>);

/// The word for no bound.
const NONE: &str = "none";

impl<T: FromStr<Err = String>> FromStr for OrNone<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == NONE {
            return Ok(Self(None));
        }
        let bound = text.parse::<T>();
        let bound = bound.map_err(|error| format!("{error}; {NONE} takes the bound away"))?;
        Ok(Self(Some(bound)))
    }
}
